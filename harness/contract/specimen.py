"""A small value that keeps a JSON Schema, to show a model what an answer looks like.

Made from the schema alone, without chance, and only given out if the validator says that it is valid: there
are schemas to which nothing is found here although there is an answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from harness.contract.schemas import OF_NUMBERS, keeps, resolved

_DEEPEST: Final = 12
_MOST: Final = 64
_OF_FORMATS: Final = {
    "date": "2024-01-31",
    "date-time": "2024-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "name@example.com",
    "uri": "https://example.com",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
}


@lru_cache(maxsize=512)
def specimen(text: str) -> str | None:
    """JSON text of a value that keeps a schema, None where none is found.

    Args:
        text: the schema as JSON.
    """
    for value in attempts(json.loads(text)):
        if keeps(value, text):
            return json.dumps(value, ensure_ascii=False)
    return None


def attempts(schema: Any) -> Iterator[Any]:
    """Values that may keep a schema, those that show most of it first."""
    for generous in (True, False):
        yield _Making(schema, generous).value(schema, 0)


class _Making:
    def __init__(self, root: Any, generous: bool) -> None:
        self._root = root
        self._generous = generous  # Properties and elements that needn't be there, too.

    def value(self, schema: Any, depth: int) -> Any:
        schema = resolved(schema, self._root)
        if not isinstance(schema, dict):
            return "..."
        said = _said(schema)
        if said:
            return said[0]
        chosen = self._without_choices(schema, depth)
        return self._of_type(schema, depth) if chosen is None else self.value(chosen, depth + 1)

    def _without_choices(self, schema: dict[str, Any], depth: int) -> dict[str, Any] | None:
        """The schema with one of what it leaves open, and all that it adds; None where there is nothing."""
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                # Deep down the last, which is null more often, or has no more below.
                one = schema[keyword][0 if depth < _DEEPEST // 2 else -1]
                return self._merged(schema, one, keyword)
        if schema.get("allOf") and depth < _DEEPEST:
            merged = schema
            for one in schema["allOf"]:
                merged = self._merged(merged, one, "allOf")
            return merged
        return None

    def _merged(self, schema: dict[str, Any], other: Any, without: str) -> dict[str, Any]:
        other = resolved(other, self._root)
        merged = {name: part for name, part in schema.items() if name != without}
        for name, part in (other if isinstance(other, dict) else {}).items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **part}
            elif name == "required":
                merged[name] = [*merged.get(name, ()), *part]
            else:
                merged[name] = part
        return merged

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _string(schema)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
        return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        wanted = list(dict.fromkeys(schema.get("required", ())))
        if self._generous and depth < 2:
            wanted = [name for name in properties if properties[name] is not False]
            wanted += [name for name in schema.get("required", ()) if name not in properties]
        if depth > _DEEPEST:
            return {}
        others = schema.get("additionalProperties", True)
        found = {name: self.value(properties.get(name, others), depth + 1) for name in wanted}
        while len(found) < min(schema.get("minProperties", 0), _MOST):
            found[f"key{len(found) + 1}"] = self.value(others, depth + 1)
        return found

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        items = schema.get("items", True)
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        least = schema.get("minItems", 0)
        if self._generous and depth < _DEEPEST // 2 and items is not False and "maxItems" not in schema:
            least = max(least, 1)
        count = min(max(least, len(first) if items is False else 0), _MOST)
        schemas = [*first[:count], *[items] * max(0, count - len(first))]
        return [self.value(one, depth + 1) for one in schemas] if depth <= _DEEPEST else []


def _said(schema: dict[str, Any]) -> list[Any]:
    """Values that a schema names itself."""
    if "const" in schema:
        return [schema["const"]]
    default = [schema["default"]] if schema.get("default") is not None else []
    return list(schema.get("enum") or schema.get("examples") or default)


def _type_of(schema: dict[str, Any]) -> str:
    said = schema.get("type")
    if isinstance(said, list):
        said = next((name for name in said if name != "null"), "null")
    if isinstance(said, str):
        return said
    for name, keywords in (
        ("object", ("properties", "required", "additionalProperties", "minProperties")),
        ("array", ("items", "prefixItems", "minItems", "contains")),
        ("number", OF_NUMBERS),
    ):
        if any(keyword in schema for keyword in keywords):
            return name
    return "string"


def _number(schema: dict[str, Any], *, whole: bool) -> float | int:
    step = schema.get("multipleOf", 1 if whole else 0)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if isinstance(low, bool) or isinstance(high, bool):
        low = high = None  # Draft 4 has true and false there.
    value = low if low is not None else min(high, 1) if high is not None else 1
    if step:
        value = math.ceil(value / step) * step
    if value == schema.get("exclusiveMinimum"):
        value += step or (1 if high is None else (high - value) / 2)
    if value == schema.get("exclusiveMaximum"):
        value -= step or 1
    return int(value) if value == int(value) else value


def _string(schema: dict[str, Any]) -> str:
    if isinstance(schema.get("pattern"), str):
        made = _of_pattern(schema["pattern"])
        if made is not None:
            return made
    if schema.get("format") in _OF_FORMATS:
        return _OF_FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    return ("..." if most >= 3 else "a" * int(most)).ljust(min(int(least), 4096), "a")


def _of_pattern(pattern: str) -> str | None:
    """A string that a pattern of the simple kinds matches."""
    from re import _parser  # type: ignore[attr-defined]

    try:
        return "".join(_pieces(_parser.parse(pattern)))
    except (re.error, RecursionError, OverflowError, LookupError, ValueError):
        return None


def _pieces(parsed: Any) -> Iterator[str]:
    for operation, argument in parsed:
        match str(operation):
            case "LITERAL":
                yield chr(argument)
            case "NOT_LITERAL":
                yield "b" if argument == ord("a") else "a"
            case "ANY":
                yield "a"
            case "IN":
                yield _one_of(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inside = argument
                for _ in range(min(max(least, 1 if most > 0 and least == 0 else least), _MOST)):
                    yield from _pieces(inside)
            case "SUBPATTERN":
                yield from _pieces(argument[-1])
            case "BRANCH":
                yield from _pieces(argument[1][0])
            case "AT":
                continue
            case other:
                raise ValueError(f"{other} isn't tried")


def _one_of(choices: Any) -> str:
    operation, argument = choices[0]
    match str(operation):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            return chr(argument[0])
        case "CATEGORY":
            return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(argument), "a")
    raise ValueError("not tried")
