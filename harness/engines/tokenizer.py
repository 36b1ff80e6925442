"""User messages to token ids and back, by the checkpoint's own tokenizer and chat template."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.engines.checkpoint import needs_code
from harness.errors import DataError, EngineUnavailableError

# Templates that print today's date would give a resumed run other prompts after midnight. This is the date
# Llama's own templates fall back to.
FIXED_DATE = "26 Jul 2024"
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class ChatTokenizer:
    """A checkpoint's tokenizer; loads on first use.

    A checkpoint without a chat template gets the message as plain text and one newline, with whatever special
    tokens its tokenizer puts in front.

    Attributes:
        folder: where the tokenizer is.
    """

    def __init__(self, folder: Path, trust_remote_code: bool = False) -> None:
        """Remember where the tokenizer is; nothing is read yet."""
        self.folder = folder
        self._trust_remote_code = trust_remote_code

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
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(self.folder), trust_remote_code=self._trust_remote_code, local_files_only=True
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
            if (refused := needs_code(self.folder, error)) is not None:
                raise refused from error
            raise EngineUnavailableError(
                f"{self.folder} has no tokenizer that transformers can load "
                f"({' '.join(str(error).split())[:200]}); give another as `tokenizer=`"
            ) from error
        # For a folder without tokenizer files transformers makes an empty one of the model's class.
        if len(tokenizer.get_vocab()) <= len(tokenizer.get_added_vocab()):
            raise EngineUnavailableError(
                f"{self.folder} has no tokenizer (tokenizer.json, tokenizer_config.json …); "
                "copy it there or give one as `tokenizer=`"
            )
        return tokenizer

    @cached_property
    def chat_template(self) -> str | None:
        """The template's text, None where the checkpoint has none."""
        if not self.tokenizer.chat_template:
            return None
        return str(self.tokenizer.get_chat_template())

    @cached_property
    def template_arguments(self) -> dict[str, Any]:
        """What the template is given besides the message; only what it mentions."""
        wanted = {"enable_thinking": False, "date_string": FIXED_DATE}
        return {name: value for name, value in wanted.items() if name in (self.chat_template or "")}

    @property
    def chat_template_sha256(self) -> str | None:
        """Hash of the template's text, None where there is none."""
        template = self.chat_template
        return None if template is None else hashlib.sha256(template.encode()).hexdigest()

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

    def encode(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        """Ids of each user message, chat template and generation prompt applied.

        Raises:
            DataError: a prompt that isn't valid Unicode.
        """
        for index, prompt in enumerate(prompts):
            if found := LONE_SURROGATE.search(prompt):
                raise DataError(
                    f"prompt {index} holds a lone surrogate (U+{ord(found[0]):04X} at character "
                    f"{found.start()}), which no tokenizer can read; clean the row it comes from"
                )
        if not prompts:
            return []
        if self.chat_template is None:
            return self._encode_plain(prompts)
        texts = self.tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompt}] for prompt in prompts],
            tokenize=False,
            add_generation_prompt=True,
            **self.template_arguments,
        )
        # The template writes the special tokens, so the tokenizer must not add another BOS.
        return [tuple(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _encode_plain(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        rows = self.tokenizer([f"{prompt}\n" for prompt in prompts])["input_ids"]
        eos = self.eos_token_id
        # Tokenizers made for training may close the text, which would end the answer before it began.
        return [tuple(ids[:-1] if len(ids) > 1 and ids[-1] == eos else ids) for ids in rows]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a completion, special tokens left out, nothing trimmed or tidied."""
        return str(
            self.tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
