"""Training runs of tests: starting one, and reading what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.opd.config import OPDConfig

Family = dict[str, Path]


def train(config: OPDConfig) -> Any:
    from harness.opd.loop.job import train_opd

    return train_opd(config)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    import torch

    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())
