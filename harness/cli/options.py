"""Command-line options from settings: flag, type, bounds, default and help from the one declaration."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import click

if TYPE_CHECKING:
    from harness.settings import Setting, Settings

Chosen = TypeVar("Chosen", bound="Settings")

FLAGS: Mapping[str, tuple[str, ...]] = {
    "lam": ("--lambda",),
    "learning_rate": ("--learning-rate", "--lr"),
    "base_urls": ("--base-url",),
    "teacher_urls": ("--teacher-url",),
    "student_urls": ("--student-url",),
    "engine_args": ("--engine-arg",),
    "fields": ("--field",),
    "tensor_parallel_size": ("--tensor-parallel",),
    "pipeline_parallel_size": ("--pipeline-parallel",),
    "data_parallel_size": ("--data-parallel",),
    "checkpoint": ("--ckpt",),
    "store": ("--cache",),
    "lambdas": ("--lambda",),
    "continued": ("--continue",),
    "students": ("--student",),
    "stored": ("--from",),
    "target_plausible": ("--plausible",),
    "target_teacher_device": ("--teacher-device",),
    "target_base_device": ("--base-device",),
}
"""Flags that aren't spelled as their setting is."""
_DEFAULT_GROUP = "Options"


json_option = click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text.")
"""What every command has."""


class GroupedOption(click.Option):
    """An option under a heading of the help page."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        """Arguments as `click.Option`; `group` is the heading."""
        self.group = group
        super().__init__(*args, **kwargs)


class Command(click.Command):
    """A command whose options come from settings, made when they are first asked for."""

    def __init__(
        self,
        *args: Any,
        settings: Callable[[], Sequence[click.Option]] | None = None,
        rare_settings: Callable[[], Sequence[click.Option]] | None = None,
        **kwargs: Any,
    ) -> None:
        """Arguments as `click.Command`.

        Args:
            *args: its.
            settings: imports the models, which takes a moment.
            rare_settings: likewise, of options that are made only where one of them is given; where none is,
                the command isn't told of them.
            **kwargs: its.
        """
        self._makers = [maker for maker in (settings, rare_settings) if maker is not None]
        self._rare = int(rare_settings is not None)
        self._parsing_common_ones = False
        super().__init__(*args, **kwargs)

    @property
    def params(self) -> list[click.Parameter]:
        """Arguments, options from settings, other options."""
        while len(self._makers) > (self._rare if self._parsing_common_ones else 0):
            others = [n for n, one in enumerate(self._params) if not isinstance(one, GroupedOption)]
            first = next((n for n in others if isinstance(self._params[n], click.Option)), len(self._params))
            self._params[first:first] = self._makers.pop(0)()
        return self._params

    @params.setter
    def params(self, given: list[click.Parameter]) -> None:
        self._params = given

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without the rare options where none is given."""
        self._parsing_common_ones = True
        try:
            known = {flag for one in self.params for flag in one.opts}
            given = {word.partition("=")[0] for word in args if word.startswith("-")}
            self._parsing_common_ones = given <= known
            return super().parse_args(ctx, args)
        finally:
            self._parsing_common_ones = False

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by group, those of no setting last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", _DEFAULT_GROUP), []).append(record)
        others = groups.pop(_DEFAULT_GROUP)
        for title, records in [*groups.items(), (_DEFAULT_GROUP, others)]:
            with formatter.section(title):
                formatter.write_dl(records)


def options_of(
    model: type[Settings],
    *,
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    **changes: Mapping[str, Any],
) -> list[click.Option]:
    """One option for each setting of a model, in its order; their names are the flat names of the settings.

    Args:
        model: settings inside it have their options among its own.
        only: settings that have a flag; None is all.
        leave_out: those that have none.
        **changes: arguments of `click.Option`, by setting, in place of what its declaration says.
    """
    known = {setting.name: setting for setting in model.settings()}
    wanted = [name for name in known if (only is None or name in only) and name not in leave_out]
    return [_option(known[name], known, changes.get(name, {})) for name in wanted]


def settings_from(
    model: type[Chosen], options: Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> Chosen:
    """The settings that a command's options mean; options that aren't the model's are passed over.

    Args:
        model: as given to `options_of`.
        options: what click passes to the command; None means not given.
        changes: settings that say something else, or aren't options.

    Raises:
        HarnessError: the first that is wrong.
    """
    known = {setting.name for setting in model.settings()}
    given = {name: value for name, value in options.items() if name in known and value is not None}
    return model.flat(given | dict(changes or {}))


def flags_of(name: str) -> tuple[str, ...]:
    """How a setting is spelled on the command line."""
    return FLAGS.get(name, (f"--{name.replace('_', '-')}",))


def _option(setting: Setting, known: Collection[str], changes: Mapping[str, Any]) -> click.Option:
    said = setting.field.description or ""
    # A description speaks of other settings by their names, a help page by their flags.
    said = re.sub(r"`(\w+)`", lambda one: flags_of(one[1])[0] if one[1] in known else one[0], said)
    arguments = {
        "required": setting.required,
        "default": setting.default,
        "show_default": setting.default not in (None, (), ""),
        "help": said,
        **_kind(setting.field.annotation, setting.field.metadata),
        **changes,
    }
    if arguments["required"]:
        # A default of None would count as given.
        del arguments["default"]
    flags = [*flags_of(setting.name), setting.name]
    return GroupedOption(flags, group=setting.group or _DEFAULT_GROUP, **arguments)


def _kind(annotation: Any, metadata: Sequence[Any]) -> dict[str, Any]:
    """Arguments of `click.Option` that say what values an annotation allows."""
    origin, within = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        extras = [one for extra in within[1:] for one in getattr(extra, "metadata", [extra])]
        return _kind(within[0], [*metadata, *extras])
    if NoneType in within:
        return _kind(next(one for one in within if one is not NoneType), metadata)
    if origin is tuple:
        return {**_kind(within[0], ()), "multiple": True}
    if annotation is bool:
        return {"is_flag": True}
    return {"type": click.Choice(within) if origin is Literal else _type(annotation, metadata)}


def _type(kind: Any, metadata: Sequence[Any]) -> click.ParamType[Any]:
    if kind is not int and kind is not float:
        return click.Path(path_type=Path) if kind is Path else click.STRING
    names = ("ge", "gt", "le", "lt")
    bounds = {name: getattr(one, name) for one in metadata for name in names if hasattr(one, name)}
    if not bounds:
        return click.INT if kind is int else click.FLOAT
    return (click.IntRange if kind is int else click.FloatRange)(
        min=bounds.get("ge", bounds.get("gt")),
        max=bounds.get("le", bounds.get("lt")),
        min_open="gt" in bounds,
        max_open="lt" in bounds,
    )
