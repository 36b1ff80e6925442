"""A checkpoint whose next-token distribution is a table: every class mass is known in advance.

A Qwen3-architecture model whose attention and MLP add nothing: the hidden state is the last token's embedding
alone, a one-hot vector, and the output layer holds the table's logits. transformers and vLLM load it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.checkpoints.tiny_qwen3 import write_tokenizer

Row = Mapping[str, float]
VOCABULARY = 384
# Mass of a token that a row doesn't name, relative to the rest: nothing, in float32 too.
UNNAMED_LOGIT = -45.0
GARBAGE = "x"
START = "\n"
END = "<|im_end|>"


@dataclass(frozen=True)
class PlantedMasses:
    """Class mass at each place of an answer for K = 2; the rest of every row goes to an `x`."""

    open: float
    key: float
    closing_quote: float
    colon: float
    list_open: float
    first_id: float
    separator: float
    list_close: float
    close: float
    end: float
    # Share of the second id that repeats the first, which only the ids used so far make wrong.
    second_id_each: float

    def rows(self) -> dict[str, Row]:
        """Token → next token → probability, for every token an answer may go through."""
        after_id = {",": self.separator}
        after_second = {"]}": 0.75 * self.list_close, "]": 0.25 * self.list_close}
        bracket = {" [": 0.6 * self.list_open, "[": 0.4 * self.list_open}
        listed = {"1": 0.5 * self.first_id, "2": 0.5 * self.first_id}
        rows: dict[str, Row] = {
            START: {'{"': self.open},
            '{"': {"ranking": self.key},
            "ranking": {'":': 0.9 * self.closing_quote, '"': 0.1 * self.closing_quote},
            '"': {":": self.colon},
            '":': bracket,
            ":": bracket,
            " [": listed,
            "[": listed,
            "1": after_id,
            "2": after_id,
            ",": {" 1": self.second_id_each, " 2": self.second_id_each},
            " 1": after_second,
            " 2": after_second,
            "]": {"}": self.close},
            "}": {END: self.end},
            "]}": {END: self.end},
            GARBAGE: {END: 1.0},
        }
        return {
            token: row if token == GARBAGE else {**row, GARBAGE: 1.0 - sum(row.values())}
            for token, row in rows.items()
        }

    def at(self, before: str) -> tuple[str, float]:
        """Role and class mass of the position after this token, on an answer that keeps the contract."""
        second = ("unused_id", self.second_id_each)
        bracket, listed = ("list_open", self.list_open), ("unused_id", self.first_id)
        separator, closing, end = (
            ("separator", self.separator),
            ("list_close", self.list_close),
            ("end", self.end),
        )
        return {
            START: ("open", self.open),
            '{"': ("key", self.key),
            "ranking": ("key", self.closing_quote),
            '"': ("colon", self.colon),
            '":': bracket,
            ":": bracket,
            " [": listed,
            "[": listed,
            "1": separator,
            "2": separator,
            ",": second,
            " 1": closing,
            " 2": closing,
            "]": ("close", self.close),
            "}": end,
            "]}": end,
        }[before]


TEACHER = PlantedMasses(
    open=0.9999,
    key=0.99999,
    closing_quote=0.99995,
    colon=0.9999,
    list_open=0.9998,
    first_id=0.9999,
    separator=0.99934,
    list_close=0.9999,
    close=0.9999,
    end=0.99999,
    second_id_each=0.4999,
)
BASE = PlantedMasses(
    open=0.97,
    key=0.98,
    closing_quote=0.99,
    colon=0.9,
    list_open=0.95,
    first_id=0.96,
    separator=0.5,
    list_close=0.93,
    close=0.9,
    end=0.99,
    second_id_each=0.45,
)


def token_ids(folder: Path) -> dict[str, int]:
    """Text of each token → its id, by the tokenizer's own file."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    special = {"<|pad|>": 0, "<|im_start|>": 1, END: 2}
    return {
        piece.replace("Ġ", " ").replace("Ċ", "\n"): index for piece, index in vocabulary.items()
    } | special


def write_planted(folder: Path, masses: PlantedMasses) -> Path:
    """Write the checkpoint."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    special = write_tokenizer(folder)
    ids = token_ids(folder)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=VOCABULARY,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        eos_token_id=special[END],
        pad_token_id=special["<|pad|>"],
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config).to(torch.float32)
    # RMSNorm divides a one-hot vector by √(1/width + ε).
    scale = math.sqrt(1.0 / VOCABULARY + config.rms_norm_eps)
    logits = torch.full((VOCABULARY, VOCABULARY), UNNAMED_LOGIT, dtype=torch.float64)
    for token, row in masses.rows().items():
        for following, probability in row.items():
            if probability > 0:
                logits[ids[token], ids[following]] = math.log(probability)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY))
        model.lm_head.weight.copy_((logits.T * scale).float())
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": special[END]}))
    return folder


def write_tasks(path: Path, count: int) -> Path:
    """A dataset of `count` tasks with two candidates each."""
    rows = [
        {
            "task_id": f"t{number}",
            "history": [],
            "candidates": [
                {"item_id": f"a{number}", "title": "red"},
                {"item_id": "b", "title": f"blue {number}"},
            ],
            "relevance": [1, 0],
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
