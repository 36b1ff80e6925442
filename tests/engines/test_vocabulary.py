"""Bytes of token ids, against xgrammar's own decoding and against the tokenizer's `decode`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from harness.engines import EngineConfig
from harness.engines.vocabulary import (
    Vocabulary,
    byte_level_table,
    read_vocabulary,
    require_same_vocabulary,
    token_bytes,
)
from harness.errors import EngineUnavailableError

pytestmark = pytest.mark.model

TEXTS = (
    '{"ranking": [3, 1, 2, 4, 5, 6, 7, 8]}',
    ' {"ranking":[12,\n\n\t 1]}\r\n',
    "crème brûlée 漢字 👗👟 naïve",
    "<tool> \x00\x7f\u200b",
)


def write_metaspace(folder: Path, kind: str) -> Path:
    """A SentencePiece-style tokenizer with byte pieces, one special token and one ordinary added token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [
        "\u2581",
        '\u2581{"',
        '{"',
        '":',
        "\u2581[",
        "ranking",
        ",",
        "]}",
        "1",
        "2",
        "\u25811",
        "漢",
        '"',
    ]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, *words]
    if kind == "unigram":
        model: Any = models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], 0, True)
    else:
        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        model = models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    if kind == "unigram":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never", split=False)]
        )
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=["byte-level", "unigram", "bpe-byte-fallback"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_qwen3: Path
) -> Path:
    if request.param == "byte-level":
        return tiny_qwen3
    return write_metaspace(tmp_path_factory.mktemp("tokenizers") / request.param, request.param)


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def test_bytes_of_an_encoded_text_are_the_text(folder: Path) -> None:
    tokenizer = load(folder)
    contents = token_bytes(tokenizer)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        spelled = b"".join(contents[index] or b"" for index in ids)
        assert spelled.decode() == text
        assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_special_tokens_spell_nothing_and_added_ones_themselves(folder: Path) -> None:
    tokenizer = load(folder)
    contents = token_bytes(tokenizer)
    assert all(contents[index] is None for index in tokenizer.all_special_ids)
    added = tokenizer.added_tokens_decoder
    ordinary = [index for index, token in added.items() if not token.special]
    assert all(contents[index] == added[index].content.encode() for index in ordinary)


def test_agrees_with_xgrammar(folder: Path) -> None:
    xgrammar = pytest.importorskip("xgrammar")
    tokenizer = load(folder)
    theirs = xgrammar.TokenizerInfo.from_huggingface(tokenizer).decoded_vocab
    ours = token_bytes(tokenizer)
    assert len(theirs) == len(ours)
    differing = [
        (index, mine, other)
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        if mine is not None and mine != other
    ]
    assert not differing
    assert sum(one is not None for one in ours) > 250


def test_the_byte_table_is_a_bijection() -> None:
    assert sorted(byte_level_table().values()) == list(range(256))


def test_reads_ends_and_hashes_of_a_checkpoint(tiny_qwen3: Path) -> None:
    vocabulary = read_vocabulary(EngineConfig(engine="hf", ckpt=str(tiny_qwen3)))
    end = load(tiny_qwen3).convert_tokens_to_ids("<|im_end|>")
    assert vocabulary.end_ids == (end,)
    assert vocabulary.contents[end] is None
    assert vocabulary.sha256 != vocabulary.tokenizer_sha256


def test_a_server_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(EngineUnavailableError, match="`tokenizer=`"):
        read_vocabulary(EngineConfig(engine="openai", base_urls=("http://localhost:1",)))


def test_other_families_are_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(EngineUnavailableError, match="unknown family"):
        token_bytes(load(tmp_path))


def test_differing_vocabularies_are_refused_by_name(tiny_qwen3: Path) -> None:
    first = read_vocabulary(EngineConfig(engine="hf", ckpt=str(tiny_qwen3)))
    require_same_vocabulary(first, replace(first, name="copy"))
    swapped = (*first.pieces[:7], first.pieces[8], first.pieces[7], *first.pieces[9:])
    second: Vocabulary = replace(first, name="other", pieces=swapped, sha256="0" * 64)
    with pytest.raises(EngineUnavailableError, match=r"tiny-qwen3 and other .*\(id 7 is"):
        require_same_vocabulary(first, second)


def test_the_same_vocabulary_cut_differently_is_refused(tiny_qwen3: Path, tmp_path: Path) -> None:
    def read(name: str, merges: int) -> Vocabulary:
        folder = shutil.copytree(tiny_qwen3, tmp_path / name)
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["merges"] = content["model"]["merges"][merges:]
        # Another layout of the same file changes its hash and nothing else.
        (folder / "tokenizer.json").write_text(json.dumps(content, indent=3))
        return read_vocabulary(EngineConfig(engine="hf", ckpt=str(folder)))

    own = read_vocabulary(EngineConfig(engine="hf", ckpt=str(tiny_qwen3)))
    again = read("again", 0)
    assert again.tokenizer_sha256 != own.tokenizer_sha256
    require_same_vocabulary(own, again)
    fewer = read("fewer", 1)
    assert fewer.sha256 == own.sha256
    with pytest.raises(EngineUnavailableError, match=r"tiny-qwen3 and .*fewer .*cut text into it"):
        require_same_vocabulary(own, fewer)
