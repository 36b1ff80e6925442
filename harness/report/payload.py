"""The data block of the samples viewer: compact JSON, deflated, in base64."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from harness.contract import TIERS
from harness.report.reading import CODES, RunFacts, code_number
from harness.report.rows import Answer, Shown

LONGEST_PROMPT = 20_000


def encode_rows(shown: Shown, runs: Sequence[RunFacts], baseline: int) -> str:
    """The rows as the viewer's script expects them.

    `rows` holds `[task_id, sample index, [answer or null, one a run]]`; an answer is
    `[tier, code or -1, output, failing place or -1, reason, tokens or null, NDCG@1 or null, prompt or -1]`,
    and behind these `reasoning, its tokens or null` where there is some; an output is a string, or an array
    of strings and numbers of characters left out; reasons, prompts and reasoning are numbers into `texts`.
    """
    texts: dict[str, int] = {}
    data = {
        "runs": [facts.name for facts in runs],
        "baseline": baseline,
        "tiers": TIERS,
        "codes": CODES,
        "rows": [
            [row.task_id, row.index, [_packed(answer, texts) for answer in row.answers]] for row in shown.rows
        ],
        "texts": texts,
    }
    data["texts"] = list(texts)
    packed = json.dumps(data, separators=(",", ":"), allow_nan=False).encode("ascii")
    return base64.b64encode(zlib.compress(packed, 6)).decode("ascii")


def _packed(answer: Answer | None, texts: dict[str, int]) -> list[Any] | None:
    if answer is None:
        return None
    pieces = answer.output.pieces
    fails_at = answer.output.fails_at
    prompt = answer.prompt
    if prompt is not None and len(prompt) > LONGEST_PROMPT:
        prompt = f"{prompt[:LONGEST_PROMPT]}… ({len(prompt) - LONGEST_PROMPT} more characters)"
    thoughts = answer.reasoning
    return [
        TIERS.index(answer.tier),
        code_number(answer.code),
        pieces[0] if len(pieces) == 1 else list(pieces),
        -1 if fails_at is None else fails_at,
        texts.setdefault(answer.reason, len(texts)),
        answer.tokens,
        answer.ndcg_at_1,
        -1 if prompt is None else texts.setdefault(prompt, len(texts)),
        *([] if thoughts is None else [texts.setdefault(thoughts, len(texts)), answer.reasoning_tokens]),
    ]
