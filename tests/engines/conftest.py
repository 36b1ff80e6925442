"""Fixtures of the engine tests: small checkpoints, one started vLLM, one started server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.engines import EngineConfig, Generation, open_engine
from tests.engines.engine_requests import GREEDY, by_key, make_requests

# One GiB of keys and values is plenty here, and leaves room for several engines.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Matrices this small run faster on one thread, and much faster on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def hf_greedy(tiny_qwen3: Path, one_thread: None) -> dict[str, Generation]:
    """What transformers answers greedily to the shared requests: the reference for the other engines."""
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    engine.start()
    answers = by_key(engine.generate(make_requests(engine), GREEDY))
    engine.close()
    return answers


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Hugging Face hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
