"""Sessions of a run add up to what it holds, whoever was killed."""

import pytest

from harness.engines import Generation
from harness.evaluate import session as sessions
from harness.evaluate.session import SessionClock, Tally, settled
from harness.runs import Drawn
from harness.runs.manifest import Session

BEGAN = "2026-01-01T00:00:00+00:00"


def of(status: str, generated: int, tokens: int, seconds: float | None = 1.0) -> Session:
    return Session(
        started=BEGAN,
        status=status,  # type: ignore[arg-type]
        generated=generated,
        prompt_tokens=10 * tokens,
        completion_tokens=tokens,
        generate_seconds=seconds,
    )


def drawn(samples: int, tokens: int) -> Drawn:
    return Drawn({str(number) for number in range(samples)}, 10 * tokens, tokens)


@pytest.mark.parametrize(
    ("there", "run", "expected"),
    [
        ([], drawn(0, 0), []),
        ([of("complete", 4, 40)], drawn(4, 40), [of("complete", 4, 40)]),
        # It noted three samples and wrote five.
        ([of("running", 3, 30)], drawn(5, 55), [of("killed", 5, 55)]),
        (
            [of("incomplete", 2, 20), of("running", 0, 0, None)],
            drawn(5, 50),
            [of("incomplete", 2, 20), of("killed", 3, 30, None)],
        ),
        ([of("running", 0, 0, None)], drawn(0, 0), [of("killed", 0, 0, None)]),
        # A damaged line was deleted since: it was drawn all the same.
        ([of("running", 3, 30)], drawn(2, 20), [of("killed", 3, 30)]),
        ([of("complete", 5, 50)], drawn(4, 40), [of("complete", 5, 50)]),
        # An older version noted a session only at its end.
        ([of("incomplete", 2, 20)], drawn(7, 70), [of("incomplete", 2, 20), of("killed", 5, 50, None)]),
    ],
)
def test_what_no_ended_session_counted_was_drawn_by_the_killed_one(
    there: list[Session], run: Drawn, expected: list[Session]
) -> None:
    assert (
        list(settled(there, Tally(len(run.keys), run.prompt_tokens, run.completion_tokens), BEGAN))
        == expected
    )


def test_a_session_is_noted_at_its_start_at_its_first_sample_and_then_now_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = [100.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: time[0])
    noted: list[Session] = []
    clock = SessionClock(0.5, noted.append)
    assert [(one.status, one.generated) for one in noted] == [("running", 0)]
    for _ in range(100):
        time[0] += 0.1
        clock.count(Generation("k", "x", (), "stop", 7, 3))
    assert [one.generated for one in noted[:2]] == [0, 1]
    assert 5 <= len(noted) <= 8
    ended = clock.entry("complete")
    assert (ended.generated, ended.prompt_tokens, ended.completion_tokens) == (100, 700, 300)
    assert ended.generate_seconds == pytest.approx(10.0)
    assert noted[-1].generated >= 80


def test_a_slow_disk_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: time[0])
    notes = []

    def slow(entry: Session) -> None:
        notes.append(entry)
        time[0] += 1.0

    clock = SessionClock(None, slow)
    for _ in range(2000):
        time[0] += 0.1
        clock.count(Generation("k", "x", (), "stop"))
    assert len(notes) <= 5


def test_a_clock_that_goes_back_ends_no_session_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(["2026-01-01T10:00:00+00:00", "2026-01-01T09:00:00+00:00"])
    monkeypatch.setattr(sessions, "now", lambda: next(hours))
    ended = SessionClock(None, lambda entry: None).entry("complete")
    assert ended.finished == ended.started == "2026-01-01T10:00:00+00:00"
