"""User messages to token ids and back, by the checkpoint's own tokenizer and chat template."""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.data.tasks import Conversation
from harness.engines.base import ScoreRequest
from harness.engines.chat_template import LONE_SURROGATE, ChatTemplate
from harness.engines.checkpoint import needs_code, read_json
from harness.engines.folder_kinds import visible
from harness.errors import DataError, EngineUnavailableError, HarnessError, words_of

Made = TypeVar("Made")
PROBES = ('Rank "blue jacket", 12:\n  {"ranking": [3, 1, 2]}', "crème 夏")
"""What tokenizers differ on: blanks, line ends, digits, quotes; letters of other scripts."""
MOST_SPECIAL = 1024
"""Most special tokens that a manifest lists; those with the smallest ids."""


REASONING = {
    "</think>": "<think>",
    "[/THINK]": "[THINK]",
    "</reasoning>": "<reasoning>",
    "</thought>": "<thought>",
    "</seed:think>": "<seed:think>",
    "<|channel|>final<|message|>": "<|channel|>analysis<|message|>",
}
"""Marks that end reasoning before an answer, as models are taught them, and those that begin it."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """A completion in two parts.

    Attributes:
        reasoning: what stands before the answer, the mark that ends it included.
        answer: what stands after it.
        tokens: of the reasoning, None when unknown.
    """

    reasoning: str
    answer: str
    tokens: int | None


class ChatTokenizer:
    """A checkpoint's tokenizer; loads on first use.

    A checkpoint without a chat template gets the message as plain text and one newline, with whatever special
    tokens its tokenizer puts in front.

    Attributes:
        folder: where the tokenizer is.
        embeddings: by name, models that are to read its ids and how many of them each has embeddings for.
        defused: messages of the last `encode` that held special tokens, which don't reach the model as such.
    """

    def __init__(
        self,
        folder: Path,
        trust_remote_code: bool = False,
        embeddings: Mapping[str, int | None] | None = None,
    ) -> None:
        """Remember where the tokenizer is; nothing is read yet.

        Args:
            folder: where it is.
            trust_remote_code: whether code that comes with it may be run.
            embeddings: by name, models that are to read its ids and how many of them each has embeddings for,
                None where that isn't known.
        """
        self.folder = folder
        self.embeddings = {name: count for name, count in (embeddings or {}).items() if count is not None}
        self._trust_remote_code = trust_remote_code
        self.defused = 0
        self._asked_of_template: dict[str, Any] = {}
        self._is_own = False

    @cached_property
    def tokenizer(self) -> Any:
        """The transformers tokenizer.

        Raises:
            EngineUnavailableError: transformers isn't installed, or the folder has no usable tokenizer.
        """
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise EngineUnavailableError(
                "tokenizers need transformers; run: pip install 'format-safety-harness[hf]'"
            ) from error
        _require_readable_templates(self.folder)
        read_json(self.folder / "tokenizer_config.json")
        tokenizer = self._asked(
            lambda: AutoTokenizer.from_pretrained(
                str(self.folder), trust_remote_code=self._trust_remote_code, local_files_only=True
            ),
            "has no tokenizer that transformers can load",
        )
        # For a folder without tokenizer files transformers makes an empty one of the model's class.
        if len(tokenizer.get_vocab()) <= len(tokenizer.get_added_vocab()):
            raise EngineUnavailableError(
                f"{self.folder} has no tokenizer (tokenizer.json, tokenizer_config.json …); "
                "copy it there or give one as `tokenizer=`"
            )
        return tokenizer

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The template, None where the checkpoint has none.

        Raises:
            EngineUnavailableError: one that can't be used.
        """
        template = getattr(self.tokenizer, "chat_template", None)
        if template is None:
            return None
        if isinstance(template, str) and not template.strip():
            raise EngineUnavailableError(
                f"the chat template of {self.folder} is empty, so it drops the message; put the model's "
                "there, or, for prompts as plain text, take chat_template.jinja and the `chat_template` in "
                "tokenizer_config.json away"
            )
        return ChatTemplate(self.tokenizer, str(self.folder))

    @property
    def template_arguments(self) -> dict[str, Any]:
        """What the template was given besides the messages of the last `encode`."""
        template = self.chat_template
        return {} if template is None else template.arguments_with(self._asked_of_template)

    @property
    def chat_template_sha256(self) -> str | None:
        """Hash of the template's text, None where there is none."""
        template = self.chat_template
        if template is None:
            return None
        return hashlib.sha256(template.text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def described(self) -> dict[str, Any]:
        """What a manifest records of how prompts are made, and of ids that texts don't show.

        Raises:
            EngineUnavailableError: a template that can't be used.
        """
        template = self.chat_template
        pieces = {index: token.content for index, token in self.special_tokens().items()}
        return {
            "chat_template_arguments": self.template_arguments,
            "content_format": None if template is None else template.content_format,
            "reasoning_end": self.reasoning_end,
            "named_tokens": {
                name: str(token)
                for name, token in self.tokenizer.special_tokens_map.items()
                if not isinstance(token, list)
            },
            "special_tokens": {piece: index for index, piece in sorted(pieces.items())[:MOST_SPECIAL]},
            "vocabulary": max(self.tokenizer.get_vocab().values(), default=-1) + 1,
        }

    @cached_property
    def _fuses(self) -> re.Pattern[str] | None:
        tokens = [token for token in self.special_tokens().values() if token.content.strip()]
        longest_first = sorted({(-len(one.content), one.content, one.normalized) for one in tokens})
        pieces = [_either_width(piece) if folds else re.escape(piece) for _, piece, folds in longest_first]
        return re.compile("|".join(pieces)) if pieces else None

    def _defused(self, message: str) -> str:
        """A message in which no special token stands: each is broken by a space after its first character.

        A checkpoint's own may look like anything; what only looks like one reaches it as it is.
        """
        if self._fuses is None:
            return message
        return self._fuses.sub(lambda found: f"{found[0][:-1][:1]} {found[0][1:]}", message)

    def special_tokens(self) -> dict[int, Any]:
        """Its special tokens by their ids."""
        added = self.tokenizer.added_tokens_decoder
        return {index: token for index, token in added.items() if token.special}

    @cached_property
    def sha256(self) -> str:
        """Hash of tokenizer.json, or of the vocabulary where the tokenizer has no such file."""
        file = self.folder / "tokenizer.json"
        if file.is_file():
            return hashlib.sha256(file.read_bytes()).hexdigest()
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()

    @property
    def eos_token_id(self) -> int | None:
        """The tokenizer's own end token."""
        value = self.tokenizer.eos_token_id
        return None if value is None else int(value)

    def stop_token_ids(self, generation_ids: Sequence[int]) -> list[int]:
        """The ids that end an answer: those of the generation config and the tokenizer's end token."""
        own = () if self.eos_token_id is None else (self.eos_token_id,)
        return sorted({*generation_ids, *own})

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Ids of each conversation, chat template and generation prompt applied.

        Args:
            prompts: conversations, each ending with the user's turn.
            arguments: what the template is given besides its usual ones.

        Raises:
            DataError: a prompt that isn't valid Unicode.
            EngineUnavailableError: the template fails on one, doesn't keep it or takes no such argument;
                there is none and there are several turns; the tokenizer can't read what it renders, or the
                model has no embedding for what it reads.
        """
        for index, turns in enumerate(prompts):
            for turn in turns:
                if found := LONE_SURROGATE.search(turn.content):
                    raise DataError(
                        f"prompt {index} holds a lone surrogate (U+{ord(found[0]):04X} at character "
                        f"{found.start()}), which no tokenizer can read; clean the row it comes from"
                    )
        if not prompts:
            return []
        self._require_own_tokenizer()
        rows = self._ids_of(self.rendered(prompts, arguments))
        if () in rows:
            raise EngineUnavailableError(
                f"the tokenizer of {self.folder} makes no token at all of prompt {rows.index(())}; "
                "give another as `tokenizer=`"
            )
        self.require_embedded(rows, "prompt")
        return rows

    def rendered(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[str]:
        """The text that the model reads of each conversation; arguments and errors as `encode`."""
        self._asked_of_template = dict(arguments or {})
        messages = [self._of_turns(turns) for turns in prompts]
        self.defused = sum(map(operator.ne, messages, map(tuple, prompts)))
        if self.chat_template is not None:
            return self.chat_template.render(messages, arguments)
        if arguments:
            raise EngineUnavailableError(
                f"{self.folder} has no chat template that could be told {', '.join(arguments)}; leave "
                "`chat_template_kwargs=` out"
            )
        for index, turns in enumerate(messages):
            if len(turns) > 1:
                raise EngineUnavailableError(
                    f"{self.folder} has no chat template, so it can be asked in a single turn, and prompt "
                    f"{index} has {len(turns)}; write all into the user's turn"
                )
        return [f"{turns[0].content}\n" for turns in messages]

    def _of_turns(self, turns: Conversation) -> Conversation:
        defused = [self._defused(turn.content) for turn in turns]
        return tuple(
            turn if text == turn.content else turn.model_copy(update={"content": text})
            for turn, text in zip(turns, defused, strict=True)
        )

    def _ids_of(self, texts: list[str]) -> list[tuple[int, ...]]:
        if self.chat_template is None:
            return self._encode_plain(texts)
        # The template writes the special tokens, so the tokenizer must not add another BOS.
        return self._read(texts, add_special_tokens=False)

    @cached_property
    def reasoning_end(self) -> str | None:
        """The mark that ends reasoning in this checkpoint's answers, None where none is known.

        Raises:
            EngineUnavailableError: a template that can't be used.
        """
        template = self.chat_template
        text = "" if template is None else template.text
        added = self.tokenizer.get_added_vocab()
        return next((mark for mark in REASONING if mark in text or mark in added), None)

    def apart(self, token_ids: Sequence[int], end: str) -> Thoughts | None:
        """A completion's reasoning apart from its answer, by the first mark; None where there is no mark.

        Args:
            token_ids: of the completion.
            end: the mark that ends reasoning.
        """
        mark = tuple(self.tokenizer(end, add_special_tokens=False)["input_ids"])
        ids = tuple(token_ids)
        whole = {token.content for token in self.tokenizer.added_tokens_decoder.values()}
        if mark and end.strip() and any(piece in end for piece in whole if piece):
            # Special tokens don't show in the text.
            places = range(len(ids) - len(mark) + 1)
            found = next((at for at in places if ids[at : at + len(mark)] == mark), None)
            if found is not None:
                count = found + len(mark)
                return Thoughts(self.decode(ids[:count]), self.decode(ids[count:]), count)
        text = self.decode(ids)
        before, there, answer = text.partition(end)
        if not there:
            return None
        low, high = 0, len(ids)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if end in self.decode(ids[:middle]) else (middle, high)
        return Thoughts(before + there, answer, high)

    def _require_own_tokenizer(self) -> None:
        """Refuse a tokenizer that isn't the one of its own tokenizer.json.

        transformers 5 builds a tokenizer anew by the `tokenizer_class` of tokenizer_config.json, and takes
        from tokenizer.json the vocabulary alone: with another class than it was trained with, blanks, line
        ends and letters can be lost on the way to the model.

        Raises:
            EngineUnavailableError: it gives other ids than tokenizer.json does.
        """
        file = self.folder / "tokenizer.json"
        if self._is_own or not file.is_file():
            return
        found = self._read(list(PROBES), add_special_tokens=False)
        from tokenizers import Tokenizer

        stored = self._asked(
            lambda: Tokenizer.from_file(str(file)), "has a tokenizer.json that can't be read"
        )
        stored.no_truncation()
        stored.no_padding()
        wanted = [tuple(stored.encode(probe, add_special_tokens=False).ids) for probe in PROBES]
        for probe, its, ours in zip(PROBES, wanted, found, strict=True):
            if its != ours:
                raise EngineUnavailableError(
                    f"{self.folder}: transformers makes another tokenizer of its tokenizer_class than its "
                    f"tokenizer.json is (for {probe!r} {len(ours)} tokens, not {len(its)}); where that is "
                    'what it was trained with write "tokenizer_class": "PreTrainedTokenizerFast" into '
                    "tokenizer_config.json, else save the tokenizer anew and give that as `tokenizer=`"
                )
        self._is_own = True

    def require_embedded(self, rows: Sequence[Sequence[int]], what: str) -> None:
        """Refuse token ids that a model has no embedding for; a tokenizer that merely could give such may.

        Args:
            rows: token ids, in order.
            what: what a row is, such as `prompt`.

        Raises:
            EngineUnavailableError: naming the first row that holds one, and the token.
        """
        for name, count in self.embeddings.items():
            for number, ids in enumerate(rows):
                if (largest := max(ids, default=-1)) < count:
                    continue
                known = max(self.tokenizer.get_vocab().values(), default=-1)
                piece = ascii(self.tokenizer.convert_ids_to_tokens(largest))
                raise EngineUnavailableError(
                    f"the tokenizer of {self.folder} has ids up to {known}, and {name} {count} embeddings: "
                    f"{what} {number} holds id {largest} ({piece}), which that can't read; give the "
                    "tokenizer it was trained with as `tokenizer=`, or resize_token_embeddings and train it"
                )

    def require_readable(self, requests: Sequence[ScoreRequest]) -> None:
        """The same for what another model may have written; raises as `require_embedded`."""
        self.require_embedded([(*one.prompt_ids, *one.completion_ids) for one in requests], "sequence")

    def _encode_plain(self, texts: list[str]) -> list[tuple[int, ...]]:
        rows = self._read(texts, add_special_tokens=True)
        eos = self.eos_token_id
        # Tokenizers made for training may close the text, which would end the answer before it began.
        return [ids[:-1] if len(ids) > 1 and ids[-1] == eos else ids for ids in rows]

    def _read(self, texts: list[str], *, add_special_tokens: bool) -> list[tuple[int, ...]]:
        return self._asked(
            lambda: [
                tuple(ids)
                for ids in self.tokenizer(texts, add_special_tokens=add_special_tokens)["input_ids"]
            ],
            "has a tokenizer that can't read its prompts",
        )

    def _asked(self, work: Callable[[], Made], failed: str) -> Made:
        try:
            return work()
        except HarnessError:
            raise
        # The tokenizers library raises plain `Exception`, panics that aren't even one, and a checkpoint's own
        # code whatever it likes.
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if (refused := needs_code(self.folder, error)) is not None:
                raise refused from error
            said = words_of(error, 200)
            raise EngineUnavailableError(
                f"{self.folder} {failed} ({said}); give another as `tokenizer=`"
            ) from error

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a completion, special tokens left out, nothing trimmed or tidied."""
        return str(
            self.tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def _either_width(piece: str) -> str:
    """A pattern of a token and of its full-width form, which a normalising tokenizer folds into it."""
    wide = {character: chr(ord(character) + 0xFEE0) for character in piece if "!" <= character <= "~"}
    return "".join(f"[{re.escape(one)}{wide[one]}]" if one in wide else re.escape(one) for one in piece)


def _require_readable_templates(folder: Path) -> None:
    """Refuse template files that aren't there behind their names; transformers passes those by in silence."""
    for path in (folder / "chat_template.jinja", *visible(folder, "additional_chat_templates/*.jinja")):
        if not path.is_file() and (path.is_symlink() or path.exists()):
            what = "leads nowhere" if path.is_symlink() and not path.exists() else "is no file"
            raise EngineUnavailableError(f"{path} {what}; put the template there, or remove it")
