"""LoRA adapters on vLLM: which it can take wholly, and whether it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.engines.adapters import merge_instead, read_adapter, read_config
from harness.engines.checkpoint import Checkpoint
from harness.errors import EngineUnavailableError

ADAPTER_ID = 1
"""The number of the one adapter that vLLM holds here."""
TARGETS = "lora_target_modules"
# Sizes of vLLM's buffers (`vllm/config/lora.py`); the smallest that holds the adapter is taken.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Ways to begin an adapter that leave the base as it is, and so need nothing of who loads it.
_BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_LACKS = {
    "use_dora": "DoRA",
    "lora_bias": "biases of LoRA",
    "modules_to_save": "whole modules saved with an adapter (modules_to_save)",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "target_parameters": "parameters that are no modules (target_parameters)",
    "trainable_token_indices": "trained token embeddings",
    "megatron_config": "Megatron's layers",
}


def lora_arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `vllm.LLM` is told besides, to serve this adapter.

    Raises:
        EngineUnavailableError: it can't, or not wholly; the message says what to do instead.
    """
    why = why_not(checkpoint.path)
    if why is not None:
        raise EngineUnavailableError(
            f"{checkpoint.name} is an adapter that vLLM can't take: {why}; use `engine=hf`, or "
            f"{merge_instead(checkpoint.name)}"
        )
    rank = _max_rank(read_config(checkpoint.path))
    names = {name.removesuffix(".weight") for name in read_adapter(checkpoint.path)}
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": next(size for size in _RANKS if size >= rank),
        # Else vLLM wraps the head too, and on a CPU can't give logprobs of prompts through that.
        TARGETS: sorted({name.rsplit(".", 2)[1] for name in names}),
        "worker_extension_cls": f"{AdapterReport.__module__}.{AdapterReport.__qualname__}",
    }


def known_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those that this vLLM has; its older versions wrap every layer."""
    from vllm.engine.arg_utils import EngineArgs

    knows = {field.name for field in fields(EngineArgs)}
    return {name: value for name, value in arguments.items() if name != TARGETS or name in knows}


def why_not(folder: Path) -> str | None:
    """Why vLLM's LoRA support can't take the adapter in `folder` wholly, None where it can.

    After its own list (`vllm/lora/peft_helper.py`, 0.32), most of which it checks too late or passes over.

    Raises:
        EngineUnavailableError: the adapter's files can't be read.
    """
    config = read_config(folder)
    if config["peft_type"] != "LORA":
        return f"it serves LoRA, and this is one of kind {config['peft_type']}"
    for name, what in _LACKS.items():
        if config.get(name):
            return f"it doesn't serve {what}"
    if config.get("bias", "none") != "none":
        return "it doesn't serve trained biases"
    begun = config.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower() not in _BEGINNINGS:
        return f"it was begun by {begun}, which changes the base"
    if (rank := _max_rank(config)) > _RANKS[-1]:
        return f"its rank is {rank}, above {_RANKS[-1]}"
    return _odd_tensor(read_adapter(folder))


def _odd_tensor(names: Iterable[str]) -> str | None:
    for name in names:
        module, _, kind = name.removesuffix(".weight").rpartition(".")
        if kind not in ("lora_A", "lora_B"):
            return f"it doesn't serve tensors such as {name}"
        # vLLM applies those of the head to what it draws, and not to the logprobs of prompts.
        if (last := module.rpartition(".")[2]) in ("lm_head", "embed_out", "embed_tokens", "wte"):
            return f"its scores would leave out the LoRA of {last}"
    return None


def _max_rank(config: Mapping[str, Any]) -> int:
    ranks = (config.get("rank_pattern") or {}).values()
    return max([int(config["r"]), *(rank for rank in ranks if isinstance(rank, int))])


class AdapterReport:
    """Methods that vLLM's worker class gets; called over its `collective_rpc`."""

    model_runner: Any

    def modules_without_place(self) -> list[str]:
        """Modules of the loaded adapter for which the model on this worker has no place.

        vLLM passes over those without a word, and the base answers in their stead.
        """
        manager = self.model_runner.lora_manager._adapter_manager
        adapter = manager.list_adapters()[ADAPTER_ID]
        used = [manager._get_lora_layer_weights(adapter, name) for name in manager.modules]
        placed = {id(weights) for weights in used if weights is not None}
        return [name for name, weights in adapter.loras.items() if id(weights) not in placed]


def load_adapter(llm: Any, folder: str) -> Any:
    """Load an adapter into a `vllm.LLM`; what its requests name comes back.

    Raises:
        RuntimeError: vLLM has no place for some of its modules.
        Exception: whatever vLLM raises.
    """
    from vllm.lora.request import LoRARequest

    request = LoRARequest(Path(folder).name or "adapter", ADAPTER_ID, folder)
    if not llm.llm_engine.add_lora(request):
        raise RuntimeError("vLLM didn't take the adapter")
    # With pipeline parallelism each worker has a part of the model.
    first, *others = [
        set(names) for names in llm.collective_rpc(AdapterReport.modules_without_place.__name__)
    ]
    if left := sorted(first.intersection(*others)):
        raise RuntimeError(f"vLLM has no place for {len(left)} modules of the adapter, such as {left[0]}")
    return request
