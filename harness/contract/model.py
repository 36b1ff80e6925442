"""The contract as one object, from which prompt text, schema, parser and roles all come."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from harness.contract.envelope import Envelope, allowed_names
from harness.contract.member_path import members_of, path_of
from harness.contract.schemas import require_usable, unsatisfiable
from harness.contract.spelling import MAX_LISTED, Ids, spell
from harness.settings import Count, Settings

Kind = Literal["listwise", "schema"]

ROW: Final = "row"
"""In place of a schema: each task brings its own."""

_OLD_IDS: Final[dict[object, Ids]] = {"integer": "number", "string": "string"}
_LISTWISE_ONLY: Final = ("ranking", "ids", "id_field", "length", "extra_keys")


class Top(Settings):
    """How many of the candidates are listed, where not all are."""

    top: Count
    """That many, or all where there are fewer."""


def _all_or_top(length: object) -> object:
    if length == "all" or isinstance(length, Top):
        return length
    if not isinstance(length, dict):
        raise ValueError("is `all` or `{top: 3}`")
    return Top.model_validate(length)


Length = Annotated[Literal["all"] | Top, BeforeValidator(_all_or_top)]


def _as_text(schema: object) -> object:
    """A JSON Schema as compact JSON text, so that contracts can be compared and hashed; order is kept."""
    if isinstance(schema, str) and schema != ROW:
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            raise ValueError("is neither a JSON Schema nor `row`") from None
    if isinstance(schema, dict | bool):
        try:
            return json.dumps(schema, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"is no JSON: {error}") from None
    return schema


SchemaText = Annotated[str, BeforeValidator(_as_text)]


class Contract(Settings, title="Contract"):
    """What a valid answer is."""

    # `schema` is the name of a method of pydantic's, so the attribute has another.
    model_config = ConfigDict(populate_by_name=True)

    kind: Kind = "listwise"
    """JSON in which one array ranks the K candidates, or whatever keeps a JSON Schema."""
    ranking: str = "$.ranking"
    """Path of member names to the array that ranks; `$` is a bare array."""
    ids: Ids = "number"
    """How a candidate is named: `number` 1…K, `number0` 0…K−1, `string` "1"…, `letter` "A"…, or its
    `item_id`."""
    id_field: Annotated[str, Field(min_length=1)] | None = None
    """The array holds objects, and this member of each is the id; others may stand beside it."""
    length: Length = "all"
    """All K candidates, or the best so many: `{top: 3}`."""
    schema_: Annotated[SchemaText | None, Field(alias="schema")] = None
    """JSON Schema (as JSON text) that the whole answer must keep; of kind `schema` it is all there is, and
    `row` means that each task has its own."""
    extra_keys: bool = False
    """Let objects on the path to the ranking hold other members. Their values may be any JSON value, but NaN,
    Infinity, repeated keys and nesting deeper than 64 levels break the contract there too."""
    instruction: str | None = None
    """Jinja2 text that tells the model what to answer, in place of the usual one."""

    @model_validator(mode="before")
    @classmethod
    def _as_it_was(cls, given: Any) -> Any:
        """`key` and `id_style`, which runs of earlier versions have."""
        if not isinstance(given, dict) or not given.keys() & {"key", "id_style"}:
            return given
        now = {name: value for name, value in given.items() if name not in ("key", "id_style")}
        key, style = given.get("key", "ranking"), given.get("id_style", "integer")
        if not isinstance(key, str) or not key:
            raise ValueError("`key=` must be the name of a member")
        if style not in _OLD_IDS:
            raise ValueError("`id_style=` is integer or string")
        if now.keys() & {"ranking", "ids"}:
            raise ValueError("`key=` and `id_style=` are the older words for `ranking=` and `ids=`; give one")
        try:
            return now | {"ranking": path_of([key.encode().decode()]), "ids": _OLD_IDS[style]}
        except UnicodeEncodeError:
            raise ValueError("`key=` holds half a surrogate pair") from None

    @field_validator("ranking")
    @classmethod
    def _in_one_spelling(cls, ranking: str) -> str:
        return path_of(members_of(ranking))

    @model_validator(mode="after")
    def _fits_together(self) -> Contract:
        if self.kind == "schema":
            if self.schema_ is None:
                raise ValueError("a contract of kind schema needs `schema=`")
            for name in _LISTWISE_ONLY:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"`{name}=` is for kind listwise; leave it out")
        elif self.schema_ == ROW:
            raise ValueError("`schema=row` is for kind schema; a listwise contract is the same for all tasks")
        if self.schema_ not in (None, ROW):
            self._require_schema(self.schema_)
        return self

    def _require_schema(self, text: str) -> None:
        try:
            require_usable(text)
        except ValueError as error:
            raise ValueError(f"`schema=` {error}") from None
        if self.kind == "listwise":
            most = 0 if self.ids == "item_id" else MAX_LISTED
            spelled = [spell(self.ids, number) for number in range(1, most + 1)]
            listed = None if self.length == "all" else self.length.top
            if unsatisfiable(self.envelope.schema(spelled, listed, json.loads(text))):
                raise ValueError(f"`schema=` and `ranking={self.ranking}`: no answer can keep both")

    @model_serializer(mode="wrap")
    def _under_its_name(self, as_dict: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = as_dict(self)
        schema = said.pop("schema_", said.get("schema"))
        return said | {"schema": schema if schema in (None, ROW) else json.loads(schema)}

    def __str__(self) -> str:
        """`listwise`, or what isn't as usual."""
        if self == DEFAULT:
            return "listwise"
        return super().__str__()

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Names of the members that lead to the ranking, from the outside in."""
        return members_of(self.ranking)

    @cached_property
    def envelope(self) -> Envelope:
        """Where an answer lists candidates."""
        return Envelope(self.members, self.id_field, self.allowed, self.extra_keys)

    @cached_property
    def allowed(self) -> tuple[frozenset[str], ...]:
        """By depth, names that objects on the way to the ranking may have where `extra_keys` is off."""
        return allowed_names(self.members, None if self.schema_ is None else json.loads(self.schema_))

    @cached_property
    def key(self) -> str:
        """Name of the member that is the ranking; empty where there is none."""
        return self.members[-1] if self.members and self.kind == "listwise" else ""

    @cached_property
    def is_plain(self) -> bool:
        """Whether an answer is an object with numbers or strings of numbers in one of its members, all K."""
        return (
            self.kind == "listwise"
            and len(self.members) == 1
            and self.ids in ("number", "string")
            and (self.id_field, self.length, self.schema_) == (None, "all", None)
        )

    def said_before(self) -> str:
        """Its JSON, as earlier versions wrote it where they could: hashes of it stay what they were."""
        if not self.is_plain or self.instruction is not None:
            return self.model_dump_json()
        style = "integer" if self.ids == "number" else "string"
        said = {"key": self.key, "id_style": style, "extra_keys": self.extra_keys}
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


DEFAULT: Final = Contract()
"""`{"ranking": [3, 1, 2, …]}`: numbers, no other key."""
