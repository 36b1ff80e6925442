"""`harness cliff`: on which side of λ* does a run sit?"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.cli.eval_options import eval_config, eval_options
from harness.cli.options import Command, json_option, options_of, settings_from
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.evaluate.config import EvalConfig
    from harness.measure import CliffConfig

_DEFAULT_LIMIT = 64
# Set by the job, or named by model here.
_NOT_SHARED = (
    "ckpt",
    "replay",
    "fields",
    "temperature",
    "top_p",
    "constrained",
    "base_urls",
    "k",
    "target_plausible",
    "target_teacher_device",
    "target_base_device",
    "allow_missing",
)


def cliff_options(leave_out: Collection[str] = ()) -> list[click.Option]:
    """The options of an estimate, those of its rollouts apart."""
    from harness.measure.config import CliffConfig

    free = {"required": False}
    return options_of(
        CliffConfig,
        only=CliffConfig.model_fields,
        leave_out=("evaluation", "confidence", "resamples", *leave_out),
        teacher=free,
        base=free,
        lam=free,
    )


def cliff_config(evaluation: EvalConfig, options: Mapping[str, Any]) -> CliffConfig:
    """The job's configuration.

    Args:
        evaluation: of the rollouts.
        options: those of `cliff_options`.

    Raises:
        HarnessError: teacher, base or λ is missing, or an option is out of range.
    """
    from harness.measure import CliffConfig
    from harness.measure.clip_source import read_lambda, read_plausible

    lam, plausible = options["lam"], options["plausible"]
    if options["clip_from"] is not None:
        lam = read_lambda(options["clip_from"]) if lam is None else lam
        plausible = plausible or read_plausible(options["clip_from"])
    for value, flag in ((options["teacher"], "--teacher"), (options["base"], "--base"), (lam, "--lambda")):
        if value is None:
            raise HarnessError(f"the cliff needs {flag}; give --teacher, --base and --lambda")
    own = {name: value for name, value in options.items() if name in CliffConfig.model_fields}
    return settings_from(
        CliffConfig, own, {"evaluation": evaluation, "lam": lam, "plausible": plausible or 0.0}
    )


def forecast_line(plausible: float) -> str:
    """The `harness forecast` of the pair that the running command was given, with what else it was told.

    Args:
        plausible: mask of the run, which its manifest may have told.
    """
    from harness.cli.forecast import forecast_command

    context = click.get_current_context()
    theirs = {one.name: one for one in forecast_command.params if isinstance(one, click.Option)}
    words = ["harness", "forecast"]
    for mine in sorted(context.command.params, key=lambda one: one.name not in ("teacher", "base")):
        name = mine.name or ""
        other = theirs.get(_NAMED_ELSEWHERE.get(name, name))
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if other is None or not given or name in _OF_THE_ROLLOUTS:
            continue
        value = context.params[name]
        if other.is_flag:
            words += other.opts[:1] * bool(value)
        else:
            words += [w for one in (value if other.multiple else [value]) for w in (other.opts[0], str(one))]
    if plausible and "--plausible" not in words:
        words += ["--plausible", f"{plausible:g}"]
    return shlex.join([*words, "--out", "runs/forecast"])


_NAMED_ELSEWHERE = {"target_plausible": "plausible"}
_OF_THE_ROLLOUTS = ("limit", "samples", "seed", "temperature", "top_p", "out", "clip", "as_machine")
"""What a forecast has of its own, or had better not have from an estimate of λ*."""


def _options() -> list[click.Option]:
    limit = {"default": _DEFAULT_LIMIT, "show_default": True}
    return [*eval_options(_NOT_SHARED, limit=limit), *cliff_options()]


@click.command(
    name="cliff",
    cls=Command,
    settings=_options,
    # \b keeps click from wrapping it: a wrapped line can't be copied into a shell.
    epilog="\b\nExample: harness cliff --teacher zoo:teacher --base zoo:base --student zoo:listopd \\\n"
    "    --lambda 1.1 --clip 5",
)
@json_option
def cliff(as_machine: bool, **options: Any) -> None:
    """Estimate λ* from teacher and base, and say on which side of it the run's λ lies.

    λ* is about one class of tokens taken for a coin, and a clip whose ratio is taken to the teacher; none of
    this project's five locked sweeps found its onset there (docs/cliff.md). Where the format falls is what
    `harness forecast` shows.

    Rollouts are drawn from the student (or the base) at T = 1 and scored under all models. The run
    directory of the rollouts gets `cliff.json`; the same command goes on with the rollouts there are.

    A student is also placed on the line from its base past its teacher: λ reached, and how far off the line
    it is (docs/forecast.md).
    """
    from harness.cli import consoles, output
    from harness.cli.cliff_summary import print_cliff
    from harness.cli.listening import listening
    from harness.measure import measure_cliff, settle_engine

    shared = {name: value for name, value in options.items() if name not in _NOT_SHARED}
    config = cliff_config(eval_config(shared | {"temperature": 1.0}), options)
    console = consoles.errors()
    if config.evaluation.engine.engine == "auto":
        config, reason = settle_engine(config)
        console.print(f"engine: {reason}")
    with listening(console) as on_progress:
        report = measure_cliff(config, on_progress)
    if as_machine:
        document = {"run": str(report.path)} | report.to_dict() | {"costs": report.costs()}
        output.document(document)
    else:
        print_cliff(report, consoles.results(), forecast_line(config.plausible))
