"""Where bundled datasets and rubrics lie: in a wheel, an editable install or the repository alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.errors import DataError

SPLIT_SUFFIXES = (".jsonl", ".jsonl.gz")
SPLIT_ORDER = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A dataset that comes with the project.

    Attributes:
        name: by which it is called for.
        path: its folder.
        splits: names of its splits; train, validation and test first.
    """

    name: str
    path: Path
    splits: tuple[str, ...]


def bundled(kind: str, is_here: Callable[[Path], bool], setting: str) -> Path:
    """Folder of what comes with the project.

    A wheel carries it inside the package; an editable install and a checkout have it beside it. The wheel's
    place comes first: beside an installed package, `datasets` would be the Hugging Face library.

    Args:
        kind: name of the folder, `datasets` or `rubrics`.
        is_here: whether a folder of that name is the one.
        setting: that names a file of one's own instead.

    Raises:
        DataError: it is in neither place.
    """
    package = Path(harness.__file__).resolve().parent
    places = (package / "_bundled" / kind, package.parent / kind)
    for place in places:
        if is_here(place):
            return place
    raise DataError(
        f"the bundled {kind} are neither in {places[0]} nor in {places[1]}; "
        f"install the package again or name a file as `{setting}=`"
    )


def datasets_root() -> Path:
    """Folder that holds the bundled datasets.

    Raises:
        DataError: neither place holds dataset folders.
    """
    return bundled("datasets", _holds_datasets, "data")


def known_datasets() -> dict[str, KnownDataset]:
    """The bundled datasets by name, in order of names.

    Raises:
        DataError: they are not where they belong.
    """
    return {
        folder.name: KnownDataset(folder.name, folder, splits_in(folder))
        for folder in _dataset_folders(datasets_root())
    }


def splits_in(folder: Path) -> tuple[str, ...]:
    """Names S for which the folder holds `S.jsonl` or `S.jsonl.gz`."""
    names = {
        file.name.removesuffix(suffix)
        for suffix in SPLIT_SUFFIXES
        for file in folder.glob(f"*{suffix}")
        if file.is_file()
    }
    first = [name for name in SPLIT_ORDER if name in names]
    return (*first, *sorted(names.difference(first)))


def _dataset_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and splits_in(folder))


def _holds_datasets(place: Path) -> bool:
    return place.is_dir() and not (place / "__init__.py").exists() and any(_dataset_folders(place))
