"""Files of other tools, in the shapes those write them, are read as they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.engines import EngineConfig, GenerationRequest, SamplingParams, UnansweredError, open_engine
from harness.engines.base import Engine, Generation
from harness.errors import DataError, HarnessError

TEXT = '{"ranking": [2, 1]}'


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def replay(path: Path, **settings: Any) -> Engine:
    return open_engine(EngineConfig(engine="replay", replay=path, **settings))


def answers(engine: Engine, *wanted: tuple[str, int]) -> list[Generation]:
    requests = [GenerationRequest(f"{task}/{n}", task, n, "prompt", (), 0) for task, n in wanted]
    try:
        return list(engine.generate(requests, SamplingParams()))
    finally:
        engine.close()


def lm_eval(number: int, *texts: str, **more: Any) -> dict[str, Any]:
    """A line of samples_TASK_DATE.jsonl as lm-evaluation-harness 0.4 writes it."""
    return {
        "doc_id": number,
        "doc": {"question": "q"},
        "target": "t",
        "arguments": {"gen_args_0": {"arg_0": "prompt", "arg_1": {"until": ["\n"]}}},
        "resps": [list(texts)],
        "filtered_resps": [text.strip() for text in texts],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": "0",
    } | more


def batch(name: str, *texts: str | None, **more: Any) -> dict[str, Any]:
    """A line of a batch's output file."""
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate(texts)
    ]
    body = {"id": "c", "object": "chat.completion", "model": "m", "choices": choices}
    return {
        "id": "b",
        "custom_id": name,
        "response": {"status_code": 200, "body": body},
        "error": None,
    } | more


def promptfoo(number: int, output: object, **more: Any) -> dict[str, Any]:
    return {
        "promptIdx": 0,
        "testIdx": number,
        "vars": {"question": "q"},
        "response": {"output": output, "tokenUsage": {}},
        "success": True,
    } | more


def test_lm_eval_samples(tmp_path: Path) -> None:
    spaced = f" {TEXT}\n"
    path = lines(
        tmp_path / "s.jsonl", lm_eval(0, spaced, "second"), lm_eval(1, "x", doc={"task_id": "named"})
    )
    found = answers(replay(path), ("named", 0), ("0", 1), ("0", 0))
    assert [one.text for one in found] == ["x", "second", spaced]  # raw, not as a filter left it
    assert replay(path).info().options == {"rows": 3, "format": "lm-eval"}
    (filtered,) = answers(replay(path, fields={"text": "filtered_resps"}), ("0", 0))
    assert filtered.text == TEXT


def test_lm_eval_has_a_row_a_filter(tmp_path: Path) -> None:
    strict = lm_eval(0, TEXT)
    path = lines(
        tmp_path / "s.jsonl", strict, strict | {"filter": "flexible-extract", "filtered_resps": ["2"]}
    )
    assert [one.text for one in answers(replay(path), ("0", 0))] == [TEXT]
    with pytest.raises(DataError, match="line 2: task 0 sample 0 is already in line 1"):
        replay(lines(tmp_path / "t.jsonl", strict, strict))
    with pytest.raises(DataError, match="line 2: task 0 sample 0 is already in line 1"):
        replay(lines(tmp_path / "u.jsonl", strict, lm_eval(0, "another", filter="other")))


