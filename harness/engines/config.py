"""What decides which engine runs and how, and which of its libraries are here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.errors import nearest
from harness.masking import is_secret, remember
from harness.settings import Count, Group, Natural, NonNegative, Settings, Share

EngineName = Literal["vllm", "hf", "openai", "target", "replay"]

_SERVERS, _VLLM = Group("Servers (openai)"), Group("vLLM")


Plausible = Annotated[
    Share,
    Field(
        description="Extrapolate only where the teacher gives a token at least this share of its likeliest "
        "one's probability; 0 does everywhere."
    ),
]


TeacherDevice = Annotated[
    str | None,
    Field(description="Torch device of the teacher, such as `cuda:0`; that of `device` by default."),
]
BaseDevice = Annotated[
    str | None, Field(description="Torch device of the base, such as `cuda:1`; that of `device` by default.")
]


Revision = Annotated[
    str | None,
    Field(description="Hub revision of checkpoints that are named without one; of one alone: NAME@REVISION."),
]
AdapterBase = Annotated[
    str | None,
    Field(
        description="Checkpoint below a peft adapter, in place of the one that its adapter_config.json names."
    ),
]
TrustRemoteCode = Annotated[bool, Field(description="Run Python code that comes with a checkpoint.")]


class TargetConfig(Settings, title="Target"):
    """The extrapolated target π_λ ∝ π_T^λ · π_B^(1−λ)."""

    teacher: str
    """Checkpoint of the teacher π_T, folder or hub id."""
    base: str
    """Checkpoint of the base π_B."""
    lam: NonNegative
    """λ; 0 is the base, 1 the teacher."""
    plausible: Plausible = 0.0
    teacher_device: TeacherDevice = None
    base_device: BaseDevice = None


class EngineConfig(Settings, title="Engine"):
    """Everything that decides which engine runs and how."""

    engine: Literal["auto", EngineName] = "auto"
    """`auto` takes vLLM if it imports and supports the device, else hf."""
    ckpt: str | None = None
    """Checkpoint folder, hub id, or zoo:NAME of the tiny ones shipped; for openai, where the tokenizer is."""
    revision: Revision = None
    adapter_base: AdapterBase = None
    tokenizer: str | None = None
    """Folder or hub id whose tokenizer replaces the checkpoint's."""
    trust_remote_code: TrustRemoteCode = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is the dtype the checkpoint was saved in."""
    device: str = "auto"
    """`auto`, or a torch device such as `cpu` or `cuda:1`."""
    base_urls: Annotated[tuple[str, ...], _SERVERS] = ()
    """Address of an OpenAI-compatible server, with or without a trailing /v1; several make a fleet."""
    api_key_env: Annotated[str, _SERVERS] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the API key; the key is kept nowhere else."""
    concurrency: Annotated[Count, _SERVERS] = 64
    """Most requests in flight, all servers together."""
    retry_seconds: Annotated[float, Field(ge=0), _SERVERS] = 120.0
    """How long servers may go without answering anything before the run gives up."""
    request_seconds: Annotated[float, Field(gt=0), _SERVERS] = 600.0
    """How long a single request may take."""
    request_tries: Annotated[Count, _SERVERS] = 6
    """How often one request may fail while others are answered; then it is set aside and named at the end."""
    served_model: Annotated[str | None, _SERVERS] = None
    """Name the server knows the model by; may be left out where it serves one."""
    target: TargetConfig | None = None
    """What the target engine draws from."""
    replay: Path | None = None
    """Score recorded outputs: JSONL of task_id, text; or what lm-evaluation-harness, an OpenAI batch or
    promptfoo left."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Where recorded outputs have `text`, `task_id`, `sample_index` or `finish_reason`, such as
    text=response.output; dots lead into objects and lists."""
    allow_missing: Natural = 0
    """Finish without up to N samples that can't be had, counted as missing: of requests that servers never
    answer, of rows that a replay file lacks."""
    tensor_parallel_size: Annotated[Count, _VLLM] = 1
    """GPUs that share a layer."""
    pipeline_parallel_size: Annotated[Count, _VLLM] = 1
    """Groups of GPUs that hold consecutive layers."""
    data_parallel_size: Annotated[Count, _VLLM] = 1
    """Replicas, each with a process of its own."""
    gpu_memory_utilization: Annotated[float | None, Field(gt=0, le=1), _VLLM] = None
    """Fraction of a GPU's memory."""
    max_model_len: Count | None = None
    """Longest prompt + completion in tokens, at most the checkpoint's context."""
    batch_size: Count | None = None
    """Prompts a batch, for hf."""
    enforce_eager: Annotated[bool, _VLLM] = False
    """No compilation: starts sooner, generates slower."""
    prefix_caching: Annotated[bool, _VLLM] = True
    """Reuse of the keys and values of shared prompt beginnings."""
    engine_args: Annotated[dict[str, Any], _VLLM] = Field(default_factory=dict)
    """Further arguments of the engine, passed on as they are."""
    log: Path | None = None
    """File for what the engine's processes print; a temporary one by default, kept only on failure."""

    @field_validator("engine_args")
    @classmethod
    def _kept_secret(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """An engine gets its `hf_token`; messages and files don't."""
        for name, value in arguments.items():
            if is_secret(name, arguments=True):
                remember(value)
        return arguments

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, fields: dict[str, str]) -> dict[str, str]:
        known = ("text", "task_id", "sample_index", "finish_reason")
        for name, path in fields.items():
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}{nearest(name, known)}")
            if not path:
                raise ValueError(f"{name} needs the path of a field")
        return fields

    @property
    def replays(self) -> bool:
        """Whether stored outputs are meant, and no model."""
        return self.engine == "replay" or (self.engine == "auto" and self.replay is not None)

    @property
    def asks_servers(self) -> bool:
        """Whether servers are meant, and no model loaded from here."""
        named = self.engine == "auto" and self.replay is None and bool(self.base_urls)
        return self.engine == "openai" or named


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
