"""A checkpoint on this disk with its tokenizer, as a configuration names them; no weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from harness.engines.adapters import Adapter, require_adapter
from harness.engines.base import EngineInfo
from harness.engines.checkpoint import Checkpoint, find_checkpoint, find_tokenizer, hub_name, is_adapter
from harness.engines.config import EngineConfig
from harness.engines.limits import shortest
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.whole import embeddings_of, require_whole
from harness.errors import HarnessError

ORIGIN = ("revision", "adapter", "notes")
"""What an engine's options say of where its checkpoint comes from, where there is something to say."""


class LocalModel:
    """What engines that load a model know of it beforehand.

    Attributes:
        checkpoint: where the weights are.
        adapter: what is known of an adapter, None for a whole model.
        weights: what of them was held against what the architecture needs.
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
        require_taken(config, [config.ckpt])
        self.checkpoint: Checkpoint = find_checkpoint(config.ckpt, config.revision, config.adapter_base)
        trust = config.trust_remote_code
        self.weights = require_whole(self.checkpoint, trust)
        self.adapter: Adapter | None = require_adapter(self.checkpoint, trust)
        self._trusted = trust
        folder = self.checkpoint.path
        if config.tokenizer is not None:
            folder = find_tokenizer(config.tokenizer)
        elif self.checkpoint.base and not (folder / "tokenizer_config.json").is_file():
            folder = self.checkpoint.base.path
        self.tokenizer = ChatTokenizer(
            folder, trust, {self.checkpoint.name: embeddings_of(self.checkpoint, trust)}
        )
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
            options=options
            | self.tokenizer.described
            | {"messages_defused": self.tokenizer.defused}
            | {"stop_token_ids": self.stop_token_ids, "weights": str(self.weights)}
            | self._origin(),
        )

    def _origin(self) -> dict[str, Any]:
        """Where the checkpoint comes from, as far as there is something to say."""
        said: dict[str, Any] = {"trust_remote_code": True} if self._trusted else {}
        if self.checkpoint.revision is not None:
            said["revision"] = self.checkpoint.revision
        notes: list[str] = []
        if self.adapter is not None and self.checkpoint.base is not None:
            said["adapter"] = self.adapter.record(self.checkpoint.base)
            notes += self.adapter.notes
        if self.tokenizer.chat_template is None:
            notes.append(
                f"{self.tokenizer.folder} has no chat template: the model got each message as plain text and "
                "a line end"
            )
        return said | {"notes": notes} if notes else said


def only_taken(config: EngineConfig, ckpts: Sequence[str]) -> EngineConfig:
    """The same for some of several checkpoints: a revision is for hub ids, a base for adapters alone."""
    return config.model_copy(
        update={
            "revision": config.revision if any(_takes_revision(ckpt) for ckpt in ckpts) else None,
            "adapter_base": config.adapter_base if any(_takes_base(ckpt) for ckpt in ckpts) else None,
        }
    )


def for_role(config: EngineConfig, ckpt: str) -> EngineConfig:
    """The engine of one of several checkpoints."""
    return only_taken(config, [ckpt]).model_copy(update={"ckpt": ckpt})


def with_revision(ckpts: Mapping[str, str], revision: str) -> dict[str, str]:
    """Checkpoints by role, those on the hub that name no revision with this one.

    Raises:
        HarnessError: none of them takes it.
    """
    taking = {role for role, ckpt in ckpts.items() if _takes_revision(ckpt)}
    if not taking:
        raise HarnessError(
            f"`revision={revision}` is for a hub id without one, and {', '.join(ckpts.values())} isn't that; "
            "leave it out"
        )
    return {role: f"{ckpt}@{revision}" if role in taking else ckpt for role, ckpt in ckpts.items()}


def require_taken(config: EngineConfig, ckpts: Sequence[str]) -> None:
    """Refuse a revision or an adapter's base that none of the checkpoints takes.

    Raises:
        HarnessError: naming the setting.
    """
    if config.revision is not None:
        with_revision({ckpt: ckpt for ckpt in ckpts}, config.revision)
    named = ", ".join(ckpts)
    if config.adapter_base is not None and not any(_takes_base(ckpt) for ckpt in ckpts):
        raise HarnessError(
            f"`adapter_base={config.adapter_base}` is for a peft adapter, and {named} isn't one; leave it out"
        )


def _takes_revision(ckpt: str) -> bool:
    found = hub_name(ckpt)
    return found is not None and found[1] is None


def _takes_base(ckpt: str) -> bool:
    # Whether something on the hub is an adapter shows once it is here.
    return is_adapter(ckpt) or hub_name(ckpt) is not None
