"""A JSON Schema as a grammar for llguidance in which the keys of an object may come in any order.

The engine reads JSON Schema itself, but fixes the order of keys to that of the schema; a strict parser
doesn't. So objects, arrays and unions are written out here as rules (a bit for each key that was read, see
llguidance's docs/parametric.md), and what is left of a schema (patterns, bounds, keywords without a rule)
is handed to the engine as it is. What neither can say is refused with its reason, or listed as `unsaid`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from harness.contract.schemas import OF_NUMBERS
from harness.rollouts.grammar_text import COUNTED, HEAD, condition, quoted, spelled, times
from harness.rollouts.schema_merge import TYPES, Reader, Unmergeable, merged

Schema = Any
"""A JSON Schema: a bool or a dict."""

UNSATISFIABLE: Final = "Unsatisfiable"
"""What the engine's message begins with where nothing fits a schema."""

_MOST_KEYS: Final = 64  # bits of a rule's parameter
_OBJECT: Final = frozenset(
    {"properties", "required", "additionalProperties", "minProperties", "maxProperties", "dependentRequired"}
)
_ARRAY: Final = frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})
_OF_TYPE: Final = {
    "object": _OBJECT
    | {"patternProperties", "propertyNames", "dependentSchemas", "dependencies", "unevaluatedProperties"},
    "array": _ARRAY | {"contains", "minContains", "maxContains", "unevaluatedItems", "additionalItems"},
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": OF_NUMBERS,
}
_WHOLE: Final = ("not", "if", "then", "else", "$dynamicRef", "$recursiveRef")


class RefusedSchemaError(ValueError):
    """The engine has no grammar for a schema; the message says why."""


def grammar_of(root: Schema, refuses: Callable[[Schema], str | None]) -> tuple[str, tuple[str, ...]]:
    """The grammar of a schema, and what of the schema it doesn't say, for which its classes are too wide.

    Args:
        root: of draft 4 to 2020-12.
        refuses: the engine's reason for not taking a schema as it is, None where it takes it.

    Raises:
        RefusedSchemaError: there is no grammar, or nothing fits the schema.
    """
    barren: frozenset[str] = frozenset()
    while True:
        written = _Writer(root, refuses, barren)
        name = written.rule(root)
        if name is None:
            raise RefusedSchemaError("nothing satisfies the schema")
        found = written.barren()
        if found <= barren:
            break
        barren |= found
    lines = "\n".join(f"{rule}: {text}" for rule, text in written.rules.items())
    return HEAD.replace("ROOT", name) + lines + "\n", tuple(sorted(written.unsaid))


