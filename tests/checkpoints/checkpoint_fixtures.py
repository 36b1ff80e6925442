"""Session fixtures that make small checkpoints; nothing of them is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints.tiny_qwen3 import write_tiny_qwen3


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Qwen3-architecture model with a chat template; 1.6 MB, float32."""
    pytest.importorskip("transformers")
    return write_tiny_qwen3(tmp_path_factory.mktemp("checkpoints") / "tiny-qwen3")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders `untrained`, `base` and `teacher`, and the file `rows` of their tasks."""
    pytest.importorskip("torch")
    from tests.checkpoints.opd_family import write_family

    return write_family(tmp_path_factory.mktemp("family"))
