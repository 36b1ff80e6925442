"""Which adapters vLLM can take wholly; that it speaks like the merged model is in test_vllm_engine.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engines.checkpoint import Checkpoint
from harness.engines.vllm_adapter import ADAPTER_ID, AdapterReport, lora_arguments, why_not
from harness.errors import EngineUnavailableError

pytest.importorskip("peft")
pytestmark = pytest.mark.model

from benchmarks.adapter_mutations import CASES, Case, make  # noqa: E402


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("untouched", None),
        ("rsLoRA", None),
        ("rank and alpha patterns", None),
        ("DoRA", "DoRA"),
        ("head saved with it", "modules_to_save"),
        ("biases", "biases"),
        ("PiSSA", "changes the base"),
        ("IA3", "IA3"),
        ("embedding adapted", "embed_tokens"),
        ("names of a running model", "default.weight"),
    ],
)
def test_what_vllm_can_take(name: str, reason: str | None, tmp_path: Path) -> None:
    make(CASES[name], tmp_path / "adapter")
    why = why_not(tmp_path / "adapter")
    assert why is None if reason is None else why is not None and reason in why
    if reason is not None:
        with pytest.raises(EngineUnavailableError, match="`harness merge"):
            lora_arguments(Checkpoint("x", tmp_path / "adapter"))


@pytest.mark.parametrize(("rank", "size"), [(4, 8), (8, 8), (9, 16), (70, 128)])
def test_the_buffer_holds_the_rank(rank: int, size: int, tmp_path: Path) -> None:
    make(Case({"r": 4, "rank_pattern": {"v_proj": rank}}), tmp_path / "adapter")
    said = lora_arguments(Checkpoint("x", tmp_path / "adapter"))
    assert said["max_lora_rank"] == size
    assert said["lora_target_modules"] == ["q_proj", "v_proj"]


def test_modules_without_a_place_are_found() -> None:
    """As vLLM holds them: weights by module, and modules of the model that ask for theirs."""

    held = {"layers.0.qkv_proj": object(), "layers.0.router": object()}
    manager = SimpleNamespace(
        modules={"layers.0.qkv_proj": None, "layers.0.o_proj": None},
        list_adapters=lambda: {ADAPTER_ID: SimpleNamespace(loras=held)},
        _get_lora_layer_weights=lambda adapter, name: adapter.loras.get(name),
    )
    worker = AdapterReport()
    worker.model_runner = SimpleNamespace(lora_manager=SimpleNamespace(_adapter_manager=manager))
    assert worker.modules_without_place() == ["layers.0.router"]
