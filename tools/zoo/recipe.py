"""How a tiny checkpoint is made from nothing: tokenizer, random weights, matching, warm start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contract import DEFAULT, Terms
from harness.data.conversations import conversations
from harness.data.fashion_mini import generate_tasks
from harness.data.tasks import RankingTask, as_text
from harness.opd.optimisation import Optimisation, Placement
from harness.progress import OnProgress, ignore
from harness.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_TASKS = 1000
TOKENIZER_SEED = 1
PLACEMENT = Placement(device="cpu", precision="float32")


class TinyRecipe(Settings):
    """Everything that decides a tiny checkpoint's weights.

    Every task is seen once: both phases draw as many training tasks as their steps take.
    """

    size: str
    """A key of `tools.zoo.tiny.SIZES`."""
    seed: int
    """Of the initial weights and of the tasks."""
    matching: Optimisation
    """Of the first phase, `tools.zoo.matching`."""
    sft: Optimisation
    """Of the second, `harness.opd.sft.job`."""
    k: tuple[int, int] = (8, 8)
    """Numbers of candidates, lowest and highest, of both phases."""


def build_tiny(recipe: TinyRecipe, out: Path, on_progress: OnProgress = ignore) -> Path:
    """Make a tiny checkpoint from nothing; the same recipe gives the same weights on the same machine.

    Args:
        recipe: how.
        out: checkpoint folder to write; must not exist yet. A line a step of fine-tuning is in `train.jsonl`.
        on_progress: told after every step of training.

    Returns:
        `out`.

    Raises:
        HarnessError: unknown size, or the loss stopped being finite.
    """
    from harness.engines.checkpoint import find_checkpoint
    from harness.engines.tokenizer import ChatTokenizer
    from harness.files import new_folder
    from harness.opd.sft.examples import sft_examples
    from harness.opd.sft.training import fit_checkpoint
    from tools.zoo.matching import matching_examples
    from tools.zoo.tiny import write_untrained_checkpoint

    def tasks(phase: Optimisation, seed: int) -> tuple[RankingTask, ...]:
        return generate_tasks("train", phase.steps * phase.batch_size, seed=seed, k=recipe.k)

    parts = out.with_name(out.name + ".parts")
    shutil.rmtree(parts, ignore_errors=True)
    try:
        untrained = write_untrained_checkpoint(
            parts / "untrained", recipe.size, family_tokenizer(), recipe.seed
        )
        tokenizer = ChatTokenizer(untrained)
        matched = parts / "matched"
        matched.mkdir()
        examples = matching_examples(tasks(recipe.matching, 2 * recipe.seed), tokenizer)
        start = find_checkpoint(str(untrained))
        fit_checkpoint(start, examples, recipe.matching, PLACEMENT, matched, on_progress, "learning to match")
        examples = sft_examples(tasks(recipe.sft, 2 * recipe.seed + 1), tokenizer, DEFAULT)
        with new_folder(out) as folder:
            fit_checkpoint(
                find_checkpoint(str(matched)), examples, recipe.sft, PLACEMENT, folder, on_progress
            )
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return out


def family_tokenizer() -> Tokenizer:
    """The tokenizer that all tiny checkpoints share, trained on fashion-mini's prompts and answers."""
    from harness.opd.sft.examples import ideal_ranking
    from tools.zoo.tiny import build_tokenizer

    tasks = (
        *generate_tasks("train", TOKENIZER_TASKS, seed=TOKENIZER_SEED),
        *generate_tasks("train", TOKENIZER_TASKS, seed=TOKENIZER_SEED, k=(3, 12)),
    )
    return build_tokenizer(
        [as_text(turns) for turns in conversations(tasks, DEFAULT)],
        [Terms(DEFAULT, task.k).answer(ideal_ranking(task.relevance)) for task in tasks],
    )
