"""What every token id of a checkpoint's tokenizer spells, in bytes, and which ids end an answer.

Bytes and not text: byte-level vocabularies hold tokens that end inside a character. Two families are known:
byte-level BPE (GPT-2's table of printable stand-ins for the 256 bytes) and SentencePiece (a visible mark for
the blank, `<0x0A>` for a byte the vocabulary has no piece for).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.engines.checkpoint import find_tokenizer, generation_stop_ids
from harness.engines.config import EngineConfig
from harness.engines.local_model import LocalModel
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import EngineUnavailableError

SENTENCEPIECE_BLANK = "\u2581"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids of one tokenizer.

    Attributes:
        name: the checkpoint or tokenizer it was read from, as the user named it.
        contents: bytes of each id, from 0 on; None where an id stands for no text (special tokens, gaps).
        pieces: how the tokenizer itself writes each id, special ones too; None for gaps.
        end_ids: ids that end an answer, ascending.
        sha256: hash over the pieces; equal hashes mean that every id is the same token.
        tokenizer_sha256: hash of the tokenizer's file.
        cutting_sha256: hash over what decides how text is cut into them (normaliser, pre-tokeniser, merges);
            None where the tokenizer doesn't say. A tokenizer saved again by another library version keeps it,
            though its file changes.
    """

    name: str
    contents: tuple[bytes | None, ...]
    pieces: tuple[str | None, ...]
    end_ids: tuple[int, ...]
    sha256: str
    tokenizer_sha256: str
    cutting_sha256: str | None = None


def read_vocabulary(config: EngineConfig) -> Vocabulary:
    """The vocabulary of the checkpoint (or the tokenizer given in its place) that `config` means.

    Raises:
        EngineUnavailableError: there is none on this machine, or one of an unknown family.
    """
    if config.asks_servers:
        named = config.tokenizer or config.ckpt
        if named is None:
            raise EngineUnavailableError(
                "a server's vocabulary can't be read from here; give its tokenizer as `tokenizer=`"
            )
        tokenizer = ChatTokenizer(find_tokenizer(named), config.trust_remote_code)
        ends = tokenizer.stop_token_ids(generation_stop_ids(tokenizer.folder))
    else:
        local = LocalModel(config)
        tokenizer, ends = local.tokenizer, local.stop_token_ids
    pieces = token_pieces(tokenizer.tokenizer)
    return Vocabulary(
        name=config.ckpt or str(tokenizer.folder),
        contents=token_bytes(tokenizer.tokenizer),
        pieces=pieces,
        end_ids=tuple(ends),
        sha256=hashlib.sha256(json.dumps(pieces).encode()).hexdigest(),
        tokenizer_sha256=tokenizer.sha256,
        cutting_sha256=_cutting_sha256(tokenizer.tokenizer),
    )


def require_same_vocabulary(first: Vocabulary, second: Vocabulary) -> None:
    """Refuse two models that would read the same token ids as different tokens, or cut text differently.

    Where only the cut differs the ids still mean the same text, but one model would be asked about tokens in
    an order it never saw, and its masses would say nothing of how it writes.

    Raises:
        EngineUnavailableError: naming both, and the first id that differs.
    """
    if first.sha256 == second.sha256:
        cuts = (first.cutting_sha256, second.cutting_sha256)
        if None not in cuts and cuts[0] != cuts[1]:
            raise EngineUnavailableError(
                f"{first.name} and {second.name} have the same vocabulary but cut text into it differently "
                "(normaliser, pre-tokeniser or merges); teacher, base and student must share one tokenizer"
            )
        return
    pairs = zip(first.pieces, second.pieces, strict=False)
    differing = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    if differing is not None:
        one, other = first.pieces[differing], second.pieces[differing]
        detail = f"id {differing} is {one!r} in the first and {other!r} in the second"
    else:
        detail = f"{len(first.pieces)} and {len(second.pieces)} ids"
    raise EngineUnavailableError(
        f"{first.name} and {second.name} have different vocabularies ({detail}; hashes "
        f"{first.sha256[:12]} and {second.sha256[:12]}), so the same token ids mean different text; "
        "teacher, base and student must share one tokenizer"
    )


