"""The zoo's members: what each stands for, and everything that decides its weights."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.data.fashion_mini import generate_tasks
from harness.data.writing import write_tasks
from harness.engines.zoo import PREFIX
from harness.errors import HarnessError
from harness.opd.config import OPDConfig, opd_optimisation
from harness.opd.optimisation import Optimisation
from harness.progress import OnProgress, ignore
from tools.zoo.recipe import PLACEMENT, TinyRecipe, build_tiny

# Sums in another order round otherwise, and weights drift apart: the same number of threads everywhere.
THREADS = 1
FIRST_TASKS_SEED = 17
# What a member's folder holds besides its card; training logs and other by-products stay out.
SHIPPED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint of the zoo.

    Attributes:
        purpose: what it stands for, in a sentence or two.
        recipe: from nothing, or by distillation; there teacher and base are `zoo:` names.
        fresh_tasks: distil on generated training tasks, each seen once. A small student learns the 2000
            bundled ones by heart within ten rounds through them.
    """

    purpose: str
    recipe: TinyRecipe | OPDConfig
    fresh_tasks: bool = False


def _matching(steps: int, seed: int) -> Optimisation:
    return Optimisation(
        steps=steps, batch_size=16, learning_rate=4e-3, warmup_steps=40, final_fraction=0.02, seed=seed
    )


def _sft(steps: int, seed: int) -> Optimisation:
    return Optimisation(
        steps=steps, batch_size=16, learning_rate=2e-3, warmup_steps=20, final_fraction=0.02, seed=seed
    )


MEMBERS = {
    "teacher": Member(
        "The teacher π_T of distillation: fine-tuned for long, it keeps the contract nearly always.",
        TinyRecipe(size="medium", seed=0, matching=_matching(750, 1), sft=_sft(3000, 2)),
    ),
    "base": Member(
        "The warm start π_B: fine-tuned briefly, it ranks well and leaves parse headroom.",
        TinyRecipe(size="small", seed=0, matching=_matching(1500, 1), sft=_sft(650, 2)),
    ),
    "large": Member(
        "The larger supervised baseline: of the teacher's size, fine-tuned for less long, not distilled.",
        TinyRecipe(size="medium", seed=3, matching=_matching(750, 1), sft=_sft(1500, 2)),
    ),
    "listopd": Member(
        "The base distilled from the teacher with a λ below λ*.",
        OPDConfig(
            teacher=f"{PREFIX}teacher",
            base=f"{PREFIX}base",
            out=Path("listopd"),
            lam=1.1,
            clip=5.0,
            optimisation=opd_optimisation(
                steps=1600, learning_rate=1e-3, warmup_steps=20, final_fraction=0.02
            ),
            placement=PLACEMENT,
            checkpoint_every=0,
            log_every=25,
        ),
        fresh_tasks=True,
    ),
    "collapsed": Member(
        "A student past the cliff: a run of the sweep, its rollouts fixed at the base, with λ far above λ*.",
        OPDConfig(
            teacher=f"{PREFIX}teacher",
            base=f"{PREFIX}base",
            out=Path("collapsed"),
            lam=4.2,
            clip=5.0,
            optimisation=opd_optimisation(steps=48, learning_rate=1e-4),
            placement=PLACEMENT,
            ratio_gradient="differentiated",
            staleness="fixed",
            rollout_batch=1024,
            samples=8,
            checkpoint_every=0,
            log_every=24,
        ),
    ),
}
"""By name, each after the members it is made from."""


def build_member(name: str, root: Path, on_progress: OnProgress = ignore, seed_offset: int = 0) -> Path:
    """Make a member from its recipe; distilled ones from those in `root`, or else the shipped.

    The same recipe gives the same weights on the same machine and with the same libraries.

    Args:
        name: a key of `MEMBERS`.
        root: folder that gets a folder of that name.
        on_progress: told after every step of training.
        seed_offset: added to the recipe's seed, to see what the seed changes.

    Returns:
        The member's folder.

    Raises:
        HarnessError: unknown name, the folder exists, or training diverged.
    """
    import torch

    if name not in MEMBERS:
        raise HarnessError(f"unknown member {name}; the zoo is made of {', '.join(MEMBERS)}")
    out = root / name
    if out.exists():
        raise HarnessError(f"{out} exists; name another folder")
    recipe = MEMBERS[name].recipe
    recipe = recipe.changed(seed=recipe.seed + seed_offset)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        if isinstance(recipe, TinyRecipe):
            return build_tiny(recipe, out, on_progress)
        return _distil(MEMBERS[name], recipe, out, on_progress)
    finally:
        torch.set_num_threads(threads)


def _distil(member: Member, recipe: OPDConfig, out: Path, on_progress: OnProgress) -> Path:
    from harness.opd.loop.job import train_opd

    out.parent.mkdir(parents=True, exist_ok=True)
    teacher, base = (_built_or_shipped(name, out.parent) for name in (recipe.teacher, recipe.base))
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        config = recipe.changed(teacher=teacher, base=base, out=Path(scratch) / "run")
        if member.fresh_tasks:
            rows = Path(scratch) / "tasks.jsonl"
            n = recipe.optimisation.steps * recipe.optimisation.batch_size // recipe.samples
            write_tasks(rows, generate_tasks("train", n, seed=FIRST_TASKS_SEED + 10 * recipe.seed))
            config = config.changed(data=str(rows), split=None)
        train_opd(config, on_progress).checkpoint.rename(out)
    return out


def _built_or_shipped(name: str, root: Path) -> str:
    built = root / name.removeprefix(PREFIX)
    return str(built) if built.is_dir() else name
