"""The one user message that asks for a ranking.

Titles come from strangers. Whatever a title holds, it stays on its own line of the user's turn: see
`clean_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.data.tasks import Item, RankingTask, Task, terms_of

if TYPE_CHECKING:
    from harness.contract import Contract

PROMPT_VERSION = "1"
"""Recorded in manifests; changes whenever the same task would give another prompt."""
MAX_TITLE_CHARACTERS = 200
MAX_ATTRIBUTE_CHARACTERS = 60
UNTITLED = "(untitled)"

# Anything in angle brackets may be a special token of some checkpoint (`<|im_end|>`, `</s>`, `<end_of_turn>`,
# `<｜User｜>`, `<<SYS>>`); in square brackets those in use hold two capitals in a row (`[INST]`, `[gMASK]`).
# ＜ and ［ are the full-width forms, which a normalising tokenizer would fold into them.
_TOKEN_OPENING = re.compile(r"[<＜](?=\S)|[\[［](?=/?\w*[A-ZＡ-Ｚ]{2}\w*[\]］])")
# Embedding, override and isolate marks reorder the rest of the line for a human reader.
_REORDERING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def render_prompt(task: Task, contract: Contract) -> str:
    """The user message of a task: history, candidates numbered 1…K, the contract's instruction.

    It is short on purpose: small models attend to it better and CPU runs pay for each token.

    Args:
        task: the task to rank; titles and attributes need not be trusted.
        contract: gives the instruction for K candidates.
    """
    if not isinstance(task, RankingTask):
        return task.conversation[-1].content
    lines = ["Rank the candidates for a shopper.", ""]
    if task.history:
        lines += ["Chosen before, oldest first:", *(f"- {_describe(item)}" for item in task.history), ""]
    lines += [
        "Candidates:",
        *(f"{number}. {_describe(item)}" for number, item in enumerate(task.candidates, 1)),
    ]
    return "\n".join([*lines, "", terms_of(task, contract).instruction()])


def _describe(item: Item) -> str:
    title = clean_text(item.title, MAX_TITLE_CHARACTERS) or UNTITLED
    attributes = ", ".join(
        f"{clean_text(name, MAX_ATTRIBUTE_CHARACTERS)}: {clean_text(value, MAX_ATTRIBUTE_CHARACTERS)}"
        for name, value in item.attributes.items()
    )
    return f"{title} ({attributes})" if attributes else title


def clean_text(text: str, max_characters: int) -> str:
    """One line of untrusted text that can't end the user's turn.

    White space, line ends and control characters become single spaces; marks that reorder text are taken
    out; what is longer than `max_characters` is cut and ends in `…`. Then every opening bracket that could
    begin a chat template's special token is followed by one space: `<|im_end|>` reads `< |im_end|>` and
    `[INST]` reads `[ INST]`. That is visible, costs a token, and no tokenizer matches it; an innocent
    `<3` becomes `< 3`. The spaces come on top of `max_characters`.
    """
    visible = "".join(" " if _is_control(character) else character for character in _REORDERING.sub("", text))
    line = " ".join(visible.split())
    if len(line) > max_characters:
        line = line[: max_characters - 1].rstrip() + "…"
    return _TOKEN_OPENING.sub(lambda bracket: bracket.group() + " ", line)


def changed_titles(tasks: Iterable[Task]) -> dict[str, int]:
    """How many titles `render_prompt` doesn't give to the model as they are, beside white space.

    Returns:
        `shortened` and `defused`; a title may be both.
    """
    counts = {"shortened": 0, "defused": 0}
    for task in tasks:
        if not isinstance(task, RankingTask):
            continue
        for item in (*task.history, *task.candidates):
            counts["shortened"] += len(item.title) > MAX_TITLE_CHARACTERS
            counts["defused"] += _TOKEN_OPENING.search(item.title) is not None
    return counts


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp")
