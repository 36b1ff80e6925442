"""A local OpenAI-compatible server that misbehaves on demand; it echoes prompts, no model is behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What to do with the n-th completion request (from 0): None answers it, otherwise a `Fault`.
Script = Callable[[int, dict[str, Any]], "Fault | None"]


class Fault:
    """A misbehaviour: a status with headers, or, with status 0, a connection closed without an answer.

    `body` is sent as it is instead of a message; with `trickles`, blanks without an end. `raw` is all that
    is sent, head included, before the connection is closed.
    """

    def __init__(
        self,
        status: int,
        message: str = "broken",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        trickles: bool = False,
        raw: bytes | None = None,
    ) -> None:
        self.raw = raw
        self.status = status
        self.message = message
        self.headers = headers or {}
        self.body = json.dumps({"error": {"message": message}}).encode() if body is None else body
        self.trickles = trickles


class FaultyServer:
    """Serves on a free port of the loopback interface; `pages` go before anything else, by path.

    With a `version` it passes for vLLM: it tokenizes, byte by byte, text and messages alike.
    """

    def __init__(
        self,
        script: Script,
        models: tuple[str, ...] = ("echo",),
        pages: dict[str, Fault] | None = None,
        version: str | None = None,
    ) -> None:
        self.script = script
        self.version = version
        self.pages = {} if pages is None else pages
        self.models = models
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busy = 0
        self.most_busy = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        usage = {"prompt_tokens": 1, "completion_tokens": 2}
        if "messages" in body:
            message = {"role": "assistant", "content": f"echo {body['messages'][0]['content']}"}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        return {"choices": [{"text": f"echo {body['prompt']}", "finish_reason": "length"}], "usage": usage}

    def tokenized(self, body: dict[str, Any]) -> tuple[int, object] | None:
        """Status and reply of `/tokenize`, None where there is none."""
        return None if self.version is None else (200, {"tokens": tokens(body)})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _send(self, status: int, value: object) -> None:
                self._send_bytes(status, json.dumps(value).encode(), {})

            def _trickle(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                with suppress(OSError):
                    while not outer._closing.wait(0.01):
                        self.wfile.write(b" ")

            def _send_bytes(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, text in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, text)
                self.end_headers()
                with suppress(OSError):  # whoever asked has read enough
                    self.wfile.write(content)

            def do_GET(self) -> None:
                if page := outer.pages.get(self.path):
                    self._send_bytes(page.status, page.body, page.headers)
                elif self.path == "/v1/models":
                    self._send(200, {"data": [{"id": name} for name in outer.models]})
                elif self.path == "/version" and outer.version is not None:
                    self._send(200, {"version": outer.version})
                else:
                    self._send(404, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if page := outer.pages.get(self.path):
                    self._send_bytes(page.status, page.body, page.headers)
                    return
                if self.path == "/tokenize" and (found := outer.tokenized(body)) is not None:
                    self._send(*found)
                    return
                if self.path not in ("/v1/completions", "/v1/chat/completions"):
                    self._send(404, {"detail": "Not Found"})
                    return
                with outer._lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                fault = outer.script(number, body)
                with outer._lock:
                    outer.busy -= 1
                if fault is None:
                    self._send(200, outer.answer(body))
                elif fault.raw is not None:
                    self.close_connection = True
                    with suppress(OSError):
                        self.wfile.write(fault.raw)
                elif fault.trickles:
                    self._trickle()
                elif fault.status == 0:
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._send_bytes(fault.status, fault.body, fault.headers)

        return Handler


def tokens(body: dict[str, Any]) -> list[int]:
    """A byte's number is its token; 1 begins a text, 2 and 3 stand round a message."""
    if "messages" in body:
        return [1, 2, *body["messages"][0]["content"].encode(), 3]
    return [*([1] if body.get("add_special_tokens", True) else []), *body["prompt"].encode()]


@contextmanager
def faulty(script: Script, **settings: Any) -> Iterator[FaultyServer]:
    server = FaultyServer(script, **settings)
    try:
        yield server
    finally:
        server.close()
