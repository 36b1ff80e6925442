"""Listwise reranking tasks from a TREC run, its qrels and the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from harness.data.amazon_rows import Progress
from harness.data.locate import SPLIT_ORDER
from harness.data.publishing import CARD_NAME, publish, require_free, working_folder
from harness.data.tasks import MAX_CANDIDATES, MIN_CANDIDATES, Item, RankingTask
from harness.data.trec_files import Document, Retrieved, read_corpus, read_qrels, read_queries, read_run
from harness.data.trec_report import CARD, TrecReport
from harness.data.writing import to_json_line
from harness.errors import DataError
from harness.files import replacing, write_text
from harness.settings import Count, Natural, Settings

SHOWN_IDS = 5


class TrecSettings(Settings, title="Tasks"):
    """How tasks are made of a run."""

    refusal = DataError

    k: Annotated[int, Field(ge=MIN_CANDIDATES, le=MAX_CANDIDATES)] = 20
    """Candidates a window."""
    stride: Count | None = None
    """Windows every so many ranks, down to `depth`; by default the first window alone."""
    depth: Annotated[int, Field(ge=MIN_CANDIDATES)] = 100
    """Ranks of the run that windows reach, with `stride`."""
    shuffle: bool = False
    """Put the candidates of a window in a drawn order, instead of the run's."""
    seed: Natural = 0
    """Of that order."""
    title_from: Literal["both", "title", "text"] = "both"
    """What of a document the model sees: its title and text after each other, or one of them (the other where
    it has none)."""
    max_characters: Annotated[int | None, Field(ge=10)] = None
    """Cut what the model sees of a document to so many characters; nothing is cut by default."""
    keep_irrelevant: bool = False
    """Keep windows without any relevant candidate, which NDCG leaves out."""
    skip_missing: bool = False
    """Leave out documents that the corpus lacks, and queries without a text, instead of refusing."""
    skip_bad_rows: bool = False
    """Leave out lines that can't be read, counted, instead of refusing."""
    validation_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of queries in validation."""
    test_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of queries in test; the rest is train."""

    @model_validator(mode="after")
    def _fits_together(self) -> TrecSettings:
        if self.validation_share + self.test_share > 1:
            raise ValueError("`validation_share=` and `test_share=` are together over 1")
        if self.stride is not None and self.depth < self.k:
            raise ValueError(f"`depth={self.depth}` must be at least `k={self.k}`")
        return self


def prepare_trec(
    run: Path,
    qrels: Path,
    corpus: Path,
    out: Path,
    settings: TrecSettings | None = None,
    *,
    queries: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrecReport:
    """Turn a retrieval run into windows to rerank: `train`, `validation` and `test.jsonl` with a card.

    The history of a task is empty; its `meta` holds `query_id`, `query`, `first_rank`. The same files and
    settings give the same bytes.

    Args:
        run: TREC run, six columns.
        qrels: labels, graded or not.
        corpus: JSON lines with an id, and a title or text; streamed.
        out: folder for the splits that have tasks, and the card.
        settings: how to make tasks.
        queries: texts of the queries, TSV or JSON lines; without them tasks hold ids only.
        overwrite: whether to replace splits that are there already.
        progress: told what is being read, and how far.

    Returns:
        What was read, left out and made.

    Raises:
        DataError: a file can't be read or has bad lines, documents or queries are missing, no task can be
            made, `out` holds splits already, or the disk is full. Nothing is written then.
    """
    settings = settings or TrecSettings()
    require_free(out, overwrite=overwrite)
    found, run_lines = read_run(run)
    labels, label_lines = read_qrels(qrels)
    files = {"Run": run_lines, "Qrels": label_lines}
    texts: dict[str, str] | None = None
    if queries is not None:
        texts, files["Queries"] = read_queries(queries)
    for lines in files.values():
        lines.require_good(skip=settings.skip_bad_rows)
    report = TrecReport(files, queries=len(found))
    asked = {query: found[query] for query in _askable(found, labels, texts, settings, report)}
    reach = settings.k if settings.stride is None else settings.depth
    # Where the corpus may lack some, later ranks take their places.
    wanted = {
        one.document
        for documents in asked.values()
        for one in (documents if settings.skip_missing else documents[:reach])
    }
    told = (lambda done, size: progress("reading the corpus, bytes", done, size)) if progress else None
    documents, files["Corpus"] = read_corpus(corpus, wanted, told)
    files["Corpus"].require_good(skip=settings.skip_bad_rows)
    _require_all(corpus, asked, documents, reach, settings, report)
    with working_folder(out) as folder:
        with ExitStack() as stack:
            streams = {
                split: stack.enter_context(replacing(folder / f"{split}.jsonl")) for split in SPLIT_ORDER
            }
            for task in _tasks(asked, labels, texts, documents, settings, report):
                split = _split_of(task.meta["query_id"], settings)
                streams[split].write(to_json_line(task).encode("utf-8"))
                report.tasks[split] += 1
        if not report.tasks.total():
            lost = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.dropped.items()))
            raise DataError(f"{run}: no task can be made of its {report.queries:,} queries: {lost or 'none'}")
        write_text(folder / CARD_NAME, _card(report, settings))
        publish(folder, out)
    return report


