"""Caps are kept, forecasts come close, and no answer is paid for twice."""

from collections import Counter
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.judge import forecast_judging, judge, load_rubric
from harness.judge.records import PairJudgement, read_records
from harness.runs import load, read_samples
from tests.judge.fake_gemini import FAULTY, FakeGemini, Faults
from tests.judge.gemini_judges import fair
from tests.judge.judge_runs import NAME, PRICE, Configure, judged, judgements, make_run, make_tasks


def test_no_request_beyond_the_cap(client_name: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(60))
    with FakeGemini(faults=FAULTY) as fake:
        for cap in (0, 1, 40):
            assert "`max_requests=`" in judged(
                config_for(run, fake.url, client_name, timeout=0.5, max_requests=cap)
            )
            assert len(fake.arrivals) == cap
        assert judged(config_for(run, fake.url, client_name, timeout=0.5)) == ""
        assert max(Counter(arrival.prompt for arrival in fake.charged).values()) == 1


def test_the_cost_stops_before_its_limit(client_name: str, config_for: Configure, tmp_path: Path) -> None:
    """Also where the service charges for answers that never arrived, which nobody told us."""
    run = make_run(tmp_path / "run", make_tasks(150), failures=0.0)
    faults = Faults(refused=0.1, broken=0.05, hanging=0.05)
    with FakeGemini(faults=faults, charge_hanging=True) as fake:
        for cap in (0.001, 0.03, 0.08):
            assert "`max_cost=`" in judged(config_for(run, fake.url, client_name, timeout=0.5, max_cost=cap))
            billed = fake.cost(PRICE.input, PRICE.output)
            assert billed <= cap
        assert billed > 0.02
        partial = load(run).metrics
    assert 0 < partial[f"judge.{NAME}.coverage"].estimate < 1
    assert partial[f"rubric.{NAME}"].n > 0


def test_a_cap_needs_a_price(any_client: str, config_for: Configure, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(3), failures=0.0)
    rubric = load_rubric(NAME).with_model("gemini-unheard-of")
    with FakeGemini() as fake:
        with pytest.raises(HarnessError, match="`price=INPUT OUTPUT`"):
            judge(config_for(run, fake.url, any_client, rubric=rubric, max_cost=1.0))
        assert fake.arrivals == []
        # What was spent before there was a price counts once there is one.
        judge(config_for(run, fake.url, any_client, rubric=rubric, limit=1))
        sent = len(fake.arrivals)
        assert sent > 0
        bill = fake.cost(PRICE.input, PRICE.output)
        assert "`max_cost=`" in judged(
            config_for(run, fake.url, any_client, rubric=rubric, max_cost=bill, price=PRICE)
        )
        assert len(fake.arrivals) == sent
        judge(config_for(run, fake.url, any_client, rubric=rubric, max_cost=1.0, price=PRICE))


def test_what_was_answered_is_never_paid_for_again(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """Not after the judge's log is lost, and not for another run with the same rankings."""
    tasks = make_tasks(30)
    run = make_run(tmp_path / "run", tasks)
    with FakeGemini() as fake:
        first = judge(config_for(run, fake.url, any_client))
        sent = len(fake.arrivals)
        assert judge(config_for(run, fake.url, any_client)).run.metrics == first.run.metrics
        (run / "judge.jsonl").unlink()
        again = judge(config_for(run, fake.url, any_client))
        twin = judge(config_for(make_run(tmp_path / "twin", tasks), fake.url, any_client))
        assert len(fake.arrivals) == sent
        assert again.from_cache == twin.from_cache == sent
        assert again.run.metrics == twin.run.metrics == first.run.metrics
        # Another endpoint is another judge.
        with FakeGemini() as other:
            judge(config_for(make_run(tmp_path / "third", tasks), other.url, any_client))
            assert len(other.arrivals) == sent


def test_a_cached_run_needs_no_key(
    any_client: str, config_for: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", make_tasks(5))
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client))
        (run / "judge.jsonl").unlink()
        monkeypatch.delenv("GEMINI_API_KEY")
        judge(config_for(run, fake.url, any_client))


