"""λ reached against students that were planted, and the coverage of its 95 % intervals.

Three kinds of students of the zoo's pair: exact mixtures, whose logits are those of π_μ, so that λ reached
is μ and nothing lies off the line; students trained by supervised steps on samples of π_μ; and the zoo's own.
What is true of the last two is found by a second implementation: transformers' logits, float64 log-softmax
over the whole vocabulary, scipy's minimum of the mean KL(π_S ‖ π_μ) over all states of a population of
rollouts. Small samples of tasks are then drawn from that population with replacement, and their intervals
held against it.

Beside them stand percentile intervals of the same resamples, which were there first.

Examples:
    python benchmarks/reached_planted.py                      # some minutes on a core
    python benchmarks/reached_planted.py --tiny               # the shape of it
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import scipy.optimize
import torch
from transformers import AutoModelForCausalLM

from harness import files
from harness.cliff.line_sums import NODES, LineSums, TaskCurves
from harness.cliff.reached import lambda_reached
from harness.engines import EngineConfig, open_engine
from harness.engines.base import ScoreRequest
from harness.engines.checkpoint import find_checkpoint
from harness.engines.config import TargetConfig
from harness.engines.hf_engine import HfEngine
from harness.engines.hf_line import line_columns, line_sums
from harness.engines.hf_scoring import OutputLayer, padded
from harness.evaluate import evaluate
from harness.evaluate.config import EvalConfig
from harness.opd.optimisation import Optimisation, Placement
from harness.opd.sft.examples import completion_example
from harness.opd.sft.training import fit_checkpoint
from harness.rollouts import Rollout, rollouts_of_run
from harness.stats import wilson
from harness.stats.bootstrap import percentile_limits

TEACHER, BASE = "zoo:teacher", "zoo:base"
MIXTURES = (0.0, 0.5, 1.0, 1.3, 1.7, 2.2, 3.3)
TRAINED = (1.3, 2.0)
SIZES = (16, 32, 64)
SFT_STEPS = 200
KNOWN = {"zoo:listopd": (0.496, 0.075), "zoo:collapsed": (-0.003, 0.277)}
"""λ reached and off the line of 128 validation tasks, computed apart from the product before it had them."""
BATCH = 16


def rollouts(engine: EngineConfig, split: str, limit: int, seed: int, out: Path) -> list[Rollout]:
    """One completion a task at T = 1."""
    config = EvalConfig(
        engine=engine, data="fashion-mini", split=split, limit=limit, seed=seed, temperature=1.0, out=out
    )
    with closing(open_engine(engine)) as opened:
        run = evaluate(config, engine=opened)
        return list(rollouts_of_run(run, opened.encode).values())


def target(mu: float) -> EngineConfig:
    return EngineConfig(
        engine="target", device="cpu", target=TargetConfig(teacher=TEACHER, base=BASE, lam=mu)
    )


def student(ckpt: str) -> EngineConfig:
    return EngineConfig(engine="hf", device="cpu", ckpt=ckpt)


def requests(drawn: Sequence[Rollout]) -> list[ScoreRequest]:
    return [ScoreRequest(str(n), one.prompt_ids, one.token_ids) for n, one in enumerate(drawn)]


class Mixture:
    """Output layers of teacher and base that give the logits of π_μ, from hidden states side by side."""

    def __init__(self, teacher: OutputLayer, base: OutputLayer, mu: float, widths: list[int]) -> None:
        self._both, self._mu, self._widths = (teacher, base), mu, widths

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        halves = hidden.split(self._widths, dim=-1)
        one, other = (torch.log_softmax(f(half), -1) for f, half in zip(self._both, halves, strict=True))
        return self._mu * one + (1.0 - self._mu) * other


def sums_of_mixture(models: Sequence[torch.nn.Module], mu: float, drawn: Sequence[Rollout]) -> list[LineSums]:
    """By the product, of a student that is the mixture; models are teacher and base."""
    teacher, base = (OutputLayer(model) for model in models)
    found = []
    for start in range(0, len(drawn), BATCH):
        batch = requests(drawn[start : start + BATCH])
        ids, mask, row, place = padded(batch)
        with torch.inference_mode():
            hidden = [
                one.decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[row, place]
                for one in (teacher, base)
            ]
            columns = line_columns(
                [Mixture(teacher, base, mu, [one.shape[-1] for one in hidden]), teacher, base],
                [torch.cat(hidden, -1), *hidden],
                min(teacher.vocabulary, base.vocabulary),
                0.0,
            )
        first = 0
        for one in batch:
            found.append(LineSums.of_columns(columns[first : first + len(one.completion_ids)]))
            first += len(one.completion_ids)
    return found


def oracle(ckpt: str, drawn: Sequence[Rollout]) -> tuple[float, float]:
    """λ reached and off the line of all rollouts together, without any of the product's code."""
    logs = []
    for name in (ckpt, TEACHER, BASE):
        model = AutoModelForCausalLM.from_pretrained(find_checkpoint(name).path, dtype=torch.float32).eval()
        rows = []
        with torch.inference_mode():
            for one in drawn:
                ids = torch.tensor([[*one.prompt_ids, *one.token_ids]])
                logits = model(ids).logits[0, len(one.prompt_ids) - 1 : -1]
                rows.append(torch.log_softmax(logits.double(), -1))
        logs.append(torch.cat(rows).numpy())
    of_student, of_teacher, of_base = logs

    def divergence(mu: float) -> float:
        mixed = mu * of_teacher + (1.0 - mu) * of_base
        top = mixed.max(axis=1, keepdims=True)
        mixed -= top + np.log(np.exp(mixed - top).sum(axis=1, keepdims=True))
        return float((np.exp(of_student) * (of_student - mixed)).sum(axis=1).mean())

    best = scipy.optimize.minimize_scalar(
        divergence, bounds=(NODES[0], NODES[-1]), method="bounded", options={"xatol": 1e-6}
    )
    return float(best.x), float(best.fun)


