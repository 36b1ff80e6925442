"""`forecast.json`: what a forecast found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.cliff import CliffResult
from harness.errors import DataError, words_of
from harness.files import read_whole
from harness.stats import Estimate
from harness.stats.falling import LargestLevel

FORECAST = "forecast.json"
OF_STAR = "lambda-star"
"""Folder in which λ* was measured on rollouts of the base: none of the forecast's runs."""
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Point:
    """The target at one λ.

    Attributes:
        lam: λ.
        run: its folder, from the forecast's.
        parse_validity: strict.
        ndcg_at_1_parsed: over strictly valid answers; None where no task ranks.
        ndcg_at_1_all: failures as 0.
        failure_codes: share of each code that occurred, commonest first.
        source: digest of what was drawn, see `harness.runs.Source`.
        curve: parse validity of the curve that falls from λ = 1 on (below 1 as it was drawn), with one of
            the intervals that hold together for all λ; None in files of earlier versions.
        match_exact: right answers among strictly valid ones; None where no task says what is right.
        match_exact_all: failures as wrong.
    """

    lam: float
    run: str
    parse_validity: Estimate
    ndcg_at_1_parsed: Estimate | None
    ndcg_at_1_all: Estimate | None
    failure_codes: dict[str, float]
    source: str
    curve: Estimate | None = None
    match_exact: Estimate | None = None
    match_exact_all: Estimate | None = None

    @property
    def quality(self) -> tuple[Estimate, Estimate] | None:
        """What `Forecast.quality` names, on what parses and with failures as 0."""
        for found in (
            (self.ndcg_at_1_parsed, self.ndcg_at_1_all),
            (self.match_exact, self.match_exact_all),
        ):
            if found[0] is not None and found[1] is not None:
                return found[0], found[1]
        return None


@dataclass(frozen=True, slots=True)
class Example:
    """An answer that fails.

    Attributes:
        task_id: of its task.
        text: the part around the place where it fails, made plain: one line, nothing hidden, no key.
        message: what is wrong.
    """

    task_id: str
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class Break:
    """One way in which answers fail just past the fall.

    Attributes:
        code: failure code.
        share: of all answers there.
        examples: the first ones.
    """

    code: str
    share: float
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Breaks:
    """How it breaks, at the smallest λ drawn at which the curve is below the bar.

    Attributes:
        lam: that λ.
        ways: commonest first.
    """

    lam: float
    ways: tuple[Break, ...]


@dataclass(frozen=True, slots=True)
class Student:
    """A checkpoint beside the line.

    Attributes:
        checkpoint: its name.
        run: folder of its rollouts, from the forecast's.
        parse_validity: strict, at T = 1.
        ndcg_at_1_parsed: over strictly valid answers; None where no task ranks.
        lambda_reached: the nearest λ of the line.
        off_the_line: KL from the target there, in nats a token.
        along_the_line: share of its way from the base that isn't off the line.
        forecast_there: parse validity of the target at λ reached, between the λ drawn; None outside.
        match_exact: right answers among strictly valid ones; None where no task says what is right.
    """

    checkpoint: str
    run: str
    parse_validity: Estimate
    ndcg_at_1_parsed: Estimate | None
    lambda_reached: Estimate
    off_the_line: Estimate
    along_the_line: Estimate
    forecast_there: float | None
    match_exact: Estimate | None = None


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
    """What extrapolation can gain in quality, which is NDCG@1 or right answers; see `Forecast.quality`.

    Attributes:
        lam: of all λ above 1 the best one.
        difference: its quality, failures as 0, minus that of λ = 1, paired by task; the intervals of all such
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
        breaks: how answers fail past the fall; None where nothing falls.
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
    breaks: Breaks | None = None

    @property
    def quality(self) -> str | None:
        """What tells how good the answers are beside their format; None where the tasks don't say."""
        first = self.points[0]
        if first.quality is None:
            return None
        return "right answers" if first.ndcg_at_1_parsed is None else "NDCG@1"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers for JSON."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}


def read_forecast(folder: Path) -> Forecast:
    """The forecast in a folder, of this version or an earlier one.

    Raises:
        FileNotFoundError: there is none.
        DataError: it can't be read, or isn't a forecast.
    """
    file = folder / FORECAST
    if folder.is_file():
        raise DataError(f"{folder} is a file; give the folder of a forecast, in which {FORECAST} lies")
    try:
        content = json.loads(read_whole(file))
        if not isinstance(content, dict) or "format_version" not in content:
            raise ValueError("it holds something else")
        if content.pop("format_version") != FORMAT_VERSION:
            raise ValueError("it is of another format")
        return _FORECAST.validate_python(content)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        said = words_of(error, 120)
        if isinstance(error, ValidationError):
            said = f"{'.'.join(map(str, error.errors()[0]['loc']))} is missing or misshapen"
        raise DataError(
            f"{file} can't be read as a forecast ({said}); forecast again, or remove it"
        ) from error


_FORECAST: TypeAdapter[Forecast] = TypeAdapter(Forecast)
