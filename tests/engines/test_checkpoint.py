from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from harness.engines.checkpoint import Checkpoint, find_checkpoint, find_tokenizer
from harness.errors import EngineUnavailableError

TENSORS = {"a": [3, 4], "b": [5], "scalar": []}


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """The format written by hand: header length, JSON header, data."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(offset))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    made.mkdir()
    write_safetensors(made / "model.safetensors", TENSORS)
    (made / "config.json").write_text(json.dumps({"max_position_embeddings": 2048, "dtype": "bfloat16"}))
    (made / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 10**30}))
    return made


def refused(name: str | Path) -> str:
    with pytest.raises(EngineUnavailableError) as caught:
        find_checkpoint(str(name))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_parameters_are_counted_from_the_headers(folder: Path) -> None:
    assert find_checkpoint(str(folder)).parameters == 3 * 4 + 5 + 1


def test_the_hash_names_contents_not_the_place(folder: Path, tmp_path: Path) -> None:
    first = find_checkpoint(str(folder)).sha256
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert find_checkpoint(str(copy)).sha256 == first
    (copy / "README.md").write_text("not part of what it says")
    (copy / "optimizer.pt").write_bytes(b"nor this")
    assert find_checkpoint(str(copy)).sha256 == first


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json"]
)
def test_the_hash_changes_with_every_file_that_matters(folder: Path, name: str) -> None:
    before = find_checkpoint(str(folder)).sha256
    path = folder / name
    content = path.read_bytes() if path.exists() else b""
    # The last byte of the weights is data; white space after JSON keeps it valid.
    path.write_bytes(content[:-1] + b"\x01" if name.endswith("safetensors") else content + b" ")
    if name == "vocab.json":
        path.write_text("{}")
    assert find_checkpoint(str(folder)).sha256 != before


def test_a_renamed_shard_changes_the_hash(folder: Path) -> None:
    before = find_checkpoint(str(folder)).sha256
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert find_checkpoint(str(folder)).sha256 != before


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        ({"max_position_embeddings": 2048}, {}, 2048),
        ({"max_position_embeddings": 2048}, {"model_max_length": 10**30}, 2048),
        ({"max_position_embeddings": 2048}, {"model_max_length": 512}, 512),
        ({"n_positions": 1024}, {}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}, "x": 1}, {}, 4096),
        ({"x": 1}, {}, None),
        ({"x": 1}, {"model_max_length": 512}, 512),
        (
            {
                "max_position_embeddings": 4096,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 4096,
                },
            },
            {},
            16384,
        ),
    ],
)
def test_context_length(folder: Path, config: dict, tokenizer: dict, expected: int | None) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert find_checkpoint(str(folder)).context_length == expected


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": 2}, None, (2,)),
        ({"eos_token_id": [2, 3]}, None, (2, 3)),
        ({"eos_token_id": 2}, {"eos_token_id": [7, 8]}, (7, 8)),
        ({"eos_token_id": 2}, {"temperature": 0.6}, (2,)),
        ({"text_config": {"eos_token_id": 9}}, None, (9,)),
        ({"x": 1}, None, ()),
    ],
)
def test_stop_token_ids(folder: Path, config: dict, generation: dict | None, expected: tuple) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert find_checkpoint(str(folder)).stop_token_ids == expected


def test_an_adapter_counts_and_hashes_its_base_too(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    write_safetensors(adapter / "adapter_model.safetensors", {"lora": [2, 2]})
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    checkpoint = find_checkpoint(str(adapter))
    assert checkpoint.base is not None
    assert checkpoint.parameters == 18 + 4
    assert checkpoint.context_length == 2048
    before = checkpoint.sha256
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048, "changed": 1}))
    assert find_checkpoint(str(adapter)).sha256 != before


def test_what_is_not_a_checkpoint_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "is a file" in refused(folder / "config.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json" in refused(empty)
    (empty / "config.json").write_text("{}")
    assert "no config.json" in refused(empty)
    (empty / "config.json").write_text('{"model_type": "qwen3"}')
    assert "no weights" in refused(empty)
    (empty / "config.json").write_text("{broken")
    assert "can't be read as JSON" in refused(empty)


def test_the_folder_of_a_training_run_names_the_checkpoint_in_it(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder, run / "checkpoint")
    assert f"a training run's is {run / 'checkpoint'}" in refused(run)


def test_incomplete_downloads_are_refused(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))
    assert "names model-2.safetensors" in refused(folder)
    index.unlink()
    (folder / "model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"
    )
    assert "git lfs pull" in refused(folder)
    (folder / "model.safetensors").write_bytes(b"")
    assert "is empty" in refused(folder)


@pytest.mark.parametrize("content", [b"short", struct.pack("<Q", 2**60), struct.pack("<Q", 4) + b"{no}"])
def test_damaged_headers_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(EngineUnavailableError, match="safetensors"):
        _ = find_checkpoint(str(folder)).parameters


def test_an_adapter_without_a_base_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
    assert "names no base model" in refused(folder)


def test_an_adapter_on_an_adapter_is_refused_whatever_that_sits_on(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for made, base in ((first, second), (second, first)):
        made.mkdir()
        write_safetensors(made / "adapter_model.safetensors", {"lora": [2, 2]})
        (made / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert f"{second} is an adapter itself; merge it first" in refused(first)
    (first / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(first)}))
    assert "is an adapter itself, the same one" in refused(first)
    assert find_checkpoint(str(first), adapter_base=str(folder)).base is not None
    with pytest.raises(EngineUnavailableError, match=r"`adapter_base=.*is an adapter itself; merge it first"):
        find_checkpoint(str(first), adapter_base=str(first))


ODD: list[object] = ["2", True, 1.5, [], {}, [None], ["a", None], [[1]], float("nan"), -7]
FINE = {
    ("eos_token_id", "[]"),
    ("rope_parameters", "{}"),
    ("text_config", "{}"),
    ("tie_word_embeddings", "true"),
    ("architectures", "[]"),
    ("model_type", '"2"'),
    ("model_max_length", "1.5"),
    ("model_max_length", "-7"),
}


@pytest.mark.parametrize("value", ODD, ids=json.dumps)
@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("config.json", "eos_token_id"),
        ("config.json", "max_position_embeddings"),
        ("config.json", "rope_parameters"),
        ("config.json", "text_config"),
        ("config.json", "dtype"),
        ("config.json", "tie_word_embeddings"),
        ("config.json", "architectures"),
        ("config.json", "model_type"),
        ("config.json", "vocab_size"),
        ("generation_config.json", "eos_token_id"),
        ("tokenizer_config.json", "model_max_length"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(folder: Path, file: str, field: str, value: object) -> None:
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {field: value}))
    if (field, json.dumps(value)) in FINE:
        checkpoint = find_checkpoint(str(folder))
        _ = checkpoint.stop_token_ids, checkpoint.context_length, checkpoint.dtype, checkpoint.parameters
    else:
        assert f"{path}: `{field}` is {json.dumps(value)}, not " in refused(folder)
    path.write_text(json.dumps(content | {field: None}))
    assert find_checkpoint(str(folder)).stop_token_ids == ()


@pytest.mark.parametrize(
    ("field", "inside"),
    [
        ("text_config", {"eos_token_id": "x"}),
        ("rope_scaling", {"factor": "4"}),
        ("rope_parameters", {"rope_theta": 0}),
    ],
)
def test_a_field_inside_another_is_named_with_it(folder: Path, field: str, inside: dict) -> None:
    (folder / "config.json").write_text(json.dumps({field: inside}))
    assert f"`{field}.{next(iter(inside))}` is " in refused(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_model_name_or_path", ["x"]),
        ("revision", 3),
        ("peft_type", ["LORA"]),
        ("r", "8"),
        ("rank_pattern", ["q_proj"]),
        ("rank_pattern", {"q_proj": "8"}),
        ("alpha_pattern", [1]),
        ("target_modules", [1]),
        ("target_modules", 7),
        ("use_dora", "false"),
    ],
)
def test_a_field_of_a_wrong_type_in_an_adapter(
    folder: Path, tmp_path: Path, field: str, value: object
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    write_safetensors(adapter / "adapter_model.safetensors", {"lora": [2, 2]})
    config = {"base_model_name_or_path": str(folder), field: value}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert f"adapter_config.json: `{field}` is {json.dumps(value)}, not " in refused(adapter)


def test_hidden_leftovers_are_no_part_of_a_checkpoint(folder: Path) -> None:
    before = find_checkpoint(str(folder)).sha256
    for name in ("._model.safetensors", ".model.safetensors.swp", "._a.index.json", "model.safetensors.tmp"):
        (folder / name).write_bytes(b"left over")
    after = find_checkpoint(str(folder))
    assert (after.sha256, after.parameters) == (before, 18)
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused(folder)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_without_the_hub_is_refused_at_once() -> None:
    pytest.importorskip("huggingface_hub")
    assert "neither in the Hugging Face cache nor" in refused("nobody/no-such-model")
    assert "neither in the Hugging Face cache nor" in refused("nosuchmodel")
    with pytest.raises(EngineUnavailableError, match="does not exist"):
        find_tokenizer("./nowhere")


def test_torch_files_count_as_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    checkpoint = Checkpoint("x", folder)
    assert checkpoint.parameters is None
    assert [file.name for file in checkpoint.weight_files()] == ["pytorch_model.bin"]
