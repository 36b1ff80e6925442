"""`harness merge` killed at many moments: what it leaves, and whether the same command then finishes.

A process that has everything imported forks, the child merges an adapter and is killed (SIGKILL) after a
while, each time a little later. Afterwards OUT is complete or isn't there, what lies in OUT.unfinished is
refused as a checkpoint, and the same command makes the checkpoint that an undisturbed one makes.

Run: python benchmarks/merge_kill.py [--kills 60]

Ends with exit code 1 where something looked finished that wasn't, or came out otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import tempfile
import time
from pathlib import Path

from adapter_mutations import Case, make

from harness.cli import main
from harness.engines.checkpoint import find_checkpoint
from harness.errors import HarnessError
from harness.files import draft_of


def merged(adapter: Path, out: Path) -> int:
    """Merge by the command line, in this process; its exit code comes back."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(["merge", str(adapter), "--out", str(out)])


def killed(adapter: Path, out: Path, seconds: float) -> bool:
    """Merge in a process of its own and kill it after a while; False where it was done before."""
    child = os.fork()
    if child == 0:
        os._exit(merged(adapter, out))
    time.sleep(seconds)
    done, _ = os.waitpid(child, os.WNOHANG)
    if done:
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def left(out: Path, wanted: str) -> tuple[str, bool]:
    """What a killed merge left, and whether that is right."""
    if out.exists():
        whole = find_checkpoint(str(out)).sha256 == wanted
        return ("complete" if whole else "incomplete, and looks finished"), whole
    draft = draft_of(out)
    if not draft.exists():
        return "nothing", True
    try:
        find_checkpoint(str(draft))
    except HarnessError as error:
        return f"{len(list(draft.iterdir()))} files in {draft.name}, refused", "was killed" in str(error)
    return f"{draft.name}, taken for a checkpoint", False


def run(kills: int) -> int:
    """Kill so many merges and print a line each; how many went wrong comes back."""
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        adapter, first = Path(place) / "adapter", Path(place) / "undisturbed"
        make(Case(), adapter)
        merged(adapter, Path(place) / "warm")
        began = time.monotonic()
        assert merged(adapter, first) == 0
        whole = time.monotonic() - began
        wanted = find_checkpoint(str(first)).sha256
        for number in range(kills):
            out, moment = Path(place) / f"out-{number}", 1.2 * whole * number / kills
            was = killed(adapter, out, moment)
            said, right = left(out, wanted)
            if not out.exists():
                right &= merged(adapter, out) == 0
            right &= find_checkpoint(str(out)).sha256 == wanted and not draft_of(out).exists()
            wrong += not right
            state = "killed" if was else "done  "
            print(f"{moment:6.3f} s  {state}  {said}{'' if right else '   <-- wrong'}", flush=True)
    print(f"{kills} merges, {wrong} wrong; an undisturbed one takes {whole:.2f} s")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(1 if run(parser.parse_args().kills) else 0)
