"""Token ids that a model has no embedding for are refused where a text holds them, and only there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.contract import Contract, Terms
from harness.data.fashion_mini import generate_tasks
from harness.engines import EngineConfig, ScoreRequest, open_engine
from harness.engines.checkpoint import find_checkpoint
from harness.engines.local_model import LocalModel
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.zoo import zoo_root
from harness.errors import EngineUnavailableError
from harness.opd.rounds.drawing import open_drawer
from harness.opd.sft.examples import ideal_ranking, sft_examples
from tests.asking import asked

pytestmark = pytest.mark.model
HAS = 672


def adding(tmp_path: Path, tokens: list[str]) -> Path:
    """zoo:listopd whose tokenizer knows more tokens, its embeddings as they were."""
    folder = Path(shutil.copytree(zoo_root() / "listopd", tmp_path / "added"))
    tokenizer = ChatTokenizer(folder).tokenizer
    tokenizer.add_tokens(tokens)
    tokenizer.save_pretrained(folder)
    return folder


def test_tokens_that_no_prompt_uses_do_no_harm(tmp_path: Path) -> None:
    folder = adding(tmp_path, [f"<extra {number}>" for number in range(50)])
    local = LocalModel(EngineConfig(engine="hf", ckpt=str(folder)))
    [ids] = local.tokenizer.encode(asked("Rank the items."))
    assert max(ids) < HAS < len(local.tokenizer.tokenizer)


def test_a_prompt_that_holds_one_is_refused_and_the_token_named(tmp_path: Path) -> None:
    folder = adding(tmp_path, ["<extra>", "items"])
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(folder), device="cpu"))
    said = rf"ids up to 673, and {folder} 672 embeddings: prompt 1 holds id 673 \('items'\)"
    with pytest.raises(EngineUnavailableError, match=said) as caught:
        engine.encode(asked("Rank.", "Rank the items."))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_model_with_fewer_embeddings_than_its_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder = tmp_path / "small"
    made = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=2,
    )
    AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    for file in (zoo_root() / "listopd").glob("*token*"):
        shutil.copy(file, folder)
    with pytest.raises(EngineUnavailableError, match=r"has ids up to 671, and .*small 300 embeddings"):
        LocalModel(EngineConfig(engine="hf", ckpt=str(folder))).tokenizer.encode(asked("Rank the items."))


def test_answers_that_training_encodes_are_looked_at_too(tmp_path: Path) -> None:
    [task] = tasks = generate_tasks("train", 1, seed=1, k=(6, 6))
    whole = Terms(Contract(), task.k).answer(ideal_ranking(task.relevance))
    tokenizer = ChatTokenizer(adding(tmp_path, [whole]), embeddings={"it": HAS})
    with pytest.raises(EngineUnavailableError, match=r"it 672 embeddings: answer 0 holds id 672"):
        sft_examples(tasks, tokenizer, Contract())


def test_completions_of_another_model_are_looked_at_before_they_are_scored() -> None:
    engine = open_engine(EngineConfig(engine="hf", ckpt="zoo:listopd", device="cpu"))
    engine.start()
    with pytest.raises(EngineUnavailableError, match=r"zoo:listopd 672 embeddings: sequence 1 holds id 672"):
        list(engine.score([ScoreRequest("a", (5,), (6,)), ScoreRequest("b", (5,), (672,))], 1))
    engine.close()


def test_rollouts_must_be_readable_for_every_model(tmp_path: Path) -> None:
    folder = adding(tmp_path, ["items"])
    tasks = generate_tasks("train", 1, seed=1, k=(3, 3))
    student = find_checkpoint(str(folder))
    drawer = open_drawer(find_checkpoint("zoo:listopd"), (student,), tasks, Contract())
    assert drawer.tokenizer.embeddings == {"zoo:listopd": HAS, str(folder): HAS}
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == HAS
