"""What a fleet of OpenAI-compatible servers says about itself, asked once before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from harness.engines.config import EngineConfig
from harness.errors import EngineUnavailableError, HarnessError

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
        HarnessError: not an http address, or one with a password in it.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HarnessError(f"{url} is not a server address; write it like http://localhost:8000/v1")
    if parts.username or parts.password:
        raise HarnessError(
            f"the address of {parts.hostname} holds credentials; put the key in an environment variable "
            "and name that one as `api_key_env=`"
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def headers(config: EngineConfig) -> dict[str, str]:
    """The credentials, read from the environment each time so that nothing keeps them."""
    key = os.environ.get(config.api_key_env)
    return {"Authorization": f"Bearer {key}"} if key else {}


def probe(config: EngineConfig) -> FleetInfo:
    """Ask every server what it serves.

    Raises:
        EngineUnavailableError: none answers, one refuses the key, or they serve different models.
    """
    import httpx

    urls = tuple(server_root(url) for url in config.base_urls)
    found: list[FleetInfo] = []
    unreachable: list[str] = []
    with httpx.Client(headers=headers(config), timeout=PROBE_SECONDS) as client:
        for url in urls:
            try:
                found.append(_probe_one(client, url, config))
            except httpx.TransportError as error:
                unreachable.append(f"{url} ({type(error).__name__})")
    if not found:
        raise EngineUnavailableError(
            f"no server answers at {', '.join(unreachable)}; check the address, or start one: "
            f"vllm serve {config.ckpt or 'CHECKPOINT'}"
        )
    if len({(one.root, one.context_length, one.version) for one in found}) > 1:
        raise EngineUnavailableError(
            f"the servers serve different models: {', '.join(f'{one.urls[0]} {one.root}' for one in found)}"
        )
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


def _probe_one(client: httpx.Client, url: str, config: EngineConfig) -> FleetInfo:
    models = _models(client, url, config)
    model = _served_model([str(entry.get("id")) for entry in models], url, config)
    entry = next((entry for entry in models if entry.get("id") == model), {})
    limit = entry.get("max_model_len")
    version = _optional(client.get(f"{url}/version"), "version")
    tokenized = client.post(f"{url}/tokenize", json={"model": model, "prompt": "a"})
    return FleetInfo(
        urls=(url,),
        unreachable=(),
        model=model,
        root=entry.get("root"),
        context_length=limit if isinstance(limit, int) else None,
        version=version,
        tokenizes=_optional(tokenized, "tokens") is not None,
    )


def _models(client: httpx.Client, url: str, config: EngineConfig) -> list[dict[str, Any]]:
    response = client.get(f"{url}/v1/models")
    if response.status_code in UNAUTHORIZED:
        raise EngineUnavailableError(
            f"{url} refuses access (HTTP {response.status_code}); put a valid key in ${config.api_key_env}"
        )
    try:
        listed = response.json()["data"]
        if response.is_success and isinstance(listed, list) and listed:
            return listed
    except (ValueError, KeyError, TypeError):
        pass
    raise EngineUnavailableError(
        f"{url}/v1/models lists no models (HTTP {response.status_code}); is it an OpenAI-compatible server?"
    )


def _served_model(names: Sequence[str], url: str, config: EngineConfig) -> str:
    for wanted in (config.served_model, config.ckpt):
        if wanted in names:
            assert wanted is not None
            return wanted
    if config.served_model is not None:
        raise EngineUnavailableError(f"{url} serves {', '.join(names)}, not {config.served_model}")
    if len(names) > 1:
        raise EngineUnavailableError(f"{url} serves {', '.join(names)}; say which as `served_model=`")
    return names[0]


def _optional(response: httpx.Response, key: str) -> Any:
    """A field of an endpoint that not every server has."""
    if not response.is_success:
        return None
    try:
        value = response.json()
    except ValueError:
        return None
    return value.get(key) if isinstance(value, dict) else None