def _cutting_sha256(tokenizer: Any) -> str | None:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    parts = json.loads(backend.to_str())
    model = {name: part for name, part in (parts["model"] or {}).items() if name != "vocab"}
    decides = [parts["normalizer"], parts["pre_tokenizer"], model]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def token_pieces(tokenizer: Any) -> tuple[str | None, ...]:
    """How a transformers tokenizer writes each id, from 0 to its largest; None for ids it doesn't have."""
    by_id = {index: piece for piece, index in tokenizer.get_vocab().items()}
    return tuple(by_id.get(index) for index in range(max(by_id, default=-1) + 1))


def token_bytes(tokenizer: Any) -> tuple[bytes | None, ...]:
    """Bytes that each id adds to a text, None for special tokens and gaps.

    Args:
        tokenizer: a transformers tokenizer.

    Raises:
        EngineUnavailableError: neither byte-level nor SentencePiece.
    """
    spell = _speller(tokenizer)
    added = tokenizer.added_tokens_decoder
    silent = set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
    contents: list[bytes | None] = []
    for index, piece in enumerate(token_pieces(tokenizer)):
        if piece is None or index in silent:
            contents.append(None)
        elif index in added:
            # Added tokens are matched in the raw text and stand for themselves.
            contents.append(added[index].content.encode("utf-8"))
        else:
            contents.append(spell(piece))
    return tuple(contents)


class _ByteLevel:
    def __call__(self, piece: str) -> bytes | None:
        table = byte_level_table()
        if all(char in table for char in piece):
            return bytes(table[char] for char in piece)
        return piece.encode("utf-8")


class _SentencePiece:
    def __init__(self, blank: str, byte_pieces: bool) -> None:
        self._blank = blank
        self._byte_pieces = byte_pieces

    def __call__(self, piece: str) -> bytes | None:
        found = BYTE_PIECE.fullmatch(piece) if self._byte_pieces else None
        if found:
            return bytes([int(found[1], 16)])
        return piece.replace(self._blank, " ").encode("utf-8")


@lru_cache(maxsize=1)
def byte_level_table() -> dict[str, int]:
    """Byte that each character of a byte-level vocabulary stands for (Radford et al., GPT-2, 2019).

    Bytes that print stand for themselves in Latin-1; the others, in order, for U+0100 and up.
    """
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printing)]
    table = {chr(byte): byte for byte in printing}
    return table | {chr(0x100 + position): byte for position, byte in enumerate(others)}


def _speller(tokenizer: Any) -> _ByteLevel | _SentencePiece:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        if type(getattr(tokenizer, "sp_model", None)).__name__ == "SentencePieceProcessor":
            return _SentencePiece(SENTENCEPIECE_BLANK, byte_pieces=True)
        raise _unknown(tokenizer, "no tokenizers backend")
    decoder = json.loads(backend.to_str()).get("decoder")
    steps = {step["type"]: step for step in _flat(decoder)}
    if "ByteLevel" in steps:
        return _ByteLevel()
    blank = None
    if "Metaspace" in steps:
        blank = steps["Metaspace"]["replacement"]
    elif "Replace" in steps and steps["Replace"]["content"] == " ":
        blank = steps["Replace"]["pattern"].get("String")
    if blank is None:
        raise _unknown(tokenizer, f"decoder {', '.join(steps) or 'none'}")
    return _SentencePiece(str(blank), byte_pieces="ByteFallback" in steps)


def _flat(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    if decoder["type"] == "Sequence":
        return [step for inner in decoder["decoders"] for step in _flat(inner)]
    return [decoder]


def _unknown(tokenizer: Any, what: str) -> EngineUnavailableError:
    name = tokenizer.name_or_path or type(tokenizer).__name__
    return EngineUnavailableError(
        f"{name} has a tokenizer of an unknown family ({what}); "
        "byte-level BPE and SentencePiece are supported"
    )
