"""Reading a JSON Schema for a grammar: what decides, references followed, intersections of plain parts."""

from __future__ import annotations

import json
from typing import Any, Final

from harness.contract.schemas import OF_NUMBERS, pointed_to

Schema = Any

TYPES: Final = ("object", "array", "string", "number", "boolean", "null")
"""Of JSON values; an integer is a number."""

# What a validator goes by. Everything else (titles, defaults, formats, extensions) accepts any value.
_DECIDES: Final = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "items",
        "prefixItems",
        "additionalItems",
        "contains",
        "minContains",
        "maxContains",
        "minItems",
        "maxItems",
        "uniqueItems",
        "unevaluatedItems",
        "minLength",
        "maxLength",
        "pattern",
        *OF_NUMBERS,
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$dynamicRef",
        "$recursiveRef",
    ]
)
_SCHEMAS: Final = frozenset(
    {"additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LARGEST: Final = frozenset({"minProperties", "minItems", "minLength", "minimum"})
_SMALLEST: Final = frozenset({"maxProperties", "maxItems", "maxLength", "maximum"})
_OLD: Final = ("draft-03", "draft-04", "draft-06", "draft-07")


class Unmergeable(Exception):  # noqa: N818 (no error of anybody: a way that isn't taken)
    """Two schemas whose intersection isn't a plain schema."""


class Reader:
    """A root schema whose parts are read."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        named = str(root.get("$schema", "")) if isinstance(root, dict) else ""
        self._old = any(one in named for one in _OLD)

    def plain(self, schema: Schema) -> Schema:
        """A schema's own keywords that decide, as the newest draft writes them; parts stay as they are."""
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema and self._old:
            return {"$ref": schema["$ref"]}
        found = {name: part for name, part in schema.items() if name in _DECIDES}
        for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(found.get(strict), bool):
                is_strict = found.pop(strict)
                if is_strict and bound in found:
                    found[strict] = found.pop(bound)
        if isinstance(found.get("items"), list):
            found["prefixItems"] = found.pop("items")
            if "additionalItems" in found:
                found["items"] = found["additionalItems"]
        found.pop("additionalItems", None)
        if "unevaluatedProperties" in found and not found.keys() & {"allOf", "anyOf", "oneOf", "$ref", "if"}:
            found.setdefault("additionalProperties", found.pop("unevaluatedProperties"))
            found.pop("unevaluatedProperties", None)
        if isinstance(found.get("dependencies"), dict):
            every = found.pop("dependencies")
            lists = {name: part for name, part in every.items() if isinstance(part, list)}
            schemas = {name: part for name, part in every.items() if name not in lists}
            found |= {"dependentRequired": lists} if lists else {}
            found |= {"dependentSchemas": schemas} if schemas else {}
        for name in (
            "dependentRequired",
            "uniqueItems",
            "required",
            "minItems",
            "minLength",
            "minProperties",
        ):
            if name in found and not found[name]:
                del found[name]
        return found

    def resolve(self, reference: str) -> Schema:
        """What a reference inside the root points to.

        Raises:
            Unmergeable: it isn't a pointer into the root.
        """
        found = pointed_to(self._root, reference)
        if found is None:
            raise Unmergeable
        return found

    def self_contained(self, schema: Schema) -> Schema:
        """A part as a schema of its own, without what doesn't decide."""
        found = self._stripped(schema)
        if '"$ref"' in json.dumps(found):
            found = self._stripped({**schema, "$defs": {"root": self._root}})
            found["$defs"] = {"root": self._stripped(self._root, whole=True)}
        return found

    def _stripped(self, schema: Schema, *, whole: bool = False) -> Schema:
        if not isinstance(schema, dict):
            return schema
        own = self.plain(schema)
        found = {name: self._part(name, part) for name, part in own.items() if name != "uniqueItems"}
        if whole:
            for name in ("$defs", "definitions"):
                if isinstance(schema.get(name), dict):
                    found[name] = {key: self._stripped(one, whole=True) for key, one in schema[name].items()}
        return found

    def _part(self, name: str, part: Any) -> Any:
        if name in _SCHEMAS:
            return self._stripped(part)
        if name in _LISTS:
            return [self._stripped(one) for one in part]
        if name in _MAPS:
            return {key: self._stripped(one) for key, one in part.items()}
        if name == "$ref" and isinstance(part, str) and part.startswith("#"):
            return "#/$defs/root" + part[1:]
        return part


def merged(one: Schema, other: Schema, reader: Reader, depth: int = 0) -> Schema:
    """A schema that says what both say.

    Raises:
        Unmergeable: no plain schema does, or finding it would go round in circles.
    """
    first, second = _followed(one, reader), _followed(other, reader)
    if first is False or second is False:
        return False
    if first is True or not first:
        return second
    if second is True or not second or first == second:
        return first
    if depth > 16:
        raise Unmergeable
    found = dict(first)
    for name, part in second.items():
        found[name] = part if name not in found else _both(name, found[name], part, reader, depth)
        if name == "type" and not found[name]:
            return False
    if "prefixItems" in found and ("items" in first) != ("items" in second):
        raise Unmergeable
    objects = ("properties", "additionalProperties")
    if any(name in found for name in objects):
        if "patternProperties" in found and "additionalProperties" in found:
            raise Unmergeable
        found["properties"] = _properties(first, second, reader, depth)
    return found


def _both(name: str, one: Any, other: Any, reader: Reader, depth: int) -> Any:
    """The value of a keyword that says what two of its values say.

    Raises:
        Unmergeable: there is none.
    """
    joined: Any
    if one == other or name == "properties":
        joined = one
    elif name == "type":
        kinds = _common(one, other)
        joined = kinds[0] if len(kinds) == 1 else kinds
    elif name == "required":
        joined = list(dict.fromkeys([*one, *other]))
    elif name in _LARGEST:
        joined = max(one, other)
    elif name in _SMALLEST:
        joined = min(one, other)
    elif name == "allOf":
        joined = [*one, *other]
    elif name in ("items", "additionalProperties"):
        joined = merged(one, other, reader, depth + 1)
    elif name == "enum":
        joined = [value for value in one if value in other]
    else:
        raise Unmergeable
    return joined


def _properties(first: dict[str, Any], second: dict[str, Any], reader: Reader, depth: int) -> dict[str, Any]:
    own, others = first.get("properties", {}), second.get("properties", {})
    found = {}
    for name in dict.fromkeys([*own, *others]):
        here = own.get(name, first.get("additionalProperties", True))
        there = others.get(name, second.get("additionalProperties", True))
        found[name] = merged(here, there, reader, depth + 1)
    return found


def _followed(schema: Schema, reader: Reader) -> Schema:
    """A schema with its own reference replaced by what it points to."""
    schema, steps = reader.plain(schema), 0
    while isinstance(schema, dict) and set(schema) == {"$ref"}:
        steps += 1
        if steps > 32:
            raise Unmergeable
        schema = reader.plain(reader.resolve(schema["$ref"]))
    if isinstance(schema, dict) and "$ref" in schema:
        raise Unmergeable
    return schema


def _common(one: Any, other: Any) -> list[str]:
    first = [one] if isinstance(one, str) else list(one)
    second = [other] if isinstance(other, str) else list(other)
    found = [kind for kind in first if kind in second]
    found += [
        "integer"
        for kinds, against in ((first, second), (second, first))
        if "integer" in kinds and "number" in against and "integer" not in found
    ]
    return list(dict.fromkeys(found))
