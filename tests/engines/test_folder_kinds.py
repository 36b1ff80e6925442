"""Folders of other frameworks are named, with the command that makes a checkpoint of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.adapter_mutations import FOLDERS, lay_out
from harness.engines.checkpoint import find_checkpoint
from harness.engines.folder_kinds import KINDS
from harness.errors import EngineUnavailableError


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_another_kind_is_one_line_with_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError) as caught:
        find_checkpoint(str(lay_out(FOLDERS[name], tmp_path)))
    said = str(caught.value).replace(str(tmp_path), "…")
    # On the command line these two are flags.
    said = said.replace("`base_urls=", "--base-url ")
    assert FOLDERS[name].says in said
    assert "\n" not in said


def test_every_kind_is_met(tmp_path: Path) -> None:
    met = set()
    for number, case in enumerate(FOLDERS.values()):
        place = tmp_path / str(number)
        place.mkdir()
        folder = lay_out(case, place)
        met |= {kind.what for kind in KINDS if folder.is_dir() and kind.of(folder)}
    assert {kind.what for kind in KINDS} - met == {"a forecast"}


def test_paths_with_blanks_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    (folder / "pytorch_model_fsdp_0").mkdir(parents=True)
    (folder / "pytorch_model_fsdp_0" / ".metadata").write_bytes(b"")
    with pytest.raises(EngineUnavailableError, match=f"merge-weights '{folder}/pytorch_model_fsdp_0' DIR"):
        find_checkpoint(str(folder))


def test_a_final_save_beside_checkpoints_is_the_checkpoint(tmp_path: Path) -> None:
    """A trainer's output folder, and DeepSpeed's leftovers beside a whole model."""
    whole = ("*config.json", "*model.safetensors", "*tokenizer.json", "*tokenizer_config.json")
    beside = (
        "checkpoint-500/config.json",
        "zero_to_fp32.py",
        "global_step9/x_model_states.pt",
        "train.jsonl",
    )
    case = next(iter(FOLDERS.values())).__class__((*whole, *beside), "")
    folder = lay_out(case, tmp_path)
    assert find_checkpoint(str(folder)).path == folder


def test_a_model_that_mlx_quantised_is_named(tmp_path: Path) -> None:
    case = next(iter(FOLDERS.values())).__class__(("*config.json", "*model.safetensors"), "")
    folder = lay_out(case, tmp_path)
    (folder / "config.json").write_text(
        '{"model_type": "qwen3", "quantization": {"group_size": 64, "bits": 4}}'
    )
    with pytest.raises(EngineUnavailableError, match="MLX quantised"):
        find_checkpoint(str(folder))