def percentiles(sums: Sequence[LineSums], seed: int, draws: int) -> tuple[tuple[float, float], ...]:
    """Ends of the percentile intervals of both, every rollout being of a task of its own."""
    curves = TaskCurves.collect(range(len(sums)), sums)
    count = curves.count
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), draws).astype(float)
    place = curves.nearest(weights)
    return percentile_limits(place, 0.95), percentile_limits(curves.spread(weights, place)[1], 0.95)


class Tally:
    """How often an interval lay above, below and about the truth."""

    def __init__(self) -> None:
        self.above = self.below = self.n = 0
        self.width: list[float] = []

    def add(self, low: float | None, high: float | None, truth: float) -> None:
        low, high = -np.inf if low is None else low, np.inf if high is None else high
        self.n += 1
        self.above += truth < low
        self.below += truth > high
        self.width.append(high - low)

    def __str__(self) -> str:
        covered = self.n - self.above - self.below
        known = wilson(covered, self.n)
        return (
            f"{covered / self.n:.3f} [{known.low:.3f}, {known.high:.3f}]  "
            f"too high {self.above / self.n:.3f}  too low {self.below / self.n:.3f}  "
            f"width {np.median(self.width):.3f}"
        )


def coverage(
    sums: Sequence[LineSums], truth: tuple[float, float], repeats: int, draws: int
) -> dict[str, str]:
    """Of samples of tasks drawn from a population, which is all of `sums`."""
    rng, told = np.random.default_rng(7), {}
    for size in SIZES:
        tallies = [Tally() for _ in range(4)]
        for seed in range(repeats):
            own = [sums[at] for at in rng.integers(len(sums), size=size)]
            found = lambda_reached(range(size), own, seed=seed, draws=draws)
            old = percentiles(own, seed, draws)
            ends = [(one.low, one.high) for one in (found.lambda_reached, found.off_the_line)]
            for tally, (low, high), right in zip(tallies, [*ends, *old], [*truth, *truth], strict=True):
                tally.add(low, high, right)
        for name, tally in zip(
            ("λ reached", "off the line", "λ reached, percentiles", "off the line, percentiles"),
            tallies,
            strict=True,
        ):
            told[f"{name}, {size} tasks"] = str(tally)
            print(f"    {size:3d} tasks  {name:26s} {tally}", flush=True)
    return told


def mixtures(folder: Path, count: int) -> dict[str, object]:
    print("(a) exact mixtures: λ reached is μ, off the line 0", flush=True)
    told: dict[str, object] = {}
    engines = [HfEngine(student(name)) for name in (TEACHER, BASE)]
    for engine in engines:
        engine.start()
    both = [engine.model for engine in engines]
    covered, at_zero = ({size: Tally() for size in SIZES} for _ in range(2))
    for mu in MIXTURES:
        drawn = rollouts(target(mu), "train", count, 11, folder / f"mixture-{mu:g}")
        sums = sums_of_mixture(both, mu, drawn)
        whole = lambda_reached(range(len(sums)), sums, seed=0)
        reached, off = whole.lambda_reached, whole.off_the_line
        assert reached.low is not None
        assert reached.high is not None
        told[f"{mu:g}"] = {"lambda_reached": reached.estimate, "low": reached.low, "high": reached.high}
        print(
            f"    μ = {mu:<4g} λ reached {reached.estimate:.5f} [{reached.low:.5f}, {reached.high:.5f}], "
            f"{'holds' if reached.low <= mu <= reached.high else 'DOES NOT HOLD'} μ; "
            f"off {off.estimate:.1e} [{off.low:.1e}, {off.high:.1e}]  n = {reached.n} tasks",
            flush=True,
        )
        for size in SIZES:
            for start in range(0, len(sums) - size + 1, size):
                found = lambda_reached(range(size), sums[start : start + size], seed=start)
                part = found.lambda_reached
                covered[size].add(part.low, part.high, mu)
                at_zero[size].add(found.off_the_line.low, found.off_the_line.high, 0.0)
    for size in SIZES:
        told[f"{size} tasks"] = [str(covered[size]), str(at_zero[size])]
        print(f"    {size} tasks, {covered[size].n} samples without a common task at any one μ:", flush=True)
        print(f"      λ reached {covered[size]}\n      off the line {at_zero[size]}", flush=True)
    for engine in engines:
        engine.close()
    return told


