"""An evaluation before anything is drawn: its folder, its sampling, and the manifest that it begins with."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

from harness.data.loading import LoadedDataset
from harness.data.prompt import PROMPT_VERSION, changed_titles
from harness.data.prompt_file import PromptRecord
from harness.engines import EngineInfo, SamplingParams
from harness.errors import DataError
from harness.evaluate.config import EvalConfig
from harness.masking import masked_command, masked_values
from harness.rollouts import answer_room
from harness.runs import Manifest
from harness.runs.manifest import (
    FORMAT_VERSION,
    DatasetRecord,
    EngineRecord,
    describe_git,
    describe_host,
    installed_packages,
    now,
)


def planned_manifest(
    config: EvalConfig,
    dataset: LoadedDataset,
    info: EngineInfo,
    sampling: SamplingParams,
    prompt: PromptRecord,
    earlier: Manifest | None,
) -> Manifest:
    """The manifest of an evaluation before this session draws anything.

    Args:
        config: as given.
        dataset: its tasks.
        info: of the engine.
        sampling: of all requests.
        prompt: what prompts are made of.
        earlier: what an earlier session left, None where this is the first.
    """
    return Manifest(
        # Lines that an older version wrote have no checksum; they get one when the run is rescored.
        format_version=earlier.format_version if earlier else FORMAT_VERSION,
        started=earlier.started if earlier else now(),
        command=masked_command(sys.argv),
        config=masked_values(config.model_dump(mode="json")),
        dataset=DatasetRecord(
            name=dataset.name,
            split=dataset.split,
            path=str(dataset.path),
            sha256=dataset.sha256,
            rows_read=dataset.rows_read,
            rows=dataset.rows,
            rows_skipped=dataset.rows_skipped,
        ),
        contract=config.contract,
        prompt_version=PROMPT_VERSION,
        prompt=prompt,
        titles=changed_titles(
            dataset.tasks,
            prompt.max_title_characters,
            own_prompt=prompt.messages is not None,
            guarded=info.tokenizer_sha256 is None,
        ),
        engine=EngineRecord(**asdict(info)),
        sampling=asdict(sampling),
        samples_per_task=config.samples,
        tasks=len(dataset.tasks),
        planned=len(dataset.tasks) * config.samples,
        git=describe_git(Path.cwd()),
        packages=installed_packages(),
        host=describe_host(),
        sessions=earlier.sessions if earlier else (),
        stopped=earlier.stopped if earlier else None,
        grown=() if earlier is None else _grown(earlier, len(dataset.tasks)),
    )


def sampling_of(config: EvalConfig, dataset: LoadedDataset, prompt: PromptRecord) -> SamplingParams:
    """How completions are drawn, with room for the longest answer where nothing was said."""
    return SamplingParams(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens or answer_room(dataset.tasks, config.contract, prompt),
        seed=config.seed,
        constrained=config.constrained,
    )


def require_k(dataset: LoadedDataset, k: int | None) -> None:
    """Refuse a dataset without tasks, or with others than those of K candidates.

    Raises:
        DataError: the message names the first.
    """
    if not dataset.tasks:
        raise DataError(f"{dataset.path} has no task to evaluate")
    if k is None:
        return
    others = [task for task in dataset.tasks if task.k != k]
    if others:
        raise DataError(
            f"{len(others)} of {len(dataset.tasks)} tasks don't have K = {k} candidates "
            f"(first: {others[0].task_id} with {others[0].k}); leave `k=` out or choose another split"
        )


def default_out(config: EvalConfig, dataset: LoadedDataset) -> Path:
    """The folder of a run that nobody named: one for each evaluation, however many of its tasks are taken."""
    source = config.engine.ckpt or config.engine.replay
    if source is None:
        source = config.engine.served_model or "server"
    # Whoever allows what an earlier session couldn't have goes on with that one's run.
    left_out = {"allow_missing", "request_tries"} | (set() if config.engine.fields else {"fields"})
    decides = config.model_dump_json(
        # A prompt file counts by what it says; where nothing is said, names are those of before it could be.
        exclude={"out": True, "limit": True, "engine": left_out, "prompting": True}
    )
    decides = decides.replace(config.contract.model_dump_json(), config.contract.said_before())
    if not config.prompting.is_default:
        decides += f"{config.prompting.record().sha256} {config.prompting.reasoning_end}"
    digest = hashlib.sha256((decides + dataset.sha256).encode()).hexdigest()[:8]
    name = Path(str(source)).name.replace("/", "-").replace(":", "-")
    parts = [name, dataset.name, dataset.split or "", digest]
    return Path("runs") / "-".join(part for part in parts if part)


def _grown(earlier: Manifest, tasks: int) -> tuple[int, ...]:
    return (*earlier.grown, earlier.tasks) if earlier.tasks < tasks else earlier.grown
