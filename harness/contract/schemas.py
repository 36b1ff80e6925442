"""JSON Schemas: read once, compiled once, refused in one line where nothing can be held to them.

jsonschema-rs does the work: it knows every draft from 4 on, takes patterns as ECMA 262 means them and in
bounded time, and says what fails as data.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

BACKTRACKS: Final = 100_000
"""Steps that a pattern with look-around or back-references may take on one string; after that it doesn't
match. Other patterns take time linear in the string."""

MAX_PROVED: Final = 128 * 1024
"""Longest schema, in characters, of which it is tried to prove that nothing satisfies it."""

JSON_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
OF_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
"""Keywords that say something of numbers alone."""

_MAX_MESSAGE: Final = 150
_MAX_HOPS: Final = 20


@lru_cache(maxsize=512)
def compiled(text: str) -> Validator:
    """The validator of a schema, formats being annotations.

    Args:
        text: the schema as JSON. Its draft is what its `$schema` says, else 2020-12.

    Raises:
        ValueError: it is no JSON Schema, refers to one elsewhere, or nests too deep.
    """
    import jsonschema_rs

    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
    try:
        return jsonschema_rs.validator_for(
            json.loads(text), validate_formats=False, pattern_options=options, offline=True
        )
    except jsonschema_rs.ValidationError as error:
        raise ValueError(_refusal(error)) from None
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError) as error:
        if "ecursion" in str(error):
            raise ValueError("nests too deep") from None
        raise ValueError(f"is no JSON Schema: {_one_line(str(error))}") from None


@lru_cache(maxsize=512)
def require_usable(text: str) -> None:
    """Refuse what is no schema, and where it is easily seen what nothing satisfies.

    Raises:
        ValueError: as `compiled`, or because no value keeps it.
    """
    import jsonschema_rs

    compiled(text)
    if len(text) <= MAX_PROVED and unsatisfiable(json.loads(text)):
        reasons = jsonschema_rs.canonical.find_unsatisfiable(
            json.loads(text), validate_formats=False, offline=True
        )
        places = sorted((place for place in reasons if place), key=len, reverse=True)
        where = f"; nothing fits at #{_one_line(places[0])}" if places else ""
        raise ValueError(f"no answer can keep it{where}")


def unsatisfiable(schema: Any) -> bool:
    """Whether it can be proved that no value keeps a schema."""
    import jsonschema_rs

    try:
        found = jsonschema_rs.canonicalize(schema, validate_formats=False, offline=True)
    except (ValueError, RecursionError, jsonschema_rs.ValidationError):
        return False
    return bool(found.satisfiability() == jsonschema_rs.canonical.Satisfiability.NO)


def keeps(value: object, text: str) -> bool:
    """Whether a decoded value keeps a schema; a number that no double holds is none."""
    validator = compiled(text)
    try:
        return validator.is_valid(value)
    except UnicodeEncodeError:
        return validator.is_valid(whole_characters(value))


def errors_of(value: object, text: str, *, first: bool) -> list[ValidationError]:
    """Everything in a value that breaks a schema, or the first thing that the validator comes by."""
    import jsonschema_rs

    validator = compiled(text)
    try:
        if not first:
            return list(validator.iter_errors(value))
        validator.validate(value)
    except UnicodeEncodeError:
        return errors_of(whole_characters(value), text, first=first)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def whole_characters(value: Any) -> Any:
    """The value with U+FFFD for each half of a surrogate pair, which no other library takes."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, list):
        return [whole_characters(one) for one in value]
    if isinstance(value, dict):
        return {whole_characters(name): whole_characters(one) for name, one in value.items()}
    return value


def resolved(schema: Any, root: Any) -> Any:
    """What a schema that is a reference within its document stands for; itself where it is none."""
    for _ in range(_MAX_HOPS):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            return schema
        found = pointed_to(root, schema["$ref"])
        if found is None:
            return schema
        schema = found
    return schema


def root_types(text: str) -> frozenset[str]:
    """Types of the values that may keep a schema; all of them where that isn't easily seen."""
    root = json.loads(text)
    return _types(root, root, 0)


def _types(schema: Any, root: Any, depth: int) -> frozenset[str]:
    schema = resolved(schema, root)
    if not isinstance(schema, dict) or depth > _MAX_HOPS:
        return JSON_TYPES
    types = JSON_TYPES
    if "type" in schema:
        said = schema["type"]
        types = frozenset(said if isinstance(said, list) else [said])
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        types &= frozenset(name for value in values for name in _types_of(value))
    for one in schema.get("allOf", ()):
        types &= _types(one, root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            within = [_types(one, root, depth + 1) for one in schema[keyword]]
            types &= frozenset().union(*within)
    return types


def _types_of(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int | float):
        return ("number", "integer")
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return (names[type(value)],)


def pointed_to(root: Any, reference: str) -> Any:
    """What a JSON Pointer (RFC 6901, as a fragment) within the document points to.

    Returns:
        None where nothing is there, or it is another reference.
    """
    if not reference.startswith("#") or (reference != "#" and not reference.startswith("#/")):
        return None
    here = root
    for step in unquote(reference[2:]).split("/") if len(reference) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict) and name in here:
            here = here[name]
        elif isinstance(here, list) and name.isdecimal() and int(name) < len(here):
            here = here[int(name)]
        else:
            return None
    return here


def _refusal(error: ValidationError) -> str:
    if error.kind.name == "$ref":
        found = error.message.split("'")
        which = found[1] if len(found) > 1 else ""
        if error.message.startswith("Resource"):
            return (
                f"refers to {_one_line(which)}, which isn't part of it, and nothing is fetched; bundle it in"
            )
        if error.message.startswith("Unknown meta-schema"):
            return f"is of a draft that isn't known: {_one_line(which)}"
        return f"refers to what isn't there: {_one_line(error.message)}"
    where = "".join(f"/{step}" for step in error.instance_path)
    place = f" at #{_one_line(where)}" if where else ""
    return f"is no JSON Schema{place}: {_one_line(error.message)}"


def _one_line(text: str) -> str:
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return line if len(line) <= _MAX_MESSAGE else line[:_MAX_MESSAGE] + "..."
