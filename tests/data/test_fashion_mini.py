"""fashion-mini: labels re-derived from titles alone, no leaks, shipped bytes reproduced."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import combinations
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chisquare

from harness.data.fashion_mini import (
    BRANDS,
    CATEGORIES,
    COLOURS,
    SHIPPED_ROWS,
    Split,
    generate_tasks,
)
from harness.data.fashion_mini_files import split_statistics, write_fashion_mini
from harness.data.loading import load_tasks
from harness.data.locate import datasets_root
from harness.data.tasks import RankingTask
from harness.errors import DataError, HarnessError

SHIPPED = datasets_root() / "fashion-mini"
MAX_SHIPPED_BYTES = 3_000_000
SPLITS: tuple[Split, ...] = tuple(SHIPPED_ROWS)


@pytest.fixture(scope="module")
def shipped() -> dict[str, tuple[RankingTask, ...]]:
    return {split: load_tasks("fashion-mini", split).tasks for split in SPLITS}


def read_title(title: str) -> tuple[str, str, str]:
    """Category, colour and brand, from the words of a title and nothing else."""
    words = set(re.findall(r"\w+", title))
    found = [words.intersection(values) for values in (CATEGORIES, COLOURS, BRANDS)]
    assert [len(values) for values in found] == [1, 1, 1], title
    category, colour, brand = (values.pop() for values in found)
    return category, colour, brand


def taste_in_history(task: RankingTask) -> list[str]:
    columns = zip(*(read_title(item.title) for item in task.history), strict=True)
    taste = []
    for column in columns:
        (value, count), *rest = Counter(column).most_common()
        assert count >= 2
        assert all(other == 1 for _, other in rest)
        taste.append(value)
    return taste


@pytest.mark.parametrize("split", SPLITS)
def test_labels_follow_from_titles(split: Split, shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    for task in shipped[split]:
        taste = taste_in_history(task)
        assert task.meta == {"taste": taste}
        expected = [
            sum(a == b for a, b in zip(read_title(item.title), taste, strict=True))
            for item in task.candidates
        ]
        assert list(task.relevance) == expected
        assert expected.count(max(expected)) == 1
        ids = [item.item_id for item in (*task.history, *task.candidates)]
        assert len(set(ids)) == len(ids)
        assert 3 <= len(task.history) <= 4
        assert task.k == 8 if split != "variable-k" else 3 <= task.k <= 12


def test_every_k_occurs(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    assert {task.k for task in shipped["variable-k"]} == set(range(3, 13))


def test_best_position_is_uniform(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    for split in ("train", "test"):
        places = Counter(int(np.argmax(task.relevance)) for task in shipped[split])
        assert chisquare([places[place] for place in range(8)]).pvalue > 1e-4


def test_ids_say_nothing(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    """The best candidate's id has a uniform rank among the candidates' ids; all titles of an id agree."""
    ranks: Counter[int] = Counter()
    titles: dict[str, str] = {}
    for task in shipped["train"]:
        ids = [item.item_id for item in task.candidates]
        ranks[sorted(ids).index(ids[int(np.argmax(task.relevance))])] += 1
        for item in (*task.history, *task.candidates):
            assert titles.setdefault(item.item_id, item.title) == item.title
    assert chisquare([ranks[rank] for rank in range(8)]).pvalue > 1e-4


def test_no_task_and_no_taste_in_two_splits(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    content = {
        split: {
            (
                tuple(item.item_id for item in task.history),
                frozenset(item.item_id for item in task.candidates),
            )
            for task in tasks
        }
        for split, tasks in shipped.items()
    }
    tastes = {split: {tuple(task.meta["taste"]) for task in tasks} for split, tasks in shipped.items()}
    for split in SPLITS:
        assert len(content[split]) == len(shipped[split])
    for one, other in combinations(SPLITS, 2):
        assert not content[one] & content[other]
        assert not tastes[one] & tastes[other]
    more = {tuple(task.meta["taste"]) for task in generate_tasks("train", 500, seed=1)}
    assert not more & tastes["test"]


def test_ranking_can_be_learned_from_words(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    """A bilinear model of history words and candidate words, fitted to the shipped train split alone."""
    words = sorted(
        {word for task in shipped["train"] for item in task.candidates for word in split_words(item.title)}
    )
    number = {word: place for place, word in enumerate(words)}

    def counts(titles: list[str]) -> npt.NDArray[np.float64]:
        vector = np.zeros(len(words))
        for word in (word for title in titles for word in split_words(title) if word in number):
            vector[number[word]] += 1
        return vector

    def features(tasks: tuple[RankingTask, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        history = np.array([counts([item.title for item in task.history]) for task in tasks])
        return history, np.array([[counts([item.title]) for item in task.candidates] for task in tasks])

    history, candidates = features(shipped["train"])
    best = np.array([np.argmax(task.relevance) for task in shipped["train"]])
    weights = np.zeros((len(words), len(words)))
    for _ in range(10):
        scores = np.einsum("nv,nkv->nk", history @ weights, candidates)
        error = np.exp(scores - scores.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(best)), best] -= 1
        weights -= history.T @ np.einsum("nk,nkv->nv", error, candidates) / len(best)
    history, candidates = features(shipped["test"])
    chosen = np.einsum("nv,nkv->nk", history @ weights, candidates).argmax(axis=1)
    labels = np.array([task.relevance for task in shipped["test"]])
    gains = 2.0**labels - 1
    assert weights.size < 10_000
    assert (gains[np.arange(len(chosen)), chosen] / gains.max(axis=1)).mean() > 0.9


def split_words(title: str) -> list[str]:
    return re.findall(r"\w+", title)


def test_candidates_alone_dont_give_the_best_away(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    """Rankers that see no history: most typical and least typical candidate, most and least ornamented."""
    tasks = shipped["train"]
    hits: Counter[str] = Counter()
    for task in tasks:
        kinds = [read_title(item.title) for item in task.candidates]
        counts = [Counter(column) for column in zip(*kinds, strict=True)]
        typical = [sum(count[value] for count, value in zip(counts, kind, strict=True)) for kind in kinds]
        lengths = [len(item.title) for item in task.candidates]
        best = int(np.argmax(task.relevance))
        for name, scores in (("typical", typical), ("odd", [-s for s in typical]), ("long", lengths)):
            hits[name] += int(np.argmax(scores)) == best
    for name, count in hits.items():
        assert count / len(tasks) <= 0.5 + 4 * sqrt(0.25 / len(tasks)), name
    assert hits["long"] / len(tasks) == pytest.approx(1 / 8, abs=4 * sqrt(7 / 64 / len(tasks)))


def test_titles_have_quotes_accents_cjk_and_emoji(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    titles = {item.title for task in shipped["test"] for item in task.candidates}
    for pattern in (
        '"',
        "'",
        "[àáâäçèéêëïîôöùúûüñ]",
        "[\u4e00-\u9fff]",
        "[\uac00-\ud7a3]",
        "[\U0001f300-\U0001faff]",
    ):
        assert any(re.search(pattern, title) for title in titles), pattern
    plain = [title for title in titles if re.fullmatch(r"\w+ \w+ \w+ – \w+", title)]
    assert 0.75 < len(plain) / len(titles) < 0.95


def test_shipped_bytes_are_reproduced(tmp_path: Path) -> None:
    written = write_fashion_mini(tmp_path)
    assert {path.name: count for path, count in written.items()} == {
        **{f"{split}.jsonl": rows for split, rows in SHIPPED_ROWS.items()},
        "README.md": 0,
    }
    assert {path.name for path in SHIPPED.iterdir()} == {path.name for path in written}
    for path in written:
        assert path.read_bytes() == (SHIPPED / path.name).read_bytes(), path.name
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= MAX_SHIPPED_BYTES


def test_longer_series_begin_alike() -> None:
    assert generate_tasks("test", 20, seed=5) == generate_tasks("test", 50, seed=5)[:20]
    assert generate_tasks("test", 5, seed=5) != generate_tasks("test", 5, seed=6)


def test_one_split_of_another_seed(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert list(write_fashion_mini(out, "train", 7, seed=3)) == [out / "train.jsonl"]
    loaded = load_tasks(out)
    assert loaded.tasks == generate_tasks("train", 7, seed=3)
    assert hashlib.sha256((out / "train.jsonl").read_bytes()).hexdigest() == loaded.sha256


@pytest.mark.parametrize("k", [3, 8, 100])
def test_given_k(k: int) -> None:
    for task in generate_tasks("train", 20, seed=0, k=k):
        assert task.k == k
        assert list(task.relevance).count(max(task.relevance)) == 1


@pytest.mark.parametrize("k", [2, 101, (8, 7), (1, 8)])
def test_k_out_of_range(k: int | tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"3…100"):
        generate_tasks("train", 1, k=k)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown split"):
        generate_tasks("dev", 1)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 1"):
        generate_tasks("train", 0)
    with pytest.raises(DataError, match="at least 0"):
        generate_tasks("train", 1, seed=-1)
    with pytest.raises(DataError, match="`split=`"):
        write_fashion_mini(tmp_path, n=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match=r"can't be written \(.*choose another folder"):
        write_fashion_mini(tmp_path / "file")


def test_chance_ndcg_is_that_of_random_rankings(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    """The card's closed form against rankings actually drawn."""
    tasks = shipped["test"]
    rng = np.random.default_rng(0)
    draws = np.array(
        [
            [
                (2.0 ** task.relevance[rng.integers(task.k)] - 1) / (2.0 ** max(task.relevance) - 1)
                for task in tasks
            ]
            for _ in range(200)
        ]
    ).mean(axis=1)
    error = draws.std(ddof=1) / sqrt(len(draws))
    assert split_statistics(tasks).chance_ndcg_at_1 == pytest.approx(draws.mean(), abs=5 * error)


def test_card_says_what_the_files_hold(shipped: dict[str, tuple[RankingTask, ...]]) -> None:
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for split, tasks in shipped.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {split} "))
        assert f"| {len(tasks):,} |" in row
        assert f"| {split_statistics(tasks).chance_ndcg_at_1:.4f} | 100% |" in row
    assert "says nothing about real users" in " ".join(card.split())
    assert "Licence: the same as the project's." in card
