"""Supervised fine-tuning on ideal rankings: the warm start π_B that distillation begins from.

Works on any causal checkpoint that transformers loads, from the tiny family to models of many billion
weights; on one device. The loss is on the completion alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError

from harness.data.loading import LoadedDataset, load_tasks
from harness.data.prompt import changed_titles
from harness.data.prompt_file import PromptRecord
from harness.engines.checkpoint import Checkpoint
from harness.engines.tokenizer import ChatTokenizer
from harness.engines.whole import embeddings_of
from harness.errors import HarnessError, words_of
from harness.files import new_folder, write_text
from harness.opd.config import SFTConfig
from harness.opd.models.loading import find_whole
from harness.opd.optimisation import TrainingStep
from harness.opd.sft.examples import sft_examples
from harness.opd.sft.training import fit_checkpoint
from harness.progress import OnProgress, ignore

RECORD = "train.json"


def train_sft(config: SFTConfig, on_progress: OnProgress = ignore) -> Path:
    """Fine-tune a checkpoint to answer tasks with their ideal rankings.

    The same config gives the same weights on the same machine. `out` appears in one step when all is done; it
    also holds a line a step in `train.jsonl` and what made it in `train.json`.

    Args:
        config: what to train and how.
        on_progress: told after every step.

    Returns:
        `config.out`.

    Raises:
        HarnessError: `out` exists or can't be written, the loss stopped being finite, or several processes
            were launched, which would all train the same.
        DataError: tasks that can't be read or don't fit the model's context.
        EngineUnavailableError: the checkpoint or its tokenizer can't be used.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise HarnessError("train sft runs on one device; start it without accelerate launch or torchrun")
    if config.out.exists():
        raise HarnessError(f"{config.out} exists; name another folder for the trained checkpoint")
    checkpoint = find_whole(config.checkpoint)
    trust = config.placement.trust_remote_code
    embeddings = embeddings_of(checkpoint, trust)
    dataset = load_tasks(config.data, config.split, limit=config.limit)
    tokenizer = ChatTokenizer(checkpoint.path, trust, {checkpoint.name: embeddings})
    prompt = config.prompting.record()
    examples = sft_examples(
        dataset.tasks, tokenizer, config.contract, checkpoint.context_length, prompt, config.answers
    )
    try:
        with new_folder(config.out) as folder:
            last = fit_checkpoint(
                checkpoint, examples, config.optimisation, config.placement, folder, on_progress
            )
            _write_record(folder, config, prompt, checkpoint, dataset, last)
    except (OSError, SafetensorError) as error:
        raise HarnessError(
            f"can't write {config.out}: {words_of(error)}; make room or choose another `out=`"
        ) from error
    return config.out


def _write_record(
    folder: Path,
    config: SFTConfig,
    prompt: PromptRecord,
    checkpoint: Checkpoint,
    dataset: LoadedDataset,
    last: TrainingStep,
) -> None:
    record = {
        "kind": "sft",
        "start": config.checkpoint,
        "start_sha256": checkpoint.sha256,
        "data": str(dataset.path),
        "data_sha256": dataset.sha256,
        "tasks": len(dataset.tasks),
        "answers": _answers_record(config.answers),
        "titles": changed_titles(
            dataset.tasks, prompt.max_title_characters, own_prompt=prompt.messages is not None
        ),
        "prompt": prompt.model_dump(mode="json") | {"sha256": prompt.sha256},
        "contract": config.contract.model_dump(),
        "optimisation": config.optimisation.model_dump(),
        "placement": config.placement.model_dump(),
        "last_step": dataclasses.asdict(last),
    }
    write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _answers_record(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    with path.open("rb") as file:
        return {"path": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
