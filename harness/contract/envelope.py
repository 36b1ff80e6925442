"""The JSON Schema of a listwise answer: the array that ranks, what stands around it, and a further schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

# What can't stand in one schema with what an envelope says without changing the meaning of either.
_NOT_MERGED: Final = frozenset(
    {"$ref", "$dynamicRef", "$recursiveRef", "patternProperties", "prefixItems", "const", "enum"}
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where an answer lists candidates.

    Attributes:
        members: names of the members that lead to the array.
        id_field: name of the member that is the id, where the array holds objects.
        allowed: by depth, names that objects on the way may have; of no matter with `extra_keys`.
        extra_keys: they may have any.
    """

    members: tuple[str, ...]
    id_field: str | None
    allowed: tuple[frozenset[str], ...]
    extra_keys: bool

    def schema(self, spelled: Sequence[int | str], listed: int | None, further: Any = None) -> dict[str, Any]:
        """JSON Schema (draft 2020-12 unless `further` says another) of answers.

        Args:
            spelled: [K] the JSON values of the candidates, in the order of their numbers; none for any
                strings.
            listed: how many are listed, 1 … K; None for any number.
            further: a schema that the whole answer must keep as well.
        """
        if not isinstance(further, dict) or not further:
            return {"$schema": DRAFT, **self._plain(spelled, listed)}
        merged = self._merged(further, 0, spelled, listed)
        if merged is None:
            beside = self._plain(spelled, listed)
            merged = {**further, "allOf": [*further.get("allOf", ()), beside]}
            if "$ref" in further:
                # Drafts before 2019-09 see nothing beside a reference.
                merged["allOf"].append({"$ref": merged.pop("$ref")})
        return {"$schema": DRAFT, **merged}

    def _plain(self, spelled: Sequence[int | str], listed: int | None) -> dict[str, Any]:
        schema = _array({}, _element(self.id_field, {}, spelled), listed)
        for depth in reversed(range(len(self.members))):
            others = {name: True for name in sorted(self.allowed[depth]) if name != self.members[depth]}
            schema = self._object({"properties": others} if others else {}, depth, schema)
        return schema

    def _object(self, node: dict[str, Any], depth: int, child: dict[str, Any]) -> dict[str, Any]:
        name = self.members[depth]
        required = node.get("required", [])
        return {
            **node,
            "type": "object",
            "properties": {**node.get("properties", {}), name: child},
            "required": required if name in required else [*required, name],
            "additionalProperties": node.get("additionalProperties", True) if self.extra_keys else False,
        }

    def _merged(self, node: Any, depth: int, spelled: Sequence[int | str], listed: int | None) -> Any:
        """The node of a further schema with what the envelope says of this place, None where it can't be."""
        if node is True:
            node = {}
        if not isinstance(node, dict) or node.keys() & _NOT_MERGED:
            return None
        if depth < len(self.members):
            if _forbids(node, self.members[depth]):
                return None
            properties = node.get("properties", {})
            child = self._merged(properties.get(self.members[depth], {}), depth + 1, spelled, listed)
            fits = node.get("type", "object") == "object" and child is not None
            return self._object(node, depth, child) if fits else None
        items = node.get("items", {})
        items = {} if items is True else items
        if node.get("type", "array") != "array" or not isinstance(items, dict) or items.keys() & _NOT_MERGED:
            return None
        if self.id_field is not None and _forbids(items, self.id_field):
            return None
        return _array(node, _element(self.id_field, items, spelled), listed)


def allowed_names(members: tuple[str, ...], further: Any) -> tuple[frozenset[str], ...]:
    """By depth, the names that a further schema speaks of in its `properties`, and the member on the way."""
    found, node = [], further
    for name in members:
        properties = node.get("properties") if isinstance(node, dict) else None
        properties = properties if isinstance(properties, dict) else {}
        found.append(frozenset({name, *properties}))
        node = properties.get(name)
    return tuple(found)


def _forbids(node: dict[str, Any], name: str) -> bool:
    """Whether a member may not be there, or not as it likes, because it isn't named among the others."""
    named = name in node.get("properties", {})
    return not named and node.get("additionalProperties", True) not in (True, {})


def _array(node: dict[str, Any], items: dict[str, Any], listed: int | None) -> dict[str, Any]:
    length = {"minItems": max(1 if listed is None else listed, node.get("minItems", 0))}
    if listed is not None:
        length["maxItems"] = min(listed, node.get("maxItems", listed))
    return {**node, "type": "array", "items": items, **length, "uniqueItems": True}


def _element(id_field: str | None, node: dict[str, Any], spelled: Sequence[int | str]) -> dict[str, Any]:
    own: dict[str, Any]
    if not spelled:
        own = {"type": "string"}
    elif isinstance(spelled[0], int):
        own = {"type": "integer", "minimum": spelled[0], "maximum": spelled[-1]}
    else:
        own = {"type": "string", "enum": list(spelled)}
    if id_field is None:
        return _both(node, own)
    properties, required = node.get("properties", {}), node.get("required", [])
    return {
        **node,
        "type": "object",
        "properties": {**properties, id_field: _both(properties.get(id_field, {}), own)},
        "required": required if id_field in required else [*required, id_field],
    }


def _both(node: Any, own: dict[str, Any]) -> dict[str, Any]:
    """A schema of ids that says both."""
    if node is True or node in ({}, {"type": own["type"]}):
        return own
    return {**own, "allOf": [node]}
