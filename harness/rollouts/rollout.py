"""Rollouts: completions drawn at T = 1, top_p = 1; from a run directory, or from a file of a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract import Contract, Terms
from harness.data.tasks import terms_of
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
        terms: what its answer is held to.
        prompt_ids: token ids of the prompt.
        token_ids: the completion's, EOS included where it came; at least one.
        finish_reason: `length` when the token limit cut it off; training takes it all the same.
        strict: whether the text keeps the contract.
    """

    task: int
    draw: int
    terms: Terms
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
            terms=terms_of(prompt.task, run.manifest.contract),
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


def _rollout(row: dict[str, Any], contract: Contract) -> Rollout:
    terms = Terms(contract, row.pop("k"), tuple(row.pop("item_ids", ())), row.pop("schema", None))
    ids: dict[str, Any] = {name: tuple(row.pop(name)) for name in ("prompt_ids", "token_ids")}
    return Rollout(terms=terms, **ids, **row)


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """One rollout a line; the contract, the same for all, stays with the run."""
    lines = (json.dumps(_row(rollout)) + "\n" for rollout in rollouts)
    write_text(path, "".join(lines))


def _row(rollout: Rollout) -> dict[str, Any]:
    terms = rollout.terms
    own: dict[str, Any] = {"item_ids": terms.item_ids} if terms.item_ids else {}
    own |= {"schema": terms.schema} if terms.schema is not None else {}
    fields = {
        field: getattr(rollout, field) for field in ("prompt_ids", "token_ids", "finish_reason", "strict")
    }
    return {"task": rollout.task, "draw": rollout.draw, "k": terms.k, **own, **fields}


def read_rollouts(path: Path, contract: Contract) -> list[Rollout]:
    """What `write_rollouts` wrote.

    Args:
        path: of the file.
        contract: of the run.

    Raises:
        DataError: no such file, or not one of rollouts.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [_rollout(row, contract) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} can't be read as stored rollouts: {words_of(error, 200)}") from error
