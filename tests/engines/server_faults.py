"""What servers, gateways and proxies have been seen to send in place of an answer, and what is right then."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.engines.faulty_server import Fault

Kind = Literal["passing", "own", "all", "pause", "fine"]
"""What a fault says of: it may be gone at the next try; this request; whoever asks; a long pause; nothing."""
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServerFault:
    """One of them.

    Attributes:
        name: for people.
        kind: what follows.
        made: from the answer that would have been right.
        request_seconds: what the run puts up with.
    """

    name: str
    kind: Kind
    made: Callable[[Answer], Fault]
    request_seconds: float = 60.0


def _status(status: int, kind: Kind = "passing", **headers: str) -> ServerFault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    shown = "".join(f" {name}: {value}" for name, value in named.items())
    return ServerFault(f"HTTP {status}{shown}", kind, lambda answer: Fault(status, "broken", named))


def _body(
    name: str, body: bytes | Callable[[Answer], bytes], kind: Kind = "passing", **headers: str
) -> ServerFault:
    named = {key.replace("_", "-"): value for key, value in headers.items()}

    def made(answer: Answer) -> Fault:
        return Fault(200, headers=named, body=body if isinstance(body, bytes) else body(answer))

    return ServerFault(name, kind, made)


def _raw(name: str, raw: Callable[[bytes], bytes], kind: Kind = "passing") -> ServerFault:
    return ServerFault(name, kind, lambda answer: Fault(200, raw=raw(json.dumps(answer).encode())))


def _with(answer: Answer, **changes: Any) -> bytes:
    """The answer with other fields in its choice."""
    [choice] = answer["choices"]
    return json.dumps(answer | {"choices": [choice | changes]}).encode()


def _saying(answer: Answer, content: Any) -> bytes:
    """The answer with other content, where its kind of reply has it."""
    [choice] = answer["choices"]
    if "message" in choice:
        return _with(answer, message={"role": "assistant", "content": content})
    return _with(answer, text=content)


def _text(answer: Answer) -> str:
    [choice] = answer["choices"]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def _parts(answer: Answer) -> bytes:
    text = _text(answer)
    return _saying(answer, [{"type": "text", "text": text[:5]}, {"type": "text", "text": text[5:]}])


def _counting(answer: Answer, count: str) -> bytes:
    text = json.dumps(answer | {"usage": {"prompt_tokens": "N", "completion_tokens": "N"}})
    return text.replace('"N"', count).encode()


def _head(*lines: str, version: str = "1.1", status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode()


def _chunked(body: bytes) -> bytes:
    half = len(body) // 2
    pieces = b"".join(f"{len(one):x}\r\n".encode() + one + b"\r\n" for one in (body[:half], body[half:]))
    return _head("Transfer-Encoding: chunked") + pieces + b"0\r\n\r\n"


FAULTS = (
    # Replies that aren't a success.
    _status(302, Location="http://127.0.0.1:9/elsewhere"),
    _status(307, Location="/v1/elsewhere"),
    _status(408),
    _status(409),
    _status(418),
    _status(429),
    _status(429, "pause", Retry_After="3600"),
    _status(429, Retry_After="0"),
    _status(429, Retry_After="soon"),
    _status(429, Retry_After="-5"),
    _status(503, Retry_After="nan"),
    _status(503, Retry_After="1e999"),
    _status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    _status(451),
    _status(500),
    _status(502),
    _status(504),
    _status(520),
    _status(524),
    _status(529),
    _status(400, "own"),
    _status(413, "own"),
    _status(422, "own"),
    _status(401, "all"),
    _status(403, "all"),
    _status(404, "all"),
    # A success that holds no answer.
    _body("an error in a 200", b'{"error": {"code": 429, "message": "Rate limit exceeded"}}'),
    _body("a page", b"<html>please log in</html>", Content_Type="text/html"),
    _body("nothing", b""),
    ServerFault("HTTP 204", "passing", lambda answer: Fault(204, body=b"")),
    _body("no choices", b"{}"),
    _body("choices: null", b'{"choices": null}'),
    _body("choices: []", b'{"choices": []}'),
    _body("two choices", lambda answer: json.dumps(answer | {"choices": answer["choices"] * 2}).encode()),
    _body("content: 7", lambda answer: _saying(answer, 7)),
    _body("finish_reason: 7", lambda answer: _with(answer, finish_reason=7)),
    _body("finish_reason: abort", lambda answer: _with(answer, finish_reason="abort")),
    _body("deep JSON", b"[" * 100_000),
    _body("a list", b"[]"),
    _body("Latin-1", '{"choices": "é"}'.encode("latin-1")),
    _body("NUL bytes", lambda answer: json.dumps(answer).encode() + b"\0\0"),
    _body(
        "a stream of events", lambda answer: b"data: " + json.dumps(answer).encode() + b"\n\ndata: [DONE]\n\n"
    ),
    _body("not packed as it says", lambda answer: json.dumps(answer).encode(), Content_Encoding="gzip"),
    _body("too long once unpacked", gzip.compress(b" " * (65 * 2**20), 1), Content_Encoding="gzip"),
    # No proper reply.
    ServerFault("closed without a word", "passing", lambda answer: Fault(0)),
    ServerFault("blanks without an end", "passing", lambda answer: Fault(200, trickles=True), 1.0),
    _raw("half a reply", lambda body: _head(f"Content-Length: {len(body)}") + body[: len(body) // 2]),
    _raw("Content-Length too short", lambda body: _head("Content-Length: 20", "Connection: close") + body),
    _raw("broken chunks", lambda body: _head("Transfer-Encoding: chunked") + b"zz\r\n" + body),
    _raw("giant headers", lambda body: _head(f"X-Padding: {'x' * 200_000}", "Content-Length: 2") + b"{}"),
    _raw("no HTTP", lambda body: b"SSH-2.0-OpenSSH_9.6\r\n"),
    # Odd, and still an answer.
    _body("UTF-16", lambda answer: json.dumps(answer).encode("utf-16"), "fine"),
    _body("a byte order mark", lambda answer: b"\xef\xbb\xbf" + json.dumps(answer).encode(), "fine"),
    _body("a lone surrogate", lambda answer: json.dumps(answer | {"note": "\ud800"}).encode(), "fine"),
    _body("content in parts", _parts, "fine"),
    _body("negative token counts", lambda answer: _counting(answer, "-1"), "fine"),
    _body("token counts that aren't numbers", lambda answer: _counting(answer, "NaN"), "fine"),
    _body("an unknown finish reason", lambda answer: _with(answer, finish_reason="went_home"), "fine"),
    _raw("HTTP/1.0", lambda body: _head(version="1.0") + body, "fine"),
    _raw("chunks", _chunked, "fine"),
)