def test_lm_eval_log_likelihoods_are_no_answers(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", lm_eval(0) | {"resps": [[[-1.5, False]]]})
    with pytest.raises(DataError, match="only tasks that generate"):
        replay(path)


def test_a_batch(tmp_path: Path) -> None:
    refused = batch("no", None)
    refused["response"]["body"]["choices"][0]["message"]["refusal"] = "I can't"
    cut = batch("cut", "{")
    cut["response"]["body"]["choices"][0]["finish_reason"] = "length"
    failed = {"id": "x", "custom_id": "bad", "response": {"status_code": 500, "body": {}}, "error": None}
    newer = batch("new")
    parts = [{"type": "output_text", "text": TEXT}]
    newer["response"]["body"] = {
        "output": [{"type": "reasoning"}, {"type": "message", "content": parts}],
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    path = lines(tmp_path / "b.jsonl", batch("a", TEXT, "other"), refused, cut, failed, newer)
    found = answers(replay(path), ("a", 1), ("a", 0), ("no", 0), ("cut", 0), ("new", 0))
    assert [(one.text, one.finish_reason) for one in found] == [
        ("other", "stop"),
        (TEXT, "stop"),
        ("", "withheld"),
        ("{", "length"),
        (TEXT, "length"),
    ]
    assert replay(path).info().options["failed_requests"] == 1
    with pytest.raises(DataError, match=r"for 1 of 1 samples.*1 requests that failed \(first: line 4\)"):
        answers(replay(path), ("bad", 0))
    with pytest.raises(UnansweredError):
        answers(replay(path, allow_missing=1), ("bad", 0))


@pytest.mark.parametrize("indent", [None, 2])
def test_promptfoo_as_one_document(tmp_path: Path, indent: int | None) -> None:
    results = [
        promptfoo(0, TEXT),
        promptfoo(1, "x", vars={"id": "named"}),
        promptfoo(2, None, response=None, error="timeout"),
    ]
    path = tmp_path / "out.json"
    path.write_text(json.dumps({"evalId": "e", "results": {"version": 3, "results": results}}, indent=indent))
    assert [one.text for one in answers(replay(path), ("named", 0), ("0", 0))] == ["x", TEXT]
    assert replay(path).info().options == {"rows": 2, "format": "promptfoo", "failed_requests": 1}
    other = json.dumps({"a": {"b": 1}, "results": {"stats": {}}}, indent=2)
    with pytest.raises(
        DataError, match=r"one JSON document without a list of results \(its keys: a, results"
    ):
        replay(_written(tmp_path / "other.json", other))
    with pytest.raises(DataError, match="neither JSON lines nor one JSON document"):
        replay(_written(tmp_path / "torn.json", path.read_text()[:-3].rstrip("}]\n ")))


def test_promptfoo_lines_and_outputs_that_it_parsed(tmp_path: Path) -> None:
    assert answers(replay(lines(tmp_path / "p.jsonl", promptfoo(7, TEXT))), ("7", 0))[0].text == TEXT
    path = lines(tmp_path / "q.jsonl", *(promptfoo(n, {"ranking": [2, 1]}, raw=TEXT) for n in (7, 8, 9)))
    with pytest.raises(DataError, match=r"line 1 and 2 more: response\.output is a parsed JSON object"):
        replay(path)
    assert answers(replay(path, fields={"text": "raw"}), ("7", 0))[0].text == TEXT


def test_any_other_file_by_its_fields(tmp_path: Path) -> None:
    row = {"out": [{"message": TEXT}], "vars": {"id": 17, "a.b": {"c": 1}}, "why": "max_tokens"}
    fields = {
        "text": "out.0.message",
        "task_id": "vars.id",
        "sample_index": "vars.a.b.c",
        "finish_reason": "why",
    }
    path = lines(tmp_path / "r.jsonl", row)
    (found,) = answers(replay(path, fields=fields), ("17", 1))
    assert (found.text, found.finish_reason) == (TEXT, "length")
    with pytest.raises(
        DataError, match=r"line 1: there's no output; fields are out, vars\.id, vars\.a\.b\.c, why"
    ):
        replay(path, fields=fields | {"text": "output"})
    info = replay(path, fields=fields).info()
    assert info.options["fields"] == fields
    plain = lines(tmp_path / "plain.jsonl", row | {"text": "x", "task_id": "t"})
    named = replay(plain, fields={"text": "out.0.message"}).info()
    assert replay(plain).info().weights_sha256 != named.weights_sha256  # another reading, another run


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"txt": "a"}, "did you mean text"), ({"text": ""}, "needs the path"), ({"id": "a"}, "none of")],
)
def test_fields_that_nobody_knows(fields: dict[str, str], said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        EngineConfig(engine="replay", fields=fields)


@pytest.mark.parametrize("packed", [False, True])
def test_byte_order_mark_and_gzip_by_one_rule(tmp_path: Path, packed: bool) -> None:
    rows = [{"task_id": name, "text": name} for name in ("a", "b", "c")]
    raw = b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n" for row in rows).encode()
    path = tmp_path / ("r.jsonl.gz" if packed else "r.jsonl")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    found = answers(replay(path), ("c", 0), ("a", 0), ("b", 0))
    assert [one.text for one in found] == ["c", "a", "b"]


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
