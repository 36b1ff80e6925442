"""The child process that holds vLLM: one replica, fed and read over a pipe.

vLLM starts processes of its own, which outlive a killed parent and keep their GPU memory. So it runs in a
session of its own, whose leader (this process) ends the whole session as soon as the pipe to the harness
closes, whatever closed it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.engines.vllm_adapter import known_arguments, load_adapter
from harness.engines.vllm_messages import (
    Done,
    Failed,
    Finished,
    GenerateCall,
    Ready,
    ScoreCall,
    Scored,
    Stop,
    Stopped,
    WorkerConfig,
)
from harness.engines.vllm_session import end_session
from harness.errors import words_of

# Requests handed to the scheduler beyond those it runs at once: enough that it never waits for more.
WAITING_PER_SLOT = 2
# A prompt read in pieces makes vLLM rewind the generator of a seeded request, which ends in "CPU Generator
# does not use offset" and a dead engine.
CPU_ARGUMENTS: dict[str, Any] = {"enable_chunked_prefill": False}
MAX_CPU_CACHE_GIB = 4
MESSAGE_CHARACTERS = 400
CPU_CACHE_SHARE = 8


class Outbox:
    """Messages to the harness, from any thread."""

    def __init__(self, connection: Connection) -> None:
        """Send through `connection`."""
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message; nobody is left to hear it if the pipe is closed."""
        with self._lock, suppress(OSError):
            self._connection.send(message)


def watch_children(outbox: Outbox) -> None:
    """Report the first process of vLLM's that ends, which vLLM's client may wait for for ever."""
    children = multiprocessing.active_children()

    def watch() -> None:
        ended = wait([child.sentinel for child in children])
        child = next(child for child in children if child.sentinel in ended)
        child.join()
        outbox.send(Failed(f"its process {child.name} ended with status {child.exitcode}", dead=True))
        end_session()

    if children:
        threading.Thread(target=watch, daemon=True, name="watch-children").start()


class Inbox:
    """Messages from the harness, read in a thread so that its death is seen at once."""

    def __init__(self, connection: Connection) -> None:
        """Start reading `connection`."""
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._connection = connection
        threading.Thread(target=self._read, daemon=True, name="inbox").start()

    def _read(self) -> None:
        while True:
            try:
                self._messages.put(self._connection.recv())
            except (EOFError, OSError):
                end_session()

    def next(self) -> Any:
        """The next message; waits for it."""
        return self._messages.get()

    def stopped(self) -> bool:
        """Whether the running call was given up; only `Stop` can come while it runs."""
        return not self._messages.empty()


def cpu_cache_gib() -> int:
    """GiB for keys and values on a CPU; vLLM's own choice is 92 % of the machine, or else it won't start."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(MAX_CPU_CACHE_GIB, memory // 2**30 // CPU_CACHE_SHARE))


def load(config: WorkerConfig) -> Any:
    """Load the model.

    Raises:
        RuntimeError: this vLLM doesn't run on the wanted device.
        Exception: whatever vLLM raises.
    """
    from vllm.platforms import current_platform

    found = current_platform.device_type
    if config.device is not None and found != config.device:
        raise RuntimeError(f"the installed vLLM runs on {found or 'no device here'}, not on {config.device}")
    if found == "cpu" and config.replicas > 1:
        # vLLM binds its threads to the cores it may use: without this all replicas share the same ones.
        cores = sorted(os.sched_getaffinity(0))
        own = cores[config.replica :: config.replicas]
        if own:
            os.sched_setaffinity(0, own)
    if found == "cpu" and "gpu_memory_utilization" not in config.llm_arguments:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_gib() // config.replicas or 1))
    # Without it vLLM draws token 0 for ever from logits that aren't numbers; one pass over them a step.
    os.environ.setdefault("VLLM_RAISE_ON_LOGIT_NANS", "1")
    from vllm import LLM

    return LLM(**((CPU_ARGUMENTS if found == "cpu" else {}) | known_arguments(config.llm_arguments)))


def describe(llm: Any) -> Ready:
    """What is known only once the model is loaded."""
    import vllm

    config = llm.llm_engine.vllm_config
    return Ready(
        context_length=int(config.model_config.max_model_len),
        version=str(vllm.__version__),
        options={
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "device": str(config.device_config.device_type),
            "prefix_caching": bool(config.cache_config.enable_prefix_caching),
            "max_num_seqs": int(config.scheduler_config.max_num_seqs),
        },
    )


class RequestRefusedError(Exception):
    """vLLM finds a request invalid."""


class Feeder:
    """Feeds requests to a loaded `LLM` and hands on each output as it finishes."""

    def __init__(self, llm: Any, adapter: Any = None) -> None:
        """Wrap `llm`, which nobody else may use meanwhile; `adapter` is a loaded LoRA request."""
        self._llm = llm
        self._adapter = adapter
        self._slots = int(llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)
        self._added = 0

    def _add(self, prompt_ids: tuple[int, ...], params: Any) -> str:
        prompt = {"prompt_token_ids": list(prompt_ids)}
        if hasattr(self._llm, "enqueue"):
            [added] = self._llm.enqueue([prompt], [params], use_tqdm=False, lora_request=self._adapter)
            # vLLM appends a random part to the id it was given, and reports outputs under the latter.
            return str(added).split("-", 1)[0]
        from vllm.sampling_params import RequestOutputKind

        params.output_kind = RequestOutputKind.FINAL_ONLY
        self._added += 1
        self._llm.llm_engine.add_request(str(self._added), prompt, params, lora_request=self._adapter)
        return str(self._added)

    def _add_checked(self, prompt_ids: tuple[int, ...], params: Any) -> str:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            return self._add(prompt_ids, params)
        except EngineDeadError:
            raise
        except Exception as error:
            # vLLM validates each request as it comes in, with exceptions of many kinds.
            raise RequestRefusedError(words_of(error, MESSAGE_CHARACTERS)) from error

    def run(
        self,
        requests: list[tuple[int, tuple[int, ...], Any]],
        deliver: Callable[[int, Any], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Run (index, prompt ids, sampling params) requests; `deliver` gets (index, output).

        Raises:
            RequestRefusedError: vLLM won't take a request; it can go on with others.
        """
        engine = self._llm.llm_engine
        waiting = deque(requests)
        running: dict[str, int] = {}
        try:
            while (waiting or running) and not stopped():
                while waiting and len(running) < (1 + WAITING_PER_SLOT) * self._slots:
                    index, prompt_ids, params = waiting.popleft()
                    running[self._add_checked(prompt_ids, params)] = index
                for output in engine.step():
                    if output.finished:
                        deliver(running.pop(output.request_id), output)
        finally:
            if running:
                engine.abort_request(list(running))


