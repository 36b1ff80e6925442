"""Windows of a retrieval run: against a slow reading of its files, and what can't be used is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.loading import load_tasks
from harness.data.locate import splits_in
from harness.data.tasks import RankingTask
from harness.data.trec import TrecSettings, prepare_trec, window_starts
from harness.data.trec_report import TrecReport
from harness.errors import DataError
from tests.data.retrieval import write_retrieval

RUN = "q Q0 a 1 3.0 t\nq Q0 b 2 2.0 t\nq Q0 c 3 1.0 t\n"
QRELS = "q 0 b 2\nq 0 c 0\n"
CORPUS = [{"_id": name, "title": name.upper(), "text": f"text {name}"} for name in "abc"]


def prepare(
    folder: Path,
    run: str | bytes = RUN,
    qrels: str = QRELS,
    corpus: list[dict[str, Any]] | str = CORPUS,  # type: ignore[assignment]
    queries: str | None = "q\twhat is b?\n",
    **settings: Any,
) -> tuple[TrecReport, list[RankingTask]]:
    files = {name: folder / name for name in ("run", "qrels", "corpus", "queries")}
    files["run"].write_bytes(run.encode() if isinstance(run, str) else run)
    files["qrels"].write_text(qrels)
    rows = corpus if isinstance(corpus, str) else "".join(json.dumps(row) + "\n" for row in corpus)
    files["corpus"].write_text(rows)
    if queries is not None:
        files["queries"].write_text(queries)
    report = prepare_trec(
        files["run"],
        files["qrels"],
        files["corpus"],
        folder / "out",
        TrecSettings(**settings),
        queries=None if queries is None else files["queries"],
        overwrite=True,
    )
    out = folder / "out"
    return report, [task for split in splits_in(out) for task in load_tasks(out, split).tasks]


def test_against_a_slow_reading(tmp_path: Path) -> None:
    write_retrieval(tmp_path)
    names = ("bm25.trec", "qrels.txt", "corpus.jsonl.gz")
    settings = TrecSettings(k=8, stride=5, depth=22, keep_irrelevant=True)
    prepare_trec(
        *(tmp_path / name for name in names), tmp_path / "out", settings, queries=tmp_path / "queries.tsv"
    )
    tasks = load_tasks(tmp_path / "out").tasks
    qrels = {tuple(line.split()[::2]): float(line.split()[3]) for line in (tmp_path / "qrels.txt").open()}
    expected = {}
    for query in range(6):
        rows = [line.split() for line in (tmp_path / "bm25.trec").open() if line.startswith(f"{query} ")]
        for first in (1, 6, 11, 15):
            window = [row[2] for row in rows if first <= int(row[3]) < first + 8]
            labels = tuple(qrels.get((str(query), one), 0.0) for one in window)
            expected[f"{query}-{first}"] = window, labels, f"question number {query}"
    assert {
        task.task_id: ([one.item_id for one in task.candidates], task.relevance, task.meta["query"])
        for task in tasks
    } == expected
    title = next(one.title for task in tasks for one in task.candidates if one.item_id == "D7")
    assert title == "Title 7 Text of 7"
    assert all(task.history == () for task in tasks)
    again = tmp_path / "again"
    prepare_trec(*(tmp_path / name for name in names), again, settings, queries=tmp_path / "queries.tsv")
    assert {one.name: one.read_bytes() for one in again.iterdir()} == {
        one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()
    }


def test_one_window_and_what_is_counted(tmp_path: Path) -> None:
    run = RUN + "none Q0 a 1 1 t\nodd Q0 a 1 5 t\nodd Q0 b 1 5 t\nodd Q0 c 0 7 t\n"
    report, tasks = prepare(tmp_path, run, QRELS + "odd 0 a 1\nodd 0 b -2\n", queries=None)
    assert [task.task_id for task in tasks] == ["odd", "q"]
    odd, q = tasks
    assert [one.item_id for one in odd.candidates] == ["c", "a", "b"]
    assert (odd.relevance, q.relevance) == ((0, 1, 0), (0, 2, 0))
    assert q.meta == {"query_id": "q", "first_rank": 1}
    assert report.dropped == {"query without any label": 1}
    assert (report.unjudged, report.short, report.tasks["test"]) == (2, 2, 2)
    assert report.files["Qrels"].notes == {"negative labels, taken as 0": 1}
    assert sorted(report.files["Run"].notes) == [
        "queries that have a rank twice; the scores decide",
        "queries with equal scores, put in order by rank, then document id",
    ]


def test_nothing_is_cut_unless_asked(tmp_path: Path) -> None:
    long = [row | {"text": "wörter " * 9_000} for row in CORPUS]
    report, (task,) = prepare(tmp_path, corpus=long)
    assert len(task.candidates[0].title) == 2 + 9_000 * 7 - 1
    assert (report.cut, report.folded) == (0, 0)
    report, (task,) = prepare(tmp_path, corpus=long, max_characters=50)
    assert {len(one.title) for one in task.candidates} <= {49, 50}
    assert all(one.title.endswith("…") for one in task.candidates)
    assert report.cut == 3
    _, (task,) = prepare(tmp_path, title_from="title")
    assert [one.title for one in task.candidates] == ["A", "B", "C"]


def test_a_drawn_order_goes_by_the_seed_and_splits_do_not(tmp_path: Path) -> None:
    run = "".join(f"q{n} Q0 {d} 1 {ord(d)} t\n" for n in range(40) for d in "abc")
    qrels = "".join(f"q{n} 0 a 1\n" for n in range(40))
    shares = {"queries": None, "validation_share": 0.3, "test_share": 0.3}
    first, tasks = prepare(tmp_path, run, qrels, shuffle=True, seed=1, **shares)
    second, others = prepare(tmp_path, run, qrels, shuffle=True, seed=2, **shares)
    assert first.tasks == second.tasks
    assert all(first.tasks[split] > 2 for split in ("train", "validation", "test"))
    assert [task.task_id for task in tasks] == [task.task_id for task in others]
    orders = [[one.item_id for one in task.candidates] for task in tasks]
    assert orders != [[one.item_id for one in task.candidates] for task in others]
    assert len({tuple(order) for order in orders}) == 6
    assert all(task.relevance[[one.item_id for one in task.candidates].index("a")] == 1 for task in tasks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": "q Q0 a 1 3.0\n"}, "1 of 1 lines are bad: line 1: has 5 columns; a run has 6"),
        ({"run": RUN + "q Q0 d 4 nan t\n"}, "line 4: score nan isn't a finite number"),
        ({"run": RUN + "q Q0 d 4 inf t\n"}, "line 4: score inf isn't"),
        ({"run": RUN + "q Q0 d x 0 t\n"}, "line 4: rank x isn't a whole number"),
        ({"run": RUN + "q Q0 a 4 0 t\n"}, "line 4: query q has document a already in line 1"),
        ({"run": b"q Q0 \xff 1 1 t\n"}, "line 1: isn't UTF-8"),
        ({"run": b"\xff\xfeq"}, "UTF-16"),
        ({"qrels": "q 0 b\n"}, "line 1: has 3 columns; these qrels have 4"),
        ({"qrels": "q 0 b high\n"}, "line 1: label high isn't a number up to 100"),
        ({"qrels": "q 0 b 101\n"}, "line 1: label 101"),
        (
            {"qrels": QRELS + "q 0 b 1\n"},
            "line 3: query q has document b already in line 1 with",
        ),
        (
            {"qrels": "q 0 b 0\n"},
            "no task can be made of its 1 queries: 1 no relevant document",
        ),
        ({"qrels": "other 0 b 1\n"}, "1 query without any label"),
        ({"corpus": CORPUS[:2]}, "lacks 1 of 3 documents that the windows need: c; .*`skip_missing=True`"),
        ({"corpus": "{\n"}, "line 1: isn't JSON"),
        ({"corpus": [*CORPUS, {"title": "x"}]}, "line 4: has no id"),
        (
            {"corpus": [*CORPUS, CORPUS[0] | {"text": "other"}]},
            "line 4: document a has another text",
        ),
        (
            {"corpus": [{"_id": "a", "title": " ", "text": ""}]},
            "line 1: document a has neither",
        ),
        ({"queries": "r\tother\n"}, "lacks 1 of 1 judged queries of the run: q;"),
        ({"queries": "q what is b?\n"}, "line 1: has no id and text"),
        ({"k": 1}, "`k=1` should be greater than or equal to 2"),
        ({"stride": 2, "k": 5, "depth": 4}, "`depth=4` must be at least `k=5`"),
        ({"test_share": 0.8, "validation_share": 0.3}, "together over 1"),
    ],
)
def test_what_can_not_be_used_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        prepare(tmp_path, **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_going_on_without_what_is_missing(tmp_path: Path) -> None:
    report, (task,) = prepare(tmp_path, corpus=CORPUS[1:], k=2, skip_missing=True)
    assert [one.item_id for one in task.candidates] == ["b", "c"]  # the next rank takes the place
    assert (report.documents, report.missing_documents) == (2, 1)
    run = RUN + "broken\n"
    with pytest.raises(DataError, match="line 4"):
        prepare(tmp_path, run)
    report, _ = prepare(tmp_path, run, skip_bad_rows=True)
    assert report.as_document()["files"]["Run"]["bad"] == 1  # type: ignore[index]


def test_beir_and_other_spellings(tmp_path: Path) -> None:
    beir = "query-id\tcorpus-id\tscore\nq\tb\t1\nq\tb\t1\n"
    corpus = [{"docid": name, "contents": f"text {name}"} for name in "abc"]
    report, (task,) = prepare(tmp_path, qrels=beir, corpus=corpus, queries='{"_id": "q", "text": "what?"}\n')
    assert task.meta["query"] == "what?"
    assert [one.title for one in task.candidates] == ["text a", "text b", "text c"]
    assert report.files["Qrels"].notes == {"labels given twice": 1}
    _, (task,) = prepare(
        tmp_path, run=b"\xef\xbb\xbf" + RUN.replace(" ", "\t").replace("\n", "\r\n").encode()
    )
    assert task.relevance == (0, 2, 0)


@pytest.mark.parametrize(
    ("n", "k", "stride", "depth", "starts"),
    [
        (30, 20, 10, 100, [0, 10]),
        (100, 20, 10, 100, [0, 10, 20, 30, 40, 50, 60, 70, 80]),
        (25, 20, 10, 100, [0, 5]),
        (25, 20, 10, 22, [0, 2]),
        (3, 20, 10, 100, [0]),
        (30, 20, None, 100, [0]),
    ],
)
def test_where_windows_begin(n: int, k: int, stride: int | None, depth: int, starts: list[int]) -> None:
    assert list(window_starts(n, TrecSettings(k=k, stride=stride, depth=depth))) == starts
