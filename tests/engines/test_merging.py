"""`harness merge` makes one checkpoint that says what an adapter on its base says, or what shards hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.engines.checkpoint import find_checkpoint
from harness.engines.merging import MergeConfig, merge, write_safetensors
from harness.engines.weights import read_safetensors
from harness.errors import EngineUnavailableError, HarnessError

pytest.importorskip("peft")
pytestmark = pytest.mark.model

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from benchmarks.adapter_mutations import BASE, CASES, CLOSE, CONFIG, Case, evaluated, make  # noqa: E402


@pytest.mark.parametrize(
    ("name", "parameters"), [("rsLoRA", 397_344), ("head saved with it", 461_856), ("IA3", 397_344)]
)
def test_what_is_merged_speaks_like_the_model_that_was_saved(
    name: str, parameters: int, tmp_path: Path
) -> None:
    saved = make(CASES[name], tmp_path / "adapter")
    merged = merge(MergeConfig(source=str(tmp_path / "adapter"), out=tmp_path / "out"))
    assert (evaluated(tmp_path / "out", ()) - saved).abs().max() <= CLOSE
    # A head that shared its weights with the embedding doesn't any more where an adapter changed one of them.
    assert merged.parameters == parameters
    assert merged.dtype == "float32"
    made = find_checkpoint(str(tmp_path / "out"))
    assert made.sha256 == merged.sha256
    base = find_checkpoint("zoo:base")
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (made.path / file).read_bytes() == (base.path / file).read_bytes()
    record = json.loads((made.path / "merge.json").read_text())
    assert record["base"] == str(BASE)
    assert record["source_sha256"] == find_checkpoint(str(tmp_path / "adapter")).sha256


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merging") / "adapter"
    make(Case(), folder)
    return folder


def half_base(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(BASE, tmp_path / "half"))
    weights = load_file(folder / "model.safetensors")
    halved = {name: value.bfloat16() for name, value in weights.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return folder


def test_the_bases_dtype_is_kept_and_its_base_may_be_named(adapter: Path, tmp_path: Path) -> None:
    config = MergeConfig(source=str(adapter), out=tmp_path / "out", adapter_base=str(half_base(tmp_path)))
    merged = merge(config)
    assert merged.dtype == "bfloat16"
    assert {one.dtype for one in read_safetensors(tmp_path / "out" / "model.safetensors").values()} == {
        "BF16"
    }
    assert merged.notes == (
        f"the adapter {adapter} names the base {BASE}; {tmp_path}/half was taken, as asked",
    )


def test_shards_become_one_file_of_the_same_tensors(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "shards"))
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    placed = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: whole[name] for name in part}, folder / file, metadata={"format": "pt"})
        placed |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["merge", str(folder), "--out", str(tmp_path / "out"), "--json"]) == 0
    joined = load_file(tmp_path / "out" / "model.safetensors")
    assert joined.keys() == whole.keys()
    assert all(torch.equal(joined[name], whole[name]) for name in whole)
    assert not list((tmp_path / "out").glob("*.index.json"))


def test_safetensors_written_by_hand_are_read_by_the_library(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(5),
        "b": torch.zeros(0, 3),
        "c": torch.tensor(1.5).half(),
        "d": torch.ones(3) > 0,
    }
    save_file(tensors, tmp_path / "one.safetensors")
    write_safetensors(tmp_path / "two.safetensors", read_safetensors(tmp_path / "one.safetensors"))
    again = load_file(tmp_path / "two.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_what_can_not_be_merged_is_refused_and_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(HarnessError, match="exists"):
        merge(MergeConfig(source=str(adapter), out=tmp_path / "taken"))
    with pytest.raises(HarnessError, match="nothing to merge"):
        merge(MergeConfig(source="zoo:base", out=tmp_path / "out"))
    broken = Path(shutil.copytree(adapter, tmp_path / "broken"))
    config = json.loads((broken / CONFIG).read_text())
    (broken / CONFIG).write_text(json.dumps(config | {"r": 8}))
    with pytest.raises(EngineUnavailableError, match="of another shape"):
        merge(MergeConfig(source=str(broken), out=tmp_path / "out"))
    weights = load_file(adapter / "adapter_model.safetensors")
    first = next(iter(weights))
    weights[first] = weights[first] * float("nan")
    nan = Path(shutil.copytree(adapter, tmp_path / "nan"))
    save_file(weights, nan / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineUnavailableError, match="can't be merged"):
        merge(MergeConfig(source=str(nan), out=tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_a_merge_that_was_killed_does_not_look_finished(tmp_path: Path) -> None:
    """What it leaves at the worst moment, with all but the last step done; the benchmark kills at many."""
    draft = Path(shutil.copytree(BASE, tmp_path / "out.unfinished"))
    with pytest.raises(EngineUnavailableError, match="was killed"):
        find_checkpoint(str(draft))
