"""`harness` with FSDP on CPUs, for tests: Accelerate chooses FSDP on accelerators alone.

Torch's FSDP itself runs on CPUs and gloo. Two things are changed in how it is set up: Accelerate's state says
FSDP for several CPU processes, and FSDP's first version is told `cpu` instead of `cpu:0`.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FullyShardedDataParallel

from harness.cli import main

_state, _wrap = AcceleratorState.__init__, FullyShardedDataParallel.__init__


def _state_of_fsdp(self: Any, *arguments: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    _state(self, *arguments, fsdp_plugin=fsdp_plugin, **more)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def _wrap_on_cpu(self: Any, *arguments: Any, **more: Any) -> None:
    _wrap(self, *arguments, **(more | {"device_id": torch.device("cpu")}))


if __name__ == "__main__":
    AcceleratorState.__init__ = _state_of_fsdp
    FullyShardedDataParallel.__init__ = _wrap_on_cpu
    sys.exit(main())
