"""Reasoning apart from answers: which mark ends it, and what of a completion stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.choice import PromptConfig
from harness.data.prompt_file import PromptRecord
from harness.engines import Engine, EngineInfo, Generation
from harness.engines.tokenizer import REASONING, ChatTokenizer, Thoughts
from harness.rollouts import Prompt
from harness.runs import Manifest

__all__ = ["Parts", "Thoughts", "with_mark"]

_TAIL = 16
"""Tokens of a prompt in which a template can have opened the reasoning."""


def with_mark(
    prompt: PromptRecord, config: PromptConfig, info: EngineInfo, earlier: Manifest | None
) -> PromptRecord:
    """The prompt's record with the mark that ends reasoning.

    Where nobody names one it is the checkpoint's own, or, of a run that is gone on with, what that has.
    """
    if config.reasoning_end is not None:
        return prompt
    found = info.options.get("reasoning_end") if earlier is None else earlier.prompt.reasoning_end
    return prompt.model_copy(update={"reasoning_end": found})


@dataclass(frozen=True, slots=True)
class Parts:
    """How completions of a run are taken apart.

    Attributes:
        end: the mark that ends reasoning, None where none is looked for.
        tokenizer: that wrote the completions, where it is known.
        begun: whether the prompts themselves begin the reasoning.
    """

    end: str | None
    tokenizer: ChatTokenizer | None = None
    begun: bool = False

    @classmethod
    def of(cls, end: str | None, engine: Engine, prompts: Sequence[Prompt]) -> Parts:
        """Those of an engine's answers to these prompts."""
        if end is None:
            return cls(None)
        tokenizer = engine.tokenizer
        ids = prompts[0].ids if prompts else ()
        begun = tokenizer is not None and bool(ids) and _begins(tokenizer, ids, end)
        return cls(end, tokenizer, begun)

    def of_answer(self, generation: Generation) -> Thoughts:
        """A completion in its two parts; of one that was cut off while it reasoned, the answer is empty."""
        text, ids = generation.text, generation.token_ids
        if self.end is None:
            return Thoughts("", text, None)
        found = None
        if self.tokenizer is not None and ids:
            found = self.tokenizer.apart(ids, self.end)
        else:
            before, there, answer = text.partition(self.end)
            found = Thoughts(before + there, answer, None) if there else None
        if found is not None:
            return found
        begun = self.begun or text.lstrip().startswith(opening(self.end))
        if begun and generation.finish_reason == "length":
            return Thoughts(text, "", len(ids) or generation.completion_tokens)
        return Thoughts("", text, None)


def opening(end: str) -> str:
    """The mark that begins the reasoning which `end` ends: `<think>` of `</think>`."""
    return REASONING.get(end) or end.replace("/", "", 1)


def _begins(tokenizer: ChatTokenizer, ids: Sequence[int], end: str) -> bool:
    tail = str(tokenizer.tokenizer.decode(list(ids[-_TAIL:]), skip_special_tokens=False))
    return tail.rstrip().endswith(opening(end))
