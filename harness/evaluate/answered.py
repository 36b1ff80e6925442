"""Who answered a run and how, over all its sessions: what only replies tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.engines import REMARKS, EngineInfo, Generation
from harness.errors import IncompleteError, RunMismatchError
from harness.masking import masked_name
from harness.runs.manifest import ANSWERED_BY, ONLY_REASONING, EngineRecord

_REASONING_SAID = "hold only reasoning and no answer: allow more completion tokens, or turn thinking off"
_SERVED = {"served_root": "checkpoint", "served_model": "model"}


class Answered:
    """The name that the first answer carried, and how many answers hold nothing but reasoning.

    Args:
        folder: of the run, for messages.
        earlier: the engine as earlier sessions left it, None where there is none.
    """

    def __init__(self, folder: Path, earlier: EngineRecord | None) -> None:
        options = {} if earlier is None else earlier.options
        self._folder = folder
        by, empty, remarks = (options.get(name) for name in (ANSWERED_BY, ONLY_REASONING, REMARKS))
        self._by = by if isinstance(by, str) else None
        self._only_reasoning = empty if isinstance(empty, int) else 0
        said = map(str, remarks) if isinstance(remarks, list) else ()
        self._remarks = [one for one in said if not one.endswith(_REASONING_SAID)]

    def count(self, generation: Generation) -> None:
        """Take one more answer into account.

        Raises:
            IncompleteError: it is another model's than those before.
        """
        if generation.answered_by is not None:
            by = masked_name(generation.answered_by)
            if self._by is not None and self._by.casefold() != by.casefold():
                raise IncompleteError(
                    f"the answers in {self._folder} are by {self._by}, and now {by} "
                    "answers; serve the first again and run the same command, or choose another `out=`"
                )
            self._by = by
        self._only_reasoning += generation.only_reasoning

    def kept_in(self, record: EngineRecord, info: EngineInfo | None, samples: int) -> EngineRecord:
        """The engine as it was begun with, and what was learnt since.

        Args:
            record: of the session's start.
            info: of the engine as it is now, None where it isn't worth asking.
            samples: that the run has.
        """
        now = {} if info is None else info.options
        remarks = [*self._remarks, *now.get(REMARKS, record.options.get(REMARKS, ()))]
        found: dict[str, Any] = {}
        if self._by is not None:
            found[ANSWERED_BY] = self._by
        if self._only_reasoning:
            found[ONLY_REASONING] = self._only_reasoning
            remarks.append(f"{self._only_reasoning} of {samples} answers {_REASONING_SAID}")
        if remarks or REMARKS in record.options:
            found[REMARKS] = list(dict.fromkeys(remarks))
        return record.model_copy(update={"options": record.options | found})


def require_same_served(folder: Path, now: EngineRecord, before: EngineRecord | None) -> None:
    """Refuse to go on with a run at servers that serve something else than they did.

    Raises:
        RunMismatchError: naming both.
    """
    if before is None or None in (one.options.get("served_model") for one in (now, before)):
        return
    roots = now.options.get("served_root") and before.options.get("served_root")
    what = "served_root" if roots else "served_model"
    pairs = {_SERVED[what]: (before.options.get(what), now.options.get(what))}
    pairs["context"] = (before.context_length, now.context_length)
    for name, (was, served) in pairs.items():
        if was is not None and served is not None and was != served:
            raise RunMismatchError(
                f"{folder} holds another run (served {name}: {was} → {served}); choose another `out=`"
            )