def population(name: str, ckpt: str, folder: Path, count: int, repeats: int, draws: int) -> dict[str, object]:
    """A student's rollouts, the truth of them, what the product says, and the coverage of small samples."""
    drawn = rollouts(student(ckpt), "train", count, 5, folder / f"population-{name}")
    sums = _by_product(ckpt, drawn)
    truth = oracle(ckpt, drawn)
    found = lambda_reached(range(len(sums)), sums, seed=0)
    one, off = found.lambda_reached, found.off_the_line
    print(
        f"  {name}: {len(drawn)} rollouts. Brute force λ {truth[0]:.4f}, off {truth[1]:.5f}; product λ "
        f"{one.estimate:.4f} [{one.low:.4f}, {one.high:.4f}], "
        f"off {off.estimate:.5f} [{off.low:.5f}, {off.high:.5f}]; "
        f"one task holds {_largest_share(sums, truth):.1%} of what is off",
        flush=True,
    )
    return {
        "rollouts": len(drawn),
        "brute_force": truth,
        "product": [one.estimate, off.estimate],
        "coverage": coverage(sums, truth, repeats, draws),
    }


def _largest_share(sums: Sequence[LineSums], truth: tuple[float, float]) -> float:
    curves = TaskCurves.collect(range(len(sums)), sums)
    return curves.farthest(*truth)[2] / truth[1] + 1.0 / curves.count


def _by_product(ckpt: str, drawn: Sequence[Rollout]) -> list[LineSums]:
    engines = [HfEngine(student(name)) for name in (ckpt, TEACHER, BASE)]
    for engine in engines:
        engine.start()
    models = [engine.model for engine in engines]
    found = dict(line_sums(models[0], models[1], models[2], requests(drawn), batch_size=BATCH))
    for engine in engines:
        engine.close()
    return [found[str(n)] for n in range(len(drawn))]


def trained(mu: float, folder: Path, count: int, steps: int) -> str:
    """The teacher after supervised steps on samples of π_μ."""
    drawn = rollouts(target(mu), "train", count, 3, folder / f"samples-{mu:g}")
    place = folder / f"trained-{mu:g}"
    place.mkdir()
    examples = [completion_example(one.prompt_ids, one.token_ids) for one in drawn]
    plan = Optimisation(steps=steps, batch_size=16, learning_rate=5e-4, warmup_steps=10, final_fraction=0.1)
    fit_checkpoint(find_checkpoint(TEACHER), examples, plan, Placement(device="cpu"), place)
    return str(place)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=256, help="of each population")
    parser.add_argument("--repeats", type=int, default=400, help="samples of each size from a population")
    parser.add_argument("--draws", type=int, default=400, help="bootstrap resamples")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    given = parser.parse_args()
    count, repeats, steps = given.rollouts, given.repeats, SFT_STEPS
    if given.tiny:
        count, repeats, steps = 64, 4, 4
    torch.set_num_threads(1)
    started, told = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        told["mixtures"] = mixtures(folder, min(count, 128))
        print("(b) students trained by supervised steps on samples of π_μ", flush=True)
        for mu in TRAINED:
            ckpt = trained(mu, folder, count, steps)
            told[f"trained-{mu:g}"] = population(f"μ = {mu:g}", ckpt, folder, count, repeats, given.draws)
        print("(c) the zoo's students; first 128 validation tasks", flush=True)
        for ckpt, known in KNOWN.items():
            drawn = rollouts(student(ckpt), "validation", 128, 0, folder / f"validation-{ckpt[4:]}")
            found = lambda_reached(range(len(drawn)), _by_product(ckpt, drawn), seed=0)
            one, off = found.lambda_reached, found.off_the_line
            print(
                f"  {ckpt}: λ reached {one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}] (known {known[0]}), "
                f"off {off.estimate:.3f} [{off.low:.3f}, {off.high:.3f}] (known {known[1]}), "
                f"n = {one.n} tasks",
                flush=True,
            )
            told[ckpt] = population(ckpt, ckpt, folder, count, repeats, given.draws)
    print(f"{time.monotonic() - started:.0f} s")
    if given.out is not None:
        files.write_text(given.out, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
