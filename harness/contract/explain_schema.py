"""What of a decoded value breaks a JSON Schema, in the words and codes of a contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.contract.schemas import errors_of
from harness.contract.wording import TYPE_NAMES, Found, Step, extra, missing, other_type, snippet

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

_MAX_WORDS: Final = 60
_NOUNS: Final = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "a boolean",
    "null": "null",
}


def schema_failures(value: object, text: str, *, brief: bool) -> list[Found]:
    """Everything in a value that breaks a schema.

    Args:
        value: a decoded value.
        text: the schema as JSON.
        brief: the first thing that the validator comes by will do.
    """
    return [found for error in errors_of(value, text, first=brief) for found in _founds(error, value)]


# What Rust reads as an index.
_LIKE_AN_INDEX = re.compile(r"\+?[0-9]{1,20}")


def _steps(error: ValidationError, value: object) -> list[Step]:
    """Where in the value an error is.

    jsonschema-rs tells keys of digits (`"1"`, `"01"`) as numbers and leaves empty keys out, so what it says
    is held against the value: of the places that it may mean, the first that has the value complained of.
    """
    told: list[Step] = list(error.instance_path)
    places = list(_places(value, told, ()))
    for path, found in places:
        if type(found) is type(error.instance) and found == error.instance:
            return path
    return places[0][0] if places else told


def _places(
    value: object, told: Sequence[Step], path: tuple[Step, ...]
) -> Iterator[tuple[list[Step], object]]:
    """Every place that a path may mean: each value is come by once at most."""
    if not told:
        yield list(path), value
    step = told[0] if told else None
    if isinstance(value, dict):
        keys: list[str] = []
        if isinstance(step, str):
            keys = [step]
        elif step is not None:
            keys = [key for key in value if _LIKE_AN_INDEX.fullmatch(key) and int(key) == step]
        for key in keys:
            if key in value:
                yield from _places(value[key], told[1:], (*path, key))
        if "" in value:
            yield from _places(value[""], told, (*path, ""))
    elif isinstance(value, list) and isinstance(step, int) and step < len(value):
        yield from _places(value[step], told[1:], (*path, step))


def _founds(error: ValidationError, value: object) -> Iterator[Found]:
    steps = _steps(error, value)
    kind: Any = error.kind
    match kind.name:
        case "type":
            yield Found("wrong_type", steps, other_type(_either(kind.types), error.instance))
        case "required":
            yield Found("missing_key", steps, missing(kind.property))
        case "additionalProperties" | "unevaluatedProperties" if isinstance(error.instance, dict):
            for name in kind.unexpected:
                yield Found("extra_key", [*steps, name], extra(name))
        case "falseSchema" if steps and isinstance(steps[-1], str):
            yield Found("extra_key", steps, extra(steps[-1]))
        case "anyOf" | "oneOf" if getattr(kind, "context", None):
            yield from _of_branches(error, kind.context, value)
        case _:
            yield Found("wrong_value", steps, _breaks(error))


def _of_branches(
    error: ValidationError, branches: list[list[ValidationError]], value: object
) -> Iterator[Found]:
    """Of several schemas that a value fits none of: what breaks the one that was meant, if one was.

    Meant is what has the value's type and the constants in it; where none has its type, the type is wrong.
    """
    told, steps = list(error.instance_path), _steps(error, value)
    alive = [branch for branch in branches if not any(_is_of_type(one, told) for one in branch)]
    if not alive:
        kinds: list[Any] = [one.kind for branch in branches for one in branch if _is_of_type(one, told)]
        types = sorted({name for kind in kinds for name in kind.types})
        yield Found("wrong_type", steps, other_type(_either(types), error.instance))
        return
    meant = [branch for branch in alive if not any(one.kind.name in ("const", "enum") for one in branch)]
    meant = meant if len(alive) > 1 else alive
    if len(meant) == 1:
        for one in meant[0]:
            yield from _founds(one, value)
    else:
        yield Found("wrong_value", steps, _breaks(error))


def _is_of_type(error: ValidationError, steps: list[Step]) -> bool:
    return error.kind.name == "type" and list(error.instance_path) == steps


def _either(types: list[str]) -> str:
    nouns = [_NOUNS[name] for name in types if name in _NOUNS]
    return " or ".join([", ".join(nouns[:-1]), nouns[-1]]) if len(nouns) > 1 else nouns[0]


def _breaks(error: ValidationError) -> str:
    """`"x" breaks pattern "^a"`."""
    kind: Any = error.kind
    shown = snippet(error.instance)
    if kind.name == "falseSchema":
        return f"{shown} stands where nothing may"
    if kind.name == "oneOf" and not getattr(kind, "context", None):
        return f"{shown} fits more than one schema of oneOf"
    if kind.name in ("anyOf", "oneOf"):
        return f"{shown} fits no schema of {kind.name}"
    if "acktrack" in type(kind).__name__:
        return f"{shown} takes the pattern too many steps"
    said = [value for name, value in kind.as_dict().items() if name not in ("context", "error", "schema")]
    return f"{shown} breaks {kind.name}" + (f" {_words(said[0])}" if said else "")


def _words(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return TYPE_NAMES.get(type(value), "")
    return text if len(text) <= _MAX_WORDS else text[:_MAX_WORDS] + "..."
