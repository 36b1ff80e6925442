"""`harness` with FSDP on CPUs, for tests: Accelerate chooses FSDP on accelerators alone.

Torch's FSDP itself runs on CPUs and gloo. Two things are changed in how it is set up: Accelerate's state says
FSDP for several CPU processes, and FSDP's first version is told `cpu` instead of `cpu:0`.
"""

from __future__ import annotations

import sys
from typing import Any

from harness.cli import main


def main_under_fsdp(arguments: list[str] | None = None) -> int:
    """`harness.cli.main` with both changes, which stay for the rest of the process."""
    import torch
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.fsdp import FullyShardedDataParallel

    state, wrap = AcceleratorState.__init__, FullyShardedDataParallel.__init__

    def state_of_fsdp(self: Any, *given: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        state(self, *given, fsdp_plugin=fsdp_plugin, **more)
        if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    def wrap_on_cpu(self: Any, *given: Any, **more: Any) -> None:
        wrap(self, *given, **(more | {"device_id": torch.device("cpu")}))

    AcceleratorState.__init__ = state_of_fsdp
    FullyShardedDataParallel.__init__ = wrap_on_cpu
    return main(arguments)


if __name__ == "__main__":
    sys.exit(main_under_fsdp())
