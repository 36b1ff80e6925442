"""The transformers engine: batches on one device, CPU or GPU; peft adapters."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from harness.data.tasks import Conversation
from harness.engines.adapters import apply_adapter
from harness.engines.base import (
    Capabilities,
    EngineInfo,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
)
from harness.engines.config import EngineConfig, hf_missing, installed_version
from harness.engines.hf_loading import load_causal_model
from harness.engines.limits import check_prompts, how_it_ended
from harness.engines.local_model import LocalModel
from harness.engines.memory import Need, need_of
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import EngineUnavailableError, words_of

BATCH_SIZE = {"cpu": 8}
ACCELERATOR_BATCH_SIZE = 32


class HfEngine:
    """Draws and scores completions with transformers."""

    def __init__(self, config: EngineConfig) -> None:
        """Check what can be checked without loading anything.

        Raises:
            EngineUnavailableError: a library isn't installed, or the checkpoint can't be used.
        """
        if missing := hf_missing():
            raise EngineUnavailableError(
                f"the hf engine needs {missing}; run: pip install 'format-safety-harness[hf]'"
            )
        self._config = config
        self._local = LocalModel(config)
        self._tokenizer = self._local.tokenizer
        self._model: Any = None
        self._grammars: Any = None

    @property
    def capabilities(self) -> Capabilities:
        """Everything about one batch at a time."""
        return Capabilities(exact_masses=True, batch_size=self._batch_size(), defuses=True)

    def info(self) -> EngineInfo:
        """Describe the engine; hashes the checkpoint the first time."""
        local = self._local
        options = {
            "torch": installed_version("torch"),
            "dtype": local.dtype,
            "device": self._device(),
            "batch_size": self._batch_size(),
        }
        version = installed_version("transformers") or "unknown"
        return local.info("hf", version, local.context_length, options)

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The checkpoint's, or the one given in its place."""
        return self._tokenizer

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Token ids of each conversation, chat template applied."""
        return self._tokenizer.encode(prompts, arguments)

    def vocabulary(self) -> dict[str, int]:
        """Every token of the tokenizer and its id."""
        vocabulary: dict[str, int] = self._tokenizer.tokenizer.get_vocab()
        return vocabulary

    def start(self) -> None:
        """Load the model.

        Raises:
            EngineUnavailableError: transformers can't load this checkpoint here.
        """
        if self._model is not None:
            return
        checkpoint = self._local.checkpoint
        checkpoint.start_hashing()
        import torch

        dtype = self._local.dtype
        base = checkpoint.base or checkpoint
        wanted = dtype if dtype == "auto" else getattr(torch, dtype)
        model = load_causal_model(base, wanted, self._config.trust_remote_code)
        try:
            if checkpoint.base is not None:
                model = apply_adapter(model, checkpoint)
            self._model = model.to(self._device()).eval()
            # What errors name; transformers has the folder there, of an adapter the base's.
            model.config._name_or_path = checkpoint.name
        # torch asserts that it was built for the device.
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, AssertionError) as error:
            raise EngineUnavailableError(
                f"transformers can't load {checkpoint.name}: {words_of(error, 300)}"
            ) from error

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        done: Collection[str] = frozenset(),
    ) -> Iterator[Generation]:
        """Yield completions batch by batch.

        Batches are formed from all requests, longest prompts first, and a batch is run again unless all of
        it is done: so a run that goes on after a kill computes exactly what it would have computed.

        Raises:
            DataError: a prompt doesn't fit the context.
            EngineUnavailableError: structured output without xgrammar.
            IncompleteError: the device ran out of memory.
            NotNumbersError: the logits are NaN or infinite.
        """
        if self._model is None:
            raise RuntimeError("the engine is not started")
        check_prompts(requests, self._local.context_length)
        if any(request.schema is not None for request in requests):
            self._grammars = self._grammars or self._make_grammars()
        return self._generate(requests, sampling, set(done))

    def _generate(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams, done: set[str]
    ) -> Iterator[Generation]:
        ordered = sorted(requests, key=lambda request: -len(request.prompt_ids))
        size = self._together()
        for start in range(0, len(ordered), size):
            batch = ordered[start : start + size]
            if all(request.key in done for request in batch):
                continue
            answers = self._answers(batch, sampling)
            for request, token_ids in zip(batch, answers, strict=True):
                if request.key not in done:
                    yield self._generation(request, token_ids)

    def _generation(self, request: GenerationRequest, token_ids: tuple[int, ...]) -> Generation:
        return Generation(
            key=request.key,
            text=self._tokenizer.decode(token_ids),
            token_ids=token_ids,
            finish_reason=how_it_ended(token_ids, self._local.stop_token_ids),
            prompt_tokens=len(request.prompt_ids),
            completion_tokens=len(token_ids),
        )

    @property
    def model(self) -> Any:
        """The model that was loaded."""
        if self._model is None:
            raise RuntimeError("the engine is not started")
        return self._model

    def _answers(self, batch: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[int, ...]]:
        from harness.engines.hf_generate import generate

        return generate(
            self._model,
            [request.prompt_ids for request in batch],
            [request.seed for request in batch],
            sampling,
            stop_ids=self._local.stop_token_ids,
            context_length=self._local.context_length,
            grammars=[request.schema and self._grammars.compile(request.schema) for request in batch],
        )

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """Yield raw logprobs of given completions batch by batch; batches are formed as in `generate`."""
        if self._model is None:
            raise RuntimeError("the engine is not started")
        from harness.engines.hf_scoring import score

        self._tokenizer.require_readable(requests)
        return score(self._model, requests, top_k, self._batch_size(), done)

    def close(self) -> None:
        """Free the model."""
        if self._model is None:
            return
        self._model = self._grammars = None
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _make_grammars(self) -> Any:
        from harness.engines.hf_sampling import Grammars

        width = self._model.get_output_embeddings().weight.shape[0]
        return Grammars(self._tokenizer.tokenizer, width, self._local.stop_token_ids)

    def _device(self) -> str:
        if self._config.device != "auto":
            return self._config.device
        import torch

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def need(self) -> Need:
        """What its weights take, and where."""
        return need_of(self._local.checkpoint, self._local.dtype, self._device())

    def _together(self) -> int:
        """Prompts that are answered in one batch."""
        return self._batch_size()

    def _batch_size(self) -> int:
        family = self._device().partition(":")[0]
        return self._config.batch_size or BATCH_SIZE.get(family, ACCELERATOR_BATCH_SIZE)
