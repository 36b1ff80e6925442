"""Tiny Qwen3-architecture checkpoints with a tokenizer of their own, before any training.

All sizes share one tokenizer, so that a teacher, a base and a student of this family can score the same
token ids. transformers and vLLM load the folders like any other checkpoint.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD = "<|endoftext|>"
EOS = "<|im_end|>"
TAGS = ("<|preferred|>", "<|other|>")
"""Tags of `tools.zoo.matching`; never part of a prompt or an answer."""
SPECIAL_TOKENS = (PAD, "<|im_start|>", EOS, *TAGS)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT_LENGTH = 1024
HEAD_DIM = 64
LARGEST_VOCABULARY = 1024

# Short sequences: a word keeps the blank and the dash before it (` – Arden`), a list dash its line end, and a
# comma before a number its blank. A number is one token wherever it stands, so that candidate 3 is the same
# token in the list and in the answer.
PIECES = (
    r"(?: [–-])? ?[\p{L}\p{M}]+"
    r"|\p{N}{1,2}"
    r"|, (?=\p{N})"
    r"|\n+-?"
    r"| ?[^\s\p{L}\p{M}\p{N}]+"
    r"|\s+"
)
# A line that so many prompts share word for word is wording, not data, and becomes a single token.
PHRASE_SHARE = 0.02
PHRASE_CHARACTERS = 9


@dataclass(frozen=True, slots=True)
class TinySize:
    """Shape of a member of the family.

    Attributes:
        hidden_size: width of the residual stream.
        layers: number of decoder layers.
        heads: query heads of `HEAD_DIM` each.
        kv_heads: key and value heads; divides `heads`.
        intermediate_size: width of the gated MLP.
        initializer_range: standard deviation of every initial weight matrix.
    """

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    # Qwen3's 0.02 suits widths of thousands. At width 128 it leaves activations so small that 250 steps of 32
    # don't teach a permutation of eight numbers, which 0.06 does in 120.
    initializer_range: float = 0.06


SIZES = {
    "small": TinySize(hidden_size=96, layers=3, heads=4, kv_heads=2, intermediate_size=128),
    "medium": TinySize(hidden_size=128, layers=3, heads=4, kv_heads=4, intermediate_size=256),
}


def build_tokenizer(prompts: Sequence[str], answers: Iterable[str]) -> Tokenizer:
    """Train the family's byte-level BPE: any text survives encoding and decoding.

    Args:
        prompts: user messages of the kind the checkpoints are made for; lines that many of them share become
            one token each.
        answers: answers of that kind.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LARGEST_VOCABULARY,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*prompts, *answers, "user\n", "assistant\n"] * 2, trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in _phrases(prompts)])
    return tokenizer


def _phrases(prompts: Sequence[str]) -> list[str]:
    shared = Counter(line for prompt in prompts for line in set(prompt.split("\n")))
    return sorted(
        line
        for line, count in shared.items()
        if len(line) >= PHRASE_CHARACTERS and count >= PHRASE_SHARE * len(prompts)
    )


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer and its chat template as a checkpoint has them; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PAD,
            "eos_token": EOS,
            "bos_token": None,
            "model_max_length": CONTEXT_LENGTH,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def write_untrained_checkpoint(folder: Path, size: str, tokenizer: Tokenizer, seed: int) -> Path:
    """Write a randomly initialised float32 checkpoint; the same seed gives the same weights.

    Args:
        folder: made if need be.
        size: a key of `SIZES`.
        tokenizer: from `build_tokenizer`.
        seed: of the initial weights, ≥ 0.

    Raises:
        HarnessError: unknown size.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    if size not in SIZES:
        raise HarnessError(f"unknown size {size!r}; choose one of {', '.join(SIZES)}")
    shape = SIZES[size]
    write_tokenizer(folder, tokenizer)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=shape.initializer_range,
        pad_token_id=tokenizer.token_to_id(PAD),
        eos_token_id=tokenizer.token_to_id(EOS),
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).to(torch.float32)
    model.save_pretrained(folder)
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": False,
            "eos_token_id": [tokenizer.token_to_id(EOS)],
            "pad_token_id": tokenizer.token_to_id(PAD),
        },
    )
    return folder


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
