"""What a stored forecast allows a run: the largest λ that is shown to hold its bar."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness.contract import Contract
from harness.data.conversations import DEFAULT_PROMPT
from harness.data.prompt_file import PromptRecord
from harness.errors import DataError, HarnessError, RunMismatchError
from harness.runs import load, source_of
from harness.runs.forecast_record import FORECAST, Point, read_forecast

_LIKE_ROLLOUTS = {"temperature": 1.0, "top_p": 1.0, "constrained": False}


@dataclass(frozen=True, slots=True)
class ForecastLimit:
    """A forecast's lower limit.

    Attributes:
        bar: of strict parse validity.
        limit: largest λ that is shown to hold it.
        at_the_end: whether that is the last λ drawn, so that more may hold it too.
        sha256: of the file.
    """

    bar: float
    limit: float
    at_the_end: bool
    sha256: str


def read_limit(
    folder: Path,
    *,
    teacher: str,
    base: str,
    plausible: float,
    contract: Contract,
    prompt: PromptRecord = DEFAULT_PROMPT,
) -> ForecastLimit:
    """The limit of a forecast of these very checkpoints.

    Args:
        folder: of `harness forecast`.
        teacher: digest of the run's teacher.
        base: of its base.
        plausible: of the run.
        contract: of the run.
        prompt: what its prompts are made of.

    Raises:
        HarnessError: no forecast, one that shows no λ to hold its bar, or one that wasn't drawn as rollouts
            are.
        DataError: one that can't be read.
        RunMismatchError: of other checkpoints, another mask, contract or prompt, or runs that it isn't of.
    """
    file = folder / FORECAST
    try:
        told = read_forecast(folder)
    except FileNotFoundError:
        raise HarnessError(
            f"{folder} holds no {FORECAST}; give `forecast=` the folder of a harness forecast"
        ) from None
    for role, sha256 in (("teacher", teacher), ("base", base)):
        if told.checkpoints.get(role) != sha256:
            known = "of another" if told.checkpoints.get(role) else "without a digest of its"
            raise RunMismatchError(f"{file} is {known} {role}; forecast this teacher and base")
    if told.plausible != plausible:
        raise RunMismatchError(
            f"{file} is of plausible = {told.plausible:g} and the run of {plausible:g}; forecast the same"
        )
    limit = told.largest_lambda.low
    if limit is None:
        raise HarnessError(
            f"{file} shows no λ of 1 or more that keeps the contract in {told.bar:.0%} of the answers, so "
            "there is nothing to hold λ at; draw more answers, or forecast for a lower bar"
        )
    point = next((one for one in told.points if one.lam == limit), None)
    if point is None:
        raise DataError(f"{file}: `largest_lambda` is none of its points; run the forecast again")
    _require_drawn_like_rollouts(folder, point, contract, prompt)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return ForecastLimit(told.bar, limit, limit == told.points[-1].lam, digest)


def _require_drawn_like_rollouts(
    forecast: Path, point: Point, contract: Contract, prompt: PromptRecord
) -> None:
    """Rollouts are drawn at T = 1, top_p = 1, unconstrained; greedy answers keep the contract far longer."""
    folder = forecast / point.run
    manifest = load(folder).manifest
    if source_of(folder, manifest).drawn_sha256 != point.source:
        raise RunMismatchError(f"{folder} isn't what {FORECAST} was made from; run the forecast again")
    if manifest.contract != contract:
        raise RunMismatchError(f"{folder} was drawn for another contract; forecast this run's")
    if manifest.prompt.sha256 != prompt.sha256:
        raise RunMismatchError(f"{folder} was drawn with other prompts; forecast with this run's")
    drawn = {name: manifest.sampling.get(name) for name in _LIKE_ROLLOUTS}
    if drawn != _LIKE_ROLLOUTS:
        differs = next(name for name, value in _LIKE_ROLLOUTS.items() if drawn[name] != value)
        raise HarnessError(
            f"{folder} was drawn with `{differs}={drawn[differs]}`, and rollouts are drawn with "
            f"{_LIKE_ROLLOUTS[differs]}; forecast so"
        )
