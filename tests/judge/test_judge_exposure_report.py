"""Judges with known faults: the exposure report names each fault, and finds none in a fair judge."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DataError, HarnessError
from harness.judge import JudgeConfig, findings, judge, load_rubric
from harness.runs import load
from harness.stats import Estimate
from tests.judge.fake_gemini import FakeGemini
from tests.judge.gemini_judges import Judge, at_random, fair, first_wins, long_titles_win
from tests.judge.judge_runs import NAME, make_run, make_tasks

Configure = Callable[..., JudgeConfig]


@pytest.mark.parametrize(
    ("name", "judging", "expected"),
    [
        ("fair", fair, set()),
        ("first", first_wins, {"position", "inconsistent"}),
        ("long", long_titles_win, {"length"}),
        ("random", at_random, {"inconsistent", "irrelevant"}),
        (
            "constant",
            lambda seen, rng: {"reason": "x", "scores": dict.fromkeys(seen.criteria, 3)},
            {"constant"},
        ),
    ],
)
def test_the_report_catches_each_fault(
    name: str,
    judging: Judge,
    expected: set[str],
    any_client: str,
    config_for: Configure,
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", make_tasks(250), failures=0.0)
    with FakeGemini(judging) as fake:
        metrics = judge(config_for(run, fake.url, any_client)).run.metrics
    found = {finding.code for finding in findings(metrics, NAME)}
    assert found == expected, {k: v for k, v in metrics.items() if k.startswith("judge.")}


def test_how_strongly_each_fault_shows(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    """The numbers behind the findings lie where the faults put them."""

    def report(judging: Judge) -> dict[str, Estimate]:
        run = make_run(tmp_path / judging.__name__, make_tasks(150), failures=0.0)
        with FakeGemini(judging) as fake:
            metrics = judge(
                config_for(run, fake.url, any_client, store=tmp_path / judging.__name__ / "s")
            ).run.metrics
        return {name.removeprefix(f"judge.{NAME}."): value for name, value in metrics.items()}

    good, early, long, noise = (report(judging) for judging in (fair, first_wins, long_titles_win, at_random))
    assert good["self_agreement"].low > 0.6
    assert good["relevance_correlation"].low > 0.7
    assert early["position_bias"].low > 0.9
    assert good["position_bias"].low < 0.5 < good["position_bias"].high
    assert long["length_correlation"].low > 0.5
    assert abs(good["length_correlation"].estimate) < 0.25
    assert noise["self_agreement"].high < 0.3
    assert abs(noise["relevance_correlation"].estimate) < 0.25


@pytest.mark.parametrize(
    ("judging", "bias", "inconsistent"),
    [
        (fair, (0.4, 0.6), (0.0, 0.02)),
        (first_wins, (0.97, 1.01), (0.97, 1.01)),
        (at_random, (0.4, 0.6), (0.5, 0.8)),
    ],
    ids=["fair", "first", "random"],
)
def test_pairs_show_position_bias_and_noise(
    judging: Judge,
    bias: tuple[float, float],
    inconsistent: tuple[float, float],
    any_client: str,
    config_for: Configure,
    tmp_path: Path,
) -> None:
    tasks = make_tasks(120)
    good = make_run(tmp_path / "Good run", tasks, skill=0.9, failures=0.05)
    poor = make_run(tmp_path / "poor", tasks, skill=0.1, failures=0.05, seed=1)
    with FakeGemini(judging) as fake:
        metrics = judge(config_for(good, fake.url, any_client, pairwise=poor, repeats=1)).run.metrics
    (prefix,) = {name.rsplit(".", 1)[0] for name in metrics if name.endswith(".preference")}
    assert prefix.startswith(f"pairwise.{NAME}.poor-")
    found = {name.removeprefix(f"{prefix}."): value for name, value in metrics.items()}
    assert bias[0] <= found["position_bias"].estimate <= bias[1]
    assert inconsistent[0] <= found["inconsistent"].estimate <= inconsistent[1]
    codes = {finding.code for finding in findings(metrics, NAME)}
    assert ("position" in codes) == (judging is first_wins)
    assert ("inconsistent" in codes) == (judging is not fair)
    rates = [found[name].estimate for name in ("win_rate", "loss_rate", "tie_rate")]
    assert sum(rates) == pytest.approx(1.0)
    if judging is fair:
        assert found["preference"].low > 0.6
        assert found["self_agreement"].estimate == pytest.approx(1.0)
    else:
        assert found["preference"].low < 0.55
        agreement = found["self_agreement"]
        # A judge that goes by position alone contradicts itself each time: κ is −1 and never varies.
        assert (agreement.estimate if agreement.high is None else agreement.high) < 0.4


def test_both_orders_are_asked_and_neither_run_is_named(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(20)
    run = make_run(tmp_path / "telling-a", tasks, failures=0.0)
    other = make_run(tmp_path / "telling-b", tasks, seed=1, failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client, pairwise=other, repeats=1))
        sent = " ".join(arrival.body for arrival in fake.arrivals)
        assert len(fake.arrivals) % 2 == 0
        # The same pair the other way round is the same two questions: from the other run's side it is free.
        asked = len(fake.arrivals)
        mirrored = judge(config_for(other, fake.url, any_client, pairwise=run, repeats=1))
        assert len(fake.arrivals) == asked
    assert "telling" not in sent
    one = next(v for k, v in load(run).metrics.items() if k.endswith(".preference"))
    two = next(v for k, v in mirrored.run.metrics.items() if k.endswith(".preference"))
    assert one.estimate + two.estimate == pytest.approx(1.0)


def test_a_rubric_without_a_pair_template_says_so(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(3)
    run, other = make_run(tmp_path / "a", tasks), make_run(tmp_path / "b", tasks, seed=1)
    rubric = load_rubric(NAME).model_copy(update={"pairwise_template": None})
    with pytest.raises(HarnessError, match="pairwise_template"):
        judge(config_for(run, "http://127.0.0.1:9", any_client, pairwise=other, rubric=rubric))


def test_human_labels_are_compared_with(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    """People who see what the judge sees agree with it; rows on one sample are averaged."""
    run = make_run(tmp_path / "run", make_tasks(60), failures=0.0)
    labels = tmp_path / "labels.csv"
    rows = ["task_id,score,comment"]
    for _, sample in load(run).samples.iterrows():
        if sample.task_id in {f"t{index}" for index in range(40)}:
            rows += [f"{sample.task_id},{10 * sample.ndcg_at_k + side},x" for side in (-0.5, 0.5)]
    labels.write_text("\n".join(rows) + "\n")
    with FakeGemini() as fake:
        metrics = judge(config_for(run, fake.url, any_client, labels=labels)).run.metrics
    human = metrics[f"judge.{NAME}.human_correlation"]
    assert human.n == 40
    assert human.low > 0.5
    # They are in the run now: without the file the number stays.
    with FakeGemini() as fake:
        assert (
            judge(config_for(run, fake.url, any_client)).run.metrics[f"judge.{NAME}.human_correlation"]
            == human
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task_id,grade\nt0,3\n", "no column score"),
        ("task_id,score\nt0,3\nt1,good\n", r":3: score is 'good'"),
        ("task_id,score\nt0,nan\n", r":2: score is 'nan'"),
        ("task_id,score\nelse,3\n", r":2: the run has no sample 0 of task 'else'"),
        ("task_id,score,sample_index\nt0,3,-1\n", r":2: sample_index is '-1'"),
        ("task_id,score,sample_index\nt0,3,7\n", r":2: the run has no sample 7"),
        ("task_id,score\nt0\n", r":2: score is ''"),
    ],
)
def test_wrong_labels_are_named_before_anything_is_asked(
    content: str, message: str, any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(3))
    labels = tmp_path / "labels.csv"
    labels.write_text(content)
    with FakeGemini() as fake:
        with pytest.raises(DataError, match=message):
            judge(config_for(run, fake.url, any_client, labels=labels))
        assert fake.arrivals == []


def test_one_presentation_leaves_agreement_unknown(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(60), failures=0.0)
    with FakeGemini() as fake:
        metrics = judge(config_for(run, fake.url, any_client, repeats=1)).run.metrics
    assert metrics[f"judge.{NAME}.self_agreement"] == Estimate(
        0, None, None, None, metrics[f"judge.{NAME}.self_agreement"].method
    )
    assert "one_presentation" in {finding.code for finding in findings(metrics, NAME)}


def test_an_unjudged_run_has_no_findings(tmp_path: Path) -> None:
    assert findings(load(make_run(tmp_path / "run", make_tasks(2))).metrics, NAME) == []


def test_everything_unscored_is_no_score_and_not_zero(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(10), failures=0.0)
    with FakeGemini(lambda seen, rng: {"verdict": "great"}) as fake:
        metrics = judge(config_for(run, fake.url, any_client)).run.metrics
    assert (metrics[f"rubric.{NAME}"].n, metrics[f"rubric.{NAME}"].estimate) == (0, None)
    assert metrics[f"judge.{NAME}.unscored.wrong_shape"].estimate == 1.0
    assert metrics[f"judge.{NAME}.coverage"].estimate == 1.0
    assert "unscored" in {finding.code for finding in findings(metrics, NAME)}
