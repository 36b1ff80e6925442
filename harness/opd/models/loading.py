"""The three policies of a run: π_S in training, π_T and π_B frozen; loaded where and when they are needed."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from harness.engines.adapters import merge_instead
from harness.engines.carried import carry_over
from harness.engines.checkpoint import Checkpoint, find_checkpoint, is_adapter
from harness.engines.config import EngineConfig
from harness.engines.finite import require_finite_weights
from harness.engines.vocabulary import Vocabulary, read_vocabulary, require_same_vocabulary
from harness.errors import EngineUnavailableError
from harness.opd.config import LoRA, OPDConfig
from harness.opd.models.files import adamw, choose_device, load_model, numerics, save_model
from harness.opd.models.policy import Policy


class Checkpoints:
    """Teacher, base and the student's start, found and checked before anything is loaded.

    Attributes:
        teacher: whole model.
        base: whole model.
        student: what the student starts from.
        vocabulary: the one all three share.
    """

    def __init__(self, config: OPDConfig) -> None:
        """Find all three.

        Raises:
            EngineUnavailableError: not a checkpoint, an adapter, or vocabularies that differ.
        """
        self.teacher = find_whole(config.teacher)
        self.base = find_whole(config.base)
        self.student = find_whole(config.student) if config.student else self.base
        trust = config.placement.trust_remote_code
        names = [config.teacher, config.base, config.student or config.base]
        teacher, base, vocabulary = (vocabulary_of(name, trust) for name in names)
        self.vocabulary: Vocabulary = vocabulary
        require_same_vocabulary(teacher, self.vocabulary)
        require_same_vocabulary(base, self.vocabulary)


class Policies:
    """Loaded policies, and the accelerator that carries the student to one or several devices."""

    def __init__(self, config: OPDConfig, checkpoints: Checkpoints) -> None:
        """Load the student and its optimizer.

        Raises:
            EngineUnavailableError: a library is missing, or transformers can't load the checkpoint.
        """
        self._config = config
        self._checkpoints = checkpoints
        wanted = choose_device(config.placement.device)
        self.accelerator = _accelerator(wanted)
        alone = self.accelerator.num_processes == 1
        self.device = wanted if alone else self.accelerator.device
        self._dtype, self._autocast = numerics(config.placement, self.device)
        model = load_model(checkpoints.student, config.placement, self._dtype)
        if config.lora is not None:
            model = _with_adapter(model, config.lora, config.optimisation.seed)
        without_dropout(model)
        student = Policy(model.to(self.device).train(), self._autocast)
        self._shared_out = self.accelerator.distributed_type == DistributedType.FSDP
        # What draws, is read without gradients and is saved: the student, or where each process holds only a
        # part of that, a copy which is given its weights anew.
        self._whole = copy.deepcopy(student).requires_grad_(False) if self._shared_out else student
        optimizer = adamw(student, config.optimisation, self.device)
        # `trained` is what gradients go through: the same module, or a wrapper that shares it out. FSDP's
        # second version places modules itself and refuses to be told.
        placed = None if self.accelerator.is_fsdp2 else [False, False]
        self.trained, self.optimizer = self.accelerator.prepare(student, optimizer, device_placement=placed)
        self._frozen: dict[str, Policy] = {}

    @property
    def numerics(self) -> str:
        """What is computed in what, and where."""
        computed = "bfloat16" if self._autocast else self._dtype
        return f"{self._dtype} weights computed in {computed} on {self.device.type}"

    @contextlib.contextmanager
    def teacher(self) -> Iterator[Policy]:
        """π_T."""
        yield self._load_frozen(self._checkpoints.teacher)

    @contextlib.contextmanager
    def base(self) -> Iterator[Policy]:
        """π_B: with LoRA the student without its adapter, which takes no memory of its own."""
        if self._config.lora is not None:
            with self.whole_student() as whole, whole.without_adapter():
                yield whole
        else:
            yield self._load_frozen(self._checkpoints.base)

    @contextlib.contextmanager
    def start(self) -> Iterator[Policy]:
        """The student as it was before training."""
        if self._config.lora is not None:
            with self.whole_student() as whole, whole.without_adapter():
                yield whole
        else:
            yield self._load_frozen(self._checkpoints.student)

    def release(self) -> None:
        """Free teacher and base, which fixed rollouts need once."""
        self._frozen.clear()

    @contextlib.contextmanager
    def whole_student(self) -> Iterator[Policy]:
        """The student as it is now with all its weights, not to be trained; every process must ask for it."""
        if self._shared_out:
            everything = StateDictOptions(full_state_dict=True)
            self._whole.load_state_dict(get_model_state_dict(self.trained, options=everything))
        yield self._whole

    def save_student(self, start: Checkpoint, folder: Path) -> None:
        """Write the student as a checkpoint, with LoRA as an adapter; all processes call it, one writes.

        Args:
            start: the checkpoint it began from, for dtype, tokenizer and chat template.
            folder: exists.
        """
        with self.whole_student() as whole:
            if not self.accelerator.is_main_process:
                return
            if self._config.lora is None:
                save_whole(whole, start, folder)
            else:
                require_finite_weights(whole.model, "the trained adapter")
                copy.deepcopy(whole.model).save_pretrained(folder)
                carry_over(start, folder)

    def _load_frozen(self, checkpoint: Checkpoint) -> Policy:
        if checkpoint.sha256 not in self._frozen:
            model = load_model(checkpoint, self._config.placement, self._dtype)
            model.requires_grad_(False)
            self._frozen[checkpoint.sha256] = Policy(model.to(self.device).eval(), self._autocast)
        return self._frozen[checkpoint.sha256]


def find_whole(name: str) -> Checkpoint:
    """A checkpoint that is a whole model.

    Raises:
        EngineUnavailableError: there is none, or it is an adapter.
    """
    # Before its base is looked for, which may be missing here.
    refusal = EngineUnavailableError(f"{name} is an adapter; {merge_instead(name)}")
    if is_adapter(name):
        raise refusal
    checkpoint = find_checkpoint(name)
    if checkpoint.base is not None:
        raise refusal
    return checkpoint


def vocabulary_of(name: str, trust_remote_code: bool = False) -> Vocabulary:
    """The vocabulary of a checkpoint, folder, `zoo:NAME` or hub id."""
    return read_vocabulary(EngineConfig(ckpt=name, trust_remote_code=trust_remote_code))


def save_whole(student: Policy, start: Checkpoint, folder: Path) -> None:
    """Write a student as a checkpoint, with its adapter merged if it has one.

    Args:
        student: with all its weights.
        start: the checkpoint it began from, for dtype, tokenizer and chat template.
        folder: exists.
    """
    # A copy: saving changes the dtype, and training may go on.
    model = copy.deepcopy(student.model)
    save_model(model.merge_and_unload() if hasattr(model, "merge_and_unload") else model, start, folder)


def _accelerator(device: torch.device) -> Accelerator:
    """What carries the student to one or several devices.

    Raises:
        EngineUnavailableError: launched with something the loop can't be carried by.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        # Its default lets the main process alone read weights: right for the student, which is shared out
        # from there, and noise for teacher and base, which every process holds.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    for launched, name in (("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")):
        if os.environ.get(f"ACCELERATE_USE_{launched}", "false").lower() == "true":
            raise EngineUnavailableError(
                f"the loop doesn't run under {name}; launch it as plain data parallelism or with FSDP"
            )
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",
        # The weights of a whole step add up to 1 already; a launcher's own setting would divide them again.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        # Without it the first version replaces the weights that the optimizer knows, and none would move.
        accelerator.state.fsdp_plugin.use_orig_params = True
    return accelerator


def _with_adapter(model: Any, lora: LoRA, seed: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise EngineUnavailableError("LoRA needs peft; run: pip install peft") from error
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, settings)


def without_dropout(model: nn.Module) -> None:
    """With dropout the ratio would not be 1 at step 0, nor A = 0 between equal policies."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Many architectures keep rates of their own: attention_dropout, activation_dropout, layerdrop.
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