def test_a_question_that_repeats_is_drawn_anew(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """Two candidates have two orders: of four repeats two see one prompt, and must not share an answer."""
    run = make_run(tmp_path / "run", make_tasks(6, k=2), failures=0.0)
    with FakeGemini() as fake:
        judge(config_for(run, fake.url, any_client, repeats=4))
        prompts = Counter(arrival.prompt for arrival in fake.arrivals)
    assert sum(prompts.values()) == 24
    assert max(prompts.values()) == 2


def test_equal_rankings_of_a_task_share_an_answer(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(8, k=2), samples=6, failures=0.0)
    with FakeGemini() as fake:
        result = judge(config_for(run, fake.url, any_client))
        distinct = {(s.task_id, s.parse.ranking) for s in read_samples(run / "samples.jsonl")}
        assert len(fake.arrivals) == 2 * len(distinct) < 2 * 48
    assert result.run.metrics[f"rubric.{NAME}"].n == 48
    assert sum(not row.cached for row in judgements(run)) == len(fake.arrivals)


def test_a_dry_run_comes_close_with_the_services_own_count(
    client_name: str, config_for: Configure, tmp_path: Path
) -> None:
    """The judge uses 24 to 30 of the 30 words it is asked for; its tokenizer is the service's."""

    def wordy(seen, rng):  # type: ignore[no-untyped-def]
        return fair(seen, rng) | {"reason": " ".join(["word"] * rng.randint(24, 30))}

    run = make_run(tmp_path / "run", make_tasks(100))
    with FakeGemini(wordy, faults=Faults(refused=0.05, malformed=0.02)) as fake:
        config = config_for(run, fake.url, client_name)
        expected = forecast_judging(config)
        assert expected.basis == "the service's own count"
        assert fake.arrivals == []
        assert not (run / "judge.jsonl").exists()
        spent = judge(config)
        assert expected.requests == len(fake.charged)
        assert expected.cost == pytest.approx(spent.cost, rel=0.05)
        assert spent.cost <= expected.highest_cost
        assert expected.tokens.prompt == pytest.approx(sum(a.prompt_tokens for a in fake.charged), rel=0.05)
        assert forecast_judging(config).requests == 0


def test_a_dry_run_learns_from_earlier_answers(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    """A judge that thinks, at length and against what it was asked: known after a few answers."""

    def verbose(seen, rng):  # type: ignore[no-untyped-def]
        return fair(seen, rng) | {"reason": " ".join(["word"] * rng.randint(80, 120))}

    run = make_run(tmp_path / "run", make_tasks(150), failures=0.0)
    with FakeGemini(verbose, thinking=300) as fake:
        cold = forecast_judging(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client, limit=15))
        pilot = fake.cost(PRICE.input, PRICE.output)
        warm = forecast_judging(config_for(run, fake.url, any_client))
        judge(config_for(run, fake.url, any_client))
        rest = fake.cost(PRICE.input, PRICE.output) - pilot
    assert warm.basis == "earlier answers"
    assert warm.cost == pytest.approx(rest, rel=0.05)
    assert cold.cost < 0.6 * (rest + pilot)


def test_identical_rankings_are_ties_that_nobody_pays_for(
    any_client: str, config_for: Configure, tmp_path: Path
) -> None:
    tasks = make_tasks(10)
    run, twin = make_run(tmp_path / "a", tasks), make_run(tmp_path / "b", tasks)
    result = judge(config_for(run, "http://127.0.0.1:9", any_client, pairwise=twin))
    (preference,) = (value for name, value in result.run.metrics.items() if name.endswith(".preference"))
    assert (preference.estimate, result.spent.requests) == (0.5, 0)
    rows = [record for record in read_records(run) if isinstance(record, PairJudgement)]
    assert {(row.better, row.shown, row.model) for row in rows} == {("tie", None, "")}
