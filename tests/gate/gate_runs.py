"""Runs to gate, made by the real evaluation from recorded answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.engines.config import EngineConfig
from harness.evaluate import EvalConfig, evaluate
from harness.runs import Run

K = 4


def write_lines(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GRADED = (3.0, 1.0, 0.0, 0.0)


def write_tasks(
    path: Path,
    count: int,
    *,
    uninformative: int = 0,
    salt: str = "",
    labels: Sequence[float] = GRADED,
) -> Path:
    """Tasks whose best candidate is the first; the last `uninformative` ones have equal labels."""
    rows = [
        {
            "task_id": f"t{number}",
            "history": [],
            "candidates": [
                {"item_id": f"c{number}-{place}", "title": f"Thing {place}{salt}"} for place in range(K)
            ],
            "relevance": [1.0] * K if number >= count - uninformative else list(labels),
        }
        for number in range(count)
    ]
    return write_lines(path, rows)


def good(first: int = 1) -> str:
    """A strict answer that ranks this candidate first."""
    return json.dumps({"ranking": [first, *(number for number in range(1, K + 1) if number != first)]})


BAD = 'Sure! {"ranking": [1, 2, 3, 4]}'


def answers(valid: int, *, seed: int = 0) -> Callable[[int, int], list[list[str]]]:
    """Answers of which exactly `valid` are strict, at random places."""

    def make(tasks: int, samples: int) -> list[list[str]]:
        texts = [good()] * valid + [BAD] * (tasks * samples - valid)
        random.Random(seed).shuffle(texts)
        return [texts[start : start + samples] for start in range(0, len(texts), samples)]

    return make


def write_outputs(path: Path, texts: Sequence[Sequence[str]]) -> Path:
    rows: list[dict[str, object]] = [
        {"task_id": f"t{number}", "sample_index": index, "text": text}
        for number, row in enumerate(texts)
        for index, text in enumerate(row)
    ]
    return write_lines(path, rows)


def config(data: Path, outputs: Path, out: Path, **changes: object) -> EvalConfig:
    engine = EngineConfig(engine="replay", replay=outputs)
    return EvalConfig(engine=engine, data=str(data), out=out, **changes)  # type: ignore[arg-type]


def make_run(
    folder: Path, texts: Sequence[Sequence[str]], *, data: Path | None = None, **changes: object
) -> Run:
    """Evaluate recorded answers into `folder/run`; texts by task and sample."""
    data = data or write_tasks(folder / "tasks.jsonl", len(texts))
    outputs = write_outputs(folder / "outputs.jsonl", texts)
    return evaluate(config(data, outputs, folder / "run", samples=len(texts[0]), **changes))
