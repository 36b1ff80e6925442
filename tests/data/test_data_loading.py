"""Datasets by name and by path; whole files that only look like data."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from harness.data import locate
from harness.data.loading import BadRowsError, check_tasks, load_tasks
from harness.data.locate import datasets_root, known_datasets
from harness.data.tasks import Item, RankingTask
from harness.data.writing import to_json_line, write_tasks
from harness.errors import DataError


def row(task_id: str) -> str:
    candidates = [{"item_id": str(number), "title": f"title {number}"} for number in range(3)]
    return json.dumps({"task_id": task_id, "candidates": candidates, "relevance": [0, 1, 2]})


def rows(count: int) -> str:
    return "".join(row(str(number)) + "\n" for number in range(count))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text(rows(5))
    return path


def test_load_file(file: Path) -> None:
    loaded = load_tasks(file)
    assert [task.task_id for task in loaded.tasks] == ["0", "1", "2", "3", "4"]
    assert (loaded.name, loaded.split, loaded.path) == ("tasks.jsonl", None, file)
    assert (loaded.rows_read, loaded.rows_skipped, loaded.bad_rows) == (5, 0, ())
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_tasks(str(file)).tasks == loaded.tasks


def test_gzip_is_the_same_tasks(file: Path) -> None:
    packed = file.with_name("tasks.jsonl.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert load_tasks(packed).tasks == load_tasks(file).tasks
    assert load_tasks(packed).sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_marks_packing_and_line_ends_make_no_difference(name: str, packed: bool, tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + rows(3).replace("\n", "\r\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if packed else text)
    (tmp_path / "plain.jsonl").write_text(rows(3))
    assert load_tasks(tmp_path / name).tasks == load_tasks(tmp_path / "plain.jsonl").tasks


def test_limit_stops_reading(file: Path) -> None:
    file.write_text(rows(2) + "garbage\n")
    loaded = load_tasks(file, limit=2)
    assert (len(loaded.tasks), loaded.rows_read) == (2, 2)
    assert len(load_tasks(file, limit=99, skip_bad_rows=True).tasks) == 2
    with pytest.raises(BadRowsError):
        load_tasks(file, limit=3)
    with pytest.raises(DataError, match="at least 1"):
        load_tasks(file, limit=0)


def test_all_bad_rows_are_named(file: Path) -> None:
    file.write_text(rows(2) + "garbage\n" + row("2") + '\n{"task_id": "3"}\n')
    with pytest.raises(BadRowsError) as caught:
        load_tasks(file)
    assert [(bad.line, bad.field) for bad in caught.value.bad_rows] == [
        (3, ""),
        (5, "candidates"),
        (5, "relevance"),
    ]
    message = str(caught.value)
    assert "2 bad rows" in message
    assert "line 3: not JSON" in message
    assert "line 5 candidates: missing" in message
    assert "`skip_bad_rows=True`" in message
    assert "\n" not in message


def test_message_is_capped_the_list_is_not(file: Path) -> None:
    file.write_text("x\n" * 1000)
    with pytest.raises(BadRowsError, match="and 980 more") as caught:
        load_tasks(file)
    assert len(caught.value.bad_rows) == 1000
    assert str(caught.value).count("; line") == 19


def test_skip_bad_rows_counts_them(file: Path) -> None:
    file.write_text("x\n" + rows(3) + "{}\n")
    loaded = load_tasks(file, skip_bad_rows=True)
    assert (len(loaded.tasks), loaded.rows_read, loaded.rows_skipped) == (3, 5, 2)
    assert {bad.line for bad in loaded.bad_rows} == {1, 5}
    with pytest.raises(BadRowsError, match="line 1"):
        load_tasks(file)


@pytest.mark.parametrize("text", ["x\n", "\n\n", " \n"])
def test_no_task_left(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(DataError, match="no task"):
        load_tasks(file, skip_bad_rows=True)


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
WHOLE_FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("a.jsonl", lambda: b"", "empty"),
    "empty gzip": ("a.jsonl.gz", lambda: gzip.compress(b""), "empty"),
    "LFS pointer": ("a.jsonl", LFS_POINTER.encode, "Git LFS pointer"),
    "LFS pointer named gzip": ("a.jsonl.gz", LFS_POINTER.encode, "Git LFS pointer"),
    "UTF-16": ("a.jsonl", lambda: rows(2).encode("utf-16"), "UTF-16"),
    "array": ("a.jsonl", f"[{row('a')},\n{row('b')}]".encode, "JSON array"),
    "array over lines": ("a.jsonl", f"[\n{row('a')}\n]\n".encode, "JSON array"),
    "gzip cut off": ("a.jsonl.gz", lambda: gzip.compress(rows(200).encode())[:-20], "cut off"),
    "gzip damaged": (
        "a.jsonl.gz",
        lambda: gzip.compress(rows(200).encode())[:60] + b"\0" * 60,
        "damaged",
    ),
    "gzip twice": ("a.jsonl.gz", lambda: gzip.compress(gzip.compress(rows(2).encode())), "twice"),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
@pytest.mark.parametrize("skip_bad_rows", [False, True])
def test_whole_file_is_refused(case: str, skip_bad_rows: bool, tmp_path: Path) -> None:
    name, content, message = WHOLE_FILES[case]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(DataError, match=message) as caught:
        load_tasks(path, skip_bad_rows=skip_bad_rows)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_counts_rows(file: Path) -> None:
    assert check_tasks(file).rows_read == 5
    check_tasks(file).refuse()
    file.write_text(rows(2) + "{}\n")
    checked = check_tasks(file)
    assert (checked.rows_read, checked.rows_bad, len(checked.bad_rows)) == (3, 1, 3)
    with pytest.raises(BadRowsError, match="1 of 3"):
        checked.refuse()


def test_folder_of_splits(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(rows(1))
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(rows(2).encode()))
    (tmp_path / "notes.txt").write_text("no split")
    assert load_tasks(tmp_path).split == "test"
    loaded = load_tasks(str(tmp_path), "train")
    assert (loaded.name, loaded.split, len(loaded.tasks)) == (tmp_path.name, "train", 2)
    with pytest.raises(DataError, match="no split 'dev'; choose one of train, test"):
        load_tasks(tmp_path, "dev")
    (tmp_path / "train.jsonl").write_text(rows(1))
    with pytest.raises(DataError, match=r"train\.jsonl and train\.jsonl\.gz"):
        load_tasks(tmp_path, "train")


def test_folder_with_one_split_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text(rows(1))
    assert load_tasks(tmp_path).split == "dev"
    (tmp_path / "train.jsonl").write_text(rows(1))
    with pytest.raises(DataError, match="choose one of train, dev"):
        load_tasks(tmp_path)


def test_folder_without_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.jsonl"):
        load_tasks(tmp_path)


def test_split_of_a_file(file: Path) -> None:
    assert load_tasks(file, "tasks").split is None
    with pytest.raises(DataError, match="a file has no splits"):
        load_tasks(file, "test")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion-mni", "did you mean fashion-mini"),
        ("zzz", "known: fashion-mini"),
        ("nowhere/tasks.jsonl", "no such file"),
        ("tasks.jsonl", "no such file"),
        ("nowhere/", "no such file"),
    ],
)
def test_unknown_names(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        load_tasks(name)


def test_bundled_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion-mini").mkdir()
    (tmp_path / "fashion-mini" / "test.jsonl").write_text(rows(1))
    assert len(load_tasks("fashion-mini").tasks) > 1
    assert len(load_tasks("./fashion-mini").tasks) == 1
    assert len(load_tasks(Path("fashion-mini")).tasks) == 1


def test_known_datasets() -> None:
    known = known_datasets()["fashion-mini"]
    assert known.splits == ("train", "validation", "test", "variable-k")
    assert known.path == datasets_root() / "fashion-mini"
    for split in known.splits:
        assert load_tasks("fashion-mini", split).split == split


def test_wheel_layout_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an installed package `datasets` is the Hugging Face library."""
    package = tmp_path / "site" / "harness"
    bundled = package / "_bundled" / "datasets" / "ours"
    foreign = tmp_path / "site" / "datasets" / "theirs"
    for folder in (bundled, foreign):
        folder.mkdir(parents=True)
        (folder / "test.jsonl").write_text(rows(1))
    (tmp_path / "site" / "datasets" / "__init__.py").write_text("")
    monkeypatch.setattr(locate.harness, "__file__", str(package / "__init__.py"))
    assert set(known_datasets()) == {"ours"}
    (bundled / "test.jsonl").unlink()
    with pytest.raises(DataError, match="bundled datasets"):
        known_datasets()


def test_datasets_are_in_or_beside_the_package() -> None:
    package = Path(harness.__file__).parent
    assert datasets_root() in (package / "_bundled" / "datasets", package.parent / "datasets")


def test_written_tasks_are_read_back(tmp_path: Path) -> None:
    odd = "“quotes” \"'\\ \u2028\u0085\x00\t\n 漢字 👗\U0001f9f5"
    task = RankingTask(
        task_id=odd,
        history=(Item(item_id="h", title=odd, attributes={odd: odd}),),
        candidates=(Item(item_id="1", title=odd), Item(item_id="2", title="b")),
        relevance=(0.1, 3.0),
        meta={odd: [1, None, 0.5]},
    )
    path = tmp_path / "tasks.jsonl"
    assert write_tasks(path, [task]) == 1
    assert load_tasks(path).tasks == (task,)
    assert to_json_line(task).count("\n") == 1


def test_failing_writer_leaves_the_old_file(file: Path) -> None:
    def tasks_then_failure():  # type: ignore[no-untyped-def]
        yield load_tasks(file).tasks[0]
        raise RuntimeError("stopped half-way")

    before = file.read_bytes()
    with pytest.raises(RuntimeError):
        write_tasks(file, tasks_then_failure())
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
