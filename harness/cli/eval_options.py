"""The options of an evaluation, shared by every command that runs one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import flags_of, options_of, settings_from
from harness.errors import HarnessError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.evaluate.config import EvalConfig

# Settings of the library without a flag.
_NO_FLAG = (
    "api_key_env",
    "gpu_memory_utilization",
    "enforce_eager",
    "prefix_caching",
    "log",
    # With the target engine --teacher, --base and --lambda say these.
    "target_teacher",
    "target_base",
    "target_lam",
)

# The checkpoints and λ of the target engine, by the option's name.
TARGET_FLAGS = {"teacher": "--teacher", "base": "--base", "lam": "--lambda"}


def eval_options(leave_out: Collection[str] = (), **changes: Mapping[str, Any]) -> list[click.Option]:
    """All options of an evaluation; arguments as `options_of`."""
    from harness.evaluate.config import EvalConfig

    pairs = {"multiple": True, "metavar": "NAME=VALUE"}
    return options_of(
        EvalConfig, leave_out=(*_NO_FLAG, *leave_out), engine_args=pairs, fields=pairs, **changes
    )


def eval_config(options: Mapping[str, Any]) -> EvalConfig:
    """The job's configuration from the command line's options.

    Raises:
        HarnessError: options that don't go together; the message names the first.
    """
    from harness.engines import OF_TWO
    from harness.evaluate.config import EvalConfig

    changes: dict[str, Any] = {
        "engine_args": _engine_args(options["engine_args"]),
        "fields": dict(_pairs("--field", options.get("fields", ()))),
    }
    if options["engine"] == OF_TWO:
        changes |= {f"target_{name}": options.get(name) for name in TARGET_FLAGS}
        for name, flag in TARGET_FLAGS.items():
            if changes[f"target_{name}"] is None:
                raise HarnessError(f"--engine target needs {flag}; give --teacher, --base and --lambda")
    else:
        for name in ("target_teacher_device", "target_base_device"):
            if options.get(name) is not None:
                raise HarnessError(f"{flags_of(name)[0]} is for --engine target; leave it out")
        # Of the line that a checkpoint is placed on, if of anything.
        if options.get("target_plausible") is not None and options.get("teacher") is None:
            raise HarnessError(
                "--plausible is of a target, or of the line between --teacher and --base; leave it out"
            )
        options = {name: value for name, value in options.items() if name != "target_plausible"}
    return settings_from(EvalConfig, options, changes)


def settle_engine(config: EvalConfig, console: Console) -> EvalConfig:
    """Choose the engine for `auto`, say which and why, and record the choice."""
    from harness.engines.choose import choose_engine

    if config.engine.engine != "auto":
        return config
    name, reason = choose_engine(config.engine)
    console.print(f"engine: {reason}")
    return config.changed(engine=config.engine.changed(engine=name))


def _engine_args(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value that reads as JSON is taken as such."""
    arguments: dict[str, Any] = {}
    for name, value in _pairs("--engine-arg", pairs):
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments


def _pairs(flag: str, pairs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise HarnessError(f"{flag} {pair}: write NAME=VALUE")
        yield name, value
