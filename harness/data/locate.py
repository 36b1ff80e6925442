"""Where the bundled datasets lie: in a wheel, an editable install or the repository alike."""

from __future__ import annotations

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


def datasets_root() -> Path:
    """Folder that holds the bundled datasets.

    A wheel carries them inside the package; an editable install and a checkout have them beside it. The
    wheel's place comes first: beside an installed package, `datasets` would be the Hugging Face library.

    Raises:
        DataError: neither place holds dataset folders.
    """
    package = Path(harness.__file__).resolve().parent
    places = (package / "_bundled" / "datasets", package.parent / "datasets")
    for place in places:
        if place.is_dir() and not (place / "__init__.py").exists() and any(_dataset_folders(place)):
            return place
    raise DataError(
        f"the bundled datasets are neither in {places[0]} nor in {places[1]}; "
        "install the package again or name a file as `data=`"
    )


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
