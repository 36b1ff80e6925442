"""Progress as a log reader sees it: few lines, and none lost at the ends."""

import io

from rich.console import Console

from harness.cli.listening import listening
from harness.progress import Progress


def lines_of(*reports: Progress) -> list[str]:
    out = io.StringIO()
    with listening(Console(file=out, width=200)) as on_progress:
        for report in reports:
            on_progress(report)
    return out.getvalue().splitlines()


def test_a_thousand_quick_reports_are_two_lines() -> None:
    steps = [Progress("training", step, 1000, note=f"loss {1 / (step + 1):.3f}") for step in range(1001)]
    lines = lines_of(*steps)
    assert len(lines) == 2
    assert lines[0].startswith("training: 0/1000")
    assert lines[-1].startswith("training: 1000/1000")
    assert lines[-1].endswith("loss 0.001")


def test_every_stage_is_named_once() -> None:
    lines = lines_of(
        Progress("loading the model"), Progress("generating", 0, 2), Progress("generating", 2, 2)
    )
    assert [line.split(":")[0] for line in lines] == ["loading the model", "generating", "generating"]


def test_samples_of_an_earlier_session_do_not_make_the_rate() -> None:
    first, last = lines_of(Progress("generating", 90, 100, 90), Progress("generating", 100, 100, 90))
    assert "/s" not in first
    assert "100/100" in last
