"""`harness eval`: evaluate a checkpoint into a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.cliff import cliff_config, cliff_options, forecast_line
from harness.cli.eval_options import TARGET_FLAGS, eval_config, eval_options, settle_engine
from harness.cli.options import Command, GroupedOption, flags_of, json_option, options_of, settings_from
from harness.errors import HarnessError, IncompleteError

if TYPE_CHECKING:
    from harness.evaluate.config import EvalConfig
    from harness.judge import JudgeConfig
    from harness.measure import LineConfig

# The evaluated checkpoint is the student, and teacher and base are loaded as it is.
_NOT_IN_EVAL = ("student", "student_urls", "teacher_urls", "base_urls", "plausible")
# Mean nothing without teacher and base.
_CLIFF_ONLY = (
    "teacher",
    "base",
    "lam",
    "clip",
    "clip_from",
    "clip_key",
    "ratios",
    "ratio_column",
    "ratio_to",
)
# Any of them asks for λ*.
_OF_CLIP = ("clip", "clip_from", "ratios")
_JUDGE = ("rubric", "max_cost", "endpoint")


def _options() -> list[click.Option]:
    from harness.judge.config import JudgeConfig

    help_text = "Also grade the parsed rankings."
    judge = GroupedOption(["--judge"], group="Judge", type=click.Choice(["gemini"]), help=help_text)
    limits = options_of(JudgeConfig, only=_JUDGE, rubric={"required": False})
    return [*eval_options(), *cliff_options(_NOT_IN_EVAL), judge, *limits]


@click.command(
    name="eval",
    cls=Command,
    settings=_options,
    epilog="\b\nExample: harness eval --ckpt zoo:base --data fashion-mini --split test --limit 64",
)
@json_option
def eval_command(as_machine: bool, **options: Any) -> int:
    """Generate listwise JSON from a checkpoint; measure parse validity and NDCG@1 apart from each other.

    Killed or interrupted, the same command goes on where it stopped and gives the same numbers.

    With --engine target, --teacher, --base and --lambda it draws from the extrapolated target, to which
    distillation with that λ would lead, instead of a checkpoint.

    With --teacher and --base the checkpoint is also placed on the line from its base past its teacher: λ
    reached, and how far off the line, held against --lambda where that is given (docs/forecast.md). With
    --clip (or --clip-from, --ratios) too it is placed on its side of the extrapolation cliff, as by `harness
    cliff`. Either way the run gets a `cliff.json`. With --judge gemini and --rubric its parsed rankings are
    graded too, as by `harness judge`, with its exit codes.
    """
    from harness.cli import consoles, output
    from harness.cli.cliff_summary import print_cliff
    from harness.cli.judge import listening_to_judge, print_judged
    from harness.cli.line_summary import print_place
    from harness.cli.listening import listening
    from harness.cli.summary import as_document, print_run
    from harness.evaluate import evaluate
    from harness.judge import judge
    from harness.measure import (
        CliffConfig,
        CliffReport,
        PlaceReport,
        evaluate_with_cliff,
        evaluate_with_place,
    )
    from harness.runs import load

    console = consoles.errors()
    judging = _judging(options)
    config = settle_engine(eval_config(options), console)
    cliff = _cliff(config, options)
    report: CliffReport | PlaceReport | None = None
    with listening(console) as on_progress:
        if cliff is None:
            run = evaluate(config, on_progress)
        elif isinstance(cliff, CliffConfig):
            run, report = evaluate_with_cliff(cliff, on_progress)
        else:
            run, report = evaluate_with_place(cliff, on_progress)
    judged = None
    if judging is not None:
        with listening_to_judge(console) as on_judging:
            judged = judge(judging.changed(run=run.path), on_judging)
    code = IncompleteError.exit_code if judged is not None and judged.open else 0
    if as_machine:
        output.document(as_document(load(run.path), None if report is None else report.to_dict()))
        return code
    print_run(run, consoles.results())
    if isinstance(report, PlaceReport):
        print_place(report, consoles.results())
    elif report is not None and cliff is not None:
        print_cliff(report, consoles.results(), forecast_line(cliff.plausible))
    if judging is not None and judged is not None:
        print_judged(judged.run, judging.rubric.name, judged, consoles.results())
    return code


def _cliff(evaluation: EvalConfig, options: Mapping[str, Any]) -> LineConfig | None:
    """What was asked for of λ* or the line, its student the evaluated checkpoint; None where nothing was.

    Raises:
        HarnessError: it can't be made; nothing has run yet.
    """
    from harness.measure import LineConfig, check_cliff, check_models

    if evaluation.engine.target is not None:
        for name in (name for name in _CLIFF_ONLY if name not in TARGET_FLAGS):
            if options[name] is not None:
                raise HarnessError(f"{flags_of(name)[0]} is for a trained checkpoint; a target has no clip")
        return None
    if all(options[name] is None for name in _CLIFF_ONLY):
        if options["target_plausible"] is not None:
            raise HarnessError(
                "--plausible is for --engine target, and for --teacher and --base; leave it out"
            )
        return None
    if evaluation.engine.asks_servers:
        raise HarnessError(
            "teacher and base need servers of their own; evaluate first, then run harness cliff"
        )
    own = {name: value for name, value in options.items() if name not in _NOT_IN_EVAL}
    own |= {"student": evaluation.engine.ckpt, "plausible": options["target_plausible"]}
    if any(options[name] is not None for name in _OF_CLIP):
        config = cliff_config(evaluation, own)
        check_cliff(config)
        return config
    for name in _CLIFF_ONLY:
        if name not in TARGET_FLAGS and options[name] is not None:
            raise HarnessError(
                f"{flags_of(name)[0]} goes with {' or '.join(flags_of(one)[0] for one in _OF_CLIP)}"
            )
    for name in ("teacher", "base"):
        if options[name] is None:
            raise HarnessError(f"a checkpoint is placed between two; give {flags_of(name)[0]} too")
    line = settings_from(LineConfig, own, {"evaluation": evaluation})
    check_models(line)
    return line


def _judging(options: Mapping[str, Any]) -> JudgeConfig | None:
    """The judging that was asked for, with a run still to be named; None where none was.

    Raises:
        HarnessError: it can't be done, for want of a rubric, a library or a key; nothing has run yet.
    """
    if options["judge"] is None:
        for name in _JUDGE:
            if options[name] is not None:
                raise HarnessError(f"{flags_of(name)[0]} goes with --judge gemini; give both or neither")
        return None
    if options["rubric"] is None:
        raise HarnessError("--judge gemini needs --rubric NAME|FILE, such as --rubric listwise-relevance")

    from harness.judge import JudgeConfig, installed_clients, load_rubric
    from harness.judge.key import KEY_VARIABLES, key_from_environment

    if not installed_clients():
        raise HarnessError("--judge gemini needs a client; run: pip install 'format-safety-harness[genai]'")
    if key_from_environment() is None:
        raise HarnessError(
            f"--judge gemini needs a key in {' or '.join(KEY_VARIABLES)}; set it, or judge later"
        )
    own = {name: options[name] for name in _JUDGE}
    return settings_from(JudgeConfig, own, {"run": Path(), "rubric": load_rubric(options["rubric"])})
