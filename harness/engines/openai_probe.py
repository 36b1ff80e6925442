"""What a fleet of OpenAI-compatible servers says about itself, asked once before anything runs."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from harness.engines.background import in_background
from harness.engines.config import EngineConfig
from harness.engines.http_exchange import (
    REPLY_BYTES,
    Reply,
    ReplyError,
    exchange,
    json_object,
    let_streams_close,
    said_in,
    shown,
)
from harness.engines.openai_replies import tokens_of
from harness.errors import EngineUnavailableError, HarnessError
from harness.masking import remember, secrets_of
from harness.retrying import RetryPolicy

if TYPE_CHECKING:
    import httpx

PROBE_SECONDS = 15.0
PROBE_TRIES = 3
PAUSE_SECONDS = 0.5
PASSING = (408, 425, 429)
SERVER_ERROR = 500
NOT_IMPLEMENTED = 501
TEXTS = ("a", "ab 12, and what is longer still")
"""Texts that no tokenizer takes for one another."""
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
        tokenizes: whether `/tokenize` gives the tokens of a text.
        renders: whether it gives those of messages, by the model's chat template.
        reads: tokens of `TEXTS`, where it tokenizes.
    """

    urls: tuple[str, ...]
    unreachable: tuple[str, ...]
    model: str
    root: str | None
    context_length: int | None
    version: str | None
    tokenizes: bool
    renders: bool
    reads: tuple[tuple[int, ...], ...] = ()


def server_root(url: str) -> str:
    """`url` without a trailing slash and `/v1`.

    Raises:
        HarnessError: not an http address, or one with a password or a query in it.
    """
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        host = parts.hostname
        usable = host and parts.scheme in ("http", "https") and not parts.netloc.endswith(":")
        usable = usable and parts.port != 0 and _can_be_asked(url)
    except ValueError:
        host, usable = None, False
    # Before anything else: an address that is wrong besides must not be shown with what is secret in it.
    for secret in secrets_of(url):
        remember(secret)
    if any(mark in url for mark in "@?#"):
        raise HarnessError(
            f"the address of {host or 'a server'} holds credentials or a query; put the key in the "
            "environment variable that `api_key_env=` names, by default OPENAI_API_KEY"
        )
    if not usable:
        raise HarnessError(f"{shown(url)} is not a server address; write it like http://localhost:8000/v1")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def _can_be_asked(url: str) -> bool:
    """Whether nothing in an address keeps it from being sent: blanks, control characters, a name too long."""
    import httpx

    if not url.isprintable() or any(one.isspace() or one == "\\" for one in url):
        return False
    try:
        asked = httpx.URL(url if "//" in url else f"http://{url}")
        # The resolver takes no part of a name that is empty or longer than 63.
        asked.raw_host.decode("ascii").encode("idna")
        return bool(asked.host)  # read from punycode, which may be none
    except (httpx.InvalidURL, UnicodeError):
        return False


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
    # A secret read from a file ends with a line end, which is none of it.
    key = os.environ.get(config.api_key_env, "").strip()
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
    first = found[0]
    for other in found[1:]:
        _require_alike(first, other, _key(config))
    return FleetInfo(
        urls=urls,
        unreachable=tuple(unreachable),
        model=first.model,
        root=first.root,
        context_length=first.context_length,
        version=first.version,
        tokenizes=first.tokenizes,
        renders=first.renders,
        reads=first.reads,
    )


