"""What `harness eval` makes of adapters that are broken in one way each, and of folders of other frameworks.

An adapter is made by peft on a zoo checkpoint and then damaged: names, shapes, ranks, config, base. Each must
be refused (exit 2, one line) or answer as the model that was in memory when it was saved: its logits are the
oracle. Without the check peft draws what is missing anew and the base answers in the adapter's name.

Run: python benchmarks/adapter_mutations.py [--only WORD] [--engine hf] [--folders]

With --engine vllm those that vLLM can't take must be refused too, and vLLM is started only for a case that
--only names in full. With --folders the table is of folders that other frameworks leave. Ends with exit code
1 where a broken adapter is evaluated, a whole one isn't or gives other logits, or something ends in another
code than 0 and 2. tests/engines/test_adapters.py and test_folder_kinds.py assert a part of what is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.cli import main
from harness.engines import EngineConfig, ScoreRequest, open_engine
from harness.engines.vllm_adapter import why_not

ZOO = Path(__file__).parents[1] / "harness" / "zoo"
BASE, OTHER = ZOO / "base", ZOO / "large"
PROBE = tuple(range(3, 23))
CLOSE = 1e-3
"""Nats; what another order of additions in float32 may make of a log probability."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

Tensors = dict[str, Any]
Change = Callable[[Tensors, dict[str, Any]], Tensors]


@dataclass(frozen=True)
class Case:
    """One adapter.

    Attributes:
        made: settings of peft's `LoraConfig` it is trained with, or of another kind's (`kind`).
        change: its tensors and its config after something went wrong; the config is changed in place.
        files: what happens to its folder after that.
        refused: a word of the line it is refused with, None where it must be evaluated.
        options: further options of `harness eval`.
    """

    made: Mapping[str, Any] = field(default_factory=dict)
    change: Change | None = None
    files: Callable[[Path], object] | None = None
    refused: str | None = None
    options: tuple[str, ...] = ()


def _renamed(old: str, new: str) -> Change:
    return lambda tensors, _: {name.replace(old, new): value for name, value in tensors.items()}


def _without(*words: str) -> Change:
    return lambda tensors, _: {n: v for n, v in tensors.items() if not all(word in n for word in words)}


def _said(**settings: Any) -> Change:
    def change(tensors: Tensors, config: dict[str, Any]) -> Tensors:
        config.update(settings)
        return tensors

    return change


def _unsaid(*names: str) -> Change:
    def change(tensors: Tensors, config: dict[str, Any]) -> Tensors:
        for name in names:
            del config[name]
        return tensors

    return change


def _added(name: str, *shape: int) -> Change:
    def change(tensors: Tensors, _: dict[str, Any]) -> Tensors:
        import torch

        return {**tensors, name: torch.zeros(shape)}

    return change


def _each(word: str, of: Callable[[Any], Any]) -> Change:
    return lambda tensors, _: {
        name: of(value).contiguous() if word in name else value for name, value in tensors.items()
    }


