"""A step of on-policy distillation: this package's loop against TRL's DistillationTrainer, in turn.

Both draw completions of the same prompts from the same student by transformers' generate at T = 1, read them
under the same teacher, and update the student with AdamW; one thread, float32, no gradient checkpointing. TRL
takes the reverse KL over the vocabulary and needs no base; this loop also reads the base (λ = 1.25) and class
masses behind p, b and λ*, and logs every step. The rate is so small that neither policy moves, so both see
completions of the same length.

Example: python benchmarks/opd_speed.py --teacher zoo:teacher --base zoo:base
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.progress import Progress

RATE = 1e-12
LAMBDA = 1.25
SIDES = ("ours", "trl")


@dataclass
class Clock:
    """CPU and wall time of each step, drawing apart; the first step warms up and isn't kept."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    drawing: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    _began: tuple[float, float] | None = None
    _drawn: float = 0.0
    _tokens: int = 0

    def step(self) -> None:
        """A step has ended."""
        now = time.perf_counter(), time.process_time()
        if self._began is not None:
            self.wall.append(now[0] - self._began[0])
            self.cpu.append(now[1] - self._began[1])
            self.drawing.append(self._drawn)
            self.tokens.append(self._tokens)
        self._began, self._drawn, self._tokens = now, 0.0, 0

    def timed(self, draw: Callable[..., Any], count: Callable[[Any], int]) -> Callable[..., Any]:
        """A drawing function whose CPU time and completion tokens are noted."""

        def inner(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            drawn = draw(*args, **kwargs)
            self._drawn += time.process_time() - started
            self._tokens += count(drawn)
            return drawn

        return inner

    def rates(self) -> dict[str, float]:
        """Completion tokens a second: of CPU, of CPU without drawing, of wall-clock time."""
        tokens = sum(self.tokens)
        cpu, drawing = sum(self.cpu), sum(self.drawing)
        return {
            "step": tokens / cpu,
            "step without drawing": tokens / (cpu - drawing),
            "wall": tokens / sum(self.wall),
        }


def ours(arguments: argparse.Namespace, out: Path) -> Clock:
    from harness.opd.config import OPDConfig, opd_optimisation
    from harness.opd.loop.job import train_opd
    from harness.opd.rounds.drawing import Drawer

    clock = Clock()
    draw = Drawer.with_model

    def tell(progress: Progress) -> None:
        if progress.stage == "distilling":
            clock.step()

    try:
        Drawer.with_model = clock.timed(  # type: ignore[method-assign]
            draw, lambda rollouts: sum(len(one.token_ids) for one in rollouts)
        )
        train_opd(
            OPDConfig(
                teacher=arguments.teacher,
                base=arguments.base,
                out=out,
                lam=LAMBDA,
                clip=None,
                limit=arguments.batch // arguments.samples,
                optimisation=opd_optimisation(
                    steps=arguments.steps + 1, batch_size=arguments.batch, learning_rate=RATE
                ),
                samples=arguments.samples,
                max_tokens=arguments.max_tokens,
                checkpoint_every=0,
            ),
            tell,
        )
    finally:
        Drawer.with_model = draw  # type: ignore[method-assign]
    return clock


def trl(arguments: argparse.Namespace, out: Path) -> Clock:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from harness.contract import DEFAULT
    from harness.data.conversations import conversations
    from harness.data.loading import load_tasks
    from harness.engines.checkpoint import find_checkpoint

    # Not installed with this package, so nothing is known of their types.
    library, datasets = (importlib.import_module(name) for name in ("trl", "datasets"))
    clock = Clock()

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step()

    folder = find_checkpoint(arguments.base).path
    tasks = load_tasks("fashion-mini", "train", limit=arguments.batch // arguments.samples).tasks
    rows = [
        {"prompt": [turn.model_dump() for turn in turns]}
        for turns in conversations(tasks, DEFAULT)
        for _ in range(arguments.samples)
    ]
    trainer = library.DistillationTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        teacher_model=AutoModelForCausalLM.from_pretrained(
            find_checkpoint(arguments.teacher).path, dtype=torch.float32
        ),
        args=library.DistillationConfig(
            output_dir=str(out),
            per_device_train_batch_size=arguments.batch,
            max_steps=arguments.steps + 1,
            max_completion_length=arguments.max_tokens,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            shuffle_dataset=False,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        callbacks=[Watch()],
    )
    trainer._generate_single_turn = clock.timed(
        trainer._generate_single_turn, lambda completions: sum(map(len, completions))
    )
    trainer.train()
    return clock


def peak(arguments: argparse.Namespace, side: str) -> float:
    """Peak memory of a process that runs one side alone, MiB."""
    command = [sys.executable, __file__, "--teacher", arguments.teacher, "--base", arguments.base]
    for name in ("batch", "samples", "steps", "max_tokens"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run([*command, "--alone", side], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def peak_of_this_process() -> float:
    """Largest resident set, MiB; getrusage's would still hold the parent's from before exec."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(status["VmHWM"].split()[0]) / 1024


def run(side: str, arguments: argparse.Namespace) -> Clock:
    with tempfile.TemporaryDirectory() as folder:
        return {"ours": ours, "trl": trl}[side](arguments, Path(folder) / "run")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=1, help="completions per prompt")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--alone", choices=SIDES, help="one side once, and print its peak memory")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if arguments.alone:
        run(arguments.alone, arguments)
        print(peak_of_this_process())
        return
    rates: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(arguments.rounds):
        for side in SIDES:
            clock = run(side, arguments)
            rates[side].append(clock.rates())
            mean = sum(clock.tokens) / len(clock.tokens)
            said = ", ".join(f"{name} {rate:,.0f}" for name, rate in clock.rates().items())
            print(
                f"round {number + 1} {side}: {mean:,.0f} completion tokens a step; tokens/s: {said}",
                flush=True,
            )
    for name in rates["ours"][0]:
        ratios = [one[name] / two[name] for one, two in zip(rates["ours"], rates["trl"], strict=True)]
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: ours / TRL {statistics.median(ratios):.2f} (rounds {listed})")
    memory = {side: peak(arguments, side) for side in SIDES}
    print(f"peak memory: ours {memory['ours']:,.0f} MiB, TRL {memory['trl']:,.0f} MiB")


if __name__ == "__main__":
    main()
