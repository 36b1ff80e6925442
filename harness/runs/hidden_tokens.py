"""Tokens inside answers that their texts don't show: special ones, and ids that the vocabulary doesn't have.

A checkpoint that ends its turns by a token which nobody stops at looks like one that never ends: its texts
hide what would explain it. Counted from the stored ids whenever it is asked, so no stored count can be stale.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.runs.loading import Run
from harness.runs.manifest import Manifest
from harness.runs.samples import Sample

_ENDING = re.compile(r"end|eo[stmd]|stop|/s>|im_sep", re.IGNORECASE)
_BEYOND = "ids beyond the tokenizer's vocabulary"
_MOST_NAMED = 3


class HiddenTokens:
    """Answers of a run by the special tokens in them, those that end an answer left out.

    Attributes:
        answers: how many were counted.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Take from the manifest which ids are special; one of an older version says of none."""
        options = manifest.engine.options
        stops = _ids(options.get("stop_token_ids"))
        listed = options.get("special_tokens")
        special = listed if isinstance(listed, dict) else {}
        size = options.get("vocabulary")
        self._vocabulary: int | None = size if _is_id(size) else None
        self._pieces = {
            index: str(piece) for piece, index in special.items() if _is_id(index) and index not in stops
        }
        self._stops = stops
        self._silent = frozenset(self._pieces)
        self._holding: Counter[str] = Counter()
        self._failing: set[str] = set()
        self.answers = 0

    def add(self, sample: Sample) -> None:
        """Count an answer."""
        self.answers += 1
        ids = set(sample.token_ids)
        if not ids:
            return
        found = [self._pieces[index] for index in ids & self._silent]
        if self._vocabulary is not None and max(ids) >= self._vocabulary:
            found.append(_BEYOND)
        self._holding.update(found)
        if sample.parse is not None and sample.parse.code is not None:
            self._failing.update(found)

    def measured(self, sample: Sample) -> None:
        """`add`, as a column of `read_columns` that stays empty."""
        self.add(sample)

    @property
    def counts(self) -> dict[str, int]:
        """Answers by the token they hold, of those tokens that some failed answer holds; most first."""
        return {name: count for name, count in self._holding.most_common() if name in self._failing}

    def remark(self) -> str | None:
        """A line on what stands in answers that failed; None where nothing does."""
        named = list(self.counts.items())
        if not named:
            return None
        said = []
        for name, count in named[:_MOST_NAMED]:
            stand = "stand" if name == _BEYOND else "stands"
            shown = name if name == _BEYOND else f"`{name}`"
            said.append(f"{shown} {stand} in {count:,} of {self.answers:,} answers{self._advice(name)}")
        more = len(named) - _MOST_NAMED
        others = f"; so do {more} other special tokens" if more > 0 else ""
        return "; ".join(said) + others + " (texts don't show them)"

    def _advice(self, name: str) -> str:
        if name == _BEYOND or not _ENDING.search(name):
            return ""
        index = next(index for index, piece in self._pieces.items() if piece == name)
        return (
            f" and isn't a stop token: where it ends the checkpoint's turns, add its id {index} to "
            "`eos_token_id` in generation_config.json"
        )


def hidden_tokens(run: Run) -> HiddenTokens:
    """Those of all samples of a run.

    Raises:
        DataError: its samples can't be read.
    """
    found = HiddenTokens(run.manifest)
    for sample in run.iter_samples():
        found.add(sample)
    return found


def _ids(value: object) -> frozenset[int]:
    return frozenset(one for one in value if _is_id(one)) if isinstance(value, list | tuple) else frozenset()


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
