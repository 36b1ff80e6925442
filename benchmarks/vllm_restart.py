"""A real vLLM server is killed in the middle of an evaluation and started again; the same command goes on.

Compares metrics with an undisturbed run, at temperature 0 and in float32.

Example: python benchmarks/vllm_restart.py --limit 200
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.engines.zoo import resolved  # noqa: E402
from tests.checkpoints.vllm_server import VllmServer  # noqa: E402

POLL = 0.02


def begin(server: VllmServer, out: Path, limit: int) -> subprocess.Popen[str]:
    made = [sys.executable, "-m", "harness", "eval", "--base-url", server.url, "--limit", str(limit)]
    made += ["--out", str(out), "--retry-seconds", "2", "--concurrency", "8", "--json"]
    return subprocess.Popen(made, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate()
    return process.returncode, errors.strip().splitlines()[-1] if errors.strip() else ""


def lines(out: Path) -> int:
    path = out / "samples.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def metrics(out: Path) -> dict[str, Any]:
    found = json.loads((out / "metrics.json").read_text())
    return {name: value for name, value in found.items() if name not in ("source", "seal")}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ckpt", default="zoo:base")
    parser.add_argument("--limit", type=int, default=200)
    arguments = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    server = VllmServer(resolved(arguments.ckpt))
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        server.start()
        try:
            code, said = end(begin(server, whole, arguments.limit))
            print(f"undisturbed: exit {code}, {lines(whole)} samples {said}", flush=True)
            process = begin(server, broken, arguments.limit)
            while lines(broken) < arguments.limit // 4 and process.poll() is None:
                time.sleep(POLL)
            server.kill()
            code, said = end(process)
            print(f"server killed: exit {code}, {lines(broken)} samples, {said}", flush=True)
            problems += [] if code == 3 and lines(broken) < arguments.limit else ["not stopped half-way"]
            server.start()
            code, said = end(begin(server, broken, arguments.limit))
            print(f"started again, same command: exit {code}, {lines(broken)} samples {said}", flush=True)
            problems += [] if code == 0 and lines(broken) == arguments.limit else ["not finished"]
            problems += [] if not problems and metrics(broken) == metrics(whole) else ["other metrics"]
        finally:
            server.kill()
    print("; ".join(problems) or "equal metrics, nothing lost, nothing doubled")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
