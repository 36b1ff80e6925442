"""Make a teacher and a base that differ in one class of tokens: where the list closes.

The teacher goes on from zoo:base with supervised steps on fresh tasks. The base goes on from that teacher, on
answers of which a share has one id too many: it ranks as the teacher does, and leaves parse headroom at
`list_close` alone. That is the scope of λ*: one binding equivalence class.

Examples:
    python benchmarks/cliff_pair.py --out runs/pair     # runs/pair/teacher, runs/pair/base
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from rich.console import Console

from harness.cli.listening import listening
from harness.contract import DEFAULT, Terms
from harness.data.conversations import conversations
from harness.data.fashion_mini import generate_tasks
from harness.engines.checkpoint import find_checkpoint
from harness.engines.tokenizer import ChatTokenizer
from harness.files import new_folder
from harness.opd.optimisation import Optimisation
from harness.opd.sft.examples import Example, completion_example, ideal_ranking, sft_examples
from harness.opd.sft.training import fit_checkpoint
from harness.progress import OnProgress
from tools.zoo.members import THREADS
from tools.zoo.recipe import PLACEMENT


def optimisation(steps: int, learning_rate: float, seed: int) -> Optimisation:
    return Optimisation(
        steps=steps,
        batch_size=16,
        learning_rate=learning_rate,
        warmup_steps=20,
        final_fraction=0.02,
        seed=seed,
    )


def overlong_examples(n: int, share: float, tokenizer: ChatTokenizer, seed: int) -> list[Example]:
    """Prompt → ideal answer, and in a share of them one id more, drawn from those already listed."""
    draw, eos = random.Random(seed), tokenizer.eos_token_id
    assert eos is not None
    examples = []
    for task in generate_tasks("train", n, seed=seed):
        ranking = ideal_ranking(task.relevance)
        if draw.random() < share:
            ranking = (*ranking, draw.choice(ranking))
        (prompt,) = tokenizer.encode(conversations([task], DEFAULT))
        answer = tokenizer.tokenizer(Terms(DEFAULT, len(ranking)).answer(ranking), add_special_tokens=False)[
            "input_ids"
        ]
        examples.append(completion_example(prompt, (*answer, eos)))
    return examples


def build_pair(
    out: Path,
    start: str,
    teacher_steps: int,
    base_steps: int,
    share: float,
    seed: int,
    on_progress: OnProgress,
) -> None:
    checkpoint = find_checkpoint(start)
    tokenizer = ChatTokenizer(checkpoint.path)
    schedule = optimisation(teacher_steps, 2e-3, seed)
    tasks = generate_tasks("train", teacher_steps * schedule.batch_size, seed=seed)
    with new_folder(out / "teacher") as folder:
        examples = sft_examples(tasks, tokenizer, DEFAULT)
        fit_checkpoint(checkpoint, examples, schedule, PLACEMENT, folder, on_progress)
    schedule = optimisation(base_steps, 5e-4, seed + 1)
    with new_folder(out / "base") as folder:
        examples = overlong_examples(base_steps * schedule.batch_size, share, tokenizer, seed=seed + 1)
        fit_checkpoint(
            find_checkpoint(str(out / "teacher")), examples, schedule, PLACEMENT, folder, on_progress
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="zoo:base")
    parser.add_argument("--teacher-steps", type=int, default=1500)
    parser.add_argument("--base-steps", type=int, default=150)
    parser.add_argument("--share", type=float, default=0.35, help="of answers with one id too many")
    parser.add_argument("--seed", type=int, default=31, help="the teacher's; the base's is the next")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    started = time.monotonic()
    with listening(Console(stderr=True)) as on_progress:
        build_pair(
            given.out,
            given.start,
            given.teacher_steps,
            given.base_steps,
            given.share,
            given.seed,
            on_progress,
        )
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
