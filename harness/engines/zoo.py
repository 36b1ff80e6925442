"""The tiny trained checkpoints that come with the package: `zoo:NAME` and the folder it stands for."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.errors import HarnessError

PREFIX = "zoo:"


def zoo_root() -> Path:
    """Folder of the zoo: inside the package, so that a wheel, an editable install and a checkout have it."""
    return Path(harness.__file__).resolve().parent / "zoo"


def zoo_names() -> tuple[str, ...]:
    """What may follow `zoo:`, in alphabetical order; empty where the package came without its data."""
    return tuple(sorted(file.parent.name for file in zoo_root().glob("*/config.json")))


def resolved(name: str) -> Path:
    """The folder that a checkpoint's name means on this machine; it need not exist.

    Args:
        name: `zoo:NAME`, or a path, in which a leading `~` is the home folder.

    Raises:
        HarnessError: `zoo:NAME` of which there is none.
    """
    if not name.startswith(PREFIX):
        return Path(name).expanduser()
    names = zoo_names()
    if name.removeprefix(PREFIX) not in names:
        known = ", ".join(f"{PREFIX}{known}" for known in names) or "nothing; install the package again"
        raise HarnessError(f"there is no {name}; the zoo has {known}")
    return zoo_root() / name.removeprefix(PREFIX)
