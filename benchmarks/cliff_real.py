"""λ* on a real model: SmolLM2-135M-Instruct as teacher against a perturbed copy as base, on several engines.

The copy has Gaussian noise added to every weight matrix, a fixed share of that matrix's standard deviation.

Run: python benchmarks/cliff_real.py --teacher SMOLLM2 --out FOLDER [--limit 24] [--engines hf vllm]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path


def perturb(source: Path, target: Path, noise: float, seed: int) -> Path:
    """Write a copy of the checkpoint `source` with noise of `noise` standard deviations on every matrix."""
    if (target / "config.json").is_file():
        return target
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(source), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.add_(drawn * (noise * float(parameter.std())))
    model.save_pretrained(target)
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "chat_template", "gener")):
            shutil.copy(file, target / file.name)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--lam", type=float, default=1.2)
    parser.add_argument("--clip", type=float, default=5.0)
    parser.add_argument("--engines", nargs="+", default=["hf", "vllm"])
    given = parser.parse_args()
    base = perturb(given.teacher, given.out / f"perturbed-{given.noise:g}", given.noise, seed=0)

    from harness.cli.cliff import cliff

    for engine in given.engines:
        started = time.monotonic()
        run = given.out / f"run-{engine}-{given.noise:g}"
        options = ["--teacher", str(given.teacher), "--base", str(base), "--lambda", str(given.lam)]
        options += ["--clip", str(given.clip), "--engine", engine, "--limit", str(given.limit)]
        options += ["--out", str(run), "--dtype", "float32"]
        cliff.main(options, prog_name="harness cliff", standalone_mode=False)
        content = json.loads((run / "cliff.json").read_bytes())
        print(f"{engine}: {content['verdict']}, {time.monotonic() - started:.0f} s in all\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
