"""A run directory loses nothing: torn lines, full disks, second writers, foreign folders."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Contract, ParseResult
from harness.errors import DataError, HarnessError, IncompleteError, RunMismatchError
from harness.runs import Manifest, RunDirectory, Sample, load, read_samples
from harness.runs.manifest import DatasetRecord, EngineRecord
from harness.stats import Estimate
from tests.disks import change

SAMPLE = Sample(
    key="k0",
    task_id="t0",
    sample_index=0,
    prompt_sha256="p",
    text='{"ranking": [2, 1]}',
    token_ids=(1, 2, 3),
    finish_reason="stop",
    prompt_tokens=5,
    completion_tokens=3,
    parse=ParseResult("strict", None, None, None, (2, 1)),
    scores={"ndcg_at_1": 1.0, "ndcg_at_k": None},
)


def a_manifest(**changes: object) -> Manifest:
    manifest = Manifest(
        started="2026-01-01T00:00:00+00:00",
        config={},
        dataset=DatasetRecord(name="d", path="d.jsonl", sha256="0", rows_read=1),
        contract=Contract(),
        prompt_version="1",
        engine=EngineRecord(name="replay", version="1", checkpoint="c"),
        sampling={"seed": 0},
        samples_per_task=1,
        tasks=1,
        planned=1,
    )
    return manifest.model_copy(update=changes)


def write(path: Path, *samples: Sample) -> None:
    with RunDirectory(path) as directory:
        directory.write_manifest(a_manifest())
        directory.open_samples()
        for sample in samples:
            directory.append(sample)


@given(text=st.text(st.characters(), max_size=50), ids=st.lists(st.integers(0, 200_000), max_size=5))
def test_a_sample_comes_back_as_it_was(text: str, ids: list[int]) -> None:
    sample = replace(SAMPLE, text=text, token_ids=tuple(ids))
    line = sample.to_line()
    assert line.count(b"\n") == 1
    assert Sample.from_line(line) == sample


def test_a_lone_surrogate_comes_back() -> None:
    sample = replace(SAMPLE, text="\ud800 \udfff")
    assert Sample.from_line(sample.to_line()) == sample


@pytest.mark.parametrize("torn", [b"{", b'{"key": "k1", "text": "half', b"\x00\x00\x00", b"}"])
def test_a_torn_last_line_is_dropped_and_redone(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path, SAMPLE)
    with (tmp_path / "samples.jsonl").open("ab") as file:
        file.write(torn)
    with RunDirectory(tmp_path) as directory:
        assert directory.open_samples().keys == {"k0"}
        directory.append(replace(SAMPLE, key="k1"))
    assert [sample.key for sample in read_samples(tmp_path / "samples.jsonl")] == ["k0", "k1"]


@pytest.mark.parametrize("keep", [0, 1, 10, 400])
def test_a_file_torn_anywhere_keeps_its_whole_lines(tmp_path: Path, keep: int) -> None:
    write(tmp_path, SAMPLE, replace(SAMPLE, key="k1", text="x" * 200_000))
    path = tmp_path / "samples.jsonl"
    first = len(SAMPLE.to_line())
    os.truncate(path, first + keep)
    with RunDirectory(tmp_path) as directory:
        assert directory.open_samples().keys == {"k0"}
    assert path.stat().st_size == first


def test_a_bad_line_before_the_last_is_named(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    path = tmp_path / "samples.jsonl"
    path.write_bytes(SAMPLE.to_line() + b"not json\n" + SAMPLE.to_line())
    with pytest.raises(DataError, match=r"samples\.jsonl:2: .*delete this line"):
        list(read_samples(path))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.runs import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(RunMismatchError, match="another process"):
        RunDirectory(tmp_path).__enter__()
    holder.kill()
    holder.wait()
    with RunDirectory(tmp_path):
        pass  # the lock of a killed process is free again


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match="isn't a run"):
        RunDirectory(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="choose another `out=`"):
        RunDirectory(tmp_path / "file" / "run").__enter__()


def test_a_full_disk_ends_resumable(small_disk: Path) -> None:
    path = small_disk / "run"
    with pytest.raises(IncompleteError, match=r"No space left.*make room"):
        write(path, *(replace(SAMPLE, key=f"k{number}") for number in range(1000)))
    kept = [sample.key for sample in read_samples(path / "samples.jsonl")]
    assert kept == [f"k{number}" for number in range(len(kept))]
    assert len(kept) > 50
    change(small_disk, "size=1m")
    with RunDirectory(path) as directory:
        assert directory.open_samples().keys == set(kept)
        directory.append(replace(SAMPLE, key="after"))
    assert [sample.key for sample in read_samples(path / "samples.jsonl")] == [*kept, "after"]


def test_a_manifest_that_cannot_be_written_keeps_the_old_one(small_disk: Path) -> None:
    path = small_disk / "run"
    write(path, SAMPLE)
    with RunDirectory(path) as directory:
        with pytest.raises(IncompleteError):
            directory.write_manifest(a_manifest(config={"big": "x" * 100_000}))
        assert directory.read_manifest() == a_manifest()


def test_loading_gives_a_frame_in_task_order(tmp_path: Path) -> None:
    from harness.data.tasks import Item, RankingTask

    def task(name: str) -> RankingTask:
        items = tuple(Item(item_id=f"{name}{number}", title="x") for number in range(2))
        return RankingTask(task_id=name, candidates=items, relevance=(1, 0))

    write(tmp_path, replace(SAMPLE, key="k1", task_id="t1"), SAMPLE)
    with RunDirectory(tmp_path) as directory:
        directory.write_tasks([task("t0"), task("t1")])
        directory.write_metrics({"parse_validity.strict": Estimate(2, 1.0, 0.3, 1.0, "wilson")})
    run = load(tmp_path)
    assert list(run.samples["task_id"]) == ["t0", "t1"]
    assert list(run.samples["ndcg_at_1"]) == [1.0, 1.0]
    assert run.metrics["parse_validity.strict"].n == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("manifest.json", "{", "can't be read"),
        ("manifest.json", "{}", "can't be read"),
        ("metrics.json", "[]", "harness rescore"),
        ("metrics.json", '{"a": {"n": 1}}', "harness rescore"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    write(tmp_path, SAMPLE)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=says) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="isn't a run"):
        load(tmp_path)


def test_differences_name_the_fields() -> None:
    mine = a_manifest()
    other = a_manifest(sampling={"seed": 1}, engine=EngineRecord(name="hf", version="1", checkpoint="c"))
    assert mine.differences(mine) == []
    assert [line.split(":")[0] for line in mine.differences(other)] == ["engine.name", "sampling"]
