"""Rows of stored outputs, in the shapes in which other tools leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.engines.base import FinishReason
from harness.engines.finish_reasons import finish_reason
from harness.engines.http_exchange import ReplyError
from harness.engines.openai_replies import ending_of, text_of

_SHOWN_FIELDS = 12
_DEEPEST_FIELD = 3

Paths = Mapping[str, str]


class NoAnswerError(ValueError):
    """A row about a request that failed: there is no answer in it, and nothing is wrong with the file."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One stored answer.

    Attributes:
        task_id: the task it answers.
        sample_index: 0-based among the answers to that task.
        text: as it was answered.
        finish_reason: why it ended.
        repeated: name of the view in which this answer is stored once more beside others
            (lm-evaluation-harness has a row for each of its filters); None where a second row is a mistake.
    """

    task_id: str
    sample_index: int
    text: str
    finish_reason: FinishReason
    repeated: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """A tool's way to write a row.

    Attributes:
        name: of the tool.
        fits: whether a row looks like it.
        rows: its answers; may raise ValueError with what is wrong, and `NoAnswerError`.
    """

    name: str
    fits: Callable[[Mapping[str, Any]], bool]
    rows: Callable[[Mapping[str, Any], Paths], list[StoredRow]]


def shape_of(row: Mapping[str, Any]) -> Shape:
    """The shape that a file's first row has; `SHAPES` in their order, the last fits all."""
    return next(shape for shape in SHAPES if shape.fits(row))


def read_object(line: bytes) -> dict[str, Any]:
    """The JSON object on a line.

    Raises:
        ValueError: there is none.
    """
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def at(value: Any, path: str) -> Any:
    """What lies at a dotted path: members of objects, and places of lists from 0 (`choices.0.text`).

    A key may itself hold dots: the longest that is there is taken.

    Raises:
        KeyError: nothing.
    """
    if isinstance(value, dict):
        if path in value:
            return value[path]
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            key = ".".join(parts[:cut])
            if key in value:
                return at(value[key], ".".join(parts[cut:]))
    elif isinstance(value, list):
        first, _, rest = path.partition(".")
        if first.isdecimal() and int(first) < len(value):
            return at(value[int(first)], rest) if rest else value[int(first)]
    raise KeyError(path)


def _fields(value: Any, before: str = "", depth: int = 1) -> Iterator[str]:
    """Dotted paths of what a row holds."""
    for name, below in value.items():
        path = f"{before}{name}"
        if isinstance(below, dict) and below and depth < _DEEPEST_FIELD:
            yield from _fields(below, f"{path}.", depth + 1)
        else:
            yield path


def _known(row: Mapping[str, Any]) -> str:
    names = [name for name in _fields(row) if name.isprintable() and len(name) <= 80]
    shown = ", ".join(names[:_SHOWN_FIELDS]) + (" …" if len(names) > _SHOWN_FIELDS else "")
    return f"fields are {shown}" if names else "the row is empty"


def _found(row: Mapping[str, Any], name: str, path: str) -> Any:
    try:
        return at(row, path)
    except KeyError:
        raise ValueError(f"there's no {path}; {_known(row)}: name one with `fields={name}=FIELD`") from None


def _text(row: Mapping[str, Any], path: str, reason: FinishReason) -> str:
    """The text at a path; what didn't come because of its finish reason may be null."""
    text = _found(row, "text", path)
    if text is None and reason != "stop":
        return ""
    if isinstance(text, dict | list):
        kind = "object" if isinstance(text, dict) else "array"
        raise ValueError(
            f"{path} is a parsed JSON {kind}, not the text that was answered, and how that was spelled "
            "decides; have the raw text stored, or name where it is with `fields=text=FIELD`"
        )
    if not isinstance(text, str):
        raise ValueError(f"{path} is not a string")
    return text


def _task_id(row: Mapping[str, Any], path: str, *, numbers: bool) -> str:
    """The task's id; other tools count theirs."""
    value = _found(row, "task_id", path)
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{path} is not a non-empty string")
    return value


def _index(row: Mapping[str, Any], paths: Paths) -> int:
    if "sample_index" in paths:
        index = _found(row, "sample_index", paths["sample_index"])
    else:
        index = row.get("sample_index", 0)
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"{paths.get('sample_index', 'sample_index')} is not an integer ≥ 0")
    return index


def _reason(row: Mapping[str, Any], paths: Paths, usual: str = "finish_reason") -> FinishReason:
    if "finish_reason" in paths:
        word = _found(row, "finish_reason", paths["finish_reason"])
    else:
        try:
            word = at(row, usual)
        except KeyError:
            word = None
    if word is not None and not isinstance(word, str):
        raise ValueError("finish_reason is not a string")
    return finish_reason(word)


def _own(row: Mapping[str, Any], paths: Paths) -> list[StoredRow]:
    """The documented fields; others are left alone.

    `finish_reason` may be any service's word. What was withheld, or cut off before its first word, may have
    `text` null, as services record it.
    """
    task_id = _task_id(row, paths.get("task_id", "task_id"), numbers="task_id" in paths)
    reason = _reason(row, paths)
    text = _text(row, paths.get("text", "text"), reason)
    return [StoredRow(task_id, _index(row, paths), text, reason)]


