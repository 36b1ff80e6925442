"""Which engine a configuration means, and opening it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

from harness.engines.base import Engine
from harness.engines.checkpoint import is_adapter
from harness.engines.config import EngineConfig, EngineName, hf_missing
from harness.engines.zoo import resolved
from harness.errors import EngineUnavailableError, HarnessError

# vLLM is imported in a child process: an import that crashes (a build for other CPUs, say) must not take
# this one with it, and the parent has no other use for it.
VLLM_PROBE = "from vllm.platforms import current_platform; print('device', current_platform.device_type)"
VLLM_PROBE_SECONDS = 120

IN_MEMORY: EngineName = "hf"
"""The engine whose draw also takes a model that this process holds already: `hf_generate`."""
OF_TWO: EngineName = "target"
"""The engine that draws from two checkpoints at once."""


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


def _choose_local(config: EngineConfig) -> tuple[EngineName, str]:
    if is_adapter(config.ckpt) and hf_missing() is None and (why := _not_for_vllm(str(config.ckpt))):
        return "hf", f"hf, because the checkpoint is an adapter that vLLM can't take: {why}"
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


def _not_for_vllm(adapter: str) -> str | None:
    from harness.engines.vllm_adapter import why_not

    try:
        return why_not(resolved(adapter))
    except EngineUnavailableError as error:
        # Whichever engine opens it says so, at more length.
        return str(error)


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


def choose_common_engine(configs: Sequence[EngineConfig]) -> tuple[EngineName, str]:
    """The one engine for checkpoints whose masses are compared, and why in one line.

    Raises:
        EngineUnavailableError: as `choose_engine`.
        HarnessError: as `choose_engine`.
    """
    chosen = [choose_engine(config) for config in configs]
    # Some adapters are only taken by hf.
    return next((one for one in chosen if one[0] == "hf"), chosen[0])


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
    if name == OF_TWO:
        from harness.engines.target_engine import TargetEngine

        return TargetEngine(config)
    if name == "vllm":
        from harness.engines.vllm_engine import VllmEngine

        return VllmEngine(config)
    from harness.engines.hf_engine import HfEngine

    return HfEngine(config)
