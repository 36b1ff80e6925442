"""Whole-process time of `harness eval --engine vllm` against two others that drive the same vLLM.

In turn, round after round, on the same checkpoint, prompts, sampling and engine settings:
  bare     a script that calls LLM.generate on ready token ids and writes the texts
  harness  this project: dataset, prompts, checkpoint hash, run directory, parse, metrics
  lm-eval  lm-evaluation-harness with a custom task, where it is installed
Prints each one's seconds, and the ratio of harness to the others, median over rounds of paired ratios.

Example: python benchmarks/eval_overhead.py --ckpt ~/smollm2 --limit 256 --rounds 3
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
MAX_TOKENS = 64


def engine_settings(dtype: str) -> dict[str, object]:
    return {"dtype": dtype, "enforce_eager": True, "max_model_len": 1024, "seed": 0}


def prepare(arguments: argparse.Namespace, work: Path) -> Path:
    """Prompts as the harness makes them, once, for the peers."""
    from harness.contract import Contract
    from harness.data.conversations import conversations
    from harness.data.loading import load_tasks
    from harness.data.tasks import as_text
    from harness.engines.tokenizer import ChatTokenizer

    tasks = load_tasks(arguments.data, arguments.split, limit=arguments.limit).tasks
    asked = conversations(tasks, Contract())
    texts = [as_text(turns) for turns in asked]
    settings = {
        "ckpt": arguments.ckpt,
        "llm": engine_settings(arguments.dtype),
        "max_tokens": MAX_TOKENS,
        "texts": texts,
        "prompts": ChatTokenizer(Path(arguments.ckpt)).encode(asked),
        "out": str(work / "texts.json"),
    }
    path = work / "settings.json"
    path.write_text(json.dumps(settings))
    return path


def commands(arguments: argparse.Namespace, settings: Path) -> dict[str, list[str]]:
    harness = [sys.executable, "-m", "harness", "eval", "--engine", "vllm", "--ckpt", arguments.ckpt]
    harness += ["--data", arguments.data, "--limit", str(arguments.limit), "--max-tokens", str(MAX_TOKENS)]
    harness += ["--dtype", arguments.dtype, "--json"]
    if arguments.split:
        harness += ["--split", arguments.split]
    for name, value in engine_settings(arguments.dtype).items():
        if name != "dtype":
            harness += ["--engine-arg", f"{name}={json.dumps(value)}"]
    found = {
        "bare": [sys.executable, str(PEERS / "bare_vllm.py"), str(settings)],
        "harness": harness,
    }
    if importlib.util.find_spec("lm_eval") is not None:
        found["lm-eval"] = [sys.executable, str(PEERS / "lm_eval_vllm.py"), str(settings)]
    return found


def answers_of(name: str, work: Path, out: Path) -> list[object]:
    """Texts, but of the harness token ids: vLLM's own text leaves out bytes that end no character."""
    if name != "harness":
        found: list[object] = json.loads((work / "texts.json").read_text())
        return found
    from harness.runs import load

    run = load(out)
    # Samples stand in the order in which they finished.
    by_task = {sample.task_id: list(sample.token_ids) for sample in run.iter_samples()}
    return [by_task[task.task_id] for task in run.tasks()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    environment = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        contenders = commands(arguments, prepare(arguments, work))
        for round_number in range(arguments.rounds):
            bare: dict[str, list[object]] = {}
            for name, command in contenders.items():
                out = work / f"run-{round_number}"
                extra = ["--out", str(out)] if name == "harness" else []
                began = time.monotonic()
                done = subprocess.run(
                    [*command, *extra], env=environment, capture_output=True, text=True, check=False
                )
                seconds.setdefault(name, []).append(time.monotonic() - began)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
                answers = answers_of(name, work, out)
                if name == "bare":
                    bare = {"texts": answers, "token ids": json.loads((work / "ids.json").read_text())}
                kind = "token ids" if name == "harness" else "texts"
                same = sum(a == b for a, b in zip(answers, bare[kind], strict=True))
                print(
                    f"round {round_number} {name:8} {seconds[name][-1]:6.1f} s  "
                    f"{same}/{len(answers)} {kind} as bare",
                    flush=True,
                )
    for name, times in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(seconds["harness"], times, strict=True)]
        print(
            f"harness / {name:8} {statistics.median(ratios):.3f}  (rounds: {[round(r, 3) for r in ratios]})"
        )


if __name__ == "__main__":
    main()
