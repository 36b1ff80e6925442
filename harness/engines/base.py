"""What every engine offers, and the small types that cross its border."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from harness.errors import IncompleteError
from harness.masking import masked, masked_name, masked_values

if TYPE_CHECKING:
    from harness.cliff import ClassMass
    from harness.data.tasks import Conversation
    from harness.engines.tokenizer import ChatTokenizer

FinishReason = Literal["stop", "length", "withheld"]
"""`withheld`: a provider's filter or refusal stands in place of the model's answer. See `finish_reasons`."""


REMARKS = "remarks"
"""Among an engine's options: sentences on what isn't as it was asked for; it may learn them as it runs."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How completions are drawn, the same for every engine.

    Attributes:
        temperature: ≥ 0; 0 is greedy.
        top_p: nucleus mass in (0, 1].
        max_tokens: most completion tokens, ≥ 1.
        seed: base seed; sample i of a task is drawn with a seed derived from it, the key and i.
        constrained: whether the engine's structured output holds the text to the contract's schema.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 0
    constrained: bool = False


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion to draw.

    Attributes:
        key: identifies the sample in its run; comes back on the `Generation`.
        task_id: the task it belongs to.
        sample_index: 0-based index among the samples of this task.
        prompt_text: the conversation as one text, before the chat template.
        prompt_ids: the prompt's token ids, chat template applied; empty where the engine has no tokenizer.
        seed: 0 ≤ seed < 2**31, for this sample alone, so that batching can't change what it draws.
        schema: JSON Schema for structured output, None when not constrained.
        messages: the conversation, for engines that send it as it is; empty where `prompt_text` is all.
    """

    key: str
    task_id: str
    sample_index: int
    prompt_text: str
    prompt_ids: tuple[int, ...]
    seed: int
    schema: dict[str, Any] | None = None
    messages: Conversation = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """One finished completion.

    Attributes:
        key: the request's key.
        text: the completion, special tokens left out, nothing trimmed.
        token_ids: the completion's ids as the engine drew them, EOS included; empty when unknown.
        finish_reason: `length` when `max_tokens` or the context cut it off, `withheld` when the provider did;
            `text` is then what it let through, mostly nothing.
        prompt_tokens: prompt length, None when unknown.
        completion_tokens: completion length in tokens, None when unknown.
        answered_by: the model's name in a server's reply, None where there is none.
        only_reasoning: whether a server sent reasoning and an empty answer.
    """

    key: str
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    answered_by: str | None = None
    only_reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request that got no answer though others did.

    Attributes:
        key: the request's key.
        cause: what came of the last attempt, in words.
    """

    key: str
    cause: str


class UnansweredError(IncompleteError):
    """Some requests got no answer though others did; everything that did was yielded. Exit code 3.

    Args:
        requests: all of them.
    """

    def __init__(self, requests: Sequence[Unanswered]) -> None:
        self.requests = tuple(requests)
        first = self.requests[0]
        super().__init__(
            f"{len(self.requests)} requests got no answer though others did (first: {first.key}: "
            f"{first.cause}); run the same command again to go on"
        )


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A completion whose tokens are to be scored under this engine's model.

    Attributes:
        key: comes back on the `TokenScores`.
        prompt_ids: context that is not scored.
        completion_ids: the T tokens to score.
        classes: where class masses are asked for, T arrays of token ids (int64, distinct, ascending), one a
            token; positions with the same class share one array object. Empty otherwise. All requests of a
            call have them, or none.
    """

    key: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    classes: tuple[npt.NDArray[np.int64], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Raw logprobs (T = 1, top_p = 1) at the T completion positions; entry t belongs to token t.

    Attributes:
        key: the request's key.
        logprobs: [T] logprob of the token that stands there.
        top_ids: [T, k] ids of the most likely tokens, most likely first.
        top_logprobs: [T, k] their logprobs.
        class_masses: [T] of the request's classes, exact, where the engine sees the whole distribution; the
            top-k is then left out (k = 0). None where no classes were asked for, or only the top-k is known.
    """

    key: str
    logprobs: npt.NDArray[np.float64]
    top_ids: npt.NDArray[np.int64]
    top_logprobs: npt.NDArray[np.float64]
    class_masses: ClassMass | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a manifest records of an engine: names, options and remarks without the keys in them.

    Attributes:
        name: `vllm`, `openai`, `hf` or `replay`.
        version: version of the library or server behind it.
        checkpoint: what was asked for, as the user named it.
        weights_sha256: hash over the checkpoint's files, None where they can't be seen.
        chat_template_sha256: None where the engine has no chat template.
        tokenizer_sha256: None where the engine has no tokenizer.
        context_length: longest prompt + completion in tokens, None when unknown.
        parameters: number of weights, None when unknown.
        options: everything else that decides its output or its speed (dtype, parallel sizes, device).
    """

    name: str
    version: str
    checkpoint: str
    weights_sha256: str | None = None
    chat_template_sha256: str | None = None
    tokenizer_sha256: str | None = None
    context_length: int | None = None
    parameters: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, safe in (
            ("version", masked(self.version)),
            ("checkpoint", masked_name(self.checkpoint)),
            ("options", masked_values(self.options)),
        ):
            object.__setattr__(self, name, safe)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, as far as its callers have to know; nobody asks what it is called.

    Attributes:
        exact_masses: it sees the whole distribution, so class masses are exact and no top-k is looked at.
        max_top_k: most tokens a position that it may be asked for; None where only the user can know.
        score_room: tokens of context that scoring takes beside the sequence itself.
        batch_size: requests it computes together, in batches formed from the whole plan; None where each is
            served on its own.
        begins_all: requests of one call are all under way at once, so whoever may end early hands over few.
        own_process: the model loads in another process, so this one can work meanwhile.
        defuses: its `encode` breaks the checkpoint's own special tokens in messages, because it knows them.
    """

    exact_masses: bool = False
    max_top_k: int | None = None
    score_room: int = 0
    batch_size: int | None = None
    begins_all: bool = False
    own_process: bool = False
    defuses: bool = False


class Engine(Protocol):
    """Draws and scores completions. Cheap to make; the model loads at `start`."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; known before it is started, and without reading the checkpoint."""
        ...

    def info(self) -> EngineInfo:
        """Describe the engine and its checkpoint without starting it."""
        ...

    @property
    def tokenizer(self) -> ChatTokenizer | None:
        """What reads and writes its token ids, None where it isn't on this machine."""
        ...

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Token ids of each conversation, chat template applied; needs no started model.

        Args:
            prompts: conversations, each ending with the user's turn.
            arguments: what the chat template is given besides its usual ones.
        """
        ...

    def start(self) -> None:
        """Load the model; does nothing the second time."""
        ...

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        done: Collection[str] = frozenset(),
    ) -> Iterator[Generation]:
        """Yield completions as they finish, in any order.

        Args:
            requests: the whole plan, also what is done already, so that an engine which batches can form
                the same batches when a killed run goes on.
            sampling: the same for all requests.
            done: keys that must not be yielded again.

        Raises:
            IncompleteError: the engine died; what was yielded before stays good.
            UnansweredError: at the end, of requests that can't be answered.
        """
        ...

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """Yield raw logprobs of given completions, in any order.

        Args:
            requests: the whole plan, as in `generate`.
            top_k: tokens a position.
            done: keys that must not be yielded again.
        """
        ...

    def close(self) -> None:
        """Free the model and its processes; does nothing the second time."""
        ...
