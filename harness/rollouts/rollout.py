"""Rollouts: completions drawn at T = 1, top_p = 1; from a run directory, or from a file of a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.engines.base import FinishReason
from harness.errors import DataError, words_of
from harness.files import write_text
from harness.rollouts.prompts import Encode, make_prompts
from harness.runs import Run


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of a policy.

    Attributes:
        task: index of its task in the dataset.
        draw: how many rollouts of this task came before it: the sample index of a run; in training counted
            over all rounds.
        k: number of candidates.
        prompt_ids: token ids of the prompt.
        token_ids: the completion's, EOS included where it came; at least one.
        finish_reason: `length` when the token limit cut it off; training takes it all the same.
        strict: whether the text keeps the contract.
    """

    task: int
    draw: int
    k: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    strict: bool


def rollouts_of_run(run: Run, encode: Encode) -> dict[str, Rollout]:
    """The rollouts of a run by sample key, in the order of its tasks.

    Samples without any token are left out, and so are those that a provider withheld.

    Args:
        run: drawn at T = 1, top_p = 1.
        encode: that of the engine that drew them; the model needn't be loaded.

    Raises:
        DataError: completions without token ids, prompts that can't be made again, or nothing there.
    """
    manifest = run.manifest
    prompts = make_prompts(
        list(run.tasks()), manifest.contract, encode, manifest.prompt, guarded=manifest.guarded
    )
    numbered = {prompt.task.task_id: (number, prompt) for number, prompt in enumerate(prompts)}
    found: dict[str, Rollout] = {}
    for sample in run.iter_samples():
        if sample.parse is None:
            continue
        if sample.reasoning:
            raise DataError(
                f"{run.path}: sample {sample.key} reasons before it answers, and token positions are read "
                "from a completion's first token on; turn thinking off, as it is where "
                "`chat_template_kwargs=` doesn't ask for it"
            )
        if not sample.token_ids:
            if not sample.text:
                continue
            raise DataError(
                f"{run.path}: sample {sample.key} has no token ids, and text can't be turned back into "
                "them; use an engine that gives them (vllm, hf, or a vLLM server)"
            )
        number, prompt = numbered[sample.task_id]
        if prompt.sha256 != sample.prompt_sha256:
            raise DataError(
                f"{run.path}: the prompt of task {sample.task_id} isn't what it was when sample {sample.key} "
                "was drawn (another tokenizer or template?); choose another `out=`"
            )
        found[sample.key] = Rollout(
            task=number,
            draw=sample.sample_index,
            k=prompt.task.k,
            prompt_ids=prompt.ids,
            token_ids=sample.token_ids,
            finish_reason="length" if sample.finish_reason == "length" else "stop",
            strict=sample.parse.tier == "strict",
        )
    if not found:
        raise DataError(
            f"no rollout in {run.path} reaches a structural position: every completion is empty; "
            "check the checkpoint and `max_tokens=`"
        )
    return dict(sorted(found.items(), key=lambda item: (item[1].task, item[1].draw)))


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """One rollout a line."""
    lines = (json.dumps(asdict(rollout)) + "\n" for rollout in rollouts)
    write_text(path, "".join(lines))


def read_rollouts(path: Path) -> list[Rollout]:
    """What `write_rollouts` wrote.

    Raises:
        DataError: no such file, or not one of rollouts.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [
            Rollout(**{**row, "prompt_ids": tuple(row["prompt_ids"]), "token_ids": tuple(row["token_ids"])})
            for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} can't be read as stored rollouts: {words_of(error, 200)}") from error
