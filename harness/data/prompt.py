"""The default prompt: one user message that asks for a ranking.

Titles come from strangers. Whatever a title holds, it stays on its own line of the user's turn.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from harness.data.tasks import Item, RankingTask, Task

PROMPT_VERSION = "1"
"""Recorded in manifests; changes whenever most tasks would give another prompt. Where few do, as when titles
were no longer cut at 200 characters, the prompts' own hashes tell."""
UNTITLED = "(untitled)"

# Anything in angle brackets may be a special token of some checkpoint (`<|im_end|>`, `</s>`, `<end_of_turn>`,
# `<｜User｜>`, `<<SYS>>`); in square brackets those in use hold two capitals in a row (`[INST]`, `[gMASK]`).
# ＜ and ［ are the full-width forms, which a normalising tokenizer would fold into them.
_TOKEN_OPENING = re.compile(r"[<＜](?=\S)|[\[［](?=/?\w*[A-ZＡ-Ｚ]{2}\w*[\]］])")
# Embedding, override and isolate marks reorder the rest of the line for a human reader.
_REORDERING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def render_prompt(task: RankingTask, instruction: str, *, guarded: bool = False) -> str:
    """The default prompt, one user message: history, candidates numbered 1…K, the contract's instruction.

    It is short on purpose: small models attend to it better and CPU runs pay for each token.

    Args:
        task: the task to rank; titles and attributes need not be trusted.
        instruction: what is said of the answer.
        guarded: break what looks like a special token in titles and attributes.
    """
    lines = ["Rank the candidates for a shopper.", ""]
    if task.history:
        told = (f"- {_describe(item, guarded)}" for item in task.history)
        lines += ["Chosen before, oldest first:", *told, ""]
    lines += [
        "Candidates:",
        *(f"{number}. {_describe(item, guarded)}" for number, item in enumerate(task.candidates, 1)),
    ]
    return "\n".join([*lines, "", instruction])


def _describe(item: Item, guard: bool) -> str:
    def shown(text: str) -> str:
        line = one_line(text)
        return guarded(line) if guard else line

    title = shown(item.title) or UNTITLED
    attributes = ", ".join(f"{shown(name)}: {shown(value)}" for name, value in item.attributes.items())
    return f"{title} ({attributes})" if attributes else title


def one_line(text: str) -> str:
    """Text on one line, without marks that reorder text.

    White space, line ends and control characters become single spaces.
    """
    visible = "".join(" " if _is_control(character) else character for character in _REORDERING.sub("", text))
    return " ".join(visible.split())


def shortened(text: str, max_characters: int) -> str:
    """What is longer is cut and ends in `…`."""
    return text if len(text) <= max_characters else text[: max_characters - 1].rstrip() + "…"


def guarded(text: str) -> str:
    """Text in which each bracket that could begin a chat template's special token has a space after it.

    `<|im_end|>` reads `< |im_end|>` and `[INST]` reads `[ INST]`. That is visible, costs a token, and no
    tokenizer matches it; an innocent `<3` becomes `< 3`.
    """
    return _TOKEN_OPENING.sub(lambda bracket: bracket.group() + " ", text)


def clean_text(text: str, max_characters: int) -> str:
    """One line of untrusted text that can't end the user's turn: `one_line`, `shortened`, `guarded`.

    The spaces of the last come on top of `max_characters`.
    """
    return guarded(shortened(one_line(text), max_characters))


def changed_titles(
    tasks: Iterable[Task],
    max_characters: int | None = None,
    *,
    own_prompt: bool = False,
    guarded: bool = False,
) -> dict[str, int]:
    """How many titles don't reach the model as they are, before any tokenizer has seen them.

    Args:
        tasks: those with messages of their own show no titles.
        max_characters: longer titles are cut.
        own_prompt: titles are put where a prompt file says, as they are, and not on lines of their own.
        guarded: what looks like a special token is broken.

    Returns:
        `flattened` (line ends, control characters, white space), `shortened`, `defused`; a title may be all.
    """
    counts = {"flattened": 0, "shortened": 0, "defused": 0}
    for task in tasks:
        if not isinstance(task, RankingTask) or task.messages is not None:
            continue
        for item in (*task.history, *task.candidates):
            counts["flattened"] += not own_prompt and one_line(item.title) != item.title
            counts["shortened"] += max_characters is not None and len(item.title) > max_characters
            counts["defused"] += guarded and _TOKEN_OPENING.search(item.title) is not None
    return counts


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp")
