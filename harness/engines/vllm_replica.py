"""One vLLM child process, seen from the harness."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

from harness.engines.vllm_messages import Failed, WorkerConfig
from harness.engines.vllm_worker import bootstrap_code

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
CLOSE_SECONDS = 10.0


class Replica:
    """One child process and this end of its pipe."""

    def __init__(self, config: WorkerConfig, devices: str | None, folder: Path) -> None:
        """Start the child; doesn't wait for it.

        Args:
            config: sent to the child.
            devices: the GPUs it may see, None for all.
            folder: for its temporary files.
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
        self.process = subprocess.Popen(
            [sys.executable, "-c", bootstrap_code(PACKAGE_ROOT, theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
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