def _askable(
    found: Mapping[str, Sequence[Retrieved]],
    labels: Mapping[str, Mapping[str, float]],
    texts: Mapping[str, str] | None,
    settings: TrecSettings,
    report: TrecReport,
) -> Iterator[str]:
    """Queries of the run that were judged and have a text."""
    judged = [query for query in found if query in labels]
    report.dropped["query without any label"] += len(found) - len(judged)
    without = [] if texts is None else [query for query in judged if query not in texts]
    report.missing_queries = len(without)
    if without and not settings.skip_missing:
        raise DataError(
            f"{report.files['Queries'].path}: lacks {len(without):,} of {len(judged):,} judged queries of "
            f"the run: {_named(without)}; add them or pass `skip_missing=True`"
        )
    report.dropped["query without a text"] += len(without)
    lacking = set(without)
    report.dropped = +report.dropped
    return (query for query in judged if query not in lacking)


def _require_all(
    corpus: Path,
    asked: Mapping[str, Sequence[Retrieved]],
    documents: Mapping[str, Document],
    reach: int,
    settings: TrecSettings,
    report: TrecReport,
) -> None:
    wanted = {one.document for found in asked.values() for one in found[:reach]}
    lacking = sorted(wanted - documents.keys())
    report.documents, report.missing_documents = len(wanted), len(lacking)
    if lacking and not settings.skip_missing:
        raise DataError(
            f"{corpus}: lacks {len(lacking):,} of {len(wanted):,} documents that the windows need: "
            f"{_named(lacking)}; is it the run's corpus? If it is, pass `skip_missing=True`"
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN_IDS]) + (" …" if len(ids) > SHOWN_IDS else "")


def _tasks(
    asked: Mapping[str, Sequence[Retrieved]],
    labels: Mapping[str, Mapping[str, float]],
    texts: Mapping[str, str] | None,
    documents: Mapping[str, Document],
    settings: TrecSettings,
    report: TrecReport,
) -> Iterator[RankingTask]:
    shown: dict[str, str] = {}
    for query in sorted(asked):
        ids = [one.document for one in asked[query] if one.document in documents]
        for start in window_starts(len(ids), settings):
            window = ids[start : start + settings.k]
            if len(window) < MIN_CANDIDATES:
                report.dropped["fewer than 2 documents"] += 1
                continue
            judged = labels[query]
            if not settings.keep_irrelevant and not any(judged.get(one, 0.0) > 0 for one in window):
                report.dropped["no relevant document in the window"] += 1
                continue
            name = query if settings.stride is None else f"{query}-{start + 1}"
            if settings.shuffle:
                digest = hashlib.sha256(name.encode()).digest()
                rng = np.random.default_rng([settings.seed, int.from_bytes(digest[:8])])
                window = [window[place] for place in rng.permutation(len(window))]
            for one in window:
                if one not in shown:
                    shown[one] = _shown(documents[one], settings, report)
            report.short += len(window) < settings.k
            report.unjudged += sum(one not in judged for one in window)
            relevance = tuple(judged.get(one, 0.0) for one in window)
            report.labels.update(relevance)
            yield RankingTask(
                task_id=name,
                candidates=tuple(Item(item_id=one, title=shown[one]) for one in window),
                relevance=relevance,
                meta={
                    "query_id": query,
                    **({} if texts is None else {"query": texts[query]}),
                    "first_rank": start + 1,
                },
            )


def window_starts(n: int, settings: TrecSettings) -> range | list[int]:
    """Where windows begin, from 0, in a list of n documents; the last ends at the list's or `depth`'s end."""
    if settings.stride is None:
        return range(1)
    n = min(n, settings.depth)
    last = max(0, n - settings.k)
    return sorted({*range(0, last + 1, settings.stride), last})


def _shown(document: Document, settings: TrecSettings, report: TrecReport) -> str:
    """What the model sees of a document."""
    parts = {"title": (document.title or document.text,), "text": (document.text or document.title,)}
    both = (document.title, document.text)
    whole = " ".join(part for part in parts.get(settings.title_from, both) if part)
    line = " ".join(whole.split())
    report.folded += line != whole
    if settings.max_characters is None or len(line) <= settings.max_characters:
        return line
    report.cut += 1
    return line[: settings.max_characters - 1].rstrip() + "…"


def _split_of(query: str, settings: TrecSettings) -> str:
    """Split of a query: by its id alone, so that no seed moves one."""
    place = int.from_bytes(hashlib.sha256(query.encode()).digest()[:8]) % 10_000 / 10_000
    if place < settings.test_share:
        return "test"
    return "validation" if place < settings.test_share + settings.validation_share else "train"


def _card(report: TrecReport, settings: TrecSettings) -> str:
    tables = "\n\n".join(
        f"### {title}\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {count} |" for name, count in rows)
        for title, rows in report.tables().items()
    )
    reach = (
        f"the first {settings.k} documents of each query"
        if settings.stride is None
        else f"windows of {settings.k} documents every {settings.stride} ranks down to rank {settings.depth}"
    )
    order = f"an order drawn with seed {settings.seed}" if settings.shuffle else "the run's order"
    cut = "in full" if settings.max_characters is None else f"cut to {settings.max_characters} characters"
    return CARD.format(reach=reach, order=order, seen=settings.title_from, cut=cut, tables=tables)
