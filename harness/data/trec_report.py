"""What preparing a retrieval run found, as tables, for machines, and the frame of the data card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from harness.data.locate import SPLIT_ORDER
from harness.data.trec_files import Lines


@dataclass(slots=True)
class TrecReport:
    """What was read and made.

    Attributes:
        files: of each file its name and what reading it found.
        queries: queries of the run.
        dropped: reason → queries or windows without a task.
        documents: documents of all windows.
        missing_documents: those of them that the corpus lacks.
        missing_queries: queries without a text.
        cut: documents cut to `max_characters`.
        folded: documents whose line ends or runs of white space became one space.
        unjudged: candidates without a label in the qrels, which count as 0.
        short: windows of fewer than k candidates, where a query has no more.
        tasks: split → tasks.
        labels: label → candidates.
    """

    files: dict[str, Lines]
    queries: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    missing_documents: int = 0
    missing_queries: int = 0
    cut: int = 0
    folded: int = 0
    unjudged: int = 0
    short: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    labels: Counter[float] = field(default_factory=Counter)

    def tables(self) -> dict[str, list[tuple[str, str]]]:
        """Titled two-column tables, for the card and the terminal."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, lines in self.files.items():
            bad = [("bad, left out", f"{len(lines.bad):,}")] if lines.bad else []
            notes = [(what, f"{count:,}") for what, count in sorted(lines.notes.items())]
            found[name] = [("lines", f"{lines.read:,}"), *bad, *notes]
        found["Documents"] = [
            ("in windows", f"{self.documents:,}"),
            ("not in the corpus, left out", f"{self.missing_documents:,}"),
            ("cut", f"{self.cut:,}"),
            ("line ends and runs of white space made one space", f"{self.folded:,}"),
        ]
        found["Tasks"] = [
            ("queries of the run", f"{self.queries:,}"),
            *((f"no task: {reason}", f"{count:,}") for reason, count in sorted(self.dropped.items())),
            *((split, f"{self.tasks[split]:,}") for split in SPLIT_ORDER),
            ("windows of fewer candidates", f"{self.short:,}"),
            *(
                (f"candidates of label {label:g}", f"{count:,}")
                for label, count in sorted(self.labels.items())
            ),
            ("of label 0 because nobody judged them", f"{self.unjudged:,}"),
        ]
        return found

    def as_document(self) -> dict[str, object]:
        """The same numbers for a machine."""
        files = {
            name: {"path": str(one.path), "lines": one.read, "bad": len(one.bad), "notes": one.notes}
            for name, one in self.files.items()
        }
        return {
            "files": files,
            "queries": self.queries,
            "dropped": dict(sorted(self.dropped.items())),
            "documents": self.documents,
            "missing_documents": self.missing_documents,
            "missing_queries": self.missing_queries,
            "cut": self.cut,
            "folded": self.folded,
            "unjudged": self.unjudged,
            "short": self.short,
            "tasks": {split: self.tasks[split] for split in SPLIT_ORDER},
            "labels": {f"{label:g}": count for label, count in sorted(self.labels.items())},
        }


CARD = """\
# Reranking tasks from a retrieval run

Made by `harness data prepare trec`: {reach}, in {order}. The same files and settings give the same bytes.

A task is a window of a query's documents as the run's scores order them. Labels are those of the qrels,
negative ones as 0; a document that nobody judged has 0, which means "not known to be relevant". What the
model sees of a document is its `{seen}` (title and text one after the other for `both`), on one line, {cut}.
`meta` holds `query_id`, `query` and `first_rank`. Which split a query is in depends on the hash of its id
alone.

Corpora and labels may carry licences that restrict passing them on; these files hold both.

## What was read and made

{tables}
"""
