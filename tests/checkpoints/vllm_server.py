"""A real vLLM server for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest


class VllmServer:
    """A real vLLM server of a checkpoint on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it unless it runs; returns when it accepts requests."""
        if self.process is not None and self.process.poll() is None:
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process = subprocess.Popen(
            # Chunked prefill would crash vLLM's CPU backend as soon as a seeded request is split.
            [
                *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.folder)),
                *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"),
                *("--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if "Application startup complete" in line:
                break
        else:
            pytest.fail("the server did not start:\n" + "".join(seen[-20:]))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def kill(self) -> None:
        """SIGKILL to it and its engine."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
