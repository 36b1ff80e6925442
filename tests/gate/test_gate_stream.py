"""A stream of checkpoints: alpha holds for all of them together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.gate import Policy, PolicyError, decide
from harness.gate.looks import spend
from harness.gate.stream import Stream, read_stream, share_of
from harness.runs import Manifest, Run
from harness.runs.gate_record import Look
from tests.gate.gate_runs import answers, make_run, write_outputs, write_tasks
from tests.gate.live_runs import config, outputs


def runs(folder: Path, *valid: int) -> list[Run]:
    return [make_run(folder / f"c{number}", answers(n)(200, 1)) for number, n in enumerate(valid)]


@pytest.mark.parametrize("planned", [None, 1, 20])
def test_shares_add_up_to_one_at_most(planned: int | None) -> None:
    assert sum(share_of(place, planned) for place in range(1, 2000)) <= 1.0 + 1e-9


def test_each_checkpoint_has_a_place_of_its_own(tmp_path: Path) -> None:
    first, second = runs(tmp_path, 199, 200)
    stream = tmp_path / "release.jsonl"
    alphas = [decide(run, stream=stream).alpha for run in (first, second, first)]
    assert alphas == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 2])
    assert [(one.place, one.verdict) for one in read_stream(stream)] == [
        (1, None),
        (1, "pass"),
        (2, None),
        (2, "pass"),
        (1, "pass"),
    ]


def test_failing_is_not_shared(tmp_path: Path) -> None:
    good, bad = runs(tmp_path, 200, 180)
    stream = tmp_path / "release.jsonl"
    decide(good, stream=stream)
    result = decide(bad, stream=stream)
    assert result.verdict == "fail"
    assert result.rules[0].p_fail == decide(bad).rules[0].p_fail
    assert result.stream is not None
    assert result.stream.place == 2
    assert any("any false pass in the stream is at most 0.05" in note for note in result.notes)


def test_a_pass_alone_is_none_late_in_a_stream(tmp_path: Path) -> None:
    """197 of 200 passes at alpha, not as the fifth checkpoint."""
    several = runs(tmp_path, 180, 181, 182, 183, 197)
    stream = tmp_path / "release.jsonl"
    verdicts = [decide(run, stream=stream).verdict for run in several]
    assert decide(several[-1], Policy(alpha=0.05)).verdict == "pass"
    assert verdicts[-1] == "inconclusive"


def test_a_planned_number_shares_alike_and_ends(tmp_path: Path) -> None:
    first, second, third = runs(tmp_path, 200, 199, 198)
    stream, policy = tmp_path / "release.jsonl", Policy(checkpoints=2)
    assert decide(first, policy, stream=stream).alpha == pytest.approx(0.025)
    assert decide(second, policy, stream=stream).alpha == pytest.approx(0.025)
    with pytest.raises(PolicyError, match="has its 2 checkpoints already"):
        decide(third, policy, stream=stream)
    with pytest.raises(PolicyError, match=r"was begun with alpha = 0\.05 for 2 checkpoints"):
        decide(first, Policy(checkpoints=20), stream=stream)


def test_a_spoilt_stream_is_no_empty_one(tmp_path: Path) -> None:
    [run] = runs(tmp_path, 200)
    stream = tmp_path / "release.jsonl"
    decide(run, stream=stream)
    with stream.open("ab") as file:
        file.write(b'{"place": 7')  # torn by a crash: nobody's yet
    assert len(read_stream(stream)) == 2
    stream.write_text("{}\n")
    with pytest.raises(DataError, match=r"release\.jsonl:1: no entry of a stream"):
        decide(run, stream=stream)


def test_processes_that_gate_at_once_take_different_places(tmp_path: Path) -> None:
    several = runs(tmp_path, *range(190, 196))
    stream = tmp_path / "release.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.gate import decide\nfrom harness.runs import load\n"
        "print(decide(load(sys.argv[1]), stream=Path(sys.argv[2])).stream.place)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(run.path), str(stream)], stdout=subprocess.PIPE, text=True
        )
        for run in several
    ]
    places = [int(one.communicate()[0]) for one in started]
    assert sorted(places) == [1, 2, 3, 4, 5, 6]


def test_a_live_gate_takes_its_place(tmp_path: Path) -> None:
    from harness.gate.live import decide_live

    data = write_tasks(tmp_path / "tasks.jsonl", 400)
    stream = tmp_path / "release.jsonl"
    [other] = runs(tmp_path, 200)
    decide(other, stream=stream)
    result, run = decide_live(config(data, outputs(tmp_path, 399), tmp_path / "run"), stream=stream)
    assert result.stream is not None
    assert result.stream.place == 2
    assert result.alpha == pytest.approx(0.05 / 6)
    assert [one.verdict for one in read_stream(stream)][-1] == result.verdict
    assert Stream(stream, Policy()).take(run.manifest, run.path).place == 2
    assert json.loads(stream.read_text().splitlines()[-1])["checkpoint"] == run.manifest.engine.checkpoint


def test_one_checkpoint_in_several_folders_has_one_share(tmp_path: Path) -> None:
    from harness.evaluate import evaluate

    data = write_tasks(tmp_path / "tasks.jsonl", 200)
    answered = write_outputs(tmp_path / "outputs.jsonl", answers(196)(200, 1))
    stream = tmp_path / "release.jsonl"
    shares = []
    for limit in (60, 80, 100):
        run = evaluate(config(data, answered, tmp_path / f"run-{limit}", limit=limit))
        # Recorded outputs have no weights, and each run of them would be a checkpoint of its own.
        known = replace(run.manifest, weights="0" * 64)
        counting = Stream(stream, Policy())
        place = counting.take(known, run.path)
        assert place.place == 1
        elsewhere = counting.looks_elsewhere(known, run.path)
        share = spend(elsewhere, str(limit), "fixed", 0.05, whole=False).share
        shares.append(share)
        made = Look("now", limit, str(limit), "p", share, share * 0.05, "fixed", "inconclusive")
        counting.note(place, known, run.path, made)
    assert shares == pytest.approx([0.5, 0.25, 0.125])


def replace(manifest: Manifest, weights: str) -> Manifest:
    engine = manifest.engine.model_copy(update={"weights_sha256": weights})
    return manifest.model_copy(update={"engine": engine})


def test_streams_that_were_merged_or_cut_are_refused(tmp_path: Path) -> None:
    first, second = runs(tmp_path, 199, 200)
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    decide(first, stream=one)
    decide(second, stream=other)
    merged = tmp_path / "merged.jsonl"
    merged.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(DataError, match="place 1 to two checkpoints"):
        decide(first, stream=merged)
    decide(second, stream=one)
    merged.write_bytes(b"".join(one.read_bytes().splitlines(keepends=True)[2:]))
    with pytest.raises(DataError, match="lacks the lines"):
        decide(first, stream=merged)


def test_growing_is_the_same_checkpoint(tmp_path: Path) -> None:
    from harness.evaluate import evaluate

    data = write_tasks(tmp_path / "tasks.jsonl", 200)
    answered = write_outputs(tmp_path / "outputs.jsonl", answers(196)(200, 1))
    stream = tmp_path / "release.jsonl"
    for limit in (100, 200):
        run = evaluate(config(data, answered, tmp_path / "run", limit=limit))
        assert decide(run, stream=stream).stream is not None
    assert {one.place for one in read_stream(stream)} == {1}