def _as_bin(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def _replaced_by_base(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(BASE, folder)


def _truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def _of_base(base: str | None) -> Change:
    return _said(base_model_name_or_path=base)


_INSIDE = "base_model.model.model."
_FIRST = f"{_INSIDE}layers.0.self_attn.q_proj"
GONE = "/data/of/the/training/machine/base"

CASES: dict[str, Case] = {
    # Whole ones.
    "untouched": Case(),
    "as .bin": Case(files=_as_bin),
    "rsLoRA": Case({"use_rslora": True}),
    "DoRA": Case({"use_dora": True}),
    "rank and alpha patterns": Case({"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 32}}),
    "targets as a pattern": Case({"target_modules": r".*\.layers\.[01]\.self_attn\.(q|v)_proj"}),
    "all linear": Case({"target_modules": "all-linear"}),
    "one target the base hasn't": Case({"target_modules": ["q_proj", "v_proj", "query_key_value"]}),
    "head saved with it": Case({"modules_to_save": ["lm_head"]}),
    "embedding adapted": Case({"target_modules": ["embed_tokens", "q_proj"]}),
    "biases": Case({"bias": "lora_only"}),
    "PiSSA": Case({"init_lora_weights": "pissa"}),
    "never trained": Case({"untrained": True}),
    "IA3": Case({"kind": "IA3", "target_modules": ["k_proj", "v_proj", "down_proj"]}),
    "LoHa": Case({"kind": "LoHa"}),
    "LoKr": Case({"kind": "LoKr"}),
    "OFT": Case({"kind": "OFT", "oft_block_size": 4, "r": 0}),
    "BOFT": Case({"kind": "BOFT", "boft_block_size": 4}),
    "VeRA": Case({"kind": "Vera", "target_modules": ["q_proj"]}),
    "HRA": Case({"kind": "HRA"}),
    "LN tuning": Case({"kind": "LNTuning", "target_modules": ["input_layernorm"]}),
    "AdaLoRA": Case({"kind": "AdaLora", "init_r": 4, "total_step": 10}),
    "names of a running model": Case(change=_renamed(".weight", ".default.weight")),
    "base moved, named anew": Case(change=_of_base(GONE), options=("--adapter-base", str(BASE))),
    "no base named, named anew": Case(change=_of_base(None), options=("--adapter-base", str(BASE))),
    # Names.
    "_orig_mod. inside": Case(
        change=_renamed("base_model.model.", "base_model.model._orig_mod."), refused="compiled"
    ),
    "_orig_mod. before": Case(change=_renamed("base_model.", "_orig_mod.base_model."), refused="compiled"),
    "module. before": Case(change=_renamed("base_model.", "module.base_model."), refused="wrapped"),
    "module. inside": Case(
        change=_renamed("base_model.model.", "base_model.model.module."), refused="wrapped"
    ),
    "FSDP's prefix": Case(
        change=_renamed("model.layers", "_fsdp_wrapped_module.model.layers"), refused="FSDP"
    ),
    "no prefix at all": Case(change=_renamed("base_model.model.", ""), refused="belong to nothing"),
    "names of another family": Case(change=_renamed("self_attn.q_proj", "attn.c_attn"), refused="q_proj"),
    "layers counted from 1": Case(
        change=lambda tensors, _: {
            name.replace("layers.2.", "layers.3.").replace("layers.1.", "layers.2."): value
            for name, value in tensors.items()
        },
        refused="layers.3",
    ),
    "one lora_B missing": Case(change=_without("layers.1", "v_proj", "lora_B"), refused="1 tensor missing"),
    "one module missing": Case(change=_without("layers.1", "v_proj"), refused="2 tensors missing"),
    "one layer missing": Case(change=_without("layers.2"), refused="4 tensors missing"),
    "every lora_A missing": Case(change=_without("lora_A"), refused="6 tensors missing"),
    "a value head beside it": Case(change=_added("v_head.summary.weight", 1, 96), refused="v_head"),
    "a classifier's head": Case(change=_added("base_model.model.score.weight", 2, 96), refused="score"),
    "a whole layer of its own": Case(change=_added(f"{_FIRST}.weight", 256, 96), refused="q_proj.weight"),
    # Shapes and numbers.
    "rank 8 in the config": Case(change=_said(r=8), refused="of another shape"),
    "rank 2 in the config": Case(change=_said(r=2), refused="of another shape"),
    "one lora_A transposed": Case(
        change=_each("layers.0.self_attn.q_proj.lora_A", lambda a: a.T), refused="shape"
    ),
    "one lora_B cut off": Case(
        change=_each("layers.0.self_attn.q_proj.lora_B", lambda b: b[:128]), refused="shape"
    ),
    "a head of another vocabulary": Case(
        change=_added("base_model.model.lm_head.weight", 700, 96), refused="of another shape"
    ),
    "lora_B as integers": Case(change=_each("lora_B", lambda b: (b * 100).char()), refused="I8"),
    "made for another base": Case(change=_of_base(str(OTHER)), refused="another shape"),
    "another base given": Case(options=("--adapter-base", str(OTHER)), refused="another shape"),
    # Config.
    "no alpha": Case(change=_unsaid("lora_alpha"), refused="lora_alpha"),
    "no rank": Case(change=_unsaid("r"), refused="`r`"),
    "alpha null": Case(change=_said(lora_alpha=None), refused="lora_alpha"),
    "alpha 0": Case(change=_said(lora_alpha=0), refused="lora_alpha"),
    "alpha as text": Case(change=_said(lora_alpha="16"), refused="lora_alpha"),
    "alpha infinite": Case(change=_said(lora_alpha=float("inf")), refused="lora_alpha"),
    "rank as text": Case(change=_said(r="4"), refused="`r`"),
    "no kind": Case(change=_unsaid("peft_type"), refused="peft_type"),
    "an unknown kind": Case(change=_said(peft_type="MYLORA"), refused="MYLORA"),
    "prompt tuning": Case(
        change=_said(peft_type="PROMPT_TUNING", num_virtual_tokens=4), refused="PROMPT_TUNING"
    ),
    "targets the base hasn't": Case(change=_said(target_modules=["c_attn"]), refused="c_attn"),
    "no targets": Case(change=_said(target_modules=None), refused="target_modules"),
    "a target too few": Case(change=_said(target_modules=["q_proj"]), refused="v_proj"),
    "a target too many": Case(change=_said(target_modules=["q_proj", "k_proj", "v_proj"]), refused="k_proj"),
    "one layer in the config": Case(change=_said(layers_to_transform=[0]), refused="layers.1"),
    "excluded modules": Case(change=_said(exclude_modules=["v_proj"]), refused="v_proj"),
    "DoRA in the config alone": Case(change=_said(use_dora=True), refused="lora_magnitude_vector"),
    "DoRA in the file alone": Case(
        {"use_dora": True}, _said(use_dora=False), refused="lora_magnitude_vector"
    ),
    "a head in the config alone": Case(change=_said(modules_to_save=["lm_head"]), refused="lm_head"),
    "a rank pattern in the config alone": Case(change=_said(rank_pattern={"v_proj": 2}), refused="shape"),
    "IA3 in the config alone": Case(change=_said(peft_type="IA3", feedforward_modules=[]), refused="ia3"),
    # Files.
    "no weights": Case(files=lambda folder: (folder / WEIGHTS).unlink(), refused="without adapter_model"),
    "weights truncated": Case(files=_truncated, refused="truncated"),
    "no tensor": Case(change=lambda tensors, _: {}, refused="no tensor"),
    "config cut off": Case(
        files=lambda folder: (folder / CONFIG).write_text((folder / CONFIG).read_text()[:40]), refused="JSON"
    ),
    "a whole model beside it": Case(
        files=lambda folder: shutil.copy(BASE / "model.safetensors", folder), refused="whole model"
    ),
    "base gone": Case(change=_of_base(GONE), refused="--adapter-base"),
    "no base named": Case(change=_of_base(None), refused="--adapter-base"),
    "base given for a whole model": Case(
        files=_replaced_by_base,
        options=("--adapter-base", str(BASE)),
        refused="isn't one",
    ),
}


def make(case: Case, folder: Path) -> Any:
    """Train an adapter of a kind (at random), save it, damage it.

    Returns:
        [tokens, vocabulary] log probabilities of the model that was saved, on `PROBE`.
    """
    from safetensors.torch import load_file, save_file

    saved, spoken = _trained(tuple(sorted((name, json.dumps(value)) for name, value in case.made.items())))
    shutil.copytree(saved.name, folder)
    if case.change is not None:
        config = json.loads((folder / CONFIG).read_text())
        changed = case.change(load_file(folder / WEIGHTS), config)
        save_file(changed, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config))
    if case.files is not None:
        case.files(folder)
    return spoken


@cache
def _trained(made: tuple[tuple[str, str], ...]) -> tuple[tempfile.TemporaryDirectory[str], Any]:
    import peft
    import torch
    import transformers

    settings = {name: json.loads(value) for name, value in made}
    kind, untrained = settings.pop("kind", "Lora"), settings.pop("untrained", False)
    ours: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    ours |= {"r": 4, "lora_alpha": 8} if kind in ("Lora", "AdaLora") else {}
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_pretrained(str(BASE))
    model = peft.get_peft_model(base, getattr(peft, f"{kind}Config")(**ours | settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and not untrained:
                weight.add_(torch.randn_like(weight) * (0.02 if "modules_to_save" in name else 0.1))
        logits = model.eval()(torch.tensor([PROBE])).logits[0]
    folder = tempfile.TemporaryDirectory()
    model.save_pretrained(folder.name)
    return folder, torch.log_softmax(logits.double(), dim=-1)


def run(folder: Path, out: Path, engine: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Evaluate a checkpoint by the command line, in this process.

    Returns:
        The exit code, and the last line on standard error.
    """
    command = ["eval", "--ckpt", str(folder), "--engine", engine, "--limit", "2", "--max-tokens", "24"]
    heard = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(heard):
        code = main([*command, "--out", str(out), *options])
    lines = [line for line in heard.getvalue().splitlines() if line.strip()]
    return code, lines[-1] if lines else ""


def _base_in(options: tuple[str, ...]) -> str | None:
    return options[options.index("--adapter-base") + 1] if "--adapter-base" in options else None


def evaluated(folder: Path, options: tuple[str, ...]) -> Any:
    """[tokens, vocabulary] log probabilities on `PROBE` of the model that hf evaluates for this folder."""
    import torch

    config = EngineConfig(engine="hf", ckpt=str(folder), device="cpu", adapter_base=_base_in(options))
    engine = open_engine(config)
    engine.start()
    with torch.no_grad():
        logits = engine.model(torch.tensor([PROBE])).logits[0]  # type: ignore[attr-defined]
    engine.close()
    return torch.log_softmax(logits.double(), dim=-1)


def off_on_vllm(folder: Path, options: tuple[str, ...], saved: Any) -> float:
    """By how much vLLM's log probabilities of the tokens of `PROBE` differ from the saved model's."""
    config = EngineConfig(engine="vllm", ckpt=str(folder), enforce_eager=True, adapter_base=_base_in(options))
    engine = open_engine(config)
    engine.start()
    [scores] = engine.score([ScoreRequest("probe", PROBE[:1], PROBE[1:])], top_k=1)
    engine.close()
    wanted = [float(saved[place, token]) for place, token in enumerate(PROBE[1:])]
    return max(abs(float(one) - other) for one, other in zip(scores.logprobs, wanted, strict=True))


def judge(case: Case, code: int, line: str, off: float | None) -> str:
    """What is wrong with the outcome of a case, empty where nothing is."""
    if case.refused is None:
        if code != 0:
            return "refused though whole"
        return "other logits than the model saved" if off is not None and off > CLOSE else ""
    if code != 2:
        return "evaluated though broken" if code == 0 else f"exit code {code}"
    return "" if case.refused in line else f"the line doesn't say {case.refused!r}"


def adapters(only: str, engine: str) -> int:
    """Print the table of adapters.

    Returns:
        How many went wrong.
    """
    wrong = refused = same = 0
    for name, told in CASES.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as place:
            case, folder = told, Path(place) / "adapter"
            saved = make(case, folder)
            if engine == "vllm" and case.refused is None:
                if why_not(folder) is not None:
                    case = replace(case, refused="harness merge")
                elif only != name:
                    continue
            code, line = run(folder, Path(place) / "run", engine, case.options)
            off = None
            if code == 0 and engine == "vllm":
                off = off_on_vllm(folder, case.options, saved)
            elif code == 0:
                off = float((evaluated(folder, case.options) - saved).abs().max())
            line = line.replace(place, "…")
        trouble = judge(case, code, line, off)
        wrong, refused, same = (
            wrong + bool(trouble),
            refused + (code == 2),
            same + (code == 0 and not trouble),
        )
        said = f"logits off by {off:.1e}" if off is not None else line
        print(f"{code}  {name:36}{said}{'   <-- ' + trouble if trouble else ''}", flush=True)
    print(f"{refused + same + wrong} adapters: {refused} refused, {same} evaluated as saved, {wrong} wrong")
    return wrong


@cache
def _tiny() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in BASE.iterdir() if file.is_file()}


@dataclass(frozen=True)
class Folder:
    """A folder as another framework leaves it.

    Attributes:
        files: relative paths; a `*` before one copies the zoo's file of that name there.
        says: a word of the line.
        named: the folder's own name, where it matters.
        ckpt: what of it is named as the checkpoint, the folder itself by default.
    """

    files: tuple[str, ...]
    says: str
    named: str = "model"
    ckpt: str = ""


_HF = ("*config.json", "*tokenizer.json", "*tokenizer_config.json")


def _within(folder: str, *files: str) -> tuple[str, ...]:
    return tuple(f"*{folder}/{file[1:]}" if file.startswith("*") else f"{folder}/{file}" for file in files)


_DISTCP = (".metadata", "__0_0.distcp", "__1_0.distcp")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
FOLDERS: dict[str, Folder] = {
    "accelerate FSDP": Folder(
        (*_HF, *_within("pytorch_model_fsdp_0", *_DISTCP), *_within("optimizer_0", *_DISTCP)),
        "accelerate merge-weights",
        "checkpoint-500",
    ),
    "accelerate FSDP, inner folder": Folder(_DISTCP, "accelerate merge-weights", "pytorch_model_fsdp_0"),
    "accelerate FSDP, output folder": Folder(
        _within("checkpoint-100/pytorch_model_fsdp_0", *_DISTCP), "accelerate merge-weights"
    ),
    "accelerate FSDP, full state": Folder((*_HF, "pytorch_model_fsdp.bin"), "rename pytorch_model_fsdp.bin"),
    "torch distributed": Folder(_DISTCP, "dcp_to_torch"),
    "torch distributed, inside": Folder(_within("model", *_DISTCP), "dcp_to_torch"),
    "torchtitan": Folder(_within("checkpoint/step-1000", *_DISTCP), "convert_to_hf.py"),
    "torchtitan, a step": Folder(_DISTCP, "convert_to_hf.py", "step-1000"),
    "DeepSpeed": Folder(
        (
            *_HF,
            "zero_to_fp32.py",
            "latest",
            "global_step500/zero_pp_rank_0_mp_rank_00_model_states.pt",
            "global_step500/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        ),
        "zero_to_fp32.py",
        "checkpoint-500",
    ),
    "DeepSpeed without its script": Folder(
        ("latest", "global_step20/mp_rank_00_model_states.pt"), "deepspeed.utils.zero_to_fp32"
    ),
    "DeepSpeed, a step": Folder(
        ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"),
        "deepspeed.utils.zero_to_fp32",
        "global_step20",
    ),
    "DeepSpeed, output folder": Folder(
        ("checkpoint-50/zero_to_fp32.py", "checkpoint-50/latest"), "zero_to_fp32.py"
    ),
    "verl": Folder(
        (
            "data.pt",
            "actor/model_world_size_8_rank_0.pt",
            "actor/optim_world_size_8_rank_0.pt",
            "actor/extra_state_world_size_8_rank_0.pt",
            "actor/fsdp_config.json",
            *_within("actor/huggingface", *_HF),
        ),
        "verl.model_merger merge --backend fsdp",
        "global_step_50",
    ),
    "verl, actor": Folder(
        ("model_world_size_2_rank_0.pt", "fsdp_config.json", *_within("huggingface", *_HF)),
        "verl.model_merger merge --backend fsdp",
        "actor",
    ),
    "verl, experiment": Folder(
        (
            "latest_checkpointed_iteration.txt",
            "global_step_50/actor/model_world_size_1_rank_0.pt",
            "global_step_100/actor/model_world_size_1_rank_0.pt",
        ),
        "global_step_100/actor",
    ),
    "verl with Hugging Face weights": Folder(
        ("actor/model_world_size_1_rank_0.pt", *_within("actor/huggingface", *_HF, "*model.safetensors")),
        "actor/huggingface",
    ),
    "verl, huggingface folder alone": Folder(_HF, "no weights", "huggingface"),
    "verl, huggingface folder of it": Folder(
        ("model_world_size_1_rank_0.pt", *_within("huggingface", *_HF)),
        "verl.model_merger merge",
        "actor",
        "huggingface",
    ),
    "verl with Megatron": Folder(
        (*_within("actor/dist_ckpt", ".metadata", "common.pt"), *_within("actor/huggingface", *_HF)),
        "--backend megatron",
    ),
    "verl LoRA": Folder(
        ("actor/model_world_size_1_rank_0.pt", *_within("actor/lora_adapter", *_ADAPTER)),
        "actor/lora_adapter",
    ),
    "Trainer output": Folder(
        (
            *_within("checkpoint-500", *_HF, "*model.safetensors", "trainer_state.json"),
            *_within("checkpoint-1000", *_HF, "*model.safetensors"),
        ),
        "newest checkpoint is …/model/checkpoint-1000",
    ),
    "Trainer output, LoRA": Folder(
        _within("checkpoint-30", *_ADAPTER), "newest checkpoint is …/model/checkpoint-30"
    ),
    "adapter in a run": Folder(
        ("args.json", *_within("final/adapter", *_ADAPTER)), "the adapter is …/model/final/adapter"
    ),
    "checkpoints in folders": Folder(
        _within("epoch_1", *_HF, "*model.safetensors"), "name one of them, such as …/model/epoch_1"
    ),
    "Megatron": Folder(
        ("latest_checkpointed_iteration.txt", "iter_0000100/mp_rank_00/model_optim_rng.pt"), "Megatron Bridge"
    ),
    "Megatron, distributed": Folder(
        _within("iter_0000100", ".metadata", "common.pt", "__0_0.distcp", "metadata.json"), "Megatron Bridge"
    ),
    "Megatron, an iteration": Folder(
        (".metadata", "common.pt", "__0_0.distcp"), "Megatron Bridge", "iter_0000100"
    ),
    "NeMo 2": Folder(
        ("context/io.json", "context/model.yaml", *_within("weights", *_DISTCP)), "llm.export_ckpt"
    ),
    "NeMo archive": Folder(("llama.nemo",), "convert_*_nemo_to_hf.py"),
    "NeMo archive, the file": Folder(("llama.nemo",), "convert_*_nemo_to_hf.py", ckpt="llama.nemo"),
    "NeMo RL": Folder(
        ("config.yaml", *_within("policy/weights", *_DISTCP)), "convert_dcp_to_hf.py", "step_10"
    ),
    "GGUF": Folder(("qwen-q4_k_m.gguf",), "llama-server"),
    "GGUF, the file": Folder(("qwen-q4_k_m.gguf",), "llama-server", ckpt="qwen-q4_k_m.gguf"),
    "MLX adapter": Folder(("adapter_config.json", "adapters.safetensors"), "mlx_lm.fuse"),
    "MLX arrays": Folder(("*config.json", "weights.npz"), "MLX"),
    "Llama of Meta": Folder(
        ("consolidated.00.pth", "consolidated.01.pth", "params.json", "tokenizer.model"),
        "convert_llama_weights_to_hf",
    ),
    "Mistral's own": Folder(
        ("consolidated.safetensors", "params.json", "tekken.json"), "convert_mistral_weights_to_hf"
    ),
    "LitGPT": Folder(("lit_model.pth", "model_config.yaml"), "litgpt convert_from_litgpt"),
    "TensorFlow": Folder((*_HF, "tf_model.h5"), "from_tf=True"),
    "Flax": Folder((*_HF, "flax_model.msgpack"), "from_flax=True"),
    "Orbax": Folder(("_CHECKPOINT_METADATA", "items/_METADATA"), "MaxText"),
    "ONNX": Folder((*_HF, "onnx/model.onnx"), "another runtime"),
    "pickle alone": Folder(("*config.json", "model.pt"), "save_pretrained"),
    "Lightning": Folder(("epoch=1-step=100.ckpt",), "save_pretrained"),
    "diffusion": Folder(("model_index.json",), "no language model"),
    "cache of the hub": Folder(
        ("refs/main", *_within("snapshots/0123abc", *_HF, "*model.safetensors")),
        "snapshots/0123abc",
        "models--org--name",
    ),
    "a run of harness eval": Folder(("manifest.json", "samples.jsonl", "metrics.json"), "harness eval"),
    "a run of harness train": Folder(
        ("manifest.json", "train.jsonl", *_within("checkpoint", *_HF, "*model.safetensors")),
        "/model/checkpoint",
    ),
    "an unfinished run of harness train": Folder(
        ("manifest.json", "train.jsonl", "state/0.pt"), "resume=True"
    ),
    "a killed harness merge": Folder((*_HF, "*model.safetensors"), "was killed", "merged.unfinished"),
    "tokenizer alone": Folder(_HF[1:], "no config.json"),
    "an archive": Folder(("model.tar.gz",), "unpack", ckpt="model.tar.gz"),
    "a weight file": Folder(
        ("*config.json", "*model.safetensors"), "a checkpoint is a folder", ckpt="model.safetensors"
    ),
    "an empty folder": Folder((), "no config.json"),
}


def lay_out(case: Folder, place: Path) -> Path:
    """Make the folder; what is to be named as the checkpoint comes back."""
    root = place / case.named
    root.mkdir()
    for name in case.files:
        path = root / name.removeprefix("*")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_tiny()[path.name] if name.startswith("*") else b"{}")
    return root / case.ckpt if case.ckpt else root


def folders(only: str, engine: str) -> int:
    """Print the table of folders.

    Returns:
        How many went wrong.
    """
    wrong = 0
    for name, case in FOLDERS.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as place:
            code, line = run(lay_out(case, Path(place)), Path(place) / "run", engine)
            line = line.replace(place, "…")
        trouble = "" if code == 2 and case.says in line else f"should end with 2 and say {case.says!r}"
        wrong += bool(trouble)
        print(f"{code}  {name:36}{line}{'   <-- ' + trouble if trouble else ''}", flush=True)
    print(f"{sum(only in name for name in FOLDERS)} folders: {wrong} wrong")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--engine", default="hf", choices=("hf", "vllm"))
    parser.add_argument("--folders", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(1 if (folders if given.folders else adapters)(given.only, given.engine) else 0)
