"""Which files of a folder are its weights: what lies beside them unread must not condemn good ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.engines.checkpoint import find_checkpoint
from harness.engines.weight_sets import as_vllm_reads, find_weights
from harness.engines.whole import require_whole
from harness.engines.zoo import zoo_root
from harness.errors import EngineUnavailableError

pytestmark = pytest.mark.model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(zoo_root() / "listopd", tmp_path / "it"))


def loads(folder: Path) -> bool:
    return bool(require_whole(find_checkpoint(str(folder))).against)


def test_the_index_of_a_bin_set_that_was_not_downloaded(folder: Path) -> None:
    """Fetching a hub repository with both formats brings all JSON and no .bin file."""
    placed = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(placed))
    assert loads(folder)
    assert find_weights(folder).beside == ()


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b""])
def test_a_bin_file_that_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    assert loads(folder)


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model.fp16-00001-of-00001.safetensors"])
def test_a_variant_is_read_by_vllm_alone(folder: Path, name: str) -> None:
    shutil.copy(folder / "model.safetensors", folder / name)
    assert loads(folder)
    with pytest.raises(EngineUnavailableError, match="vLLM would read both"):
        as_vllm_reads(find_weights(folder))


def test_shards_beside_a_single_file_are_a_second_set(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    with pytest.raises(EngineUnavailableError, match="two sets of weights"):
        find_weights(folder)