def _require_alike(first: FleetInfo, other: FleetInfo, key: str) -> None:
    """Refuse two servers that don't serve the same: each would answer a part of the run.

    Raises:
        EngineUnavailableError: naming both, by the first thing in which they differ.
    """
    pairs = {
        "models": (first.model, other.model),
        "checkpoints": (first.root, other.root),
        "contexts": (first.context_length, other.context_length),
        "versions of vLLM": (first.version, other.version),
        "templates": (first.renders, other.renders),
        "tokenizers": (first.reads, other.reads),
    }
    for what, (mine, theirs) in pairs.items():
        if mine == theirs:
            continue
        words = [f" {shown(one, key)}" if isinstance(one, str | int) else "" for one in (mine, theirs)]
        words = words if what not in ("templates", "tokenizers") else ["", ""]
        raise EngineUnavailableError(
            f"the servers serve different {what}: {first.urls[0]}{words[0]}, {other.urls[0]}{words[1]}; give "
            "those of one model, or say which as `served_model=`"
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
    policy = RetryPolicy(base=PAUSE_SECONDS, patience=min(config.retry_seconds, PROBE_SECONDS))
    ask = _Asking(client, url, policy)
    models = _models(await ask.reply("GET", "/v1/models"), url, config)
    model = _served_model([entry["id"] for entry in models], url, config)
    entry = next((entry for entry in models if entry["id"] == model), {})
    limit, root = entry.get("max_model_len"), entry.get("root")
    version = _optional(await ask.what_few_have("GET", "/version"), "version")
    reads = await _distinguished(ask, lambda text: {"model": model, "prompt": text})
    return FleetInfo(
        urls=(url,),
        unreachable=(),
        model=model,
        root=root if isinstance(root, str) else None,
        context_length=limit if type(limit) is int and limit > 0 else None,
        version=version if isinstance(version, str) else None,
        tokenizes=bool(reads),
        renders=bool(
            await _distinguished(ask, lambda text: chat_body(model, [{"role": "user", "content": text}], {}))
        ),
        reads=reads,
    )


def chat_body(
    model: str, messages: list[dict[str, str]], template_arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """What vLLM's `/tokenize` is sent for a conversation, which the chat template is put round."""
    body = {
        "model": model,
        "messages": messages,
        "add_generation_prompt": True,
    }
    return body | ({"chat_template_kwargs": dict(template_arguments)} if template_arguments else {})


async def _distinguished(ask: _Asking, body: Callable[[str], dict[str, Any]]) -> tuple[tuple[int, ...], ...]:
    """The tokens of `TEXTS` by `/tokenize`; none where it doesn't read what it is sent.

    llama.cpp's reads another field, and finds nothing in it.
    """
    found: list[tuple[int, ...]] = []
    for text in TEXTS:
        reply = await ask.what_few_have("POST", "/tokenize", body(text))
        if reply is None or not reply.is_success:
            return ()
        try:
            found.append(tokens_of(json_object(reply.content)))
        except ReplyError:
            return ()
        if not found[-1]:
            return ()
    told_apart = len(set(found)) == len(TEXTS) and len(found[0]) < len(found[-1])
    return tuple(found) if told_apart else ()


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks one server, again where what comes may pass: a fault here must not change what is asked later."""

    client: httpx.AsyncClient
    url: str
    policy: RetryPolicy

    async def reply(self, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
        """The reply to one request.

        Raises:
            httpx.RequestError: none in time, or one that can't be unpacked.
            ReplyError: one that is too long.
        """
        import httpx

        rng, waited, tries = random.Random(0), 0.0, 0
        while True:
            tries += 1
            pause = self.policy.pause(tries, None, rng)
            last = waited + pause > self.policy.patience or tries == PROBE_TRIES
            try:
                reply = await exchange(
                    self.client, method, f"{self.url}{path}", body, PROBE_SECONDS, REPLY_BYTES
                )
                if last or not _passing(reply):
                    return reply
            except httpx.ConnectError:
                raise  # Nobody is there: whoever mistyped an address is told at once.
            except (httpx.RequestError, ReplyError):
                if last:
                    raise
            waited += pause
            await asyncio.sleep(pause)

    async def what_few_have(self, method: str, path: str, body: dict[str, Any] | None = None) -> Reply | None:
        """The same of an endpoint that a server may do without; None where nothing comes that can be read.

        Raises:
            httpx.ConnectError: the server is gone.
        """
        import httpx

        try:
            return await self.reply(method, path, body)
        except httpx.ConnectError:
            raise
        except (httpx.RequestError, ReplyError):
            return None


def _passing(reply: Reply) -> bool:
    """Whether a reply may be another one soon: what a busy server says, or a proxy in its place."""
    if reply.is_success:
        try:
            json_object(reply.content)
        except ReplyError:
            return True
        return False
    return reply.status in PASSING or (reply.status >= SERVER_ERROR and reply.status != NOT_IMPLEMENTED)


def _models(reply: Reply, url: str, config: EngineConfig) -> list[dict[str, Any]]:
    if reply.status in UNAUTHORIZED:
        raise EngineUnavailableError(
            f"{url} refuses access (HTTP {reply.status}); put a valid key in ${config.api_key_env}"
        )
    listed = _optional(reply, "data")
    entries = listed if isinstance(listed, list) else []
    if named := [one for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)]:
        return named
    if _passing(reply) and not reply.is_success:
        words = shown(said_in(reply.content), _key(config))
        raise EngineUnavailableError(
            f"{url} isn't ready (HTTP {reply.status}: {words}); wait until it is and run the same command"
        )
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


def _optional(reply: Reply | None, key: str) -> Any:
    """A field of an endpoint that not every server has."""
    if reply is None or not reply.is_success:
        return None
    try:
        return json_object(reply.content).get(key)
    except ReplyError:
        return None
