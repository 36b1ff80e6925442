"""A forecast of the zoo's pair: the fall where it is, ordinary runs, and going on after a kill."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.cli import main
from harness.engines import EngineConfig
from harness.errors import HarnessError, Interrupted
from harness.evaluate import EvalConfig
from harness.forecast import ForecastConfig, forecast
from harness.forecast.config import GRID
from harness.forecast.job import next_lambda
from harness.forecast.notes import gain_of, notes_of
from harness.gate import decide
from harness.metrics.columns import TaskTable
from harness.progress import Progress
from harness.report.folders import find_runs
from harness.report.forecast_figure import draw_forecast
from harness.runs import load
from harness.runs.forecast_record import Forecast, Point, Student
from harness.stats import Estimate, wilson
from harness.stats.falling import LargestLevel, falling_curve

pytest.importorskip("torch")
pytestmark = pytest.mark.model


def config(out: Path, *lambdas: float, limit: int = 24, **changes: object) -> ForecastConfig:
    evaluation = EvalConfig(
        engine=EngineConfig(device="cpu", batch_size=24), split="validation", limit=limit, temperature=1.0
    )
    return ForecastConfig(
        evaluation=evaluation,
        teacher="zoo:teacher",
        base="zoo:base",
        lambdas=lambdas,
        out=out,
        **changes,  # type: ignore[arg-type]
    )


def test_the_zoos_pair_falls_between_one_and_four(tmp_path: Path) -> None:
    found = forecast(config(tmp_path, 4.0, 1.0, 1.3))
    assert [point.lam for point in found.points] == [1.0, 1.3, 4.0]
    first, _, last = (point.parse_validity.estimate or 0.0 for point in found.points)
    assert first > 0.9
    assert last < 0.2
    assert found.largest_lambda.high == 4.0
    assert found.points[2].failure_codes
    stored = json.loads((tmp_path / "forecast.json").read_text())
    assert stored == json.loads(json.dumps(found.to_dict()))
    run = load(tmp_path / "lambda-4")
    assert run.manifest.engine.name == "target"
    assert decide(run).verdict == "fail"


def test_extrapolation_where_plausible_keeps_the_format(tmp_path: Path) -> None:
    found = forecast(config(tmp_path, 4.0, plausible=0.1))
    assert (found.points[0].parse_validity.estimate or 0.0) > 0.8


def test_a_killed_forecast_goes_on_to_the_same(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done >= 24 and (tmp_path / "killed/lambda-1").exists():
            raise KeyboardInterrupt

    calm = forecast(config(tmp_path / "calm", 1.0, 2.0))
    with pytest.raises(Interrupted):
        forecast(config(tmp_path / "killed", 1.0, 2.0), interrupt)
    again = forecast(config(tmp_path / "killed", 1.0, 2.0))
    assert again.points == calm.points


def test_a_grid_is_refined_where_it_crosses_the_bar() -> None:
    drawn = sorted(GRID)
    crossing = 1.7
    while more := next_lambda(drawn, crossing, 20):
        [lam] = more
        below, above = (max(x for x in drawn if x <= crossing), min(x for x in drawn if x > crossing))
        assert below < lam < above
        drawn = sorted([*drawn, lam])
    below, above = (max(x for x in drawn if x <= crossing), min(x for x in drawn if x > crossing))
    assert above / below <= 1.1
    assert next_lambda(drawn, None, 20) == []
    assert next_lambda(GRID, crossing, len(GRID)) == []


def test_a_refined_grid_shares_the_error_among_all_it_may_draw(tmp_path: Path) -> None:
    """However many it then draws: a share that depends on what is found promises less than it says."""
    assert config(tmp_path).intervals == 12
    assert config(tmp_path, points=3).intervals == len(GRID)
    assert config(tmp_path, 1.0, 2.0, points=40).intervals == 2
    points = [point(lam, 150, 150) for lam in (0.0, 1.0)]
    largest = LargestLevel(None, None, None)
    assert not any("can't show" in one for one in notes_of(points, largest, 0.97, intervals=2))
    assert any("150 answers a λ can't show" in one for one in notes_of(points, largest, 0.97, intervals=12))


def point(lam: float, valid: int, n: int) -> Point:
    nothing = Estimate(0, None, None, None, "")
    return Point(lam, "", wilson(valid, n), nothing, nothing, {}, "")


@pytest.mark.parametrize(
    ("valid", "note"),
    [
        ({0.0: 60, 1.0: 99, 2.0: 40}, None),
        ({0.0: 5, 1.0: 20, 2.0: 10}, "teacher itself keeps the contract in 20.0%"),
        (
            {0.0: 95, 1.0: 20, 2.0: 1},
            "the base keeps the contract better than the teacher (95.0% against 20.0%)",
        ),
        ({0.0: 60, 1.0: 100, 1.2: 100}, "nothing falls up to λ = 1.2"),
        ({0.0: 60, 2.0: 30}, "λ = 1, the teacher, wasn't drawn"),
    ],
)
def test_a_pair_or_grid_that_says_little_is_named(valid: dict[float, int], note: str | None) -> None:
    points = [point(lam, count * 10, 1000) for lam, count in valid.items()]
    levels = [lam for lam in valid if lam >= 1.0]
    largest = falling_curve(levels, [[valid[lam] * 10] for lam in levels], [[1000]] * len(levels)).largest(
        0.95
    )
    found = notes_of(points, largest, 0.95)
    assert (found == ()) if note is None else any(note in one for one in found)


def test_too_few_answers_for_the_bar_are_said_to_be() -> None:
    points = [point(lam, 30, 30) for lam in (0.0, 1.0)]
    largest = falling_curve([1.0], [[1] * 30], [[1] * 30]).largest(0.95)
    assert any("30 answers a λ can't show 95%" in one for one in notes_of(points, largest, 0.95))


def test_gain_is_that_of_the_best_lambda_paired_by_task() -> None:
    def table(values: list[float]) -> TaskTable:
        ones, none = np.ones(len(values), dtype=np.int64), np.zeros(len(values), dtype=np.int64)
        ids = tuple(map(str, range(len(values))))
        return TaskTable(ids, np.array(values), ones, none, none, is_rate=False, counts_always=True)

    teacher, better, worse = [0.0, 1.0] * 200, [1.0, 1.0] * 200, [0.0, 0.0] * 200
    found = gain_of({0.0: table(worse), 1.0: table(teacher), 1.5: table(better), 3.0: table(worse)})
    assert found is not None
    assert (found.lam, found.difference.estimate) == (1.5, 0.5)
    assert found.difference.low is not None
    assert 0.3 < found.difference.low < 0.5
    level = gain_of({1.0: table(teacher), 1.5: table(teacher), 2.0: table(worse)})
    assert level is not None
    assert (level.lam, level.difference.estimate) == (1.5, 0.0)
    assert gain_of({0.0: table(teacher), 1.0: table(teacher)}) is None
    assert gain_of({0.0: table(teacher), 2.0: table(teacher)}) is None


def test_the_picture_holds_target_bar_and_students() -> None:
    points = (point(1.0, 99, 100), point(2.0, 60, 100), point(4.0, 5, 100))
    largest = LargestLevel(1.1, 1.0, 2.0)
    here = Estimate(9, 1.7, 1.5, 1.9, "")
    student = Student("zoo:listopd", "", wilson(80, 100), wilson(9, 10), here, here, here, None)
    found = Forecast("zoo:teacher", "zoo:base", 0.0, 0.95, points, largest, (student,))
    picture = draw_forecast(found)
    assert picture is not None
    document = ElementTree.fromstring(picture)
    words = " ".join(text.text or "" for text in document.iter("{http://www.w3.org/2000/svg}text"))
    for part in ("the target, before training", "zoo:listopd, at its λ reached", "95% of answers valid"):
        assert part in words
    marks = [one.get("href") for one in document.iter("{http://www.w3.org/2000/svg}use")]
    # Three points and a student in the first panel, the student alone in the second, and the legend.
    assert marks.count("#mark0") == 3 + 1
    assert marks.count("#mark1") == 2 + 1
    assert draw_forecast(Forecast("t", "b", 0.0, 0.95, points[:1], largest)) is None


def test_lambda_star_stands_beside_with_what_it_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["forecast", "--teacher", "zoo:teacher", "--base", "zoo:base", "--split", "validation"]
    given += ["--lambdas", "1", "--limit", "12", "--clip", "5", "--device", "cpu", "--out", str(tmp_path)]
    assert main(given) == 0
    said = " ".join(capsys.readouterr().out.split())
    star = json.loads((tmp_path / "forecast.json").read_bytes())["lambda_star"]
    measured = json.loads((tmp_path / "lambda-star" / "cliff.json").read_bytes())
    assert (star["clip"], star["value"]) == (5.0, measured["lambda_star"]["value"])
    assert star["unmet"] == [one["detail"] for one in measured["preconditions"] if not one["met"]]
    assert f"λ* at c = 5: {star['value']:.3g}" in said
    assert star["unmet"][0][:20] in said
    # What λ* rests on is the base's, and no run of the forecast.
    assert [one.path.name for one in find_runs([tmp_path])] == ["lambda-1"]


def test_refusals(tmp_path: Path) -> None:
    for lam in (-1.0, math.inf, math.nan):
        with pytest.raises(HarnessError, match=r"lambdas\.0="):
            config(tmp_path, lam)
    with pytest.raises(HarnessError, match="alike in six digits"):
        config(tmp_path, 1.0000001, 1.0000002)


def test_teacher_and_base_lie_on_the_line_at_one_and_zero(tmp_path: Path) -> None:
    students = ("zoo:teacher", "zoo:base", "zoo:collapsed")
    found = forecast(config(tmp_path, 0.0, 1.0, limit=16, students=students))
    teacher, base, collapsed = found.students
    for one, lam in ((teacher, 1.0), (base, 0.0)):
        assert one.lambda_reached.estimate == pytest.approx(lam, abs=1e-3)
        assert one.off_the_line.estimate == pytest.approx(0.0, abs=1e-5)
    assert teacher.forecast_there == pytest.approx(found.points[1].parse_validity.estimate, abs=1e-2)
    # Thrown off by its optimiser: no extrapolation at all.
    assert collapsed.lambda_reached.high is not None
    assert collapsed.lambda_reached.high < 0.5
    assert (collapsed.off_the_line.low or 0.0) > 0.1
    # Of other students the next time: who is asked for again isn't drawn anew, and the report has no other.
    (again,) = forecast(config(tmp_path, 0.0, 1.0, limit=16, students=("zoo:collapsed",))).students
    assert again == collapsed
    names = [one.path.name for one in find_runs([tmp_path])]
    assert names == ["lambda-0", Path(collapsed.run).name, "lambda-1"]


def test_a_student_of_another_family_is_refused(tmp_path: Path, tiny_qwen3: Path) -> None:
    with pytest.raises(HarnessError, match="another vocabulary"):
        forecast(config(tmp_path, 1.0, limit=2, students=(str(tiny_qwen3),)))
