"""A checkpoint on this disk with its tokenizer, as a configuration names them; no weight is loaded."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from harness.engines.base import EngineInfo
from harness.engines.checkpoint import Checkpoint, find_checkpoint, find_tokenizer
from harness.engines.config import EngineConfig
from harness.engines.limits import shortest
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import HarnessError


class LocalModel:
    """What engines that load a model know of it beforehand.

    Attributes:
        checkpoint: the weights.
        tokenizer: the checkpoint's, its base's where an adapter has none, or the one given in its place.
        dtype: asked for, else the checkpoint's; `auto` where neither says.
        context_length: longest prompt + completion, None when unknown.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Find both.

        Raises:
            HarnessError: no checkpoint named.
            EngineUnavailableError: one that can't be used.
        """
        if config.ckpt is None:
            raise HarnessError("there is no checkpoint to load; give `ckpt=`")
        self.checkpoint: Checkpoint = find_checkpoint(config.ckpt, config.revision)
        folder = self.checkpoint.path
        if config.tokenizer is not None:
            folder = find_tokenizer(config.tokenizer)
        elif self.checkpoint.base and not (folder / "tokenizer_config.json").is_file():
            folder = self.checkpoint.base.path
        self.tokenizer = ChatTokenizer(folder, config.trust_remote_code)
        self.dtype = config.dtype if config.dtype != "auto" else self.checkpoint.dtype or "auto"
        self.context_length = shortest(config.max_model_len, self.checkpoint.context_length)

    @cached_property
    def stop_token_ids(self) -> list[int]:
        """The ids that end an answer."""
        return self.tokenizer.stop_token_ids(self.checkpoint.stop_token_ids)

    def info(
        self, name: str, version: str, context_length: int | None, options: dict[str, Any]
    ) -> EngineInfo:
        """What a manifest records of an engine that loads it; hashes the checkpoint the first time."""
        return EngineInfo(
            name=name,
            version=version,
            checkpoint=self.checkpoint.name,
            weights_sha256=self.checkpoint.sha256,
            chat_template_sha256=self.tokenizer.chat_template_sha256,
            tokenizer_sha256=self.tokenizer.sha256,
            context_length=context_length,
            parameters=self.checkpoint.parameters,
            options=options | self.tokenizer.described | {"stop_token_ids": self.stop_token_ids},
        )
