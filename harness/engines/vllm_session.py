"""The processes of one vLLM replica: a session whose members end together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

PROCESSES = Path("/proc")


def end_session() -> None:
    """Kill every process of this session at once, this one last.

    All but multiprocessing's resource tracker: it ends by itself when the others are gone and then gives back
    the shared memory they leave behind. (vLLM's own shutdown does the same, but takes five seconds or more.)
    """
    own, session = os.getpid(), os.getsid(0)
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    if not PROCESSES.is_dir():
        os.killpg(0, signal.SIGKILL)
    for pid in session_members(session):
        if pid not in (own, tracker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os._exit(0)


def session_members(session: int) -> list[int]:
    """Ids of the processes in a session."""
    members = []
    for entry in PROCESSES.iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == session:
                    members.append(int(entry.name))
    return members
