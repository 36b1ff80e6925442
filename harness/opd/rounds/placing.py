"""λ reached of the student in training, over a round that it has just drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate.utils import gather_object

from harness.cliff.reached import Reached, lambda_reached
from harness.engines import ScoreRequest
from harness.engines.hf_line import line_sums
from harness.opd.models.loading import Policies
from harness.rollouts import Rollout


def place_round(policies: Policies, rollouts: Sequence[Rollout], *, plausible: float, seed: int) -> Reached:
    """Where the student stands on the line of its teacher and base; every process calls it.

    Args:
        policies: of the run; the student as it was when it drew.
        rollouts: this process's share, at least one.
        plausible: mask of the line.
        seed: of the bootstrap over tasks.

    Raises:
        TooLittleMemoryError: a device ran out of memory.
    """
    requests = [
        ScoreRequest(str(number), one.prompt_ids, one.token_ids) for number, one in enumerate(rollouts)
    ]
    with policies.whole_student() as student, policies.teacher() as teacher:
        base: Any = _WithoutAdapter(student.model)
        if not hasattr(student.model, "disable_adapter"):
            with policies.base() as frozen:
                base = frozen.model
        found = dict(line_sums(student.model, teacher.model, base, requests, plausible=plausible))
    own = [(one.task, found[str(number)]) for number, one in enumerate(rollouts)]
    every = gather_object(own)
    return lambda_reached([task for task, _ in every], [sums for _, sums in every], seed=seed)


class _WithoutAdapter:
    """A model below its LoRA adapter that can stand beside itself: the adapter is off while it computes."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model.get_base_model(), name)

    def base_model(self, **inputs: Any) -> Any:
        with self._model.disable_adapter():
            return self._model.get_base_model().base_model(**inputs)

    def __call__(self, **inputs: Any) -> Any:
        with self._model.disable_adapter():
            return self._model.get_base_model()(**inputs)