class _Writer:
    """Rules by name; a schema that was met before has its rule already, so recursion ends."""

    def __init__(self, root: Schema, refuses: Callable[[Schema], str | None], barren: frozenset[str]) -> None:
        self.rules: dict[str, str] = {}
        self.unsaid: set[str] = set()
        self._reader = Reader(root)
        self._refuses = refuses
        self._barren = barren
        self._known: dict[str, str | None] = {}
        self._needs: dict[str, list[list[str]]] = {}
        """By schema: of each alternative the schemas without which it has no finite text."""
        self._keys: dict[str, str] = {}
        self._count = 0

    def barren(self) -> frozenset[str]:
        """Schemas that only an endless text would satisfy."""
        done: set[str] = set()
        grew = True
        while grew:
            found = {
                text
                for text, ways in self._needs.items()
                if text not in done
                and any(all(one not in self._needs or one in done for one in way) for way in ways)
            }
            grew = bool(found)
            done |= found
        return frozenset(self._needs) - done

    def rule(self, schema: Schema) -> str | None:
        """Name of the rule of a schema; None where nothing fits it."""
        schema = self._reader.plain(schema)
        if schema is True or schema == {}:
            return "any"
        if schema is False:
            return None
        text = _text(schema)
        if text in self._barren:
            return None
        if text not in self._known:
            name = self._known[text] = self._new("r")
            self._needs[text] = []
            body = self._body(text, schema)
            if body is None:
                self._known[text] = None
            else:
                self.rules[name] = body
        return self._known[text]

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _way(self, text: str, needed: list[Schema]) -> None:
        plain = (self._reader.plain(one) for one in needed)
        self._needs[text].append([_text(one) for one in plain if one is not True and one != {}])

    def _union(self, text: str, ways: list[Schema]) -> str | None:
        names = []
        for one in ways:
            name = self.rule(one)
            if name is not None:
                names.append(name)
                self._way(text, [one])
        return " | ".join(dict.fromkeys(names)) or None

    def _body(self, text: str, schema: dict[str, Any]) -> str | None:
        try:
            ways = self._ways(schema)
        except Unmergeable:
            return self._leaf(text, schema)
        if ways is not None:
            return self._union(text, ways)
        if any(name in schema for name in _WHOLE):
            return self._leaf(text, schema)
        if "const" in schema or "enum" in schema:
            return self._listed(text, schema)
        return self._typed(text, schema)

    def _ways(self, schema: dict[str, Any]) -> list[Schema] | None:
        """The schemas of which one must hold, where references, intersections and unions say so.

        Raises:
            Unmergeable: they can't be told apart.
        """
        reader = self._reader
        if "$ref" in schema:
            rest = {name: part for name, part in schema.items() if name != "$ref"}
            target = reader.resolve(schema["$ref"])
            return [merged(rest, target, reader) if rest else target]
        if "allOf" in schema:
            whole: Schema = {name: part for name, part in schema.items() if name != "allOf"}
            for part in schema["allOf"]:
                whole = merged(whole, part, reader)
            return [whole]
        for several in ("anyOf", "oneOf"):
            if several in schema:
                rest = {name: part for name, part in schema.items() if name != several}
                if several == "oneOf" and len(schema[several]) > 1:
                    self.unsaid.add("oneOf (read as anyOf)")
                return [merged(rest, part, reader) for part in schema[several]]
        return None

    def _leaf(self, text: str, schema: Schema) -> str | None:
        """The engine's own rule; None where nothing fits."""
        whole = self._reader.self_contained(schema)
        if "uniqueItems" in text:
            self.unsaid.add("uniqueItems")
        reason = self._refuses(whole)
        if reason is None:
            self._needs[text].append([])
            return f"%json {json.dumps(whole)}"
        if UNSATISFIABLE in reason:
            return None
        raise RefusedSchemaError(reason)

    def _listed(self, text: str, schema: dict[str, Any]) -> str | None:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        if set(schema) - {"enum", "const", "type"} or len(schema.keys() & {"enum", "const"}) > 1:
            return self._leaf(text, schema)
        if any(isinstance(one, dict | list | float) for one in values):
            return self._leaf(text, schema)
        kept = [one for one in values if "type" not in schema or _is_of(one, _types(schema))]
        self._needs[text].append([])
        terminals = [spelled(one) if isinstance(one, str) else quoted(json.dumps(one)) for one in kept]
        return " | ".join(dict.fromkeys(terminals)) or None

    def _typed(self, text: str, schema: dict[str, Any]) -> str | None:
        ways = []
        for kind in _types(schema):
            own = {name: part for name, part in schema.items() if name in _OF_TYPE.get(kind, ())}
            if kind == "integer":
                own = {name: part for name, part in schema.items() if name in _OF_TYPE["number"]}
            match kind:
                case "object":
                    way = self._object(text, own)
                case "array":
                    way = self._array(text, own)
                case "string":
                    way = self._string(text, own)
                case "boolean" | "null":
                    way = '"true" | "false"' if kind == "boolean" else '"null"'
                    self._needs[text].append([])
                case _:
                    self._needs[text].append([])
                    way = kind.upper() if not own else self._leaf(text, own | {"type": kind})
            if way is not None:
                ways.append(way)
        return " | ".join(ways) or None

    def _string(self, text: str, own: dict[str, Any]) -> str | None:
        if "pattern" in own:
            return self._leaf(text, own | {"type": "string"})
        self._needs[text].append([])
        low, high = int(own.get("minLength", 0)), own.get("maxLength")
        if high is not None and high < low:
            return None
        if not low and high is None:
            return "STRING"
        if high == 0:
            return r'"\"\""'
        return f'/"({COUNTED}){{{low},{"" if high is None else int(high)}}}"/'

    def _array(self, text: str, own: dict[str, Any]) -> str | None:
        if set(own) - _ARRAY:
            return self._leaf(text, own | {"type": "array"})
        if own.get("uniqueItems"):
            self.unsaid.add("uniqueItems")
        low, high = int(own.get("minItems", 0)), own.get("maxItems")
        first = [self.rule(one) for one in own.get("prefixItems", ())]
        item = self.rule(own.get("items", True))
        most = len(first) if item is None else None
        most = next((place for place, one in enumerate(first) if one is None), most)
        if high is not None:
            most = int(high) if most is None else min(int(high), most)
        if most is not None and most < low:
            return None
        parts = [*own.get("prefixItems", ())[:low], *([own.get("items", True)] if low > len(first) else [])]
        self._way(text, parts)
        tail = ""
        if most is None or most > len(first):
            tail = times(f'"," {item}', max(low - len(first), 0), None if most is None else most - len(first))
        for place in range(min(len(first), len(first) if most is None else most) - 1, -1, -1):
            tail = f'"," {first[place]} {tail}'
            tail = tail if place < low else f"({tail})?"
        if most == 0:
            return '"[" "]"'
        if first:
            inside = tail.removeprefix("(").removesuffix(")?") if low == 0 else tail
            filled = f'"[" {inside.removeprefix(chr(34) + "," + chr(34))} "]"'
        else:
            more = times(f'"," {item}', max(low - 1, 0), None if most is None else most - 1)
            filled = f'"[" {item} {more} "]"'
        return filled if low else f'"[" "]" | {filled}'

    def _object(self, text: str, own: dict[str, Any]) -> str | None:
        more = own.get("additionalProperties", True)
        required = list(dict.fromkeys(own.get("required", ())))
        schemas = dict(own.get("properties", {})) | {
            name: more for name in required if name not in own.get("properties", {})
        }
        names = [*required, *(name for name in schemas if name not in required)]
        others = self.rule(more)
        most, least = own.get("maxProperties"), int(own.get("minProperties", 0))
        loose = others is not None
        unwritable = set(own) - _OBJECT or len(names) > _MOST_KEYS
        if (
            unwritable
            or (most is not None and (loose or most < len(names)))
            or (loose and least > max(len(required), 1))
        ):
            return self._leaf(text, own | {"type": "object"})
        values = {name: self.rule(schemas[name]) for name in names}
        if any(values[name] is None for name in required):
            return None
        self._way(text, [schemas[name] for name in required])
        kept = [name for name in names if values[name] is not None]
        bits = {name: bit for bit, name in enumerate(kept)}
        closing = [f"is_ones([0:{len(required)}])"] if required else []
        for name, wanted in own.get("dependentRequired", {}).items():
            if not ({name, *wanted} <= bits.keys()):
                return self._leaf(text, own | {"type": "object"})
            closing += [f"or(bit_clear({bits[name]}), bit_set({bits[one]}))" for one in wanted]
        if least > len(required) and not loose:
            closing.append(f"bit_count_ge(_, {least})")
        if least > len(kept) and not loose:
            return None
        keys = {name: self._key(name) for name in kept}
        forbidden = [self._key(name) for name in names if values[name] is None]
        ways = [
            f'{keys[name]} ":" {values[name]} NEXT::set_bit({bit}) %if bit_clear({bit})'
            for name, bit in bits.items()
        ]
        if loose:
            ways.append(f'{self._other_key([*keys.values(), *forbidden])} ":" {others} NEXT::_')
        empty = ['"{" "}"'] if not required and least == 0 else []
        if not ways:
            return empty[0] if empty else None
        member, following = self._new("m"), self._new("n")
        closes = condition(closing)
        self.rules[f"{member}::_"] = "\n | ".join(ways).replace("NEXT", following)
        going = "" if loose else f" %if not(is_ones([0:{len(kept)}]))"
        self.rules[f"{following}::_"] = f'"}}" {closes}\n | "," {member}::_{going}'
        return " | ".join([*empty, f'"{{" {member}::0x0'])

    def _key(self, name: str) -> str:
        """The terminal of a key, however it is escaped."""
        if name not in self._keys:
            self._keys[name] = self._new("KEY")
            self.rules[self._keys[name]] = spelled(name)
        return self._keys[name]

    def _other_key(self, keys: list[str]) -> str:
        if not keys:
            return "STRING"
        name = self._new("OTHER")
        self.rules[name] = f"STRING & ~({' | '.join(keys)})"
        return name


def _types(schema: dict[str, Any]) -> list[str]:
    given = schema.get("type", list(TYPES))
    kinds = [given] if isinstance(given, str) else list(given)
    return [kind for kind in kinds if kind != "integer" or "number" not in kinds]


def _is_of(value: object, kinds: list[str]) -> bool:
    match value:
        case None:
            return "null" in kinds
        case bool():
            return "boolean" in kinds
        case int():
            return "integer" in kinds or "number" in kinds
        case _:
            return "string" in kinds


def _text(schema: Schema) -> str:
    return json.dumps(schema, sort_keys=True)
