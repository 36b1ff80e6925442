"""How the tiny checkpoints are made from nothing: tokenizer, random weights, matching, warm start."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contract import DEFAULT
from harness.data.fashion_mini import generate_tasks
from harness.data.prompt import render_prompt
from harness.data.tasks import RankingTask
from harness.data.writing import write_tasks
from harness.evaluate.progress import OnProgress, ignore
from harness.opd.optimisation import Optimisation, Placement

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RECIPE = "recipe.json"
TOKENIZER_TASKS = 1000
TOKENIZER_SEED = 1
PLACEMENT = Placement(device="cpu", precision="float32")


@dataclass(frozen=True, slots=True)
class TinyRecipe:
    """Everything that decides a tiny checkpoint's weights.

    Every task is seen once: both phases draw as many training tasks as their steps take.

    Attributes:
        size: a key of `harness.opd.tiny.SIZES`.
        seed: of the initial weights and of the tasks.
        matching: of the first phase, `harness.opd.matching`.
        sft: of the second, `harness.opd.sft`.
        k: numbers of candidates, lowest and highest, of both phases.
    """

    size: str
    seed: int
    matching: Optimisation
    sft: Optimisation
    k: tuple[int, int] = (8, 8)


def build_tiny(recipe: TinyRecipe, out: Path, on_progress: OnProgress = ignore) -> Path:
    """Make a tiny checkpoint from nothing; the same recipe gives the same weights on the same machine.

    Args:
        recipe: how.
        out: checkpoint folder to write; must not exist yet.
        on_progress: told after every step of training.

    Returns:
        `out`.

    Raises:
        HarnessError: unknown size, or `out` exists.
    """
    from harness.engines.checkpoint import find_checkpoint
    from harness.engines.tokenizer import ChatTokenizer
    from harness.opd.fitting import fit_checkpoint, unfinished_folder
    from harness.opd.matching import matching_examples
    from harness.opd.sft import SFTConfig, train_sft
    from harness.opd.tiny import write_untrained_checkpoint

    parts = out.with_name(out.name + ".parts")
    shutil.rmtree(parts, ignore_errors=True)
    try:
        tokenizer = family_tokenizer()
        untrained = write_untrained_checkpoint(parts / "untrained", recipe.size, tokenizer, recipe.seed)
        with unfinished_folder(parts / "matched") as folder:
            tasks = generate_tasks("train", _tasks_of(recipe.matching), seed=2 * recipe.seed, k=recipe.k)
            fit_checkpoint(
                find_checkpoint(str(untrained)),
                matching_examples(tasks, ChatTokenizer(untrained)),
                recipe.matching,
                PLACEMENT,
                folder,
                on_progress,
                "learning to match",
            )
        rows = parts / "sft.jsonl"
        write_tasks(
            rows, generate_tasks("train", _tasks_of(recipe.sft), seed=2 * recipe.seed + 1, k=recipe.k)
        )
        trained = train_sft(
            SFTConfig(
                checkpoint=str(parts / "matched"),
                out=parts / "trained",
                optimisation=recipe.sft,
                data=str(rows),
                split=None,
                placement=PLACEMENT,
            ),
            on_progress,
        )
        record = json.dumps(dataclasses.asdict(recipe), indent=2)
        (trained / RECIPE).write_text(record + "\n", encoding="utf-8")
        trained.rename(out)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return out


def family_tokenizer() -> Tokenizer:
    """The tokenizer that all tiny checkpoints share, trained on fashion-mini's prompts and answers."""
    from harness.opd.examples import answer_text, ideal_ranking
    from harness.opd.tiny import build_tokenizer

    tasks = family_tasks()
    return build_tokenizer(
        [render_prompt(task, DEFAULT) for task in tasks],
        [answer_text(ideal_ranking(task.relevance), DEFAULT) for task in tasks],
    )


def family_tasks(n: int = TOKENIZER_TASKS) -> tuple[RankingTask, ...]:
    """Training tasks of every K that fashion-mini has, n of them with K = 8."""
    return (
        *generate_tasks("train", n, seed=TOKENIZER_SEED),
        *generate_tasks("train", n, seed=TOKENIZER_SEED, k=(3, 12)),
    )


def _tasks_of(optimisation: Optimisation) -> int:
    return optimisation.steps * optimisation.batch_size
