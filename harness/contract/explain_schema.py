"""What of a decoded value breaks a JSON Schema, in the words and codes of a contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    return [found for error in errors_of(value, text, first=brief) for found in _founds(error)]


def _founds(error: ValidationError) -> Iterator[Found]:
    steps: list[Step] = list(error.instance_path)
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
            yield from _of_branches(error, kind.context)
        case _:
            yield Found("wrong_value", steps, _breaks(error))


def _of_branches(error: ValidationError, branches: list[list[ValidationError]]) -> Iterator[Found]:
    """Of several schemas that a value fits none of: what breaks the one that was meant, if one was.

    Meant is what has the value's type and the constants in it; where none has its type, the type is wrong.
    """
    steps: list[Step] = list(error.instance_path)
    alive = [branch for branch in branches if not any(_is_of_type(one, steps) for one in branch)]
    if not alive:
        kinds: list[Any] = [one.kind for branch in branches for one in branch if _is_of_type(one, steps)]
        types = sorted({name for kind in kinds for name in kind.types})
        yield Found("wrong_type", steps, other_type(_either(types), error.instance))
        return
    meant = [branch for branch in alive if not any(one.kind.name in ("const", "enum") for one in branch)]
    meant = meant if len(alive) > 1 else alive
    if len(meant) == 1:
        for one in meant[0]:
            yield from _founds(one)
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
