"""How an engine is chosen, described and opened."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.engines.base import Engine
from harness.errors import EngineUnavailableError, HarnessError

EngineName = Literal["vllm", "hf", "openai", "replay"]
Size = Annotated[int, Field(ge=1)]

# vLLM is imported in a child process: an import that crashes (a build for other CPUs, say) must not take
# this one with it, and the parent has no other use for it.
VLLM_PROBE = "from vllm.platforms import current_platform; print('device', current_platform.device_type)"
VLLM_PROBE_SECONDS = 120


class EngineConfig(BaseModel):
    """Everything that decides which engine runs and how.

    Attributes:
        engine: `auto` takes vLLM if it imports and supports the device, else hf.
        ckpt: folder or Hugging Face hub id of the checkpoint; for `openai`, where the tokenizer is.
        revision: hub revision of `ckpt`.
        tokenizer: folder or hub id whose tokenizer replaces the checkpoint's.
        trust_remote_code: run Python code that comes with the checkpoint.
        dtype: `auto` is the dtype the checkpoint was saved in.
        device: `auto`, or a torch device such as `cpu` or `cuda:1`.
        base_urls: addresses of OpenAI-compatible servers, with or without a trailing `/v1`.
        api_key_env: name of the environment variable that holds the API key; the key is kept nowhere else.
        concurrency: most requests in flight, all servers together.
        retry_seconds: how long servers may go without answering anything before the run gives up.
        request_seconds: how long a single request may take.
        served_model: the name the server knows the model by; may be left out where it serves one model.
        replay: file of stored outputs.
        allow_missing: replay only the tasks the file has, instead of refusing to start.
        tensor_parallel_size: vLLM, GPUs that share a layer.
        pipeline_parallel_size: vLLM, groups of GPUs that hold consecutive layers.
        data_parallel_size: vLLM, replicas, each with a process of its own.
        gpu_memory_utilization: vLLM, fraction of a GPU's memory in (0, 1].
        max_model_len: longest prompt + completion, at most the checkpoint's context.
        batch_size: hf, prompts a batch.
        enforce_eager: vLLM, no compilation: starts sooner, generates slower.
        prefix_caching: vLLM, reuse of the keys and values of shared prompt beginnings.
        engine_args: further arguments for `vllm.LLM`, passed on as they are.
        log: file for what the engine's processes print; a temporary one if None, kept only on failure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["auto", "vllm", "hf", "openai", "replay"] = "auto"
    ckpt: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    trust_remote_code: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: Size = 64
    retry_seconds: Annotated[float, Field(ge=0)] = 120.0
    request_seconds: Annotated[float, Field(gt=0)] = 600.0
    served_model: str | None = None
    replay: Path | None = None
    allow_missing: bool = False
    tensor_parallel_size: Size = 1
    pipeline_parallel_size: Size = 1
    data_parallel_size: Size = 1
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_model_len: Size | None = None
    batch_size: Size | None = None
    enforce_eager: bool = False
    prefix_caching: bool = True
    engine_args: dict[str, Any] = Field(default_factory=dict)
    log: Path | None = None


@cache
def vllm_platform() -> tuple[str | None, str]:
    """The device type the installed vLLM runs on (None if it can't) and, if None, why."""
    if importlib.util.find_spec("vllm") is None:
        return None, "vLLM is not installed"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", VLLM_PROBE],
            capture_output=True,
            text=True,
            timeout=VLLM_PROBE_SECONDS,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"vLLM is installed but did not import within {VLLM_PROBE_SECONDS} s"
    if probe.returncode != 0:
        lines = [line for line in probe.stderr.splitlines() if line.strip()]
        cause = lines[-1].strip() if lines else f"exit status {probe.returncode}"
        return None, f"vLLM is installed but does not import ({cause})"
    words = probe.stdout.split()
    device = words[-1] if len(words) > 1 and words[-2] == "device" else ""
    return (device, "") if device else (None, "vLLM is installed but finds no device it supports")


def installed_version(*distributions: str) -> str | None:
    """Version of the first of these distributions that is installed."""
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def hf_missing() -> str | None:
    """The first library the hf engine needs and this environment lacks."""
    return next((name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None), None)


def _choose_local(config: EngineConfig) -> tuple[EngineName, str]:
    from harness.engines.checkpoint import is_adapter

    if is_adapter(config.ckpt) and hf_missing() is None:
        return "hf", "hf, because the checkpoint is a peft adapter"
    wanted = config.device.split(":")[0]
    platform, why_not = vllm_platform()
    if platform is not None and wanted in ("auto", platform):
        return "vllm", f"vllm, because vLLM imports and supports {platform}"
    if platform is not None:
        why_not = f"the installed vLLM runs on {platform}, not on {wanted}"
    missing = hf_missing()
    if missing is None:
        return "hf", f"hf, because {why_not}"
    raise EngineUnavailableError(
        f"no engine can load {config.ckpt}: {why_not}, and {missing} is not installed; "
        "run: pip install 'format-safety-harness[hf]'"
    )


def choose_engine(config: EngineConfig) -> tuple[EngineName, str]:
    """The engine this configuration means, and why in one line.

    Raises:
        EngineUnavailableError: `auto` and neither vLLM nor transformers can be used.
        HarnessError: nothing says what to evaluate.
    """
    if config.engine != "auto":
        return config.engine, f"{config.engine}, as asked"
    if config.replay is not None:
        return "replay", "replay, because a file of stored outputs was given"
    if config.base_urls:
        return "openai", "openai, because a server address was given"
    if config.ckpt is None:
        raise HarnessError("nothing to evaluate: give a checkpoint, a server address or a replay file")
    return _choose_local(config)


def open_engine(config: EngineConfig) -> Engine:
    """Make the engine without loading the model.

    Raises:
        EngineUnavailableError: its library isn't installed, or the checkpoint can't be used.
        DataError: a replay file that can't be read.
        HarnessError: an argument the engine needs is missing.
    """
    name, _ = choose_engine(config)
    if name == "replay":
        from harness.engines.replay import ReplayEngine

        return ReplayEngine(config)
    if name == "openai":
        from harness.engines.openai_engine import OpenAIEngine

        return OpenAIEngine(config)
    if name == "vllm":
        from harness.engines.vllm_engine import VllmEngine

        return VllmEngine(config)
    from harness.engines.hf_engine import HfEngine

    return HfEngine(config)
