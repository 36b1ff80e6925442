"""What class masses cost with the hf engine, in time and in memory.

Time: the same batches of the same tokens through a bare forward pass (`model(ids).logits`), through a bare
pass with logits at completion positions only, and through `score` with classes; the median of several rounds,
the three taking turns. CPU time stands beside it, because a busy machine stretches the clock.
Memory: peak of a process that scores 64 sequences of 512 tokens with a vocabulary of 151,936, against a
process that only loads the model and the size of the logits it would have to keep.

Run: python benchmarks/score_cost.py time --ckpt FOLDER [--device cpu]
     python benchmarks/score_cost.py memory [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

VOCABULARY = 151_936
SEQUENCES, LENGTH = 64, 512
GIB = 2**30


def requests_of(vocabulary: int, count: int, prompt: int, completion: int) -> list[Any]:
    """Sequences of random tokens; nine classes of 1 to 200 ids are shared by all positions."""
    from harness.engines import ScoreRequest

    rng = np.random.default_rng(0)
    classes = [
        np.sort(rng.choice(vocabulary, size, replace=False)) for size in (1, 2, 3, 5, 8, 30, 100, 164, 200)
    ]
    return [
        ScoreRequest(
            f"r{number}",
            tuple(int(i) for i in rng.integers(0, vocabulary, prompt)),
            tuple(int(i) for i in rng.integers(0, vocabulary, completion)),
            tuple(classes[t % len(classes)] for t in range(completion)),
        )
        for number in range(count)
    ]


def opened(ckpt: str, device: str, batch_size: int) -> Any:
    """A started hf engine in float32 on a CPU, bfloat16 elsewhere."""
    from harness.engines import EngineConfig, open_engine

    dtype = "float32" if device == "cpu" else "bfloat16"
    engine = open_engine(
        EngineConfig.model_validate(
            {"engine": "hf", "ckpt": ckpt, "device": device, "batch_size": batch_size, "dtype": dtype}
        )
    )
    engine.start()
    return engine


def time_ratio(ckpt: str, device: str, count: int, prompt: int, completion: int, rounds: int) -> None:
    """Print seconds of each way and the ratios to the bare forward pass."""
    import torch

    batch_size = 8
    engine = opened(ckpt, device, batch_size)
    model = engine._model
    requests = requests_of(model.get_output_embeddings().weight.shape[0], count, prompt, completion)

    def bare(keep: int) -> None:
        for start in range(0, count, batch_size):
            batch = requests[start : start + batch_size]
            ids = torch.tensor([[*one.prompt_ids, *one.completion_ids] for one in batch], device=device)
            with torch.inference_mode():
                model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[0, 0, 0].item()

    ways: dict[str, Callable[[], object]] = {
        "bare forward pass": lambda: bare(0),
        "bare, logits at completion positions": lambda: bare(completion + 1),
        "score with classes": lambda: list(engine.score(requests, 20)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, call in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            call()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
    full, full_cpu = (median(each["bare forward pass"]) for each in (seconds, cpu))
    print(f"{ckpt}, {device}, {count} sequences of {prompt} + {completion} tokens, {rounds} rounds")
    for name, each in seconds.items():
        used = median(cpu[name])
        print(
            f"  {name:38} {median(each):7.3f} s {median(each) / full:.3f} ×"
            f"   CPU time {used:7.3f} s {used / full_cpu:.3f} ×"
        )


def write_wide(folder: Path) -> None:
    """A small model with a large vocabulary."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def peak_of(what: str, ckpt: str, device: str) -> int:
    """Peak bytes of a fresh process that does `what`: load, score or full."""
    command = [sys.executable, __file__, what, "--ckpt", ckpt, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{what} failed: {done.stderr[-500:]}")
    return int(done.stdout.split()[-1])


def peak_here(what: str, ckpt: str, device: str) -> int:
    """Do `what` in this process and return its peak: of the device's memory, or of the process on a CPU."""
    import torch

    engine = opened(ckpt, device, 8)
    if what == "score":
        for _ in engine.score(requests_of(VOCABULARY, SEQUENCES, 1, LENGTH), 20):
            pass
    elif what == "full":
        ids = torch.zeros((4, LENGTH), dtype=torch.long, device=device)
        with torch.inference_mode():
            kept = engine._model(input_ids=ids, use_cache=False).logits.float()
        assert kept.shape[-1] == VOCABULARY
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory(device: str) -> None:
    """Print the peaks."""
    with tempfile.TemporaryDirectory() as folder:
        write_wide(Path(folder))
        peaks = {what: peak_of(what, folder, device) for what in ("load", "score", "full")}
    whole = SEQUENCES * LENGTH * VOCABULARY * 4
    print(f"vocabulary {VOCABULARY:,}, {SEQUENCES} sequences of {LENGTH} tokens, {device}")
    print(f"  scoring: {(peaks['score'] - peaks['load']) / GIB:.2f} GiB above a loaded model")
    print(f"  full float32 logits: {whole / GIB:.2f} GiB for the logits alone")
    print(f"  full logits of 4 sequences, measured: {(peaks['full'] - peaks['load']) / GIB:.2f} GiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["time", "memory", "load", "score", "full"])
    parser.add_argument("--ckpt")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=320)
    parser.add_argument("--completion", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "time":
        sizes = (given.sequences, given.prompt, given.completion, given.rounds)
        time_ratio(given.ckpt, given.device, *sizes)
    elif given.what == "memory":
        memory(given.device)
    else:
        print(peak_here(given.what, given.ckpt, given.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
