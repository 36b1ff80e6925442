"""What a job is told: frozen models in which every setting is declared once, with its bounds and its help.

Each field's description is the docstring under it. A setting that several models share is a type of its own,
`Annotated[int, Field(ge=1, description="…")]`. Command line, plan files and error messages come from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from harness.errors import HarnessError, nearest, words_of
from harness.masking import masked


def _no_truth_value(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError(f"must be a number, not {str(given).lower()}")
    return given


# Python's True is a 1, and YAML's `yes` is True.
_NUMBER = BeforeValidator(_no_truth_value)
Count = Annotated[int, Field(ge=1), _NUMBER]
Natural = Annotated[int, Field(ge=0), _NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), _NUMBER]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _NUMBER]
Level = Annotated[float, Field(gt=0, lt=1), _NUMBER]
Share = Annotated[float, Field(ge=0, le=1), _NUMBER]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1), _NUMBER]


@dataclass(frozen=True, slots=True)
class Group:
    """In a field's type: the heading under which help and docs list it, instead of its model's title."""

    title: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """In the type of a field that holds settings: they are chosen as one, by a name or a file."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One field as flat files and the command line see it."""

    name: str
    """Its own; below an optional model with that model's name before it: `lora_rank`."""
    field: FieldInfo
    default: Any
    """None where it is required, or where the default can't be said before all is known."""
    required: bool
    group: str
    """Heading, empty where none is given."""


class Settings(BaseModel):
    """Base of everything a job is told: frozen, nothing unknown, and a bad value is one line."""

    # What was given isn't in pydantic's own words, which a traceback shows: the message has it, masked.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    refusal: ClassVar[type[HarnessError]] = HarnessError
    """What a bad value raises."""

    def __init__(self, /, **values: Any) -> None:
        """Check the values.

        Raises:
            HarnessError: the first that is wrong, by its field's name.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise self.refusal(first_problem(error, type(self))) from error

    # Settings inside others are checked with them: the error then names the whole way to a field.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def read(cls, content: object, source: str) -> Self:
        """Settings from a file's dicts and lists.

        Raises:
            HarnessError: the first thing in it that is wrong; the message begins with `source`.
        """
        try:
            return cls.model_validate(content)
        except (ValidationError, HarnessError) as error:
            # Validators may raise an error of ours: it passes through pydantic as it is.
            said = first_problem(error, cls) if isinstance(error, ValidationError) else str(error)
            raise cls.refusal(f"{source}: {said}") from error

    @classmethod
    def flat(cls, values: Mapping[str, Any]) -> Self:
        """Settings from one flat mapping; settings inside these take their own from it, by name.

        Raises:
            HarnessError: as the constructor, also for a name that none of them has.
        """
        known = {setting.name for setting in cls.settings()} | set(cls.model_fields)
        for name in values:
            if name not in known:
                raise cls.refusal(f"there is no setting `{name}`{nearest(name, sorted(known))}")
        return cls(**_of_flat(cls, None, values))

    @classmethod
    def settings(cls, defaults: Settings | None = None) -> Iterator[Setting]:
        """Every field by its flat name, those of settings inside these in their place.

        Args:
            defaults: what they are where nothing is said; else the fields' own defaults.
        """
        for name, field in cls.model_fields.items():
            below, optional = _below(field)
            default = _default(field) if defaults is None else getattr(defaults, name)
            if below is not None:
                for one in below.settings(default if isinstance(default, Settings) else None):
                    prefixed = replace(one, name=f"{name}_{one.name}", default=None, required=False)
                    yield prefixed if optional else one
            else:
                groups = [extra.title for extra in field.metadata if isinstance(extra, Group)]
                group = groups[0] if groups else cls.model_config.get("title") or ""
                if isinstance(default, Settings):
                    default = str(default)
                yield Setting(name, field, default, defaults is None and field.is_required(), group)

    def changed(self, **changes: Any) -> Self:
        """The same with other values, all checked anew.

        Raises:
            HarnessError: as the constructor.
        """
        return type(self)(**_as_they_are(self) | changes)


def first_problem(error: ValidationError | OSError, model: type[BaseModel] | None = None) -> str:
    """The first thing pydantic found wrong, in one line: `` `clip=0.5` should be greater than 1 ``.

    Args:
        error: of any model, or of the file it was to be read from.
        model: whose field names an unknown one may have been meant as.
    """
    if isinstance(error, OSError):
        return words_of(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    # "Input should be …", "String should have …": the subject is the field, which stands before it.
    reason = re.sub(r"^(Value error, |\w+ (?=should ))", "", first["msg"])
    if first["type"] == "extra_forbidden":
        names = [] if model is None or "." in where else sorted(model.model_fields)
        return f"there is no setting `{where}`{nearest(where, names)}"
    if first["type"] == "missing":
        return f"`{where}=` is missing"
    if first["type"] == "value_error":
        # From a check of our own, which may be about a value that had better not be shown.
        return f"`{where}=`: {reason}" if where else reason
    return f"`{where}={_shown(first['input'])}` {reason}"


_SHOWN_CHARACTERS = 60


def _shown(value: Any) -> str:
    text = masked(" ".join(str(value).replace("`", "'").split()))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _as_they_are(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).model_fields}


def _below(field: FieldInfo) -> tuple[type[Settings] | None, bool]:
    """The settings a field holds, if it holds any, and whether it may hold None instead."""
    if any(isinstance(extra, Chosen) for extra in field.metadata):
        return None, False
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    kind = kinds[0]
    if len(kinds) > 1 or get_origin(kind) is not None or not isinstance(kind, type):
        return None, False
    return (kind, kind is not field.annotation) if issubclass(kind, Settings) else (None, False)


def _default(field: FieldInfo) -> Any:
    if field.default_factory is None:
        return None if field.is_required() else field.default
    return field.get_default(call_default_factory=True) if _below(field)[0] is not None else None


def _of_flat(model: type[Settings], defaults: Settings | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a model's constructor out of a flat mapping."""
    told = {} if defaults is None else _as_they_are(defaults)
    for name, field in model.model_fields.items():
        below, optional = _below(field)
        if below is None or isinstance(values.get(name), Settings):
            told |= {name: values[name]} if name in values else {}
            continue
        mine = values
        if optional:
            mine = {key.removeprefix(f"{name}_"): values[key] for key in values if key.startswith(f"{name}_")}
        if mine or not optional:
            default = told.get(name, _default(field))
            told[name] = below(**_of_flat(below, default if isinstance(default, Settings) else None, mine))
    return told
