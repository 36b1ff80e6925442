"""A small retrieval experiment, as files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np


def write_retrieval(folder: Path, queries: int = 6, depth: int = 30, seed: int = 0) -> None:
    """`bm25.trec`, `qrels.txt`, `corpus.jsonl.gz` and `queries.tsv` of a random experiment."""
    rng = np.random.default_rng(seed)
    corpus = [
        {"_id": f"D{n}", "title": f"Title {n}", "text": f"Text\nof {n}", "metadata": {}} for n in range(60)
    ]
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in corpus).encode())
    (folder / "corpus.jsonl.gz").write_bytes(packed)
    run, qrels, texts = [], [], []
    for query in range(queries):
        texts.append(f"{query}\tquestion number {query}\n")
        documents = rng.permutation(60)[:depth]
        scores = sorted(rng.uniform(1, 20, depth), reverse=True)
        run += [
            f"{query} Q0 D{document} {rank} {score:.6f} bm25\n"
            for rank, (document, score) in enumerate(zip(documents, scores, strict=True), 1)
        ]
        qrels += [f"{query} 0 D{document} {rng.integers(0, 4)}\n" for document in rng.permutation(60)[:40]]
    (folder / "bm25.trec").write_text("".join(run))
    (folder / "qrels.txt").write_text("".join(qrels))
    (folder / "queries.tsv").write_text("".join(texts))
