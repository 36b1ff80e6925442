"""Folders that hold a model in another form, and what makes a checkpoint of each.

Trainers leave shards, optimizer states and formats of their own. Each kind is one row: by what it is known,
what it is, and the command that its own framework has for it (looked up in November 2026).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import draft_of

_BRIDGE = (
    "convert it with Megatron Bridge: python examples/conversion/convert_checkpoints.py export "
    "--hf-model HF_ID"
)
_SERVE = (
    "serve it (llama-server -m {found} --port 8080) and give `base_urls=http://127.0.0.1:8080/v1`, or take "
    "the model's safetensors"
)
_NEMO = (
    "export {found} with NeMo's converter for its model "
    "(scripts/checkpoint_converters/convert_*_nemo_to_hf.py)"
)
_CARRY = "then copy config.json and the tokenizer into DIR"
_NUMBER = re.compile(r"\d+")


def visible(folder: Path, pattern: str) -> list[Path]:
    """What matches a pattern below a folder, less what is hidden and not asked for by its dot; sorted.

    `Path.glob` gives hidden names too. What a Mac, an editor or the hub's client leaves there (`._model.…`,
    `.model.….swp`, `.cache/`) is read by no loader: transformers takes fixed names, vLLM `glob.glob`'s.
    """
    asked = Path(pattern).parts
    return sorted(
        found
        for found in folder.glob(pattern)
        if not any(
            part.startswith(".") and not of.startswith(".")
            for part, of in zip(found.relative_to(folder).parts, asked, strict=True)
        )
    )


@dataclass(frozen=True, slots=True)
class FolderKind:
    """One kind of folder.

    Attributes:
        what: `a verl checkpoint (FSDP shards)`.
        signs: patterns below the folder, one of which must match something; of several matches the one with
            the largest numbers in its name counts.
        remedy: what to do, with {folder}, {found} (what matched), {inside} (the folder it lies in) and
            {above} (the folder above that), all quoted for a shell.
        named: pattern that the folder's own name must match as well.
    """

    what: str
    signs: tuple[str, ...]
    remedy: str
    named: str = ""

    def of(self, folder: Path) -> str | None:
        """What the folder is and what to do with it, None where it isn't of this kind."""
        if self.named and not re.fullmatch(self.named, folder.resolve().name):
            return None
        for sign in self.signs:
            found = sorted(visible(folder, sign), key=_numbers)
            if found:
                last = found[-1]
                places = {
                    "folder": folder,
                    "found": last,
                    "inside": last.parent,
                    "above": last.parent.parent,
                }
                quoted = {name: shlex.quote(str(place)) for name, place in places.items()}
                return f"{self.what}: {self.remedy.format(**quoted)}"
        return None


def _numbers(path: Path) -> tuple[list[int], str]:
    return [int(number) for number in _NUMBER.findall(str(path))], str(path)


_ZERO = "*_optim_states.pt", "*_model_states.pt"
_SHARDS = "model_world_size_*_rank_*.pt"

