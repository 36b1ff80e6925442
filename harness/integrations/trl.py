"""A callback for trainers of TRL and transformers: logs p, b, λ* and λ reached in training, and may stop it.

    trainer.add_callback(cliff_callback(teacher="./8b", base="./sft", lam=2, forecast="./f", stop=True))

It draws rollouts of its own from the model in training, so it works with any trainer, on policy or not. λ and
c must be told: trainers name them differently, if they have them at all (TRL's own distillation is λ = 1
without a clip).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.cliff.switch import given_ratio
from harness.errors import EngineUnavailableError
from harness.files import append
from harness.integrations.watching import CliffReading, CliffSettings, CliffWatch
from harness.stats.estimate import Estimate

READINGS = "cliff.jsonl"


def cliff_callback(**settings: Any) -> Any:
    """A `transformers.TrainerCallback` with these `CliffSettings`.

    Readings go to `cliff.jsonl` in the trainer's output directory, to its `state.log_history`, and to the
    callback's `readings`. With several processes each reads, and the first decides for all. A model
    shared out by FSDP or DeepSpeed ZeRO-3 can't be drawn from here and is refused as training begins.

    Raises:
        EngineUnavailableError: transformers isn't installed.
        HarnessError: as `CliffSettings`.
    """
    try:
        from accelerate.utils import broadcast_object_list
        from transformers import TrainerCallback
    except ImportError as error:
        raise EngineUnavailableError(
            "the callback needs transformers; run: pip install 'format-safety-harness[hf]'"
        ) from error

    wanted = CliffSettings(**settings)

    class CliffCallback(TrainerCallback):  # type: ignore[misc]
        """See `cliff_callback`."""

        def __init__(self) -> None:
            self.readings: list[CliffReading] = []
            self._watch: CliffWatch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Load teacher and base, and look once before anything is trained."""
            _require_whole(kwargs["model"])
            _require_same_tokens(kwargs.get("processing_class"), wanted)
            if wanted.stop and wanted.forecast is None and state.is_world_process_zero:
                warnings.warn(_of_the_edge(wanted), stacklevel=2)
            # A trainer that goes on from a checkpoint begins a watch of its own.
            looks = 1 + state.max_steps // wanted.every - state.global_step // wanted.every
            self._watch = CliffWatch(wanted, kwargs["model"], looks)
            self._look(args, state, control, kwargs["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Look at every `every`-th step."""
            if state.global_step % wanted.every == 0:
                self._look(args, state, control, kwargs["model"])

        def _look(self, args: Any, state: Any, control: Any, model: Any) -> None:
            assert self._watch is not None
            reading = self._watch.read(model, state.global_step)
            # The first process decides: one that ended alone would leave the others waiting for it.
            [alarm] = broadcast_object_list([reading.alarm])
            reading = replace(reading, alarm=alarm, stopped=wanted.stop and alarm is not None)
            self.readings.append(reading)
            if state.is_world_process_zero:
                _note(Path(args.output_dir), state.log_history, reading)
            if reading.stopped:
                control.should_training_stop = True

    return CliffCallback()


def _require_whole(model: Any) -> None:
    """Refuse a model of which each process holds only a part.

    Raises:
        EngineUnavailableError: shared out by FSDP or DeepSpeed ZeRO-3.
    """
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    shared_out = any(isinstance(part, FSDPModule | FullyShardedDataParallel) for part in model.modules())
    if shared_out or any(hasattr(one, "ds_id") for one in model.parameters()):
        raise EngineUnavailableError(
            "the callback can't draw from a model shared out by FSDP or ZeRO-3; train with plain data "
            "parallelism or ZeRO-2, or evaluate saved checkpoints with harness cliff"
        )


def _of_the_edge(settings: CliffSettings) -> str:
    """What `stop` means without a forecast."""
    return (
        f"stop=True without a forecast ends training where λ is above {1 - settings.epsilon:g} times the "
        f"lower end of λ*, not where the model falls. It is assumed that a token whose ratio is below 1/c "
        f"gets no gradient, and {given_ratio(settings.ratio_to).words}. forecast= watches what is measured"
    )


def _note(folder: Path, history: list[dict[str, Any]], reading: CliffReading) -> None:
    row = asdict(reading)
    append(folder / READINGS, f"{json.dumps(row, allow_nan=False)}\n".encode())
    apart = ("roles", "step", "lambda_reached", "off_the_line")
    flat = {name: value for name, value in row.items() if name not in apart}
    for name in ("lambda_reached", "off_the_line"):
        estimate: Estimate = getattr(reading, name)
        flat |= {name: estimate.estimate, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    told = {f"cliff/{name}": value for name, value in flat.items() if value is not None}
    history.append(told | {"step": reading.step})


def _require_same_tokens(tokenizer: Any, settings: CliffSettings) -> None:
    """Refuse a trainer whose tokenizer isn't the base's."""
    from harness.engines.vocabulary import token_pieces
    from harness.opd.models.loading import vocabulary_of

    if tokenizer is None:
        return
    pieces: Sequence[str | None] = token_pieces(getattr(tokenizer, "tokenizer", tokenizer))
    if pieces != vocabulary_of(settings.base).pieces:
        raise EngineUnavailableError(
            f"the trainer's tokenizer isn't that of {settings.base}, so the same token ids mean different "
            "text; student, teacher and base must share one"
        )
