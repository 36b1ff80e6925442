"""Finding and reading rubric files, and saying where and why one is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.data.locate import bundled
from harness.errors import DataError
from harness.judge.rubric import Rubric
from harness.yaml_files import UnreadableYamlError, read_document


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a rubric file.

    Attributes:
        line: 1-based line of the file, None when it concerns the whole file.
        where: the field, as `criteria[0].scale`; empty for the whole file.
        message: what is wrong.
    """

    line: int | None
    where: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.where}{' ' if self.where else ''}{self.message}"


def rubrics_root() -> Path:
    """Folder that holds the bundled rubrics.

    Raises:
        DataError: neither place holds rubrics.
    """
    return bundled("rubrics", lambda place: any(place.glob("*.yaml")), "rubric")


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
    raise DataError(f"{name_or_path} is neither a file nor a bundled rubric ({known}); check `rubric=`")


def load_rubric(name_or_path: str | Path) -> Rubric:
    """Read a rubric from a file, or a bundled one by its name.

    Raises:
        DataError: no such rubric, or it is wrong; the message has the first problem and how many there are.
    """
    path = find_rubric(name_or_path)
    rubric, problems = check_rubric(path)
    if rubric is None:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise DataError(f"{path}: {problems[0]}{more}; `harness judge --lint {path}` lists all")
    return rubric


def check_rubric(path: Path) -> tuple[Rubric | None, list[Problem]]:
    """The rubric in a file, or None and every problem found in it.

    Raises:
        DataError: the file can't be read.
    """
    try:
        document = read_document(path)
    except OSError as error:
        raise DataError(
            f"{path} can't be read: {error.strerror or error}; give the path of a rubric file"
        ) from error
    except UnreadableYamlError as error:
        return None, [Problem(error.line, "", f"isn't YAML that is read here: {error.problem}")]
    root, data = document.root, document.data
    repeated = [Problem(line, where, "is given twice") for line, where in document.repeated_keys()]
    if not isinstance(data, dict):
        return None, [Problem(None, "", "must be a mapping with name, version, model, criteria, template, …")]
    try:
        rubric = Rubric.model_validate(data)
    except ValidationError as error:
        return None, repeated + [_problem(root, details) for details in error.errors()]
    return (None, repeated) if repeated else (rubric, [])


def _problem(root: yaml.Node | None, details: Any) -> Problem:
    location: Sequence[str | int] = details["loc"]
    message = details["msg"].removeprefix("Value error, ")
    match details["type"]:
        case "missing":
            message = "is missing"
        case "extra_forbidden":
            message = "isn't a field of a rubric"
        case "string_pattern_mismatch":
            message = f"is {details['input']!r}, which doesn't match {details['ctx']['pattern']}"
        case _ if isinstance(details["input"], str | int | float) and details["type"] != "value_error":
            message = f"is {details['input']!r}: {message}"
    path = [part for part in location if part != "[key]"]
    return Problem(_line_of(root, path), _written(path), message)


def _written(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _line_of(node: yaml.Node | None, location: Sequence[str | int]) -> int | None:
    """Line of the innermost part of `location` that the file has."""
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