UNFINISHED = "what a command left that was killed; run that command again, or delete the folder"
KINDS = (
    FolderKind(
        "what `harness eval` wrote, a run", ("samples.jsonl*",), "its manifest.json names the checkpoint"
    ),
    FolderKind(
        "the folder of a training run",
        ("checkpoint/config.json", "checkpoint/adapter_config.json"),
        "a training run's is {inside}",
    ),
    FolderKind(
        "a forecast",
        ("forecast.json",),
        "it names its teacher and base",
    ),
    FolderKind(
        "the folder of a training run that isn't finished",
        ("train.jsonl",),
        "go on with the same `harness train` command and `resume=True`",
    ),
    # verl, before what it is made of.
    FolderKind(
        "a verl checkpoint with a LoRA adapter",
        (
            "lora_adapter/adapter_config.json",
            "actor/lora_adapter/adapter_config.json",
            "global_step_*/actor/lora_adapter/adapter_config.json",
        ),
        "the adapter is {inside}",
    ),
    FolderKind(
        "a verl checkpoint",
        (
            "huggingface/*.safetensors",
            "actor/huggingface/*.safetensors",
            "global_step_*/actor/huggingface/*.safetensors",
        ),
        "its Hugging Face weights are {inside}",
    ),
    FolderKind(
        "a verl checkpoint (FSDP shards)",
        (_SHARDS, f"actor/{_SHARDS}", f"global_step_*/actor/{_SHARDS}"),
        "merge it: python -m verl.model_merger merge --backend fsdp --local_dir {inside} --target_dir DIR",
    ),
    FolderKind(
        "the configs of a verl checkpoint, whose FSDP shards lie beside it",
        (f"../{_SHARDS}",),
        "merge them: python -m verl.model_merger merge --backend fsdp --local_dir {inside} --target_dir DIR",
        named="huggingface",
    ),
    FolderKind(
        "a verl checkpoint (Megatron)",
        ("dist_ckpt/", "actor/dist_ckpt/", "global_step_*/actor/dist_ckpt/"),
        "merge it: python -m verl.model_merger merge --backend megatron --local_dir {inside} "
        "--target_dir DIR",
    ),
    FolderKind(
        "a verl checkpoint without weights",
        ("actor/huggingface/config.json", "fsdp_config.json", "huggingface/config.json"),
        f"its shards ({_SHARDS}) are missing; copy them too, then: python -m verl.model_merger merge "
        "--backend fsdp --local_dir {folder} --target_dir DIR",
    ),
    # Megatron and what is built on it.
    FolderKind(
        "a NeMo checkpoint",
        ("context/model.yaml", "context/io.json", "*/context/model.yaml", "*/context/io.json"),
        'export it: python -c "from nemo.collections import llm; '
        "llm.export_ckpt(path='{above}', target='hf', output_path='DIR')\"",
    ),
    FolderKind(
        "a folder with a NeMo archive",
        ("*.nemo",),
        _NEMO,
    ),
    FolderKind(
        "a NeMo RL checkpoint",
        ("policy/weights/", "step_*/policy/weights/"),
        "convert it: python examples/converters/convert_dcp_to_hf.py --config={above}/config.yaml "
        "--dcp-ckpt-path={found} --hf-ckpt-path=DIR",
    ),
    FolderKind(
        "a Megatron checkpoint",
        ("iter_*/common.pt", "iter_*/mp_rank_*/", "iter_*/.metadata", "release/mp_rank_*/"),
        _BRIDGE + " --megatron-path {inside} --hf-path DIR",
    ),
    FolderKind(
        "one iteration of a Megatron checkpoint",
        ("common.pt", "mp_rank_*/model_optim_rng.pt", "mp_rank_*/*.pt"),
        _BRIDGE + " --megatron-path {folder} --hf-path DIR",
    ),
    # torch's distributed format and what is built on it.
    FolderKind(
        "an FSDP checkpoint of accelerate",
        (
            "pytorch_model_fsdp_*/.metadata",
            "pytorch_model_fsdp_*/*.distcp",
            "checkpoint-*/pytorch_model_fsdp_*/.metadata",
        ),
        f"merge it: accelerate merge-weights {{inside}} DIR, {_CARRY}",
    ),
    FolderKind(
        "the FSDP shards of accelerate",
        (".metadata", "*.distcp"),
        f"merge them: accelerate merge-weights {{folder}} DIR, {_CARRY}",
        named=r"pytorch_model_fsdp_\d+",
    ),
    FolderKind(
        "a torchtitan checkpoint",
        ("step-*/.metadata", "checkpoint/step-*/.metadata"),
        "convert it: python scripts/checkpoint_conversion/convert_to_hf.py {inside} DIR --model_name NAME "
        "--model_flavor FLAVOR",
    ),
    FolderKind(
        "one step of a torchtitan checkpoint",
        (".metadata",),
        "convert it: python scripts/checkpoint_conversion/convert_to_hf.py {folder} DIR --model_name NAME "
        "--model_flavor FLAVOR",
        named=r"step-\d+",
    ),
    FolderKind(
        "a checkpoint of torch's distributed format",
        (".metadata", "*.distcp", "*/.metadata", "*/*.distcp", "*/*/.metadata", "*/*/*.distcp"),
        "join it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {inside} model.pt, then "
        "load that into the model and save_pretrained",
    ),
    FolderKind(
        "a DeepSpeed checkpoint",
        ("zero_to_fp32.py", "checkpoint-*/zero_to_fp32.py"),
        f"merge it: python {{found}} {{inside}} DIR --safe_serialization, {_CARRY}",
    ),
    FolderKind(
        "a DeepSpeed checkpoint",
        tuple(f"global_step*/{state}" for state in _ZERO),
        "merge it: python -m deepspeed.utils.zero_to_fp32 {folder} DIR --safe_serialization, " + _CARRY,
    ),
    FolderKind(
        "one step of a DeepSpeed checkpoint",
        _ZERO,
        "merge the folder it lies in: python -m deepspeed.utils.zero_to_fp32 {above} DIR "
        "--safe_serialization, " + _CARRY,
    ),
    # Whole checkpoints further down.
    FolderKind(
        "an output folder of a training run",
        ("checkpoint-*/config.json", "checkpoint-*/adapter_config.json"),
        "its newest checkpoint is {inside}",
    ),
    FolderKind(
        "a repository in the Hugging Face cache",
        ("snapshots/*/config.json", "snapshots/*/adapter_config.json"),
        "the checkpoint is {inside}",
    ),
    FolderKind(
        "a folder with an adapter in it",
        ("*/adapter_config.json", "*/*/adapter_config.json"),
        "the adapter is {inside}",
    ),
    FolderKind(
        "a folder with checkpoints in it",
        ("*/model*.safetensors", "*/pytorch_model*.bin", "*/*/model*.safetensors"),
        "name one of them, such as {inside}",
    ),
    # Other formats.
    FolderKind(
        "a folder with a GGUF file",
        ("*.gguf",),
        _SERVE,
    ),
    FolderKind(
        "an MLX adapter",
        ("adapters.safetensors", "adapters.npz"),
        "fuse it: mlx_lm.fuse --model BASE --adapter-path {folder} --save-path DIR --dequantize",
    ),
    FolderKind(
        "a model in MLX's format",
        ("weights.npz", "weights.*.npz"),
        "take the Hugging Face checkpoint it was converted from",
    ),
    FolderKind(
        "a Llama checkpoint in Meta's format",
        ("consolidated.*.pth",),
        "take the Hugging Face version of the model, or convert it with transformers 4: python "
        "src/transformers/models/llama/convert_llama_weights_to_hf.py --input_dir {folder} --output_dir DIR "
        "--model_size SIZE",
    ),
    FolderKind(
        "a checkpoint in Mistral's format",
        ("consolidated*.safetensors",),
        "take the Hugging Face version of the model, or convert it with transformers 4: python "
        "src/transformers/models/mistral/convert_mistral_weights_to_hf.py {folder} DIR",
    ),
    FolderKind(
        "a LitGPT checkpoint",
        ("lit_model.pth", "*/lit_model.pth"),
        "convert it: litgpt convert_from_litgpt {inside} DIR, then load that model.pth and save_pretrained",
    ),
    FolderKind(
        "a TensorFlow or Flax checkpoint",
        ("tf_model*.h5", "flax_model*.msgpack", "*.ckpt.index", "saved_model.pb"),
        "load it with transformers 4 (from_tf=True or from_flax=True) and save_pretrained(DIR)",
    ),
    FolderKind(
        "an Orbax (JAX) checkpoint",
        ("_CHECKPOINT_METADATA", "*/_CHECKPOINT_METADATA", "_METADATA", "*/_METADATA", "checkpoint_metadata"),
        "export it to Hugging Face with what trained it, for MaxText: python -m "
        "maxtext.checkpoint_conversion.to_huggingface",
    ),
    FolderKind(
        "a model compiled for another runtime",
        ("*.onnx", "onnx/*.onnx", "openvino_model.xml", "rank*.engine"),
        "take the checkpoint it was made from",
    ),
    FolderKind(
        "a diffusion pipeline",
        ("model_index.json",),
        "it is no language model; name another checkpoint",
    ),
    FolderKind(
        "a training state without weights that transformers reads",
        ("*.ckpt", "*.pt", "*.pth", "*.pkl", "*.pickle"),
        "load {found} into the model it was saved from and save_pretrained(DIR)",
    ),
)
"""In the order in which they are tried."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z")
_FILES = (
    ((".gguf",), f"a GGUF file: {_SERVE}"),
    ((".nemo",), f"a NeMo archive: {_NEMO}"),
    (
        (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".json"),
        "a file; a checkpoint is a folder with config.json and weights, such as {inside}",
    ),
    (_ARCHIVES, "an archive; unpack it and name the folder"),
)


def is_unfinished(folder: Path) -> bool:
    """Whether it is where a folder is while a command makes it."""
    whole = folder.resolve()
    return whole.name.endswith(draft_of(Path("x")).name.removeprefix("x"))


def explain_config(folder: Path, config: Mapping[str, Any]) -> str | None:
    """What a folder with config.json and weights is all the same; None where nothing speaks against it."""
    packed = config.get("quantization")
    if isinstance(packed, dict) and {"group_size", "bits"} <= packed.keys():
        return (
            "a model that MLX quantised, which only MLX reads: take the Hugging Face checkpoint it was "
            f"converted from, or unpack it: mlx_lm.convert --hf-path {shlex.quote(str(folder))} "
            "--mlx-path DIR --dequantize"
        )
    if _pools(folder / "modules.json"):
        return (
            "an embedding model (its modules.json makes one vector of all hidden states), which writes no "
            "text; name the checkpoint of a causal language model"
        )
    whole = visible(folder, "pytorch_model_fsdp*.bin")
    if whole and not [*visible(folder, "*.safetensors"), *visible(folder, "pytorch_model[.-]*bin")]:
        # Its name looks like a weight file's, and no loader takes it for one.
        old, new = (shlex.quote(str(file)) for file in (whole[0], folder / "pytorch_model.bin"))
        return (
            f"what accelerate saves of FSDP with a full state dict: rename {whole[0].name} to "
            f"pytorch_model.bin (mv {old} {new})"
        )
    return None


def _pools(modules: Path) -> bool:
    """Whether it is a list of modules of sentence-transformers, one of which pools."""
    try:
        listed = json.loads(modules.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    steps = listed if isinstance(listed, list) else []
    return any(isinstance(step, dict) and str(step.get("type")).endswith("Pooling") for step in steps)


def explain_folder(folder: Path) -> str | None:
    """What a folder is that transformers can't load, and what to do; None where it is of no known kind.

    Args:
        folder: exists.

    Returns:
        `a verl checkpoint (FSDP shards): merge it: python -m verl.model_merger …`
    """
    if is_unfinished(folder):
        return UNFINISHED
    return next((said for kind in KINDS if (said := kind.of(folder)) is not None), None)


def explain_file(file: Path) -> str | None:
    """What a file is that was named as a checkpoint, and what to do; None where it is of no known kind."""
    for suffixes, said in _FILES:
        if file.name.endswith(suffixes):
            return said.format(found=shlex.quote(str(file)), inside=shlex.quote(str(file.parent)))
    return None
