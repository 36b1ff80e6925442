"""The command line in a process that has this one's imports: a model library takes seconds to import."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness.cli import main


class Forked:
    """`harness …` in a child, as `subprocess.Popen` would have it, for tests that kill it.

    For what a fresh interpreter must show, start one.

    Args:
        arguments: of the command line.
        said: file for what it writes on standard error.
        session: whether it leads a session of its own, so that what it starts can be killed with it.
        environment: what it has beside this process's.
        run: the command line.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        said: Path,
        *,
        session: bool = False,
        environment: Mapping[str, str] = MappingProxyType({}),
        run: Callable[[list[str]], int] = main,
    ) -> None:
        self.said = said
        self.returncode: int | None = None
        # The child has the parent's buffers too, and would write them again.
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            os.environ.update(environment)
            _run(lambda: run(list(arguments)), said, session)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, how: signal.Signals) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, how)


def _run(work: Callable[[], int], said: Path, session: bool) -> None:
    code = 1
    try:
        if session:
            os.setsid()
        # pytest's handlers and streams are the parent's.
        for one in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nowhere = os.open(os.devnull, os.O_RDWR)
        error = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, file in enumerate((nowhere, nowhere, error)):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, buffering=1, closefd=False) for number, mode in enumerate("rww")
        )
        if "accelerate" in sys.modules:
            # It remembers how many processes there are.
            from accelerate.state import AcceleratorState

            AcceleratorState._reset_state(reset_partial_state=True)
        code = work()
        sys.stderr.flush()
    finally:
        # Neither the parent's fixtures nor its handlers of exit are the child's to run.
        os._exit(code)
