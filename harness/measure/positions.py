"""From rollouts to structural positions: for every token its role and the class it should come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.contract.automaton import Role
from harness.contract.tokens import TokenClasses
from harness.data.prompt import render_prompt
from harness.engines import Engine, ScoreRequest
from harness.errors import DataError
from harness.evaluate.plan import Prompt
from harness.runs import Run, Sample

IdArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The positions of one completion up to the first token that leaves the contract or ends the answer.

    Attributes:
        roles: [n] role of each position.
        indices: [n] how many positions of this role came before.
        classes: [n] ids of the tokens that keep the contract there.
        members: [n] whether the token that stands there is one.
    """

    roles: tuple[Role, ...]
    indices: tuple[int, ...]
    classes: tuple[IdArray, ...]
    members: tuple[bool, ...]

    @property
    def finished(self) -> bool:
        """Whether it goes through to the end of an answer that keeps the contract."""
        return self.members[-1] and self.roles[-1] == "end"


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One completion, ready to be scored.

    Attributes:
        key: the sample's key.
        task: 0-based position of its task among those evaluated.
        index: its sample index.
        prompt_ids: token ids of the prompt.
        token_ids: the completion's, as far as `walk` goes.
        walk: its positions.
        valid: whether the whole text keeps the contract strictly.
    """

    key: str
    task: int
    index: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    walk: Walk
    valid: bool

    def score_request(self) -> ScoreRequest:
        """What the engines are asked."""
        return ScoreRequest(self.key, self.prompt_ids, self.token_ids, self.walk.classes)


class Walker:
    """Walks completions of one vocabulary; positions with the same class share one array."""

    def __init__(self, classes: TokenClasses) -> None:
        self._classes = classes
        self._arrays: dict[bytes, IdArray] = {}

    def __call__(self, k: int, token_ids: Sequence[int]) -> Walk:
        """Positions of a completion for `k` candidates."""
        state = self._classes.start(k)
        seen: Counter[Role] = Counter()
        roles: list[Role] = []
        indices: list[int] = []
        classes: list[IdArray] = []
        members: list[bool] = []
        for token_id in token_ids:
            ids = self._classes.members(state)
            roles.append(state.role)
            indices.append(seen[state.role])
            seen[state.role] += 1
            classes.append(self._arrays.setdefault(ids.tobytes(), ids))
            members.append(self._classes.is_member(state, token_id))
            following = self._classes.advance(state, token_id)
            if following is None:
                break
            state = following
        return Walk(tuple(roles), tuple(indices), tuple(classes), tuple(members))


def read_rollouts(run: Run, engine: Engine, classes: TokenClasses) -> list[Rollout]:
    """The rollouts of a run, in the order of its tasks.

    Args:
        run: drawn at T = 1, top_p = 1.
        engine: of the model that drew them; only its tokenizer is used.
        classes: of that model's vocabulary.

    Raises:
        DataError: completions without token ids, prompts that can't be made again, or nothing to score.
    """
    tasks = {task.task_id: (position, task) for position, task in enumerate(run.tasks())}
    texts = [render_prompt(task, run.manifest.contract) for _, task in tasks.values()]
    encoded = engine.encode(texts)
    prompts = {
        task_id: Prompt(task, text, ids)
        for (task_id, (_, task)), text, ids in zip(tasks.items(), texts, encoded, strict=True)
    }
    walker = Walker(classes)
    rollouts = [_rollout(sample, tasks[sample.task_id][0], prompts, walker, run) for sample in _drawn(run)]
    if not rollouts:
        raise DataError(
            f"no rollout in {run.path} reaches a structural position: every completion is empty; "
            "check the checkpoint and --max-tokens"
        )
    return sorted(rollouts, key=lambda rollout: (rollout.task, rollout.index))


def _drawn(run: Run) -> Iterable[Sample]:
    for sample in run.iter_samples():
        if sample.text and not sample.token_ids:
            raise DataError(
                f"{run.path}: sample {sample.key} has no token ids, and text can't be turned back into "
                "them; use an engine that gives them (vllm, hf, or a vLLM server)"
            )
        if sample.token_ids:
            yield sample


def _rollout(
    sample: Sample, position: int, prompts: Mapping[str, Prompt], walker: Walker, run: Run
) -> Rollout:
    prompt = prompts[sample.task_id]
    if prompt.sha256 != sample.prompt_sha256:
        raise DataError(
            f"{run.path}: the prompt of task {sample.task_id} isn't what it was when sample {sample.key} was "
            "drawn (another tokenizer or template?); choose another --out"
        )
    walk = walker(prompt.task.k, sample.token_ids)
    return Rollout(
        key=sample.key,
        task=position,
        index=sample.sample_index,
        prompt_ids=prompt.ids,
        token_ids=sample.token_ids[: len(walk.roles)],
        walk=walk,
        valid=sample.parse.tier == "strict",
    )
