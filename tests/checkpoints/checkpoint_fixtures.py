"""Session fixtures that make small checkpoints; nothing of them is committed.

They are kept in pytest's cache folder, so that only the first run pays for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.checkpoints.tiny_qwen3 import write_tiny_qwen3

REPOSITORY = Path(__file__).resolve().parents[2]
SMOLLM = REPOSITORY / "benchmarks" / "smollm.py"


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Qwen3-architecture model with a chat template; 1.6 MB, float32."""
    pytest.importorskip("transformers")
    return write_tiny_qwen3(tmp_path_factory.mktemp("checkpoints") / "tiny-qwen3")


@pytest.fixture(scope="session")
def smollm2(request: pytest.FixtureRequest) -> Path:
    """SmolLM2-135M-Instruct in float32; set HARNESS_SMOLLM2 to a folder that has it already."""
    given = os.environ.get("HARNESS_SMOLLM2")
    if given:
        return Path(given)
    for library in ("torch", "transformers", "gguf", "accelerate"):
        pytest.importorskip(library)
    folder = request.config.cache.mkdir("checkpoints") / "smollm2-135m-instruct"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            command = [sys.executable, str(SMOLLM), "--out", str(folder)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                pytest.skip(f"SmolLM2 can't be made here: {made.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders `untrained`, `base` and `teacher`, and the file `rows` of their tasks."""
    pytest.importorskip("torch")
    from tests.checkpoints.opd_family import write_family

    return write_family(tmp_path_factory.mktemp("family"))
