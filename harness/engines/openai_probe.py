"""What a fleet of OpenAI-compatible servers says about itself, asked once before anything runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from harness.engines.background import in_background
from harness.engines.config import EngineConfig
from harness.engines.http_fleet import (
    REPLY_BYTES,
    Reply,
    ReplyError,
    exchange,
    json_object,
    let_streams_close,
    shown,
)
from harness.errors import EngineUnavailableError, HarnessError
from harness.masking import remember, secrets_of

if TYPE_CHECKING:
    import httpx

PROBE_SECONDS = 15.0
UNAUTHORIZED = (401, 403)


@dataclass(frozen=True, slots=True)
class FleetInfo:
    """What the servers serve.

    Attributes:
        urls: servers that were asked for, without `/v1`.
        unreachable: those of them that didn't answer.
        model: the name to send with each request.
        root: the checkpoint behind it, where the server says so.
        context_length: longest prompt + completion, None where the server doesn't say.
        version: of vLLM, None for other servers.
        tokenizes: whether `/tokenize` works.
    """

    urls: tuple[str, ...]
    unreachable: tuple[str, ...]
    model: str
    root: str | None
    context_length: int | None
    version: str | None
    tokenizes: bool


def server_root(url: str) -> str:
    """`url` without a trailing slash and `/v1`.

    Raises:
        HarnessError: not an http address, or one with a password or a query in it.
    """
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        host = parts.hostname
        usable = host and parts.scheme in ("http", "https") and not parts.netloc.endswith(":")
        usable = usable and parts.port != 0
    except ValueError:
        host, usable = None, False
    # Before anything else: an address that is wrong besides must not be shown with what is secret in it.
    for secret in secrets_of(url):
        remember(secret)
    if any(mark in url for mark in "@?#"):
        raise HarnessError(
            f"the address of {host or 'a server'} holds credentials or a query; put the key in the "
            "environment variable OPENAI_API_KEY, or in another and name that one as `api_key_env=`"
        )
    if not usable:
        raise HarnessError(f"{shown(url)} is not a server address; write it like http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def headers(config: EngineConfig) -> dict[str, str]:
    """The credentials, read from the environment each time so that nothing keeps them.

    Raises:
        HarnessError: a key that no header can hold.
    """
    key = _key(config)
    if not (key.isascii() and key.isprintable()):
        raise HarnessError(f"${config.api_key_env} holds characters that no key has; set it anew")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _key(config: EngineConfig) -> str:
    key = os.environ.get(config.api_key_env, "")
    remember(key)
    return key


def probe(config: EngineConfig) -> FleetInfo:
    """Ask every server what it serves.

    Raises:
        EngineUnavailableError: none answers, one refuses the key, or they serve different models.
    """
    urls = tuple(server_root(url) for url in config.base_urls)
    # One after the other, so that the first server's trouble is told first.
    asked = list(in_background(urls, partial(_opened, config), 1))
    found = [one for one in asked if isinstance(one, FleetInfo)]
    unreachable = [one for one in asked if isinstance(one, str)]
    if not found:
        raise EngineUnavailableError(
            f"no server answers at {', '.join(unreachable)}; check the address, or start one: "
            f"vllm serve {config.ckpt or 'CHECKPOINT'}"
        )
    if len({(one.root, one.context_length, one.version) for one in found}) > 1:
        roots = ", ".join(f"{one.urls[0]} {shown(one.root, _key(config))}" for one in found)
        raise EngineUnavailableError(f"the servers serve different models: {roots}")
    first = found[0]
    return FleetInfo(
        urls=urls,
        unreachable=tuple(unreachable),
        model=first.model,
        root=first.root,
        context_length=first.context_length,
        version=first.version,
        tokenizes=first.tokenizes,
    )


@asynccontextmanager
async def _opened(config: EngineConfig) -> AsyncIterator[Callable[[str], Awaitable[FleetInfo | str]]]:
    """A function from an address to what is served there, or to the address and what keeps it from saying."""
    import httpx

    async with httpx.AsyncClient(headers=headers(config), timeout=PROBE_SECONDS) as client:

        async def ask(url: str) -> FleetInfo | str:
            try:
                return await _probe_one(client, url, config)
            except (httpx.RequestError, ReplyError) as error:
                return f"{url} ({type(error).__name__})"

        try:
            yield ask
        finally:
            await let_streams_close()


async def _probe_one(client: httpx.AsyncClient, url: str, config: EngineConfig) -> FleetInfo:
    async def said(method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
        return await exchange(client, method, f"{url}{path}", body, PROBE_SECONDS, REPLY_BYTES)

    models = _models(await said("GET", "/v1/models"), url, config)
    model = _served_model([str(entry.get("id")) for entry in models], url, config)
    entry = next((entry for entry in models if entry.get("id") == model), {})
    limit, root = entry.get("max_model_len"), entry.get("root")
    version = _optional(await said("GET", "/version"), "version")
    tokens = _optional(await said("POST", "/tokenize", {"model": model, "prompt": "a"}), "tokens")
    return FleetInfo(
        urls=(url,),
        unreachable=(),
        model=model,
        root=root if isinstance(root, str) else None,
        context_length=limit if type(limit) is int and limit > 0 else None,
        version=version if isinstance(version, str) else None,
        # llama.cpp reads another field, and finds no tokens in a prompt that it doesn't see.
        tokenizes=isinstance(tokens, list) and bool(tokens),
    )


def _models(reply: Reply, url: str, config: EngineConfig) -> list[dict[str, Any]]:
    if reply.status in UNAUTHORIZED:
        raise EngineUnavailableError(
            f"{url} refuses access (HTTP {reply.status}); put a valid key in ${config.api_key_env}"
        )
    listed = _optional(reply, "data")
    if isinstance(listed, list) and listed and all(isinstance(entry, dict) for entry in listed):
        return listed
    raise EngineUnavailableError(
        f"{url}/v1/models lists no models (HTTP {reply.status}); is it an OpenAI-compatible server?"
    )


def _served_model(names: Sequence[str], url: str, config: EngineConfig) -> str:
    for wanted in (config.served_model, config.ckpt):
        if wanted in names:
            assert wanted is not None
            return wanted
    listed = shown(", ".join(names), _key(config))
    if config.served_model is not None:
        raise EngineUnavailableError(f"{url} serves {listed}, not {config.served_model}")
    if len(names) > 1:
        raise EngineUnavailableError(f"{url} serves {listed}; say which as `served_model=`")
    return names[0]


def _optional(reply: Reply, key: str) -> Any:
    """A field of an endpoint that not every server has."""
    if not reply.is_success:
        return None
    try:
        return json_object(reply.content).get(key)
    except ReplyError:
        return None
