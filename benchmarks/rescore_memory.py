"""`harness rescore` over many stored samples: time and peak memory, and how memory grows with the run.

Example: python benchmarks/rescore_memory.py --samples 1000000
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES_PER_TASK = 100
K = 8
BROKEN_SHARE = 0.2


def write_run(folder: Path, samples: int, seed: int) -> None:
    """A stored run of recorded-looking outputs, most valid, some broken in the usual ways."""
    from harness.engines.config import EngineConfig
    from harness.evaluate import EvalConfig, evaluate

    rng = random.Random(seed)
    tasks = max(1, samples // SAMPLES_PER_TASK)
    data, outputs = folder / "tasks.jsonl", folder / "outputs.jsonl"
    with data.open("w") as rows, outputs.open("w") as lines:
        for number in range(tasks):
            candidates = [{"item_id": f"{number}-{i}", "title": f"Item {i}"} for i in range(K)]
            row = {"task_id": f"t{number}", "history": [], "candidates": candidates}
            rows.write(json.dumps(row | {"relevance": [rng.randint(0, 3) for _ in range(K)]}) + "\n")
            for index in range(SAMPLES_PER_TASK):
                answer = json.dumps({"ranking": rng.sample(range(1, K + 1), K)})
                if rng.random() < BROKEN_SHARE:
                    answer = rng.choice([answer[:-1], f"Sure: {answer}", answer.replace("1", "9"), ""])
                line = {"task_id": f"t{number}", "sample_index": index, "text": answer}
                lines.write(json.dumps(line) + "\n")
    engine = EngineConfig(engine="replay", replay=outputs)
    evaluate(
        EvalConfig(
            engine=engine, data=str(data), out=folder / "run", samples=SAMPLES_PER_TASK, temperature=1.0
        )
    )


def measure(samples: int, seed: int) -> tuple[float, float, float]:
    """Seconds, peak MiB and file MiB of one rescoring in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "--write", folder, "--samples", str(samples)], check=True)
        run = Path(folder) / "run"
        code = (
            "import resource, sys\nfrom harness.cli import main\nmain(['rescore', sys.argv[1], '--json'])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
        )
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, str(run)], check=True, capture_output=True, text=True
        )
        seconds = time.monotonic() - began
        peak = int(done.stderr.split()[-1]) / 1024
        return seconds, peak, (run / "samples.jsonl").stat().st_size / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_run(arguments.write, arguments.samples, arguments.seed)
        return
    for samples in (arguments.samples // 100, arguments.samples // 10, arguments.samples):
        seconds, peak, size = measure(samples, arguments.seed)
        print(
            f"{samples:9,d} samples: {seconds:6.1f} s ({samples / seconds:8,.0f}/s), "
            f"peak {peak:6.0f} MiB, samples.jsonl {size:6.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
