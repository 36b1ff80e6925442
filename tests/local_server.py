"""A small HTTP server of this process, for servers that say odd things on purpose."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalServer(ThreadingHTTPServer):
    """Serves on a free port of this machine until the process ends.

    Attributes:
        mode: what its handler does out of the ordinary.
    """

    daemon_threads = True
    mode = ""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Clients go when they have heard enough."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class JSONHandler(BaseHTTPRequestHandler):
    """Answers with JSON, or with text or bytes as they are."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def send(self, status: int, content: object, kind: str = "application/json", **headers: str) -> None:
        """Answer a request; a header's name is written with underscores."""
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
