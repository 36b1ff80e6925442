from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines import EngineConfig, choose, choose_common_engine, choose_engine, open_engine
from harness.engines.base import GenerationRequest
from harness.engines.limits import answer_limit, check_prompts
from harness.errors import DataError, EngineUnavailableError, HarnessError


def machine(monkeypatch: pytest.MonkeyPatch, platform: str | None, missing: str | None) -> None:
    """A machine with vLLM for `platform` (None: none) and, unless `missing`, transformers."""
    why = "" if platform else "vLLM is not installed"
    monkeypatch.setattr(choose, "vllm_platform", lambda: (platform, why))
    monkeypatch.setattr(choose, "hf_missing", lambda: missing)


@pytest.mark.parametrize(
    ("platform", "missing", "device", "expected", "because"),
    [
        ("cuda", None, "auto", "vllm", "supports cuda"),
        ("cuda", None, "cuda:1", "vllm", "supports cuda"),
        ("cpu", None, "cpu", "vllm", "supports cpu"),
        ("cuda", None, "cpu", "hf", "runs on cuda, not on cpu"),
        ("cpu", None, "mps", "hf", "runs on cpu, not on mps"),
        (None, None, "auto", "hf", "vLLM is not installed"),
        ("cuda", "torch", "auto", "vllm", "supports cuda"),
    ],
)
def test_auto_takes_vllm_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, platform: str, missing: str, device: str, expected: str, because: str
) -> None:
    machine(monkeypatch, platform, missing)
    name, reason = choose_engine(EngineConfig(ckpt="/some/checkpoint", device=device))
    assert name == expected
    assert because in reason


def test_with_neither_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, None, "torch")
    with pytest.raises(EngineUnavailableError, match=r"pip install 'format-safety-harness\[hf\]'"):
        choose_engine(EngineConfig(ckpt="/some/checkpoint"))


def test_auto_follows_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, "cpu", None)
    assert choose_engine(EngineConfig(replay=tmp_path / "f"))[0] == "replay"
    assert choose_engine(EngineConfig(base_urls=("http://localhost:1",)))[0] == "openai"
    assert choose_engine(EngineConfig(engine="hf", ckpt="x")) == ("hf", "hf, as asked")
    with pytest.raises(HarnessError, match="nothing to evaluate"):
        choose_engine(EngineConfig())
    told = {"base_model_name_or_path": "x", "peft_type": "IA3", "target_modules": ["v_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    adapter = EngineConfig(ckpt=str(tmp_path))
    name, reason = choose_engine(adapter)
    assert (name, "adapter" in reason) == ("hf", True)
    # One engine for all: only hf takes this adapter, and masses are compared.
    whole = EngineConfig(ckpt="/some/checkpoint")
    assert choose_engine(whole)[0] == "vllm"
    assert choose_common_engine([whole, adapter]) == (name, reason)
    assert choose_common_engine([whole, whole])[0] == "vllm"


@pytest.mark.parametrize(
    ("given", "replays", "asks_servers"),
    [
        ({"engine": "replay"}, True, False),
        ({"replay": "f"}, True, False),
        ({"engine": "openai"}, False, True),
        ({"base_urls": ("http://localhost:1",)}, False, True),
        ({"base_urls": ("http://localhost:1",), "replay": "f"}, True, False),
        ({"engine": "hf", "ckpt": "x", "replay": "f", "base_urls": ("http://localhost:1",)}, False, False),
        ({"ckpt": "x"}, False, False),
    ],
)
def test_a_configuration_says_whose_answers_it_means(
    given: dict, replays: bool, asks_servers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, "cpu", None)
    config = EngineConfig(**given)
    assert (config.replays, config.asks_servers) == (replays, asks_servers)
    # As the choice has it.
    assert (choose_engine(config)[0] == "replay") is replays
    assert (choose_engine(config)[0] == "openai") is asks_servers


@pytest.mark.vllm
def test_the_installed_vllm_is_recognised() -> None:
    pytest.importorskip("vllm")
    platform, why = choose.vllm_platform()
    assert (platform in ("cpu", "cuda", "rocm", "xpu"), why) == (True, "")


@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_checkpoints_are_checked_when_the_engine_is_opened(tmp_path: Path, engine: str) -> None:
    for library in ("torch", "transformers") if engine == "hf" else ("vllm",):
        pytest.importorskip(library)
    with pytest.raises(EngineUnavailableError, match="does not exist"):
        open_engine(EngineConfig(engine=engine, ckpt=str(tmp_path / "missing")))
    with pytest.raises(EngineUnavailableError, match="not a checkpoint"):
        open_engine(EngineConfig(engine=engine, ckpt=str(tmp_path)))
    with pytest.raises(HarnessError, match="`ckpt=`"):
        open_engine(EngineConfig(engine=engine))


def test_engines_that_are_not_installed_say_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engines import hf_engine, vllm_engine

    monkeypatch.setattr(vllm_engine, "installed_version", lambda *_: None)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(EngineConfig(engine="vllm", ckpt="x"))
    monkeypatch.setattr(hf_engine, "hf_missing", lambda: "torch")
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(EngineConfig(engine="hf", ckpt="x"))


@pytest.mark.parametrize(
    "bad",
    [
        {"concurrency": 0},
        {"tensor_parallel_size": 0},
        {"gpu_memory_utilization": 1.5},
        {"dtype": "int8"},
        {"engine": "llama"},
        {"no_such_field": 1},
    ],
)
def test_bad_settings_are_refused(bad: dict) -> None:
    with pytest.raises(HarnessError, match=next(iter(bad))):
        EngineConfig(**bad)


def test_opening_engines_loads_no_heavy_library() -> None:
    code = (
        "import sys; from harness.engines import EngineConfig, open_engine; "
        "open_engine(EngineConfig(base_urls=('http://localhost:1',))); "
        "print([m for m in ('torch', 'vllm', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def request(task: str, length: int) -> GenerationRequest:
    return GenerationRequest(task, task, 0, "", tuple(range(length)), 0)


def test_prompts_that_leave_no_room_are_named() -> None:
    fine = [request("short", 9), request("tiny", 1)]
    check_prompts(fine, 10)
    check_prompts([request("any", 10**5)], None)
    with pytest.raises(DataError, match="tasks long, longer, extra and 1 more is too long"):
        check_prompts([*fine, *(request(t, 10) for t in ("long", "longer", "extra", "last"))], 10)
    with pytest.raises(DataError, match="encode the prompts first"):
        check_prompts([request("empty", 0)], 10)


def test_answers_end_with_the_context() -> None:
    assert answer_limit(90, 50, 100) == 10
    assert answer_limit(10, 50, 100) == 50
    assert answer_limit(10, 50, None) == 50
