"""What `cliff.json` holds of a checkpoint that was placed on the line without an estimate of λ*."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.cliff.reached import RoleReached
from harness.cliff.verdict import CliffResult, reached_metrics
from harness.errors import DataError
from harness.settings import first_problem
from harness.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Placement:
    """A checkpoint's place without an estimate of λ*; fields as in `CliffResult`.

    Attributes:
        lam: what λ reached is held against in `reached`; None is the teacher.
        plausible: mask of the line, see `TargetConfig`; None where it isn't known.
        lambda_reached: where it lies.
        off_the_line: what of it is no extrapolation, in nats a token.
        along_the_line: share of its way from the base that is.
        reached: that in words.
        reached_by_role: the same by the role of the position.
    """

    lam: float | None
    plausible: float | None
    lambda_reached: Estimate
    off_the_line: Estimate
    along_the_line: Estimate
    reached: str
    reached_by_role: tuple[RoleReached, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)

    def metrics(self) -> dict[str, Estimate]:
        """The numbers for `metrics.json`."""
        return reached_metrics(self.lambda_reached, self.off_the_line)


def read_measured(data: object) -> CliffResult | Placement:
    """What a `cliff.json` holds.

    Raises:
        DataError: neither.
    """
    if not isinstance(data, Mapping) or "verdict" in data or "lambda_reached" not in data:
        return CliffResult.from_dict(data)
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise DataError(f"this is no place on the line: {first_problem(error)}") from error


_ADAPTER: TypeAdapter[Placement] = TypeAdapter(Placement)
