"""The embedded checkpoint: trained once, whole or not there, whoever asks and whatever dies."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.checkpoint import Checkpoint
from harness.errors import IncompleteError
from harness.evaluate.progress import Progress
from harness.opd.embedded import EMBEDDED, ensure_embedded_checkpoint, recipe_version
from harness.opd.optimisation import Optimisation
from harness.opd.recipe import TinyRecipe

pytestmark = pytest.mark.model

SHORT = Optimisation(steps=2, batch_size=2, learning_rate=1e-3)
QUICK = TinyRecipe(size="base", seed=4, matching=SHORT, sft=SHORT, k=(3, 4))
ASK = """
from test_embedded import QUICK
from harness.opd.embedded import ensure_embedded_checkpoint
heard = []
print(ensure_embedded_checkpoint(heard.append, QUICK), sum(progress.done > 0 for progress in heard))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path


def folders(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.is_dir()]


def test_two_processes_train_it_once(cache: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    both = [
        subprocess.Popen([sys.executable, "-c", ASK], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    answers = [process.communicate()[0].split() for process in both]
    name = f"embedded-{recipe_version(QUICK)}"
    assert [process.returncode for process in both] == [0, 0]
    assert [Path(answer[0]).name for answer in answers] == [name, name]
    assert sorted(int(answer[1]) for answer in answers) == [0, 4]
    assert folders(cache) == [name]
    checkpoint = Checkpoint(name, cache / name)
    assert checkpoint.parameters
    assert checkpoint.stop_token_ids
    # A third call finds it without asking for torch.
    assert ensure_embedded_checkpoint(recipe=QUICK) == cache / name


def test_killed_training_leaves_nothing_and_the_next_call_begins_anew(cache: Path) -> None:
    stale = cache / f"embedded-{recipe_version(QUICK)}.training-dead"
    stale.mkdir()

    def kill_training(progress: Progress) -> None:
        if progress.done == 1:
            for process in children_of(os.getpid()):
                os.kill(process, signal.SIGKILL)

    with pytest.raises(IncompleteError, match="run the command again"):
        ensure_embedded_checkpoint(kill_training, QUICK)
    assert folders(cache) == []
    assert Checkpoint("again", ensure_embedded_checkpoint(recipe=QUICK)).parameters


def children_of(parent: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    commands = {int(pid): Path(f"/proc/{pid.strip()}/cmdline") for pid in listed.stdout.split()}
    return [
        pid
        for pid, file in commands.items()
        if file.exists() and b"harness.opd.embedded" in file.read_bytes()
    ]


def test_the_version_follows_the_recipe() -> None:
    assert recipe_version(EMBEDDED) == recipe_version(dataclasses.replace(EMBEDDED))
    assert recipe_version(EMBEDDED) != recipe_version(dataclasses.replace(EMBEDDED, seed=99))


def test_asking_for_the_version_loads_no_torch() -> None:
    program = "import sys, harness.opd.embedded as e; e.recipe_version(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