def _lm_eval(row: Mapping[str, Any], paths: Paths) -> list[StoredRow]:
    """A line of lm-evaluation-harness' samples_*.jsonl: raw answers in `resps`, one list a request."""
    path = paths.get("task_id")
    if path is None:
        document = row.get("doc")
        own = isinstance(document, dict) and isinstance(document.get("task_id"), str)
        path = "doc.task_id" if own else "doc_id"
    task_id = _task_id(row, path, numbers=True)
    path = paths.get("text", "resps" if "resps" in row else "filtered_resps")
    answers = _found(row, "text", path)
    texts = [answers] if isinstance(answers, str) else list(_texts_in(answers, path))
    reason = _reason(row, paths)
    view = row.get("filter")
    repeated = view if isinstance(view, str) else None
    return [StoredRow(task_id, index, text, reason, repeated) for index, text in enumerate(texts)]


def _texts_in(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and value:
        for one in value:
            yield from _texts_in(one, path)
    else:
        raise ValueError(f"{path} holds something else than text: only tasks that generate can be replayed")


def _batch(row: Mapping[str, Any], paths: Paths) -> list[StoredRow]:
    """A line of an OpenAI batch's output file: chat completions, completions or responses."""
    task_id = _task_id(row, paths.get("task_id", "custom_id"), numbers=False)
    response = row.get("response")
    status = response.get("status_code", 200) if isinstance(response, dict) else None
    if status != 200 or row.get("error"):
        raise NoAnswerError(f"the request failed (status {status})" if status else "the request failed")
    if "text" in paths:
        reason = _reason(row, paths, "response.body.choices.0.finish_reason")
        return [StoredRow(task_id, _index(row, paths), _text(row, paths["text"], reason), reason)]
    body = _found(row, "text", "response.body")
    if isinstance(body, dict) and isinstance(body.get("output"), list):
        return [_of_responses(task_id, body)]
    choices = _found(row, "text", "response.body.choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(one, dict) for one in choices):
        raise ValueError("response.body.choices holds no answer")
    return [_of_choice(task_id, number, choice) for number, choice in enumerate(choices)]


def _of_choice(task_id: str, number: int, choice: dict[str, Any]) -> StoredRow:
    index = choice.get("index", number)
    try:
        reason, unknown = ending_of(choice)
        text = text_of(choice)
    except ReplyError as error:
        raise ValueError(f"response.body.choices.{number} is {error}") from error
    if unknown is not None:
        finish_reason(unknown)  # raises
    message = choice.get("message")
    if not text and isinstance(message, dict) and message.get("tool_calls"):
        raise ValueError(
            f"response.body.choices.{number}.message holds tool calls and no text; give what of them is the "
            f"answer, as `fields=text=response.body.choices.{number}.message.tool_calls.0.function.arguments`"
        )
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"response.body.choices.{number}.index is not an integer ≥ 0")
    return StoredRow(task_id, index, text, reason)


def _of_responses(task_id: str, body: Mapping[str, Any]) -> StoredRow:
    parts = [
        part
        for item in body["output"]
        if isinstance(item, dict) and item.get("type") == "message"
        for part in item.get("content") or []
        if isinstance(part, dict)
    ]
    if any(part.get("type") == "refusal" for part in parts):
        return StoredRow(task_id, 0, "", "withheld")
    texts = [part.get("text") for part in parts if part.get("type") == "output_text"]
    calls = [
        number
        for number, item in enumerate(body["output"])
        if isinstance(item, dict) and item.get("type") == "function_call"
    ]
    if not texts and calls:
        raise ValueError(
            "response.body.output holds function calls and no text; give what of them is the answer, as "
            f"`fields=text=response.body.output.{calls[0]}.arguments`"
        )
    details = body.get("incomplete_details")
    word = details.get("reason") if isinstance(details, dict) else None
    if not all(isinstance(text, str) for text in texts) or not (word is None or isinstance(word, str)):
        raise ValueError("response.body.output holds an answer that isn't text")
    return StoredRow(task_id, 0, "".join(map(str, texts)), finish_reason(word))


def _promptfoo(row: Mapping[str, Any], paths: Paths) -> list[StoredRow]:
    """One result of promptfoo; its id is a variable `task_id` or `id`, else the number of its test."""
    path = paths.get("task_id")
    if path is None:
        variables = row.get("vars")
        names = [name for name in ("task_id", "id") if isinstance(variables, dict) and name in variables]
        path = f"vars.{names[0]}" if names else "testIdx"
    task_id = _task_id(row, path, numbers=True)
    response = row.get("response")
    if "text" not in paths and not (isinstance(response, dict) and "output" in response):
        raise NoAnswerError("the request failed")
    reason = _reason(row, paths, "response.finishReason")
    return [
        StoredRow(
            task_id, _index(row, paths), _text(row, paths.get("text", "response.output"), reason), reason
        )
    ]


SHAPES: Final = (
    Shape("openai-batch", lambda row: "custom_id" in row and ("response" in row or "error" in row), _batch),
    Shape("lm-eval", lambda row: "doc_id" in row and ("resps" in row or "filtered_resps" in row), _lm_eval),
    Shape(
        "promptfoo",
        lambda row: "text" not in row and "vars" in row and ("promptIdx" in row or "testIdx" in row),
        _promptfoo,
    ),
    Shape("own", lambda row: True, _own),
)
"""Told apart by their first row. promptfoo's whole file is opened in `replay`."""
