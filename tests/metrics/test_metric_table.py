"""One table: an entry is all that a metric needs to be evaluated, gated, followed live and reported."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.summary import print_run
from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate, rescore
from harness.gate import Policy, decide
from harness.gate.live import decide_live
from harness.metrics import METRICS, Metric, SampleMetric, TaskMetric
from harness.metrics.table import FAILURES, FORMAT, MATCHES, RANKING, SCORES, metrics_of
from harness.report import ReportConfig, report
from harness.report.metrics import metric_groups
from harness.report.reading import read_runs
from harness.runs import Run
from harness.runs.seals import opened_document
from harness.runs.source import SOURCE

LABELS = ([3, 1, 0], [0, 2, 1], [0, 0, 0], [2, 2, 2])
ANSWERS = ('{"ranking": [1, 2, 3]}', '{"ranking": [2, 1, 3]}', 'Sure! {"ranking": [1, 2, 3]}', "")
TASKS = 24
OF_RANKS = metrics_of(ranks=True, scores=())


def settings(folder: Path, name: str) -> EvalConfig:
    """Tasks of all kinds of labels, some without anything to rank, answers of all qualities, two withheld."""
    tasks = [
        {
            "task_id": f"t{number}",
            "history": [],
            "candidates": [{"item_id": f"{number}-{place}", "title": "x"} for place in range(3)],
            "relevance": LABELS[number % 4 if number < 8 else number % 2],
        }
        for number in range(TASKS)
    ]
    shift = len(name)
    answers = [
        {"task_id": f"t{number}", "text": ANSWERS[(number + shift) // 3 % len(ANSWERS)]}
        for number in range(TASKS)
    ]
    for number in (11, 13 + shift):
        answers[number] |= {"text": None, "finish_reason": "SAFETY"}
    folder.mkdir(exist_ok=True)
    for file, rows in (("tasks", tasks), (f"{name}-answers", answers)):
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EngineConfig(engine="replay", replay=folder / f"{name}-answers.jsonl")
    return EvalConfig(engine=engine, data=str(folder / "tasks.jsonl"), out=folder / name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluate(settings(tmp_path_factory.mktemp("table"), "one"))


@pytest.fixture(scope="module")
def other(run: Run) -> Run:
    return evaluate(settings(run.path.parent, "other"))


def console_of(run: Run) -> str:
    out = StringIO()
    print_run(run, Console(width=200, file=out))
    return out.getvalue()


def stored_names(run: Run) -> list[str]:
    content, has_seal = opened_document((run.path / "metrics.json").read_bytes())
    assert has_seal
    return [name for name in content if name != SOURCE]


def test_metrics_json_holds_the_table_in_its_order(run: Run) -> None:
    assert stored_names(run) == OF_RANKS


@pytest.mark.parametrize("name", OF_RANKS)
def test_a_gate_knows_every_entry(run: Run, other: Run, name: str) -> None:
    """Rules about the metric itself, and about a difference where samples decide it, by the stored value."""
    [rule] = decide(run, Policy(rules=(f"{name} <= 1",))).rules
    assert rule.verdict == "pass"
    assert rule.estimate is not None
    stored = run.metrics[name]
    assert (rule.estimate.n, rule.estimate.estimate) == (stored.n, pytest.approx(stored.estimate, abs=1e-12))
    if isinstance(METRICS[name], SampleMetric):
        [rule] = decide(run, Policy(rules=(f"{name} <= baseline + 0.99",)), other).rules
        assert rule.estimate is not None
        assert rule.estimate.n > 0


def test_a_live_gate_follows_every_metric_of_samples(run: Run, tmp_path: Path) -> None:
    names = [name for name in OF_RANKS if isinstance(METRICS[name], SampleMetric)]
    policy = Policy(rules=tuple(f"{name} >= 0.5" for name in names))
    result, made = decide_live(settings(tmp_path / "live", "one"), policy)
    assert [rule.metric for rule in result.rules] == names
    drawn = len(list(made.iter_samples()))
    for rule in result.rules:
        assert rule.estimate is not None
        assert 0 < rule.estimate.n <= drawn


def test_a_report_and_a_summary_show_every_entry(run: Run, other: Run) -> None:
    shown = {line.name for group in metric_groups(read_runs([run.path])) for line in group.metrics}
    assert shown == {name for name in OF_RANKS if METRICS[name].group != FAILURES}
    page = report(ReportConfig(runs=(run.path, other.path))).document
    printed = console_of(run)
    for name in OF_RANKS:
        metric = METRICS[name]
        rare = isinstance(metric, TaskMetric) and metric.rare
        if metric.group == FAILURES and not run.metrics[name].estimate:
            continue  # only codes that occur are listed
        assert f'data-metric="{name}"' in page, name
        if metric.group == FAILURES:
            assert metric.label in printed
        elif not rare:
            assert name in printed, name
    assert "tasks have no relevant candidate" in printed
    assert "tasks have the same label on every candidate" in printed


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_entry_is_whole(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert metric.label
    assert metric.group in (FORMAT, FAILURES, RANKING, MATCHES)


def test_every_stored_score_is_averaged_with_and_without_failures() -> None:
    for score in SCORES:
        assert {f"{score}.parsed", f"{score}.lenient", f"{score}.all"} <= METRICS.keys()


ADDED = (
    SampleMetric(
        "stop_rate",
        FORMAT,
        "stopped by itself",
        "",
        lambda sample: float(sample.finish_reason == "stop"),
        is_rate=True,
        brief=True,
    ),
    SampleMetric(
        "depth.mean",
        "Depth",
        "depth of the ranking",
        "of those that can be read",
        lambda one: None if one.parse is None or one.parse.ranking is None else len(one.parse.ranking) / 4,
        brief=True,
        always=False,
    ),
    TaskMetric("labels.largest", "Depth", "largest label", "", lambda relevance: max(relevance) / 3),
)


@pytest.mark.parametrize("metric", ADDED, ids=lambda metric: metric.name)
def test_one_more_entry_is_all_it_takes(
    metric: SampleMetric | TaskMetric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, metric.name, metric)
    one, two = (evaluate(settings(tmp_path / "runs", name)) for name in ("one", "other"))
    assert stored_names(one) == metrics_of(ranks=True, scores=())
    assert one.metrics[metric.name].n > 0
    assert 0.0 < (one.metrics[metric.name].estimate or 0.0) <= 1.0
    assert rescore(one.path).metrics == one.metrics
    assert decide(one, Policy(rules=(f"{metric.name} >= 0.01",))).verdict == "pass"
    page = report(ReportConfig(runs=(one.path, two.path))).document
    assert metric.label in page
    assert metric.name in console_of(one)
    if isinstance(metric, SampleMetric):
        rule = f"{metric.name} >= baseline - 0.9"
        assert decide(one, Policy(rules=(rule,)), two).verdict == "pass"
        assert decide_live(settings(tmp_path / "live", "one"), Policy(rules=(rule,)), two)[0].rules
        summary = report(ReportConfig(runs=(one.path, two.path)), "md").document
        assert summary.count(metric.label) == 2  # its value and its difference
