"""Contracts and JSON Schemas from files, and from what a command line says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.contract import DEFAULT, Contract
from harness.contract.model import ROW
from harness.errors import DataError, words_of
from harness.yaml_files import UnreadableYamlError, parse_yaml, read_yaml

MAX_SCHEMA_BYTES: Final = 8 * 2**20

LISTWISE: Final = "listwise"
_SCHEMA: Final = "schema:"
_YAML: Final = (".yaml", ".yml")
_WORDS = "listwise, a .yaml or .json file, schema:FILE.json or schema:row"


def chosen_contract(choice: Any) -> Any:
    """The contract that somebody chose; what isn't a choice is passed on as it is.

    Args:
        choice: `listwise`, a file's name, `schema:FILE`, `schema:row`, or a contract as YAML in braces.

    Raises:
        DataError: a file can't be read, or isn't what it should be.
    """
    if isinstance(choice, Path):
        return _of_file(choice)
    if not isinstance(choice, str):
        return choice
    if choice == LISTWISE:
        return DEFAULT
    if choice.startswith(_SCHEMA):
        name = choice.removeprefix(_SCHEMA)
        return Contract(kind="schema", schema_=ROW if name == ROW else read_schema(Path(name)))
    if choice.lstrip().startswith("{"):
        try:
            return _contract(parse_yaml(choice), "the contract", Path())
        except UnreadableYamlError as error:
            raise DataError(f"the contract can't be read: {error}") from error
    if Path(choice).suffix.lower() in (*_YAML, ".json"):
        return _of_file(Path(choice))
    raise DataError(f"{choice!r} is no contract; give {_WORDS}")


def read_schema(path: Path) -> Any:
    """The JSON Schema in a file of JSON or YAML.

    Raises:
        DataError: it can't be read, or nests too deep.
    """
    content = _yaml(path) if path.suffix.lower() in _YAML else _json(path)
    if not isinstance(content, dict | bool):
        raise DataError(f"{path} holds no JSON Schema, which is an object, true or false")
    return content


def _of_file(path: Path) -> Contract:
    content = _yaml(path) if path.suffix.lower() in _YAML else _json(path)
    return _contract(content, str(path), path.parent)


def _contract(content: object, source: str, folder: Path) -> Contract:
    if not isinstance(content, dict):
        raise DataError(f"{source} holds no contract, as `ranking: $.ranking`")
    if "$schema" in content or content.get("type") == "object":
        raise DataError(f"{source} is a JSON Schema; to hold answers to it give schema:{source}")
    schema = content.get("schema")
    if isinstance(schema, str) and schema != ROW:
        content = content | {"schema": read_schema(folder / schema)}
    return Contract.read(_plain(content), source)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in content.items()}


def _yaml(path: Path) -> Any:
    try:
        return read_yaml(path)
    except (OSError, UnreadableYamlError) as error:
        raise DataError(f"{path} can't be read: {words_of(error)}") from error


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SCHEMA_BYTES + 1)
        if len(content) > MAX_SCHEMA_BYTES:
            raise DataError(f"{path} has more than {MAX_SCHEMA_BYTES} bytes")
        text = content.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refused)
    except OSError as error:
        raise DataError(f"{path} can't be read: {words_of(error)}") from error
    except RecursionError as error:
        raise DataError(f"{path} nests too deep to be read") from error
    except ValueError as error:
        raise DataError(f"{path} isn't JSON: {words_of(error)}") from error


def _distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        raise ValueError(f"a key is given twice: {next(one for one in names if names.count(one) > 1)!r}")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
