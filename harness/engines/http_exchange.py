"""One request to an HTTP server and its reply, read to the end within a time and a size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.masking import masked, masked_bytes
from harness.plain_text import plain

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
CLOSING_SECONDS = 1.0
NESTED_STREAMS = 10
"""More than httpx and httpcore have within each other."""
REPLY_BYTES = 64 * 2**20
"""Longest reply that is read, unpacked."""
MESSAGE_CHARACTERS = 300
MASKED_CHARACTERS = 20_000
"""Of what a server says; to look for secrets in all of a reply of 64 MB would take minutes."""
LONGEST_SECRET = 4096


class ReplyError(Exception):
    """A reply that isn't what was asked for; another attempt may bring one. The message says what is odd."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, read to its end.

    Attributes:
        status: HTTP status.
        headers: by name, any case.
        content: the body, unpacked; empty where that of an error can't be read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


async def exchange(
    client: httpx.AsyncClient, method: str, url: str, body: dict[str, Any] | None, seconds: float, most: int
) -> Reply:
    """Send one request and read its reply to the end.

    Args:
        client: sends it.
        method: GET or POST.
        url: where to.
        body: sent as JSON, unless None.
        seconds: by the clock on the wall, whatever trickles in meanwhile.
        most: bytes of the reply, unpacked.

    Raises:
        httpx.RequestError: no reply in time, or one that can't be unpacked.
        ReplyError: a reply that is too long.
    """
    import httpx

    try:
        async with asyncio.timeout(seconds), client.stream(method, url, json=body) as response:
            try:
                content = await _content(response, most)
            except (httpx.DecodingError, ReplyError):
                if response.is_success:
                    raise
                content = b""  # The status says enough.
            # A server that repeats the key it was sent may do so anywhere, in an answer too.
            return Reply(response.status_code, response.headers, masked_bytes(content))
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"no whole reply within {seconds:g} s") from error


async def let_streams_close() -> None:
    """Wait for what closes replies that were left half-read; asyncio prints a complaint of any that stays.

    They are generators within generators, and the loop closes each by a task of its own.
    """
    for _ in range(NESTED_STREAMS):
        await asyncio.sleep(0)
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left, timeout=CLOSING_SECONDS)


async def _content(response: httpx.Response, most: int) -> bytes:
    # Packed once, a chunk from the network unpacks to some tens of megabytes; packed twice, to anything.
    if "," in response.headers.get("content-encoding", ""):
        raise ReplyError("a reply that is packed more than once")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > most:
            raise ReplyError(f"a reply of more than {most:,} bytes")
    return bytes(content)


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that a reply holds.

    Raises:
        ReplyError: something else, or one that is nested too deep.
    """
    if not content.strip():
        raise ReplyError("an empty reply")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ReplyError("a reply that isn't JSON; is it the right address?") from error
    if not isinstance(value, dict):
        raise ReplyError("JSON that isn't an object; is it the right address?")
    return value


def shown(words: object, key: str = "") -> str:
    """Words from outside as a message may show them: one line, cut, printable, without anything secret.

    Args:
        words: what a server or a user says.
        key: the API key; some servers repeat the one they were sent.
    """
    line = " ".join(str(words).split())
    safe = masked(line[:MASKED_CHARACTERS], key)
    if len(line) > MASKED_CHARACTERS:
        safe = safe[:-LONGEST_SECRET]  # What the cut went through can't be told to be one.
    return plain(safe)[:MESSAGE_CHARACTERS]


def said_in(content: bytes) -> str:
    """What the server says is wrong; secrets are still in it."""
    try:
        value = json.loads(content)
        inner = value.get("error", value)
        return str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError, RecursionError):
        return content.decode("utf-8", "replace")
