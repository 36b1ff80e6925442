"""Checkpoint folders that are wrong in one way at a time: none may be evaluated silently wrong.

From zoo:listopd, and from small Llama, GPT-2, Mixtral, Qwen3-MoE and Gemma models of random weights (whose
files name and fuse their tensors otherwise), folders are made in which one thing was changed. Each is
evaluated, and must be refused with exit code 2 in one line; where it isn't, its answers must be those of the
unchanged checkpoint, or of the one named as equal.

Run: python benchmarks/checkpoint_mutations.py [--roles] [--vllm] [--only WORD]
  --roles  a chosen few as teacher, base and student too, in a live gate, cliff, forecast, sft and opd
  --vllm   a chosen few on vLLM as well (a minute each where one loads)

Prints a line a folder: its name, what was done, exit code, the line said. Ends with exit code 1 where one was
evaluated and gave other answers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness.cli import main as harness
from harness.engines.zoo import zoo_root

LIMIT = 6
VOCABULARY = 672
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Weights = dict[str, torch.Tensor]
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", COMMON | {"tie_word_embeddings": False}),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 2},
    ),
    "mixtral": ("MixtralConfig", COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3moe": (
        "Qwen3MoeConfig",
        COMMON | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8},
    ),
    "gemma2": ("Gemma2Config", COMMON | {"head_dim": 8}),
}


class Folder:
    """A copy of a checkpoint that is being changed."""

    def __init__(self, path: Path, source: Path) -> None:
        """Copy `source` to `path`."""
        shutil.copytree(source, path)
        self.path = path

    @property
    def weights(self) -> Weights:
        """What its single file holds."""
        weights: Weights = load_file(str(self.path / SINGLE))
        return weights

    def save(self, weights: Mapping[str, torch.Tensor], name: str = SINGLE) -> None:
        """Write a file of tensors."""
        plain = {key: value.clone().contiguous() for key, value in weights.items()}
        save_file(plain, str(self.path / name), metadata={"format": "pt"})

    def config(self, **fields: object) -> None:
        """Change config.json; None takes a field out."""
        path = self.path / "config.json"
        changed = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))

    def shards(self, weights: Weights, parts: int = 2) -> dict[str, str]:
        """Write shards and no index; returns which tensor lies where."""
        (self.path / SINGLE).unlink(missing_ok=True)
        placed: dict[str, str] = {}
        for number in range(parts):
            file = f"model-{number + 1:05d}-of-{parts:05d}.safetensors"
            own = dict(list(weights.items())[number::parts])
            self.save(own, file)
            placed |= dict.fromkeys(own, file)
        return placed

    def index(self, placed: Mapping[str, str], name: str = INDEX) -> None:
        """Write an index."""
        (self.path / name).write_text(json.dumps({"metadata": {}, "weight_map": dict(placed)}))

    def bins(self, weights: Weights, name: str = "pytorch_model.bin") -> None:
        """Write a file as torch pickles it."""
        torch.save(weights, self.path / name)


@dataclass(frozen=True)
class Mutation:
    """A folder to make.

    Attributes:
        name: of the folder.
        source: what it is made from.
        done: what was done, in words.
        change: does it.
        harmless: whether its answers are those of the source; None where it must be refused.
        chosen: whether it is tried in other roles and engines too.
    """

    name: str
    source: str
    done: str
    change: Callable[[Folder], None]
    harmless: bool = False
    chosen: bool = False


MUTATIONS: list[Mutation] = []


def mutation(
    done: str, source: str = "listopd", harmless: bool = False, chosen: bool = False
) -> Callable[[Callable[[Folder], None]], Callable[[Folder], None]]:
    """Register a function that changes a folder."""

    def register(change: Callable[[Folder], None]) -> Callable[[Folder], None]:
        name = change.__name__.strip("_")
        MUTATIONS.append(Mutation(name, source, done, change, harmless, chosen))
        return change

    return register


def _register(name: str, source: str, done: str, change: Callable[[Folder], None], **what: bool) -> None:
    MUTATIONS.append(Mutation(name, source, done, change, **what))


def _renamed(rename: Callable[[str], str]) -> Callable[[Folder], None]:
    return lambda folder: folder.save({rename(key): value for key, value in folder.weights.items()})


def _with(edit: Callable[[Weights], object]) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        weights = folder.weights
        edit(weights)
        folder.save(weights)

    return change


def _configured(**fields: object) -> Callable[[Folder], None]:
    return lambda folder: folder.config(**fields)


Q1 = "model.layers.1.self_attn.q_proj.weight"

for prefix in ("_orig_mod.", "module.", "base_model.model.", "_fsdp_wrapped_module.", "pretrained_model."):
    _register(
        f"prefix_{prefix.strip('._')}",
        "listopd",
        f"every name begins with {prefix}",
        _renamed(lambda key, prefix=prefix: prefix + key),  # type: ignore[misc]
        chosen=prefix == "_orig_mod.",
    )
for tensor in (
    Q1,
    "model.embed_tokens.weight",
    "model.norm.weight",
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.2.self_attn.k_norm.weight",
):
    short = tensor.removesuffix(".weight").removeprefix("model.").replace(".", "_")
    _register(
        f"drop_{short}",
        "listopd",
        f"{tensor} left out",
        _with(lambda weights, tensor=tensor: weights.pop(tensor)),  # type: ignore[misc]
        chosen=tensor == Q1,
    )
    _register(
        f"rename_{short}",
        "listopd",
        f"{tensor} misspelt",
        _renamed(lambda key, tensor=tensor: f"{key}s" if key == tensor else key),  # type: ignore[misc]
    )
_register("flat", "listopd", f"{Q1} as one row", _with(lambda w: w.update({Q1: w[Q1].reshape(1, -1)})))
_register(
    "transposed", "listopd", f"{Q1} transposed", _with(lambda w: w.update({Q1: w[Q1].t()})), chosen=True
)
_register("cut", "listopd", f"{Q1} without its last row", _with(lambda w: w.update({Q1: w[Q1][:-1]})))
_register(
    "integers", "listopd", f"{Q1} as int8", _with(lambda w: w.update({Q1: w[Q1].to(torch.int8)})), chosen=True
)
_register("fp8", "listopd", f"{Q1} as float8", _with(lambda w: w.update({Q1: w[Q1].to(torch.float8_e4m3fn)})))
_register("booleans", "listopd", f"{Q1} as bool", _with(lambda w: w.update({Q1: w[Q1] > 0})))
_register(
    "extra_layer",
    "listopd",
    "a fourth layer that config.json doesn't name",
    _with(
        lambda w: w.update({k.replace("layers.2", "layers.3"): v for k, v in w.items() if "layers.2" in k})
    ),
)
_register(
    "extra_bias", "listopd", "a bias nobody needs", _with(lambda w: w.update({Q1[:-6] + "bias": w[Q1][:, 0]}))
)
_register(
    "value_head",
    "listopd",
    "a value head beside",
    _with(lambda w: w.update({"v_head.summary.weight": torch.ones(1, 96)})),
)
_register(
    "doubled_names",
    "listopd",
    f"{Q1} with and without `model.`, the latter other numbers",
    _with(lambda w: w.update({Q1.removeprefix("model."): torch.zeros_like(w[Q1])})),
)
_register(
    "no_prefix",
    "listopd",
    "names without `model.`",
    _renamed(lambda k: k.removeprefix("model.")),
    harmless=True,
)
_register(
    "inv_freq",
    "listopd",
    "old rotary buffers beside",
    _with(
        lambda w: w.update(
            {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(32) for i in range(3)}
        )
    ),
    harmless=True,
)
for field, values in {
    "hidden_size": (95, 97),
    "num_hidden_layers": (2, 4),
    "num_attention_heads": (3, 5),
    "num_key_value_heads": (1, 4),
    "vocab_size": (671, 673),
    "intermediate_size": (127, 129),
    "head_dim": (63, 65),
}.items():
    for value in values:
        _register(
            f"config_{field}_{value}",
            "listopd",
            f"config.json: {field} {value}",
            lambda folder, field=field, value=value: folder.config(  # type: ignore[misc]
                **{field: value} | ({"layer_types": None} if field == "num_hidden_layers" else {})
            ),
            chosen=(field, value) == ("num_hidden_layers", 2),
        )
_register(
    "untied",
    "listopd",
    "tie_word_embeddings false, no head saved",
    _configured(tie_word_embeddings=False),
    chosen=True,
)
_register(
    "tied",
    "llama",
    "tie_word_embeddings true, another head saved",
    _configured(tie_word_embeddings=True),
    chosen=True,
)
_register("llama_head_missing", "llama", "the untied head left out", _with(lambda w: w.pop("lm_head.weight")))
_register(
    "head_saved_twice",
    "listopd",
    "the tied head saved as well",
    _with(lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"]})),
    harmless=True,
    chosen=True,
)
_register(
    "head_only",
    "listopd",
    "the tied weight under the head's name",
    _with(lambda w: w.update({"lm_head.weight": w.pop("model.embed_tokens.weight")})),
    harmless=True,
)
_register("model_type", "listopd", "model_type llama", _configured(model_type="llama"))
_register("model_type_unknown", "listopd", "model_type nobody knows", _configured(model_type="qwenny"))
_register(
    "architecture",
    "listopd",
    "architectures LlamaForCausalLM",
    _configured(architectures=["LlamaForCausalLM"]),
    chosen=True,
)
_register(
    "architecture_absent", "listopd", "no architectures", _configured(architectures=None), harmless=True
)


@mutation("cut in the middle of its data", chosen=True)
def truncated(folder: Folder) -> None:
    path = folder.path / SINGLE
    path.write_bytes(path.read_bytes()[:-1000])


@mutation("cut inside the header")
def truncated_header(folder: Folder) -> None:
    path = folder.path / SINGLE
    path.write_bytes(path.read_bytes()[:500])


@mutation("bytes behind its end")
def trailing_bytes(folder: Folder) -> None:
    with (folder.path / SINGLE).open("ab") as stream:
        stream.write(b"\0" * 64)


@mutation("two shards and their index", harmless=True, chosen=True)
def sharded(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))


@mutation("two shards, no index")
def shards_without_index(folder: Folder) -> None:
    folder.shards(folder.weights)


@mutation("a shard missing", chosen=True)
def shard_missing(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    (folder.path / "model-00002-of-00002.safetensors").unlink()


@mutation("the second shard cut")
def shard_truncated(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    path = folder.path / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


@mutation("the shards' contents exchanged")
def shards_swapped(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    one, other = (folder.path / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@mutation("the second shard a copy of the first")
def shard_copied(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    shutil.copy(
        folder.path / "model-00001-of-00002.safetensors", folder.path / "model-00002-of-00002.safetensors"
    )


@mutation("a tensor in both shards, other numbers in the second", chosen=True)
def doubled_in_shards(folder: Folder) -> None:
    weights = folder.weights
    placed = folder.shards(weights)
    other = "model-00002-of-00002.safetensors"
    twice = next(name for name, file in placed.items() if file != other)
    folder.save(load_file(str(folder.path / other)) | {twice: torch.zeros_like(weights[twice])}, other)
    folder.index(placed)


@mutation("the index has a tensor that no shard holds")
def index_names_more(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights) | {"model.more.weight": "model-00001-of-00002.safetensors"})


@mutation("the index places a tensor in the other shard")
def index_misplaces(folder: Folder) -> None:
    placed = folder.shards(folder.weights)
    folder.index(placed | {Q1: next(file for file in placed.values() if file != placed[Q1])})


@mutation("the index leaves out a tensor that its shard holds", harmless=True)
def index_forgets(folder: Folder) -> None:
    placed = folder.shards(folder.weights)
    folder.index({name: file for name, file in placed.items() if name != Q1})


@mutation("the index names one shard of two", chosen=True)
def index_names_one(folder: Folder) -> None:
    placed = folder.shards(folder.weights)
    first = next(iter(placed.values()))
    folder.index({name: file for name, file in placed.items() if file == first})


@mutation("an index without weight_map")
def index_empty(folder: Folder) -> None:
    folder.shards(folder.weights)
    (folder.path / INDEX).write_text("{}")


@mutation("an index that isn't JSON")
def index_broken(folder: Folder) -> None:
    folder.shards(folder.weights)
    (folder.path / INDEX).write_text("{")


@mutation("an index that points outside the folder")
def index_outside(folder: Folder) -> None:
    placed = folder.shards(folder.weights)
    folder.index({name: f"../{folder.path.name}/{file}" for name, file in placed.items()})


@mutation("an old single file (the base's) beside new shards", chosen=True)
def two_sets(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    shutil.copy(zoo_root() / "base" / SINGLE, folder.path / SINGLE)


@mutation("an old single file beside new shards without an index")
def two_sets_no_index(folder: Folder) -> None:
    folder.shards(folder.weights)
    shutil.copy(zoo_root() / "base" / SINGLE, folder.path / SINGLE)


@mutation("shards of an older save (of three) left beside those of two", chosen=True)
def older_shards(folder: Folder) -> None:
    weights = folder.weights
    folder.shards(load_file(str(zoo_root() / "base" / SINGLE)), 3)
    folder.index(folder.shards(weights))


@mutation("an older save's index beside a single new file")
def older_index(folder: Folder) -> None:
    folder.index(dict.fromkeys(folder.weights, "model-00001-of-00001.safetensors"))


@mutation("an older model in Mistral's own file beside shards", harmless=True, chosen=True)
def consolidated_beside(folder: Folder) -> None:
    folder.index(folder.shards(folder.weights))
    shutil.copy(zoo_root() / "base" / SINGLE, folder.path / "consolidated.safetensors")


@mutation("the same model as .bin beside", harmless=True, chosen=True)
def bin_beside(folder: Folder) -> None:
    folder.bins(folder.weights)


@mutation("an older model (the base) as .bin beside", chosen=True)
def older_bin_beside(folder: Folder) -> None:
    folder.bins(load_file(str(zoo_root() / "base" / SINGLE)))


@mutation("hidden leftovers of a Mac, an editor and the hub's client beside", harmless=True, chosen=True)
def hidden_beside(folder: Folder) -> None:
    hidden = (f"._{SINGLE}", f".{SINGLE}.swp", "._pytorch_model.bin", f"._{INDEX}", ".other.safetensors")
    for name in (*hidden, f"{SINGLE}.tmp", "._config.json", "._tokenizer.model"):
        (folder.path / name).write_bytes(b"\0\5\x16\7 not weights")
    (folder.path / ".cache" / "huggingface").mkdir(parents=True)
    (folder.path / ".cache" / "huggingface" / SINGLE).write_bytes(b"nor these")


@mutation("a .bin alone", harmless=True, chosen=True)
def bin_alone(folder: Folder) -> None:
    folder.bins(folder.weights)
    (folder.path / SINGLE).unlink()


@mutation("two .bin shards and their index", harmless=True)
def bin_sharded(folder: Folder) -> None:
    weights = folder.weights
    (folder.path / SINGLE).unlink()
    placed: dict[str, str] = {}
    for number in range(2):
        file = f"pytorch_model-{number + 1:05d}-of-00002.bin"
        own = dict(list(weights.items())[number::2])
        folder.bins(own, file)
        placed |= dict.fromkeys(own, file)
    folder.index(placed, "pytorch_model.bin.index.json")


@mutation("two .bin shards and their index, one missing")
def bin_shard_missing(folder: Folder) -> None:
    bin_sharded(folder)
    (folder.path / "pytorch_model-00002-of-00002.bin").unlink()


@mutation("a link to a file that is gone")
def dangling(folder: Folder) -> None:
    (folder.path / SINGLE).unlink()
    (folder.path / SINGLE).symlink_to(folder.path / "gone")


@mutation("saved with a LoRA adapter inside")
def unmerged(folder: Folder) -> None:
    weights = folder.weights
    inside = weights.pop(Q1)
    stem = Q1.removesuffix("weight")
    low = {f"{stem}lora_A.default.weight": inside[:4], f"{stem}lora_B.default.weight": inside[:, :4]}
    folder.save(weights | {f"{stem}base_layer.weight": inside} | low)


@mutation("a .bin alone, a tensor left out", chosen=True)
def bin_drop(folder: Folder) -> None:
    folder.bins({name: value for name, value in folder.weights.items() if name != Q1})
    (folder.path / SINGLE).unlink()


@mutation("a .bin alone, prefixed")
def bin_prefixed(folder: Folder) -> None:
    folder.bins({f"module.{name}": value for name, value in folder.weights.items()})
    (folder.path / SINGLE).unlink()


@mutation("a .bin that holds the model under `state_dict`")
def bin_wrapped(folder: Folder) -> None:
    torch.save({"state_dict": folder.weights}, folder.path / "pytorch_model.bin")
    (folder.path / SINGLE).unlink()


@mutation("a .bin that is cut")
def bin_truncated(folder: Folder) -> None:
    folder.bins(folder.weights)
    (folder.path / SINGLE).unlink()
    path = folder.path / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-5000])


@mutation("a .bin in the format of before torch 1.6", harmless=True)
def bin_legacy(folder: Folder) -> None:
    torch.save(folder.weights, folder.path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder.path / SINGLE).unlink()


@mutation("half of its tensors stored in bfloat16, which holds them exactly", "rounded", harmless=True)
def bfloat16_mixed(folder: Folder) -> None:
    weights = folder.weights
    folder.save({k: v.bfloat16() if i % 2 else v for i, (k, v) in enumerate(weights.items())})


@mutation("a tensor in float64", harmless=True)
def float64(folder: Folder) -> None:
    weights = folder.weights
    folder.save(weights | {Q1: weights[Q1].double()})


@mutation("the final norm is NaN", chosen=True)
def nan_norm(folder: Folder) -> None:
    weights = folder.weights
    folder.save(weights | {"model.norm.weight": weights["model.norm.weight"] * float("nan")})


@mutation("one number of 60,000 is NaN")
def nan_one(folder: Folder) -> None:
    weights = folder.weights
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    folder.save(weights)


@mutation("one number is infinite")
def infinite(folder: Folder) -> None:
    weights = folder.weights
    weights["model.embed_tokens.weight"][9, 5] = float("inf")
    folder.save(weights)


@mutation("the final norm is NaN, in a .bin", chosen=True)
def nan_bin(folder: Folder) -> None:
    weights = folder.weights
    folder.bins(weights | {"model.norm.weight": weights["model.norm.weight"] * float("nan")})
    (folder.path / SINGLE).unlink()


_register(
    "gpt2_prefix_gone",
    "gpt2",
    "names without `transformer.`",
    _renamed(lambda k: k.removeprefix("transformer.")),
    harmless=True,
)
_register(
    "gpt2_masks",
    "gpt2",
    "old attention masks beside",
    _with(
        lambda w: w.update(
            {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool) for i in range(2)}
            | {f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
        )
    ),
    harmless=True,
)
_register(
    "gpt2_transposed",
    "gpt2",
    "a Conv1D stored like a Linear",
    _with(lambda w: w.update({"transformer.h.0.mlp.c_fc.weight": w["transformer.h.0.mlp.c_fc.weight"].t()})),
)
_register("gpt2_n_layer_1", "gpt2", "config.json: n_layer 1", _configured(n_layer=1))
_register("gpt2_n_positions", "gpt2", "config.json: n_positions 512", _configured(n_positions=512))
EXPERT = "model.layers.0.block_sparse_moe.experts.1.w2.weight"
_register("mixtral_expert_missing", "mixtral", f"{EXPERT} left out", _with(lambda w: w.pop(EXPERT)))
_register(
    "mixtral_experts_3", "mixtral", "config.json: num_local_experts 3", _configured(num_local_experts=3)
)
_register(
    "mixtral_experts_5", "mixtral", "config.json: num_local_experts 5", _configured(num_local_experts=5)
)
_register(
    "mixtral_expert_integers",
    "mixtral",
    f"{EXPERT} as int8",
    _with(lambda w: w.update({EXPERT: w[EXPERT].to(torch.int8)})),
)
_register(
    "mixtral_expert_misshapen",
    "mixtral",
    f"{EXPERT} cut",
    _with(lambda w: w.update({EXPERT: w[EXPERT][:-1]})),
)
UP = "model.layers.1.mlp.experts.2.up_proj.weight"
_register("qwen3moe_expert_missing", "qwen3moe", f"{UP} left out", _with(lambda w: w.pop(UP)))
_register(
    "qwen3moe_expert_renamed",
    "qwen3moe",
    f"{UP} misspelt",
    _renamed(lambda k: k.replace("up_proj", "upproj") if k == UP else k),
)
_register(
    "qwen3moe_router_missing",
    "qwen3moe",
    "a router left out",
    _with(lambda w: w.pop("model.layers.0.mlp.gate.weight")),
)
_register(
    "llama_kv_heads_4", "llama", "config.json: num_key_value_heads 4", _configured(num_key_value_heads=4)
)
_register("llama_heads_5", "llama", "config.json: num_attention_heads 5", _configured(num_attention_heads=5))
_register("llama_bias", "llama", "config.json: attention_bias true", _configured(attention_bias=True))
_register(
    "gemma2_norm_missing",
    "gemma2",
    "a norm left out",
    _with(lambda w: w.pop("model.layers.1.pre_feedforward_layernorm.weight")),
)


@mutation("adapter keys begin base_model.model._orig_mod.", "adapter", chosen=True)
def adapter_prefixed(folder: Folder) -> None:
    path = folder.path / "adapter_model.safetensors"
    folder.save(
        {
            key.replace("base_model.model.", "base_model.model._orig_mod."): v
            for key, v in load_file(str(path)).items()
        },
        path.name,
    )


@mutation("adapter_config.json: r 8, the files 4", "adapter")
def adapter_rank(folder: Folder) -> None:
    path = folder.path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 8}))


@mutation("adapter_config.json: target_modules k_proj, the files q_proj and v_proj", "adapter")
def adapter_targets(folder: Folder) -> None:
    path = folder.path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": ["k_proj"]}))


@mutation("half of the adapter's tensors left out", "adapter")
def adapter_half(folder: Folder) -> None:
    path = folder.path / "adapter_model.safetensors"
    folder.save(dict(list(load_file(str(path)).items())[::2]), path.name)


@mutation("the adapter's base lacks a tensor", "adapter")
def adapter_on_broken_base(folder: Folder) -> None:
    broken = folder.path.parent / "broken-base"
    below = Folder(broken, zoo_root() / "base")
    below.save({name: value for name, value in below.weights.items() if name != Q1})
    path = folder.path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(broken)}))


class World:
    """Sources, and the runs of them."""

    def __init__(self, folder: Path) -> None:
        """Make the sources in `folder`."""
        self.folder = folder
        self.sources = {"listopd": zoo_root() / "listopd"}
        self._answers: dict[tuple[str, str], list[str]] = {}

    def source(self, name: str) -> Path:
        """The folder of an unchanged checkpoint."""
        if name not in self.sources:
            self.sources[name] = made(name, self.folder / f"source-{name}")
        return self.sources[name]

    def answers(self, source: str, engine: str) -> list[str]:
        """What an unchanged checkpoint answers."""
        if (source, engine) not in self._answers:
            code, said, texts = evaluated(self.source(source), self.folder / f"of-{source}-{engine}", engine)
            assert code == 0, said
            self._answers[source, engine] = texts
        return self._answers[source, engine]


def made(name: str, path: Path) -> Path:
    """Write a small checkpoint of another architecture, an adapter, or rounded weights."""
    import transformers

    listopd = zoo_root() / "listopd"
    if name == "rounded":
        folder = Folder(path, listopd)
        folder.save({key: value.bfloat16().float() for key, value in folder.weights.items()})
        return path
    torch.manual_seed(0)
    if name == "adapter":
        from peft import LoraConfig, get_peft_model

        base = transformers.AutoModelForCausalLM.from_pretrained(str(zoo_root() / "base"))
        model = get_peft_model(
            base,
            LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        )
        for parameter, values in model.named_parameters():
            if "lora_B" in parameter:
                torch.nn.init.normal_(values, std=0.3)
        model.save_pretrained(path)
        return path
    kind, fields = MODELS[name]
    config = getattr(transformers, kind)(**fields)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    for file in listopd.glob("tokenizer*"):
        shutil.copy(file, path / file.name)
    return path


def called(*arguments: str) -> tuple[int, str]:
    """Exit code and last line of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = harness(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    lines = [line.strip() for line in err.getvalue().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("harness: error:")]
    if "Traceback" in err.getvalue():
        return code, "a traceback"
    return code, (errors or lines or [""])[-1]


def evaluated(checkpoint: Path, run: Path, engine: str) -> tuple[int, str, list[str]]:
    """Exit code, line and answers of an evaluation."""
    options = ["--engine", engine, "--limit", str(LIMIT), "--max-tokens", "64", "--out", str(run)]
    if engine == "hf":
        options += ["--device", "cpu"]
    code, said = called("eval", "--ckpt", str(checkpoint), *options)
    samples = run / "samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()] if samples.exists() else []
    return code, said, [row["text"] for row in sorted(rows, key=lambda row: str(row["task_id"]))]


PAIR = ("--lambda", "1.2", "--clip", "2", "--limit", "4")
TRAIN = (
    "--lambda",
    "1.2",
    "--steps",
    "1",
    "--batch-size",
    "4",
    "--lr",
    "1e-4",
    "--limit",
    "4",
    "--device",
    "cpu",
)
ROLES: dict[str, tuple[str, ...]] = {
    "live gate": ("gate", "--ckpt", "@", "--engine", "hf", "--max-tasks", "4"),
    "cliff teacher": ("cliff", "--teacher", "@", "--base", "zoo:base", "--engine", "hf", *PAIR),
    "cliff base": ("cliff", "--teacher", "zoo:teacher", "--base", "@", "--engine", "hf", *PAIR),
    "cliff student": (
        *("cliff", "--teacher", "zoo:teacher", "--base", "zoo:base", "--student", "@"),
        *("--engine", "hf", *PAIR),
    ),
    "forecast teacher": (
        "forecast",
        "--teacher",
        "@",
        "--base",
        "zoo:base",
        "--lambdas",
        "1,1.2",
        "--limit",
        "4",
    ),
    "train sft": ("train", "sft", "--ckpt", "@", *TRAIN[2:]),
    "opd teacher": ("train", "opd", "--teacher", "@", "--base", "zoo:base", *TRAIN),
    "opd base": ("train", "opd", "--teacher", "zoo:teacher", "--base", "@", *TRAIN),
    "opd student": (
        "train",
        "opd",
        "--teacher",
        "zoo:teacher",
        "--base",
        "zoo:base",
        "--student",
        "@",
        *TRAIN,
    ),
}
"""Where else a checkpoint is loaded; `@` stands for its folder."""


def tried(world: World, one: Mutation, path: Path, engine: str) -> tuple[int, str, str]:
    """Exit code, what was said, and what is wrong with that (empty where nothing is)."""
    code, said, texts = evaluated(path, world.folder / f"run-{one.name}-{engine}", engine)
    if code == 2:
        return code, said, "it loads rightly, and is refused" if one.harmless else ""
    if code != 0:
        return code, said, "neither evaluated nor refused"
    same = texts == world.answers(one.source, engine)
    if same:
        return code, "evaluated; its answers are the unchanged checkpoint's", ""
    return code, "evaluated; its answers are others", "evaluated silently wrong"


def main() -> int:
    """Make the folders, try them and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--roles", action="store_true", help="try a chosen few in other roles too")
    parser.add_argument("--vllm", action="store_true", help="try a chosen few on vLLM too")
    parser.add_argument("--only", default="", help="folders whose name holds this word")
    given = parser.parse_args()
    wrong: list[str] = []
    refused = harmless = tries = 0
    with tempfile.TemporaryDirectory() as made_in:
        world = World(Path(made_in))
        for one in MUTATIONS:
            if given.only not in one.name:
                continue
            path = world.folder / one.name
            one.change(Folder(path, world.source(one.source)))
            engines = ["hf", *(["vllm"] if given.vllm and one.chosen else [])]
            for engine in engines:
                code, said, fault = tried(world, one, path, engine)
                tries += 1
                refused += code == 2
                harmless += code == 0 and not fault
                _print(f"{one.name} ({one.source}, {engine})", one.done, code, said, fault, path)
                wrong += [one.name] * bool(fault)
            for role, arguments in ROLES.items():
                if not (given.roles and one.chosen) or one.harmless or one.source == "llama":
                    continue
                out = world.folder / f"out-{one.name}-{role.replace(' ', '-')}"
                code, said = called(
                    *(str(path) if word == "@" else word for word in arguments), "--out", str(out)
                )
                fault = "" if code == 2 else "not refused"
                tries += 1
                refused += code == 2
                _print(f"{one.name} ({role})", one.done, code, said, fault, path)
                wrong += [f"{one.name} as {role}"] * bool(fault)
    print(f"{tries} tries: {refused} refused, {harmless} evaluated with the right answers")
    print(f"wrong: {', '.join(wrong)}" if wrong else "none evaluated silently wrong")
    return int(bool(wrong))


def _print(name: str, done: str, code: int, said: str, fault: str, path: Path) -> None:
    mark = f" [WRONG: {fault}]" if fault else ""
    print(f"{name} | {done} | {code} | {said.replace(str(path), '…')}{mark}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
