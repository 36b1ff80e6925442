"""What checkpoints need is said before they are loaded."""

import pytest

from harness.engines.checkpoint import find_checkpoint
from harness.engines.memory import Need, free_bytes, need_of, require_room
from harness.errors import EngineUnavailableError

GIB = 1 << 30


def test_what_doesnt_fit_together_may_fit_apart() -> None:
    free = {"cuda:0": 20 * GIB, "cuda:1": 6 * GIB}.get
    teacher, base = Need("big", 16 * GIB, "cuda:0"), Need("small", 5 * GIB, "cuda:0")
    with pytest.raises(EngineUnavailableError, match=r"big \(16.0 GiB\) and small \(5.0 GiB\)") as said:
        require_room([teacher, base], free)
    assert "don't fit into the 20.0 GiB that are free on cuda:0" in str(said.value)
    require_room([teacher, Need("small", 5 * GIB, "cuda:1")], free)
    require_room([Need("vast", 900 * GIB, "mps")], free)


def test_need_is_that_of_the_files_in_the_dtype_asked_for() -> None:
    teacher = find_checkpoint("zoo:teacher", None, None)
    whole = need_of(teacher, "auto", "cpu")
    assert teacher.parameters is not None
    assert whole.size == pytest.approx(4 * teacher.parameters, rel=0.02)
    assert need_of(teacher, "bfloat16", "cpu").size == whole.size // 2
    assert (free_bytes("cpu") or GIB) > whole.size
    assert free_bytes("tpu:3") is None
