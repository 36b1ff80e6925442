"""Where the bundled rubrics lie: in a wheel, an editable install or the repository alike."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.errors import DataError


def rubrics_root() -> Path:
    """Folder that holds the bundled rubrics; the wheel's place comes first, as for the datasets.

    Raises:
        DataError: neither place holds rubrics.
    """
    package = Path(harness.__file__).resolve().parent
    places = (package / "_bundled" / "rubrics", package.parent / "rubrics")
    for place in places:
        if any(place.glob("*.yaml")):
            return place
    raise DataError(
        f"the bundled rubrics are neither in {places[0]} nor in {places[1]}; "
        "install the package again or name a file with --rubric"
    )


def find_rubric(name_or_path: str | Path) -> Path:
    """The file of a rubric given by path, or by the name of a bundled one.

    Raises:
        DataError: there is no such file and no such bundled rubric.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    root = rubrics_root()
    bundled = root / f"{name_or_path}.yaml"
    if path.name == str(name_or_path) and bundled.is_file():
        return bundled
    known = ", ".join(sorted(file.stem for file in root.glob("*.yaml")))
    raise DataError(f"{name_or_path} is neither a file nor a bundled rubric ({known}); check --rubric")