def structured(schema: str | None) -> dict[str, Any]:
    """The sampling parameter that holds the text to a schema."""
    if schema is None:
        return {}
    from vllm.sampling_params import StructuredOutputsParams

    return {"structured_outputs": StructuredOutputsParams(json=schema)}


def generate(feeder: Feeder, call: GenerateCall, send: Callable[[Any], None], inbox: Inbox) -> None:
    """Draw the completions of `call`."""
    from vllm import SamplingParams

    requests = [
        (
            job.index,
            job.prompt_ids,
            # Explicit, because vLLM would otherwise follow the checkpoint's generation_config.json.
            SamplingParams(
                temperature=call.temperature,
                top_p=call.top_p,
                top_k=0,
                min_p=0.0,
                repetition_penalty=1.0,
                max_tokens=call.max_tokens,
                seed=job.seed,
                stop_token_ids=list(call.stop_token_ids),
                # Text is decoded on the other side, by the tokenizer that all engines share.
                detokenize=False,
                **structured(job.schema),
            ),
        )
        for job in call.jobs
    ]

    def deliver(index: int, output: Any) -> None:
        [completion] = output.outputs
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended a request with {completion.finish_reason!r}")
        send(Finished(index, tuple(completion.token_ids), completion.finish_reason))

    feeder.run(requests, deliver, inbox.stopped)


def score(feeder: Feeder, call: ScoreCall, send: Callable[[Any], None], inbox: Inbox) -> None:
    """Score the completions of `call` as parts of prompts."""
    from vllm import SamplingParams

    jobs = {job.index: job for job in call.jobs}
    params = {"temperature": 0.0, "max_tokens": 1, "detokenize": False, "prompt_logprobs": call.top_k}
    requests = [
        (job.index, job.prompt_ids + job.completion_ids, SamplingParams(**params)) for job in call.jobs
    ]

    def deliver(index: int, output: Any) -> None:
        job = jobs[index]
        logprobs: list[float] = []
        top_ids: list[list[int]] = []
        top_logprobs: list[list[float]] = []
        for token, row in zip(job.completion_ids, output.prompt_logprobs[len(job.prompt_ids) :], strict=True):
            ranked = sorted(row.items(), key=lambda entry: entry[1].rank)[: call.top_k]
            logprobs.append(row[token].logprob)
            top_ids.append([token_id for token_id, _ in ranked])
            top_logprobs.append([entry.logprob for _, entry in ranked])
        send(Scored(index, logprobs, top_ids, top_logprobs))

    feeder.run(requests, deliver, inbox.stopped)


def serve(feeder: Feeder, inbox: Inbox, send: Callable[[Any], None]) -> None:
    """Answer calls for as long as the pipe is open."""
    while True:
        message = inbox.next()
        if isinstance(message, Stop):
            send(Stopped())
            continue
        try:
            if isinstance(message, GenerateCall):
                generate(feeder, message, send, inbox)
            else:
                score(feeder, message, send, inbox)
        except RequestRefusedError as error:
            send(Failed(words_of(error, MESSAGE_CHARACTERS), dead=False))
            continue
        if not inbox.stopped():
            send(Done())


def main(descriptor: int) -> None:
    """Entry point of the child; `descriptor` is its end of the pipe."""
    connection = Connection(descriptor)
    os.set_inheritable(descriptor, False)
    # A forked engine process must not keep the pipe open after this one is gone.
    os.register_at_fork(after_in_child=lambda: os.close(descriptor))
    config: WorkerConfig = connection.recv()
    inbox, outbox = Inbox(connection), Outbox(connection)
    try:
        llm = load(config)
        watch_children(outbox)
        adapter = None if config.adapter is None else load_adapter(llm, config.adapter)
        outbox.send(describe(llm))
        serve(Feeder(llm, adapter), inbox, outbox.send)
    except Exception as error:
        import traceback

        traceback.print_exc()
        outbox.send(Failed(f"{type(error).__name__}: {words_of(error, MESSAGE_CHARACTERS)}", dead=True))
    finally:
        end_session()


def bootstrap_code(root: str, descriptor: int) -> str:
    """Python code that runs `main` in a fresh interpreter where `harness` lies under `root`.

    Code rather than a module name: the interpreter then has no main file, and nothing of the user's program
    is imported again by the processes that vLLM spawns.
    """
    return (
        f"import sys; sys.path.insert(0, {json.dumps(root)}); "
        f"from harness.engines.vllm_worker import main; main({descriptor})"
    )
