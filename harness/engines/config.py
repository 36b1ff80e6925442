"""What decides which engine runs and how, and which of its libraries are here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EngineName = Literal["vllm", "hf", "openai", "replay"]
Size = Annotated[int, Field(ge=1)]


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

    engine: Literal["auto", EngineName] = "auto"
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
