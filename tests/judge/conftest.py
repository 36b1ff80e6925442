"""What the judge's tests share: a key, a clean environment, and the libraries that are installed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.judge import JudgeConfig, load_rubric
from harness.judge.libraries import installed_clients
from harness.retrying import RetryPolicy
from tests.judge.judge_runs import KEY

CLIENTS = ("google-generativeai", "google-genai")


def _client(name: str) -> object:
    missing = pytest.mark.skipif(name not in installed_clients(), reason=f"{name} isn't installed")
    return pytest.param(name, marks=missing)


@pytest.fixture(params=[_client(name) for name in CLIENTS])
def client_name(request: pytest.FixtureRequest) -> str:
    """Each installed Gemini library in turn."""
    return str(request.param)


@pytest.fixture
def any_client() -> str:
    """One Gemini library, for what doesn't depend on which."""
    installed = installed_clients()
    if not installed:
        pytest.skip("neither google-generativeai nor google-genai is installed")
    return installed[-1]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GOOGLE_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def config_for(tmp_path: Path) -> Callable[..., JudgeConfig]:
    """Makes a configuration with short waits."""

    def make(run: Path, url: str, client: str, **changes: Any) -> JudgeConfig:
        given: dict[str, Any] = {
            "run": run,
            "rubric": load_rubric("listwise-relevance"),
            "endpoint": url,
            "client": client,
            "store": tmp_path / "judge.sqlite",
            "timeout": 20.0,
            "retry": RetryPolicy(base=0.01),
            **changes,
        }
        return JudgeConfig(**given)

    return make


@pytest.fixture
def harness_judge() -> Callable[..., subprocess.Popen[str]]:
    """Starts `harness judge` in a process of its own."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "judge", *arguments],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
