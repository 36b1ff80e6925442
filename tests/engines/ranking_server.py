"""A server that ranks, right or wrong, by the hash of what it is asked; for evaluations from end to end."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.engines.faulty_server import FaultyServer

K = 4


def write_tasks(path: Path, tasks: int) -> Path:
    """Tasks `t0`, `t1`, … whose prompts hold their own id."""
    with path.open("w", encoding="utf-8") as out:
        for number in range(tasks):
            candidates = [{"item_id": f"{number}-{i}", "title": f"thing t{number}; {i}"} for i in range(K)]
            relevance = [(number + i) % 3 for i in range(K)]
            row = {"task_id": f"t{number}", "history": [], "candidates": candidates, "relevance": relevance}
            out.write(json.dumps(row) + "\n")
    return path


class Ranking(FaultyServer):
    """Answers a prompt with a ranking that its hash decides; one in four breaks the contract."""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        text = prompt_of(body)
        seed = hashlib.sha256(text.encode()).digest()
        ranking = json.dumps({"ranking": sorted(range(1, K + 1), key=lambda i: seed[i])})
        said = ranking if seed[0] % 4 else f"Here you are: {ranking}"
        usage = {"prompt_tokens": len(text), "completion_tokens": len(said)}
        if "messages" in body:
            message = {"role": "assistant", "content": said}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        return {"choices": [{"text": said, "finish_reason": "stop"}], "usage": usage}


def prompt_of(body: dict[str, Any]) -> str:
    """The text that was asked, sent as a message or as the token ids that our server gave."""
    if "messages" in body:
        return str(body["messages"][0]["content"])
    return bytes(one for one in body["prompt"] if one > 3).decode(errors="replace")


def task_of(body: dict[str, Any]) -> str | None:
    """The task that a prompt is about; None for a small request."""
    _, found, rest = prompt_of(body).partition("thing ")
    return rest.partition(";")[0] if found and ";" in rest else None
