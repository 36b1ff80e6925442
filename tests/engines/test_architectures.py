"""Only what its author saved as a causal language model is evaluated as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.engines.checkpoint import find_checkpoint
from harness.engines.whole import require_whole
from harness.engines.zoo import zoo_root
from harness.errors import EngineUnavailableError

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.model

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
T5 = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}


def refusal(folder: Path) -> str:
    with pytest.raises(EngineUnavailableError) as caught:
        require_whole(find_checkpoint(str(folder)))
    assert caught.value.exit_code == 2
    said = str(caught.value)
    assert "\n" not in said
    return said


def configured(tmp_path: Path, **fields: object) -> Path:
    folder = Path(shutil.copytree(zoo_root() / "listopd", tmp_path / "it"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    return folder


@pytest.mark.parametrize(
    ("name", "config", "sizes", "what"),
    [
        ("BertForMaskedLM", "BertConfig", SIZES, "a masked language model"),
        ("BertForPreTraining", "BertConfig", SIZES, "pretraining"),
        ("RobertaForMaskedLM", "RobertaConfig", SIZES, "a masked language model"),
        ("BertModel", "BertConfig", SIZES, "without a language model's head"),
        ("T5ForConditionalGeneration", "T5Config", T5, "an encoder with a decoder"),
        ("LlamaForSequenceClassification", "LlamaConfig", SIZES, "a classifier or reward model"),
        ("Qwen2ForTokenClassification", "Qwen2Config", SIZES, "a classifier of tokens"),
    ],
)
def test_what_transformers_saves_of_another_kind(
    name: str, config: str, sizes: dict[str, int], what: str, tmp_path: Path
) -> None:
    getattr(transformers, name)(getattr(transformers, config)(**sizes)).save_pretrained(tmp_path / "it")
    said = refusal(tmp_path / "it")
    assert f"`architectures` says {name}, " in said
    assert what in said
    assert "isn't a causal language model" in said


@pytest.mark.parametrize("name", ["Qwen3ForSequenceClassification", "OurRewardModel"])
def test_a_whole_causal_model_that_names_another_class(name: str, tmp_path: Path) -> None:
    assert f"says {name}, " in refusal(configured(tmp_path, architectures=[name]))


@pytest.mark.parametrize(
    "names", [None, [], ["Qwen3ForCausalLM"], ["Qwen3Model"], ["OurOwnForCausalLM"], ["OurThing"]]
)
def test_what_says_nothing_against_it(names: list[str] | None, tmp_path: Path) -> None:
    assert require_whole(find_checkpoint(str(configured(tmp_path, architectures=names)))).against


def test_a_base_class_whose_head_is_nowhere(tmp_path: Path) -> None:
    transformers.LlamaModel(transformers.LlamaConfig(**SIZES)).save_pretrained(tmp_path / "it")
    assert "missing" in refusal(tmp_path / "it")


@pytest.mark.parametrize("decoder", [False, True])
def test_an_encoder_is_causal_where_its_config_says_decoder(decoder: bool, tmp_path: Path) -> None:
    config = transformers.BertConfig(**SIZES, is_decoder=decoder)
    transformers.BertLMHeadModel(config).save_pretrained(tmp_path / "it")
    if decoder:
        assert require_whole(find_checkpoint(str(tmp_path / "it"))).against == "BertLMHeadModel"
    else:
        assert "`is_decoder` isn't true" in refusal(tmp_path / "it")


def test_attention_in_both_directions(tmp_path: Path) -> None:
    assert "`is_causal` is false" in refusal(configured(tmp_path, is_causal=False))


def test_an_embedding_model_with_the_class_of_a_causal_one(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    steps = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling")]
    (folder / "modules.json").write_text(json.dumps(steps))
    assert "an embedding model" in refusal(folder)


def test_every_causal_class_of_transformers_passes() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    from harness.engines.architectures import require_causal

    for one in CAUSAL.values():
        names = [one] if isinstance(one, str) else list(one)
        require_causal(transformers.PretrainedConfig(architectures=names), Path("it"))
    # Multimodal models with a causal text part.
    several = ["Qwen2AudioForConditionalGeneration", "LlavaForConditionalGeneration"]
    require_causal(transformers.PretrainedConfig(architectures=several), Path("it"))
