"""What the runs were and took: parameters in one unit, tokens, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report import text
from harness.report.distributions import mean_tokens
from harness.report.reading import RunFacts
from harness.stats import Estimate


@dataclass(frozen=True, slots=True)
class CostCell:
    """A number of the manifest."""

    name: str
    value: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run was and took.

    Attributes:
        run: its name.
        cells: parameters, tokens, seconds, samples a second.
        tokens: of an answer.
        engine: name and version.
        beside: parameters and speed in a few words, empty where neither is known.
    """

    run: str
    cells: tuple[CostCell, ...]
    tokens: Estimate | None
    engine: str
    beside: str


def costs_of(runs: Sequence[RunFacts]) -> list[Cost]:
    """A row a run."""
    sizes = [size for facts in runs if (size := facts.run.manifest.engine.parameters) is not None]
    write = text.parameters(*sizes)
    return [_cost(facts, write) for facts in runs]


def _cost(facts: RunFacts, write: text.Shown) -> Cost:
    manifest = facts.run.manifest
    sessions = manifest.sessions
    prompt = sum(session.prompt_tokens for session in sessions)
    completion = sum(session.completion_tokens for session in sessions)
    loading = [one.load_seconds for one in sessions if one.load_seconds is not None]
    timed = [(one.generated, one.generate_seconds) for one in sessions if one.generate_seconds]
    generating = sum(seconds for _, seconds in timed)
    # Recorded answers were generated elsewhere: reading them says nothing of the checkpoint's speed.
    rate = sum(n for n, _ in timed) / generating if generating and completion else None

    def cell(name: str, value: float | None, shown: text.Shown) -> CostCell:
        return CostCell(name, value, "" if value is None else shown(value))

    size = cell("engine.parameters", manifest.engine.parameters, write)
    speed = cell("sessions.samples_per_second", rate, text.three_digits)
    words = [f"{size.text} parameters"] if size.text else []
    words += [f"{speed.text} samples/s"] if speed.text else []
    return Cost(
        facts.name,
        (
            size,
            cell("sessions.prompt_tokens", prompt or None, text.whole),
            cell("sessions.completion_tokens", completion or None, text.whole),
            cell("sessions.load_seconds", sum(loading) if loading else None, text.seconds),
            cell("sessions.generate_seconds", generating or None, text.seconds),
            speed,
        ),
        mean_tokens(facts),
        f"{manifest.engine.name} {manifest.engine.version}",
        " · ".join(words),
    )
