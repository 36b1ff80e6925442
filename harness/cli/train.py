"""`harness train sft` and `harness train opd`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click

from harness.cli.options import Command, json_option, options_of, settings_from
from harness.errors import EngineUnavailableError, HarnessError

# Settings of the library without a flag.
_NO_FLAG = ("beta2", "max_gradient_norm", "lora_targets", "guard_confidence")


def _sft_options() -> list[click.Option]:
    from harness.opd.config import SFTConfig

    return [*options_of(SFTConfig, leave_out=_NO_FLAG), *_revision()]


def _opd_options() -> list[click.Option]:
    from harness.opd.config import OPDConfig

    asked = {"required": True}
    return [
        *options_of(OPDConfig, leave_out=_NO_FLAG, steps=asked, learning_rate=asked),
        *_revision(),
    ]


def _revision() -> list[click.Option]:
    from harness.engines.config import EngineConfig

    return options_of(EngineConfig, only=("revision",))


def at_revision(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Checkpoints among a command's options, those on the hub with the revision that was given for all.

    Args:
        options: what click passes to the command.
        names: of those that hold a checkpoint, or None.

    Raises:
        HarnessError: a revision that no checkpoint takes.
    """
    given = {name: options[name] for name in names if options[name] is not None}
    if options["revision"] is None:
        return given
    from harness.engines.local_model import with_revision

    return with_revision(given, options["revision"])


@click.group(epilog="Example: harness train opd --help")
def train() -> None:
    """Train checkpoints: warm start (sft) and on-policy distillation (opd)."""


@train.command(
    cls=Command,
    settings=_sft_options,
    # \b keeps click from wrapping it: a wrapped line can't be copied into a shell.
    epilog="\b\nExample: harness train sft --ckpt zoo:base --out ./warm --steps 20 --lr 1e-4 --batch-size 16",
)
@json_option
def sft(as_machine: bool, **options: Any) -> None:
    """Fine-tune a checkpoint to answer tasks with their ideal rankings; the loss is on the answer alone."""
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.opd.config import SFTConfig

    _require_libraries()
    from harness.opd.sft.job import train_sft

    named = at_revision(options, ("checkpoint",))
    config = settings_from(SFTConfig, options, _split(options) | named)
    with listening(consoles.errors()) as on_progress:
        trained = train_sft(config, on_progress)
    output.either({"checkpoint": str(trained)}, f"trained checkpoint: {trained}", as_machine=as_machine)


@train.command(
    cls=Command,
    settings=_opd_options,
    epilog="\b\nExample: harness train opd --teacher zoo:teacher --base zoo:base --lambda 1.1 --clip 5 \\\n"
    "    --staleness fixed --samples 4 --steps 20 --lr 5e-4 --out ./run",
)
@json_option
def opd(as_machine: bool, **options: Any) -> None:
    """Distil a teacher on the student's own rollouts, with reward extrapolation λ and clip c.

    The run directory gets manifest.json (every option), train.jsonl (a line a step) and checkpoint/. Killed
    or interrupted, the same command with --resume goes on to the same weights. Under `accelerate launch` the
    student is trained on several devices.
    """
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.measure.config import ModelRole
    from harness.opd.config import OPDConfig

    _require_libraries()
    from harness.opd.loop.job import train_opd

    if options["lora_rank"] is None and options["lora_alpha"] is not None:
        raise HarnessError("--lora-alpha goes with --lora-rank, without which all weights are trained")
    console = consoles.errors()
    named = at_revision(options, get_args(ModelRole))
    config = settings_from(OPDConfig, options, _split(options) | named)
    if int(os.environ.get("RANK", "0")) > 0:
        # Of several processes the first one speaks for all.
        train_opd(config)
        return
    with listening(console) as on_progress:
        run = train_opd(config, on_progress)
    for warning in run.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    if as_machine:
        paths = {"out": str(run.out), "checkpoint": str(run.checkpoint)}
        output.document(asdict(run) | paths)
    else:
        output.result(f"trained checkpoint: {run.checkpoint} (step {run.step}, λ {run.lam:g})")


def _require_libraries() -> None:
    import importlib.util

    for library in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(library) is None:
            raise EngineUnavailableError(
                f"training needs {library}; run: pip install 'format-safety-harness[hf]'"
            )


def _split(options: dict[str, Any]) -> dict[str, Any]:
    """A file has no splits."""
    return {"split": None} if Path(options["data"]).is_file() else {}
