"""Settings and fixtures for the whole suite."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.checkpoints.checkpoint_fixtures import family, tiny_qwen3
from tests.disks import disk, small_disk
from tests.examples import CI, NIGHTLY

__all__ = ["disk", "family", "small_disk", "tiny_qwen3"]

# What CI draws is the same every time, so that a red run is about the change; `--hypothesis-profile nightly`
# looks further. Timed assertions are defects here, and hypothesis's deadline is one: machines are noisy.
settings.register_profile("ci", deadline=None, max_examples=CI, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=NIGHTLY)
settings.load_profile("ci")

# Nothing is on a hub here, and asking costs retries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The suite runs many small models on few cores: threads that wait for each other make a tiny model ten times
# slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# One GiB of keys and values is plenty here, and leaves room for several engines.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

# A job that a shell put in the background ignores Ctrl-C and hands that on to the processes tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers the secrets it meets, and a test must not those of another."""
    monkeypatch.setattr("harness.masking._remembered", {})


def pytest_configure(config: pytest.Config) -> None:
    """Workers take the tests in the order given below; xdist would begin with the largest files."""
    config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, one has all that starts vLLM, and a file stays whole for its fixtures' sake.

    The slowest come first, so that no worker is left alone with them at the end. Of vLLM's tests the one that
    kills the shared engine comes last, so that it need not be started again.
    """
    ranks: dict[str, int] = {}
    for item in items:
        ranks[_group(item)] = min(_rank(item), ranks.get(_group(item), 2))
    items.sort(key=lambda item: (ranks[_group(item)], _kills(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    return "vllm" if _rank(item) == 0 else item.nodeid.split("::")[0]


def _rank(item: pytest.Item) -> int:
    markers = ("vllm", "model")
    return next((rank for rank, name in enumerate(markers) if item.get_closest_marker(name)), len(markers))


def _kills(item: pytest.Item) -> bool:
    return "doomed_vllm" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def loaded_vllm(tiny_qwen3: Path) -> Iterator[Any]:
    """The one vLLM engine that all tests share."""
    pytest.importorskip("vllm")
    from harness.engines import EngineConfig, open_engine

    engine = open_engine(EngineConfig(engine="vllm", ckpt=str(tiny_qwen3), enforce_eager=True))
    yield engine
    engine.close()


@pytest.fixture
def vllm(loaded_vllm: Any) -> Any:
    """The shared engine, started again if a test has killed it."""
    loaded_vllm.start()
    return loaded_vllm


@pytest.fixture
def doomed_vllm(vllm: Any) -> Any:
    """The shared engine for a test that kills it."""
    return vllm
