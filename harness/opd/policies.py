"""The three policies of a run: π_S in training, π_T and π_B frozen; loaded where and when they are needed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from harness.engines.checkpoint import Checkpoint, find_checkpoint
from harness.engines.config import EngineConfig
from harness.engines.vocabulary import Vocabulary, read_vocabulary, require_same_vocabulary
from harness.errors import EngineUnavailableError
from harness.opd.config import LoRA, OPDConfig
from harness.opd.fitting import carry_over, choose_device, load_model, numerics, save_model
from harness.opd.policy import Policy
from harness.opd.training import adamw


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
        self.accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no")
        alone = self.accelerator.num_processes == 1
        self.device = wanted if alone else self.accelerator.device
        self._dtype, self._autocast = numerics(config.placement, self.device)
        model = load_model(checkpoints.student, config.placement, self._dtype)
        if config.lora is not None:
            model = _with_adapter(model, config.lora, config.optimisation.seed)
        _without_dropout(model)
        self.student = Policy(model.to(self.device).train(), self._autocast)
        optimizer = adamw(self.student, config.optimisation, self.device)
        # `trained` is what gradients go through: the same module, or a wrapper that shares it out.
        self.trained, self.optimizer = self.accelerator.prepare(
            self.student, optimizer, device_placement=[False, False]
        )
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
            with self.student.without_adapter():
                yield self.student
        else:
            yield self._load_frozen(self._checkpoints.base)

    @contextlib.contextmanager
    def start(self) -> Iterator[Policy]:
        """The student as it was before training."""
        if self._config.lora is not None:
            with self.student.without_adapter():
                yield self.student
        else:
            yield self._load_frozen(self._checkpoints.student)

    def release(self) -> None:
        """Free teacher and base, which fixed rollouts need once."""
        self._frozen.clear()

    @contextlib.contextmanager
    def whole_student(self) -> Iterator[Any]:
        """The student's transformers model with all its weights, also where several processes share them."""
        if self.accelerator.distributed_type == DistributedType.FSDP:
            from torch.distributed.fsdp import FullyShardedDataParallel

            with FullyShardedDataParallel.summon_full_params(self.trained, writeback=False):
                yield self.student.model
        else:
            yield self.student.model

    def save_student(self, start: Checkpoint, folder: Path, *, merged: bool = False) -> None:
        """Write the student as a checkpoint; every process must call it, the main one writes.

        Args:
            start: the checkpoint it began from, for dtype, tokenizer and chat template.
            folder: exists.
            merged: with LoRA, a whole model instead of an adapter.
        """
        if self.accelerator.distributed_type == DistributedType.FSDP:
            gathered = self.accelerator.get_state_dict(self.trained)
            state = {name.removeprefix("model."): one for name, one in gathered.items()}
            if self.accelerator.is_main_process:
                save_model(self.student.model, start, folder, state)
            return
        if not self.accelerator.is_main_process:
            return
        # A copy: saving changes the dtype, and training may go on.
        model = copy.deepcopy(self.student.model)
        if self._config.lora is None:
            save_model(model, start, folder)
        elif merged:
            save_model(model.merge_and_unload(), start, folder)
        else:
            model.save_pretrained(folder)
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
    checkpoint = find_checkpoint(name)
    if checkpoint.base is not None:
        raise EngineUnavailableError(f"{name} is an adapter; merge it into its base model first")
    return checkpoint


def vocabulary_of(name: str, trust_remote_code: bool = False) -> Vocabulary:
    """The vocabulary of a checkpoint, folder, `zoo:NAME` or hub id."""
    return read_vocabulary(EngineConfig(ckpt=name, trust_remote_code=trust_remote_code))


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


def _without_dropout(model: nn.Module) -> None:
    """With dropout the ratio would not be 1 at step 0, nor A = 0 between equal policies."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
            module.attention_dropout = 0.0
