from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.engines import EngineConfig, GenerationRequest, SamplingParams, UnansweredError, open_engine
from harness.errors import DataError, EngineUnavailableError, HarnessError
from tests.asking import asked

SAMPLING = SamplingParams()


def request(task_id: str, sample_index: int = 0) -> GenerationRequest:
    return GenerationRequest(f"{task_id}/{sample_index}", task_id, sample_index, "prompt", (), 0)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def replay(path: Path, **settings: Any):
    return open_engine(EngineConfig(engine="replay", replay=path, **settings))


def test_texts_come_back_unchanged_in_request_order(tmp_path: Path) -> None:
    texts = {
        "plain": '{"ranking": [1, 2]}',
        "lone": "\ud83d broken \udc00",
        "space": "  \n\t{} \r\n",
        "empty": "",
        "separators": "a\u2028b\u2029c\x85d\x0bend",
        "null": "a\x00b",
    }
    path = write(tmp_path / "r.jsonl", *({"task_id": name, "text": text} for name, text in texts.items()))
    wanted = [request(name) for name in reversed(texts)]
    answers = list(replay(path).generate(wanted, SAMPLING))
    assert [(one.key, one.text) for one in answers] == [(f"{n}/0", texts[n]) for n in reversed(texts)]
    assert {one.finish_reason for one in answers} == {"stop"}
    assert all(one.token_ids == () and one.completion_tokens is None for one in answers)


def test_a_ten_megabyte_text_survives(tmp_path: Path) -> None:
    text = "[" * 5_000_000 + "é" * 2_500_000
    path = write(tmp_path / "r.jsonl", {"task_id": "big", "text": text}, {"task_id": "after", "text": "x"})
    answers = list(replay(path).generate([request("after"), request("big")], SAMPLING))
    assert [one.text for one in answers] == ["x", text]


def test_samples_and_finish_reasons(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        {"task_id": "a", "sample_index": 1, "text": "second", "finish_reason": "length"},
        {"task_id": "a", "text": "first", "finish_reason": None, "other": 3},
        "",
    )
    answers = list(replay(path).generate([request("a", 0), request("a", 1)], SAMPLING))
    assert [(one.text, one.finish_reason) for one in answers] == [("first", "stop"), ("second", "length")]


FINISH_REASONS = json.loads((Path(__file__).parents[1] / "cases" / "finish_reasons.json").read_text())


@pytest.mark.parametrize("case", FINISH_REASONS, ids=lambda case: str(case["word"]))
def test_every_service_has_its_words(case: dict[str, str | None], tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "x", "finish_reason": case["word"]})
    if case["means"] is None:
        with pytest.raises(DataError, match=f"line 1: .*{case['word']}"):
            replay(path)
        return
    (answer,) = replay(path).generate([request("a")], SAMPLING)
    assert (answer.text, answer.finish_reason) == ("x", case["means"])


@pytest.mark.parametrize("word", ["content_filter", "MAX_TOKENS"])
def test_what_never_came_may_be_null_where_the_service_says_why(word: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": None, "finish_reason": word})
    (answer,) = replay(path).generate([request("a")], SAMPLING)
    assert answer.text == ""


def test_done_samples_are_not_yielded_again(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "1"}, {"task_id": "b", "text": "2"})
    answers = list(replay(path).generate([request("a"), request("b")], SAMPLING, done={"a/0"}))
    assert [one.key for one in answers] == ["b/0"]


BAD_ROWS = [
    ("{not json", "not JSON"),
    ("[1, 2]", "not a JSON object"),
    ('{"text": "x"}', "task_id"),
    ('{"task_id": "", "text": "x"}', "task_id"),
    ('{"task_id": 3, "text": "x"}', "task_id"),
    ('{"task_id": "a"}', "there's no text; fields are task_id: name one with `fields=text=FIELD`"),
    ('{"task_id": "a", "output": "x", "vars": {"id": 1}}', "fields are task_id, output, vars.id"),
    ('{"task_id": "a", "text": {"ranking": [1]}}', "text is a parsed JSON object, not the text"),
    ('{"task_id": "a", "text": [1]}', "text is a parsed JSON array"),
    ("{}", "the row is empty"),
    ('{"task_id": "a", "text": null}', "text is not a string"),
    ('{"task_id": "a", "text": "x", "sample_index": -1}', "sample_index"),
    ('{"task_id": "a", "text": "x", "sample_index": true}', "sample_index"),
    ('{"task_id": "a", "text": "x", "sample_index": 1.0}', "sample_index"),
    ('{"task_id": "a", "text": "x", "finish_reason": "done"}', "finish_reason"),
    ("[" * 200_000, "not JSON"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "good", "text": "x"}, row)
    with pytest.raises(DataError, match=f"line 2: .*{reason}") as caught:
        replay(path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"task_id": "a", "text": "\xff"}\n')
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        replay(path)


def test_a_duplicate_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "1"}, {"task_id": "a", "text": "2"})
    with pytest.raises(DataError, match="line 2: task a sample 0 is already in line 1"):
        replay(path)


def test_missing_tasks_are_counted_and_named_before_anything_is_yielded(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "1"})
    wanted = [request("a"), request("a", 1), request("b")]
    with pytest.raises(
        DataError, match=r'2 of 3 samples, of 2 tasks: a, b \(it has answers to a\); .* with text ""'
    ):
        replay(path).generate(wanted, SAMPLING)
    with pytest.raises(DataError, match="`allow_missing=2`"):
        replay(path, allow_missing=1).generate(wanted, SAMPLING)
    allowed = replay(path, allow_missing=2).generate(wanted, SAMPLING)
    assert next(allowed).key == "a/0"
    with pytest.raises(UnansweredError) as caught:
        next(allowed)
    assert [one.key for one in caught.value.requests] == ["a/1", "b/0"]


def test_how_many_may_be_missing_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"allow_missing.*must be a number, not true"):
        EngineConfig(engine="replay", allow_missing=True)


def test_info_hashes_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "1"})
    info = replay(path).info()
    assert info.name == "replay"
    assert info.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.tokenizer_sha256 is None
    assert replay(path).encode(asked("x", "y")) == [(), ()]


def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        replay(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="is a directory"):
        replay(tmp_path)
    with pytest.raises(DataError, match="is empty"):
        replay(write(tmp_path / "empty.jsonl"))
    with pytest.raises(DataError, match="holds no rows"):
        replay(write(tmp_path / "blank.jsonl", "", ""))
    with pytest.raises(HarnessError, match="`replay=FILE`"):
        open_engine(EngineConfig(engine="replay"))
    path = write(tmp_path / "r.jsonl", {"task_id": "a", "text": "1"})
    with pytest.raises(EngineUnavailableError):
        replay(path).score([], 1)


def test_marks_and_packing_make_no_difference(tmp_path: Path) -> None:
    text = "".join(json.dumps({"task_id": name, "text": f"of {name}"}) + "\r\n" for name in "abc").encode()
    (tmp_path / "plain.jsonl").write_bytes(text)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text))
    wanted = [request(name) for name in "cab"]
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        answers = list(replay(tmp_path / name).generate(wanted, SAMPLING))
        assert [one.text for one in answers] == ["of c", "of a", "of b"]
