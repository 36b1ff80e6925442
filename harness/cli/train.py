"""`harness train sft` and `harness train opd`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from harness.contract import Contract
    from harness.opd.config import LoRA, OPDConfig
    from harness.opd.optimisation import Optimisation, Placement

Command = TypeVar("Command", bound=Callable[..., Any])

_path = click.Path(path_type=Path)
_count = click.IntRange(min=1)
_PRECISIONS = ("auto", "float32", "mixed", "bfloat16")


def _one_of(name: str, *choices: str, help: str | None = None) -> Callable[[Command], Command]:
    """An option with named choices, of which the first is the default."""
    return click.option(name, type=click.Choice(choices), default=choices[0], show_default=True, help=help)


def _training_options(weight_decay: float, final_fraction: float) -> Callable[[Command], Command]:
    """The options both commands have, with the defaults they don't share."""
    options = (
        click.option(
            "--data",
            default="fashion-mini",
            show_default=True,
            help="Bundled dataset, .jsonl file or folder.",
        ),
        click.option("--split", default="train", show_default=True, help="Split of a dataset or folder."),
        click.option("--limit", type=_count, help="Only the first N tasks."),
        click.option("--key", default="ranking", show_default=True, help="Name of the contract's list."),
        _one_of("--id-style", "integer", "string"),
        click.option("--extra-keys", is_flag=True, help="Let the object hold other keys beside the list."),
        click.option("--steps", type=_count, required=True, help="Optimizer steps."),
        click.option("--batch-size", type=_count, default=64, show_default=True, help="Sequences a step."),
        click.option(
            "--micro-batch-size", type=_count, help="Sequences a forward pass; all of a step by default."
        ),
        click.option("--learning-rate", "--lr", type=float, required=True, help="Its peak."),
        click.option("--warmup-steps", type=click.IntRange(min=0), default=0, show_default=True),
        click.option(
            "--final-fraction",
            type=float,
            default=final_fraction,
            show_default=True,
            help="Of the peak rate, where the cosine ends.",
        ),
        click.option("--weight-decay", type=float, default=weight_decay, show_default=True),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
        click.option(
            "--device", default="auto", show_default=True, help="torch device such as cpu or cuda:1."
        ),
        _one_of("--precision", *_PRECISIONS),
        click.option("--gradient-checkpointing", is_flag=True, help="Activations twice computed, not kept."),
        click.option(
            "--trust-remote-code", is_flag=True, help="Run Python code that comes with a checkpoint."
        ),
        click.option("--json", "as_machine", is_flag=True, help="Print JSON instead of text."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(epilog="Example: harness train opd --help")
def train() -> None:
    """Train checkpoints: warm start (sft) and on-policy distillation (opd)."""


@train.command(
    # \b keeps click from wrapping it: a wrapped line can't be copied into a shell.
    epilog="\b\nExample: harness train sft --ckpt zoo:base --out ./warm --steps 20 --lr 1e-4 --batch-size 16"
)
@click.option("--ckpt", required=True, help="Checkpoint folder, hub id or zoo:NAME to start from.")
@click.option("--out", type=_path, required=True, help="Checkpoint folder to write; must not exist yet.")
@_training_options(weight_decay=0.01, final_fraction=0.0)
def sft(ckpt: str, out: Path, as_machine: bool, **options: Any) -> None:
    """Fine-tune a checkpoint to answer tasks with their ideal rankings; the loss is on the answer alone."""
    from harness.cli.listening import error_console, listening

    _require_libraries()
    from harness.opd.sft.job import SFTConfig, train_sft

    with listening(error_console()) as on_progress:
        trained = train_sft(
            SFTConfig(
                checkpoint=ckpt,
                out=out,
                optimisation=_optimisation(options),
                data=options["data"],
                split=_split(options),
                limit=options["limit"],
                contract=_contract(options),
                placement=_placement(options),
            ),
            on_progress,
        )
    click.echo(json.dumps({"checkpoint": str(trained)}) if as_machine else f"trained checkpoint: {trained}")


@train.command(
    epilog="\b\nExample: harness train opd --teacher zoo:teacher --base zoo:base --lambda 1.1 --clip 5 \\\n"
    "    --staleness fixed --samples 4 --steps 20 --lr 5e-4 --out ./run"
)
@click.option("--teacher", required=True, help="Checkpoint of π_T: folder, hub id or zoo:NAME.")
@click.option("--base", required=True, help="Checkpoint of π_B, the warm start.")
@click.option("--student", help="Checkpoint π_S starts from; the base by default.")
@click.option("--lambda", "lam", type=float, required=True, help="λ; 1 is plain distillation.")
@click.option("--clip", type=float, help="Clip strength c > 1; without it the ratio isn't clipped.")
@click.option("--out", type=_path, required=True, help="Run directory; must not exist unless --resume.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, to the same weights.")
@_one_of(
    "--ratio",
    "student/behaviour",
    "student/base",
    "student/teacher",
    help="The two policies of the importance ratio.",
)
@_one_of("--clip-sides", "two", "upper", help="Clip to [1/c, c] or [0, c].")
@_one_of(
    "--ratio-gradient",
    "detached",
    "differentiated",
    "truncated",
    help="No gradient outside the clip region; PPO's minimum; or a clipped weight and every gradient.",
)
@_one_of("--aggregation", "token", "sequence", help="What is averaged: tokens, or rollouts.")
@_one_of(
    "--staleness",
    "fresh",
    "fixed",
    help="New rollouts every round, or one set drawn before the first step.",
)
@click.option(
    "--updates-per-rollout", type=_count, default=1, show_default=True, help="Steps a fresh rollout is in."
)
@click.option("--rollout-batch", type=_count, help="Rollouts a round; the batch size by default.")
@click.option("--samples", type=_count, default=1, show_default=True, help="Rollouts per prompt.")
@click.option("--rollouts", type=_path, help="Stored rollouts of another run, with --staleness fixed.")
@_one_of("--behaviour-engine", "hf", "vllm", help="What draws rollouts; vllm is started anew each round.")
@click.option("--max-tokens", type=_count, help="Most completion tokens; 64 + 8 K by default.")
@click.option("--lora-rank", type=_count, help="Train a LoRA adapter of this rank instead of all weights.")
@click.option("--lora-alpha", type=float, help="The adapter is scaled by this over its rank; 16 by default.")
@_one_of(
    "--guard",
    "off",
    "warn",
    "enforce",
    help="Watch λ against λ*'s lower bound, estimated from the rollouts.",
)
@click.option("--guard-epsilon", type=float, default=0.05, show_default=True, help="Its safety margin.")
@click.option("--checkpoint-every", type=click.IntRange(min=0), default=50, show_default=True)
@click.option(
    "--log-every", type=_count, default=10, show_default=True, help="Steps between the costly readings."
)
@_training_options(weight_decay=0.0, final_fraction=1.0)
def opd(as_machine: bool, **options: Any) -> None:
    """Distil a teacher on the student's own rollouts, with reward extrapolation λ and clip c.

    The run directory gets manifest.json (every option), train.jsonl (a line a step) and checkpoint/. Killed
    or interrupted, the same command with --resume goes on to the same weights. Under `accelerate launch` the
    student is trained on several devices.
    """
    from harness.cli.listening import error_console, listening

    _require_libraries()
    from harness.opd.loop.job import train_opd

    console = error_console()
    config = _opd_config(options)
    if int(os.environ.get("RANK", "0")) > 0:
        # Of several processes the first one speaks for all.
        train_opd(config)
        return
    with listening(console) as on_progress:
        run = train_opd(config, on_progress)
    for warning in run.warnings:
        console.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    if as_machine:
        paths = {"out": str(run.out), "checkpoint": str(run.checkpoint)}
        click.echo(json.dumps(asdict(run) | paths, indent=1))
    else:
        click.echo(f"trained checkpoint: {run.checkpoint} (step {run.step}, λ {run.lam:g})")


def _require_libraries() -> None:
    import importlib.util

    from harness.errors import EngineUnavailableError

    for library in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(library) is None:
            raise EngineUnavailableError(
                f"training needs {library}; run: pip install 'format-safety-harness[hf]'"
            )


def _opd_config(options: dict[str, Any]) -> OPDConfig:
    from harness.opd.config import OPDConfig

    same = (
        "teacher",
        "base",
        "student",
        "lam",
        "clip",
        "out",
        "resume",
        "data",
        "limit",
        "ratio",
        "clip_sides",
        "ratio_gradient",
        "aggregation",
        "staleness",
        "updates_per_rollout",
        "rollout_batch",
        "samples",
        "rollouts",
        "behaviour_engine",
        "max_tokens",
        "guard",
        "guard_epsilon",
        "checkpoint_every",
        "log_every",
        "seed",
    )
    return OPDConfig(
        **{name: options[name] for name in same},
        split=_split(options),
        contract=_contract(options),
        optimisation=_optimisation(options),
        placement=_placement(options),
        lora=_lora(options["lora_rank"], options["lora_alpha"]),
    )


def _lora(rank: int | None, alpha: float | None) -> LoRA | None:
    from harness.errors import HarnessError
    from harness.opd.config import LoRA

    if rank is None:
        if alpha is not None:
            raise HarnessError("--lora-alpha goes with --lora-rank, without which all weights are trained")
        return None
    return LoRA(rank) if alpha is None else LoRA(rank, alpha)


def _split(options: dict[str, Any]) -> str | None:
    """A file has no splits."""
    return None if Path(options["data"]).is_file() else options["split"]


def _contract(options: dict[str, Any]) -> Contract:
    from pydantic import ValidationError

    from harness.contract import Contract
    from harness.errors import HarnessError

    try:
        return Contract(key=options["key"], id_style=options["id_style"], extra_keys=options["extra_keys"])
    except ValidationError as error:
        first = error.errors()[0]
        raise HarnessError(f"contract: {' '.join(map(str, first['loc']))}: {first['msg']}") from error


def _optimisation(options: dict[str, Any]) -> Optimisation:
    from harness.opd.optimisation import Optimisation

    names = (
        "steps",
        "batch_size",
        "learning_rate",
        "micro_batch_size",
        "warmup_steps",
        "final_fraction",
        "weight_decay",
        "seed",
    )
    return Optimisation(**{name: options[name] for name in names})


def _placement(options: dict[str, Any]) -> Placement:
    from harness.opd.optimisation import Placement

    names = ("device", "precision", "gradient_checkpointing", "trust_remote_code")
    return Placement(**{name: options[name] for name in names})
