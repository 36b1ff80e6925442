"""An adapter that peft wouldn't apply wholly is refused; one that it would answers as the model it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engines import EngineConfig, open_engine
from harness.errors import EngineUnavailableError, HarnessError

pytest.importorskip("peft")
pytestmark = pytest.mark.model

from benchmarks.adapter_mutations import (  # noqa: E402
    BASE,
    CASES,
    CLOSE,
    CONFIG,
    OTHER,
    WEIGHTS,
    Case,
    evaluated,
    make,
)

# One of each kind of trouble, and of each way to be whole; the benchmark tries all.
WHOLE = (
    "rsLoRA",
    "DoRA",
    "rank and alpha patterns",
    "IA3",
    "head saved with it",
    "no base named, named anew",
)
BROKEN = (
    "_orig_mod. inside",
    "module. before",
    "one lora_B missing",
    "a value head beside it",
    "a whole layer of its own",
    "rank 8 in the config",
    "made for another base",
    "lora_B as integers",
    "no alpha",
    "alpha infinite",
    "prompt tuning",
    "targets the base hasn't",
    "a target too many",
    "DoRA in the config alone",
    "a head in the config alone",
    "no weights",
    "a whole model beside it",
    "base gone",
)


def refusal(folder: Path, case: Case) -> str:
    base = case.options[1] if case.options else None
    with pytest.raises(HarnessError) as caught:
        open_engine(EngineConfig(engine="hf", ckpt=str(folder), device="cpu", adapter_base=base))
    assert isinstance(caught.value, EngineUnavailableError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_adapter_answers_as_the_model_that_was_saved(name: str, tmp_path: Path) -> None:
    saved = make(CASES[name], tmp_path / "adapter")
    off = (evaluated(tmp_path / "adapter", CASES[name].options) - saved).abs().max()
    assert off <= CLOSE


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_adapter_is_refused_before_a_model_loads(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    make(case, tmp_path / "adapter")
    assert case.refused is not None
    assert case.refused in refusal(tmp_path / "adapter", case).replace("`adapter_base=", "--adapter-base ")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    make(Case(), folder)
    return folder


def info(folder: Path, **settings: Any) -> dict[str, Any]:
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(folder), device="cpu", **settings))
    return engine.info().options


def test_the_manifest_says_which_base_was_taken(sound: Path) -> None:
    from harness.engines.checkpoint import find_checkpoint

    said = info(sound)
    assert said["adapter"] == {
        "kind": "LORA",
        "rank": 4,
        "base": str(BASE),
        "base_sha256": find_checkpoint("zoo:base").sha256,
        "base_revision": None,
        "base_named_by_adapter": str(BASE),
    }
    assert "notes" not in said
    elsewhere = info(sound, adapter_base="zoo:base")
    assert elsewhere["adapter"]["base"] == "zoo:base"
    assert elsewhere["notes"] == [f"the adapter {sound} names the base {BASE}; zoo:base was taken, as asked"]


def test_an_untrained_adapter_is_said_to_be_one(tmp_path: Path) -> None:
    make(CASES["never trained"], tmp_path / "adapter")
    [note] = info(tmp_path / "adapter")["notes"]
    assert "untrained" in note


def edited(sound: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    folder = Path(shutil.copytree(sound, tmp_path / "edited"))
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_what_the_installed_peft_does_not_know_is_said(sound: Path, tmp_path: Path) -> None:
    folder = edited(sound, tmp_path, lambda config: config.update(of_next_year=True, nothing=None))
    [note] = info(folder)["notes"]
    assert "of_next_year" in note
    assert "nothing" not in note


def test_an_adapter_on_an_adapter_is_refused(sound: Path) -> None:
    assert "harness merge" in refusal(sound, Case(options=("", str(sound))))


def test_a_base_of_another_size_is_refused_by_shape(sound: Path) -> None:
    said = refusal(sound, Case(options=("", str(OTHER))))
    assert "[4, 96], needed [4, 128]" in said


@pytest.mark.parametrize("setting", ["adapter_base", "revision"])
def test_a_setting_that_no_checkpoint_takes_is_refused(setting: str) -> None:
    with pytest.raises(HarnessError, match=f"`{setting}=x`"):
        open_engine(EngineConfig(engine="hf", ckpt="zoo:base", **{setting: "x"}))


def test_peft_itself_is_asked_what_it_loaded(sound: Path, tmp_path: Path) -> None:
    """The second line of defence: a file that changes between the check and the load."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(sound, tmp_path / "changed"))
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(folder), device="cpu"))
    tensors = load_file(folder / WEIGHTS)
    save_file({name: value for name, value in tensors.items() if "layers.1" not in name}, folder / WEIGHTS)
    with pytest.raises(EngineUnavailableError, match="doesn't apply"):
        engine.start()
