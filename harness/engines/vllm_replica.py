"""One vLLM child process, seen from the harness."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import IO, Any

from harness.engines.vllm_messages import Failed, WorkerConfig
from harness.engines.vllm_worker import bootstrap_code
from harness.files import child_log
from harness.plain_text import visible

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
CLOSE_SECONDS = 10.0
SETTLE_SECONDS = 5.0


def _keep_lines(printed: IO[bytes], log: IO[bytes] | None) -> None:
    """Write lines as they come: vLLM tells its log the arguments it was given, a key among them."""
    with printed, nullcontext() if log is None else log as kept:
        for line in printed:
            words = visible(line.decode("utf-8", "replace"))
            if kept is None:
                sys.stderr.write(words)
            else:
                with suppress(OSError):  # A full disk mustn't stop what is being printed.
                    kept.write(words.encode())
                    kept.flush()


class Replica:
    """One child process and this end of its pipe."""

    def __init__(self, config: WorkerConfig, devices: str | None, folder: Path, log: Path | None) -> None:
        """Start the child; doesn't wait for it.

        Args:
            config: sent to the child.
            devices: the GPUs it may see, None for all.
            folder: for its temporary files.
            log: where what it and its processes print goes, secrets masked; None is standard error.
        """
        self.connection, theirs = Pipe(duplex=True)
        environment = {
            **os.environ,
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_RPC_BASE_PATH": str(folder),
            # The checkpoint is on this disk; vLLM need not ask the hub about it.
            "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        }
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        # Prompts may be in it: not for everybody to read. Opened here, where a failure is an error in time.
        kept = None if log is None else child_log(log, 0o600)
        self.process = subprocess.Popen(
            [sys.executable, "-c", bootstrap_code(PACKAGE_ROOT, theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self._printing = threading.Thread(
            target=_keep_lines, args=(self.process.stdout, kept), name="replica-log", daemon=True
        )
        self._printing.start()
        self.connection.send(config)

    def send(self, message: Any) -> None:
        """Send a message; a child that is gone shows when its answer is received."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any:
        """The next message; `Failed` if the child is gone."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            status = self.process.wait()
            return Failed(f"its process ended with status {status}", dead=True)

    def settle(self) -> None:
        """Wait until what a child printed that has ended is in its log."""
        self._printing.join(SETTLE_SECONDS)

    def close(self) -> None:
        """End the child and every process it started; also while another thread waits in `receive`."""
        # The child ends its whole session when the pipe closes. Shutting it down first wakes that thread,
        # whose read would otherwise keep it open.
        if not self.connection.closed:
            pipe = socket.fromfd(self.connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
            with pipe, suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)
            self.connection.close()
        try:
            status = self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
