"""The checkpoint that needs no download: trained on first use, then kept in the user's cache.

Training runs in a process of its own (`python -m harness.opd.embedded RECIPE OUT`): its threads must not be
alive when vLLM forks, and its memory is free again afterwards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from harness.contract import DEFAULT
from harness.data.prompt import render_prompt
from harness.errors import EngineUnavailableError, IncompleteError
from harness.evaluate.progress import OnProgress, Progress, ignore
from harness.opd.optimisation import Optimisation
from harness.opd.recipe import TinyRecipe, build_tiny, family_tasks

CACHE_VARIABLE = "HARNESS_CACHE"
EMBEDDED = TinyRecipe(
    size="base",
    seed=0,
    matching=Optimisation(
        steps=750, batch_size=16, learning_rate=4e-3, warmup_steps=40, final_fraction=0.02, seed=1
    ),
    sft=Optimisation(
        steps=400, batch_size=16, learning_rate=2e-3, warmup_steps=20, final_fraction=0.02, seed=2
    ),
)
# The same number everywhere: sums in another order round otherwise, and weights drift apart.
THREADS = 2
LOCK_POLL_SECONDS = 5.0
# Wording of prompts that goes into the version: a handful shows any change.
VERSION_TASKS = 4


def cache_folder() -> Path:
    """`$HARNESS_CACHE`, or else `~/.cache/harness`."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "harness").expanduser()


def recipe_version(recipe: TinyRecipe = EMBEDDED) -> str:
    """Hash of all that decides the checkpoint: recipe, prompts, contract. A change makes a new one."""
    parts = [
        json.dumps(dataclasses.asdict(recipe)),
        *(render_prompt(task, DEFAULT) for task in family_tasks(VERSION_TASKS)),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def ensure_embedded_checkpoint(on_progress: OnProgress = ignore, recipe: TinyRecipe = EMBEDDED) -> Path:
    """The embedded checkpoint's folder; trains it the first time, which takes a minute or two on two cores.

    Two processes at once train it once: the second waits for the first.

    Args:
        on_progress: told where training stands.
        recipe: what to train; each recipe has a folder of its own.

    Raises:
        EngineUnavailableError: torch or transformers isn't installed.
        IncompleteError: training stopped; the next call begins anew.
    """
    folder = cache_folder() / f"embedded-{recipe_version(recipe)}"
    if folder.is_dir():
        return folder
    for library in ("torch", "transformers", "tokenizers"):
        if importlib.util.find_spec(library) is None:
            raise EngineUnavailableError(
                f"the embedded checkpoint is trained on first use and needs {library}; "
                "run: pip install 'format-safety-harness[hf]'"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    while True:
        try:
            with lock.acquire(timeout=LOCK_POLL_SECONDS):
                if not folder.is_dir():
                    _train_into(folder, recipe, on_progress)
                return folder
        except Timeout:
            on_progress(Progress("waiting for another process that trains the embedded checkpoint"))


def _train_into(folder: Path, recipe: TinyRecipe, on_progress: OnProgress) -> None:
    # Left by a process that was killed: the lock is ours, so nobody is using them.
    for stale in folder.parent.glob(f"{folder.name}.training-*"):
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.training-", dir=folder.parent))
    try:
        _train_in_child(recipe, scratch / "checkpoint", on_progress)
        (scratch / "checkpoint").rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _train_in_child(recipe: TinyRecipe, out: Path, on_progress: OnProgress) -> None:
    settings = json.dumps(dataclasses.asdict(recipe))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "harness.opd.embedded", settings, str(out)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert child.stdout is not None
            for line in child.stdout:
                on_progress(Progress(**json.loads(line)))
            status = child.wait()
        finally:
            child.kill()
            child.wait()
        if status != 0:
            errors.seek(0)
            said = [line.strip() for line in errors if line.strip()]
            cause = said[-1] if said else f"exit status {status}"
            raise IncompleteError(
                f"training the embedded checkpoint stopped ({cause}); run the command again"
            )


def _read_recipe(settings: str) -> TinyRecipe:
    fields = json.loads(settings)
    phases = {phase: Optimisation(**fields[phase]) for phase in ("matching", "sft")}
    return TinyRecipe(**{**fields, **phases, "k": tuple(fields["k"])})


def _main(settings: str, out: str) -> None:
    import torch

    # The parent reads progress from here; whatever libraries print goes to stderr with the rest.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as progress_lines:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def tell(progress: Progress) -> None:
            progress_lines.write(json.dumps(dataclasses.asdict(progress)) + "\n")
            progress_lines.flush()

        torch.set_num_threads(THREADS)
        build_tiny(_read_recipe(settings), Path(out), tell)


if __name__ == "__main__":
    _main(*sys.argv[1:])
