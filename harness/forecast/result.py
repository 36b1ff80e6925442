"""`forecast.json`: what a forecast found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.cliff import CliffResult
from harness.stats import Estimate
from harness.stats.falling import LargestLevel

FORECAST = "forecast.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Point:
    """The target at one λ.

    Attributes:
        lam: λ.
        run: its folder, from the forecast's.
        parse_validity: strict.
        ndcg_at_1_parsed: over strictly valid answers.
        ndcg_at_1_all: failures as 0.
        failure_codes: share of each code that occurred, commonest first.
        source: digest of what was drawn, see `harness.runs.Source`.
    """

    lam: float
    run: str
    parse_validity: Estimate
    ndcg_at_1_parsed: Estimate
    ndcg_at_1_all: Estimate
    failure_codes: dict[str, float]
    source: str


@dataclass(frozen=True, slots=True)
class Student:
    """A checkpoint beside the line.

    Attributes:
        checkpoint: its name.
        run: folder of its rollouts, from the forecast's.
        parse_validity: strict, at T = 1.
        ndcg_at_1_parsed: over strictly valid answers.
        lambda_reached: the nearest λ of the line.
        off_the_line: KL from the target there, in nats a token.
        along_the_line: share of its way from the base that isn't off the line.
        forecast_there: parse validity of the target at λ reached, between the λ drawn; None outside.
    """

    checkpoint: str
    run: str
    parse_validity: Estimate
    ndcg_at_1_parsed: Estimate
    lambda_reached: Estimate
    off_the_line: Estimate
    along_the_line: Estimate
    forecast_there: float | None


@dataclass(frozen=True, slots=True)
class Star:
    """λ* beside the forecast: the closed form of the paper, for one clip strength.

    Attributes:
        clip: c.
        role: that binds: it holds most of the teacher's tail; None where none does.
        value: λ* at the measured b; None where `status` says why.
        low: lower end of its interval, which is sampling error alone.
        high: upper end.
        status: see `harness.cliff.LambdaStarEstimate`.
        unmet: what λ* asks of the checkpoints and isn't met, in words.
    """

    clip: float
    role: str | None
    value: float | None
    low: float | None
    high: float | None
    status: str
    unmet: tuple[str, ...]

    @classmethod
    def of(cls, result: CliffResult) -> Star:
        """What a measurement says of it."""
        star = result.lambda_star
        return cls(
            result.clip.effective,
            None if result.binding is None else result.binding.role,
            star.value,
            star.low,
            star.high,
            star.status,
            tuple(one.detail for one in result.preconditions if not one.met),
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """What extrapolation can gain in ranking.

    Attributes:
        lam: of all λ above 1 the one that ranks best.
        difference: its NDCG@1, failures as 0, minus that of λ = 1, paired by task; the intervals of all such
            λ hold together.
    """

    lam: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the format falls, before any training.

    Attributes:
        teacher: checkpoint.
        base: checkpoint.
        plausible: share of the likeliest token's probability above which is extrapolated; 0 everywhere.
        bar: of parse validity.
        points: by ascending λ.
        largest_lambda: up to which λ ≥ 1 parse validity is at least the bar.
        students: checkpoints placed on the line.
        gain: None where it can't be told.
        notes: what must be known beside the numbers, one sentence each.
        checkpoints: digests of teacher and base.
        lambda_star: where a clip strength was given.
    """

    teacher: str
    base: str
    plausible: float
    bar: float
    points: tuple[Point, ...]
    largest_lambda: LargestLevel
    students: tuple[Student, ...] = ()
    gain: Gain | None = None
    notes: tuple[str, ...] = ()
    checkpoints: Mapping[str, str | None] = field(default_factory=dict)
    lambda_star: Star | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}
