"""The samples that are shown: which, and what every run answered there."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.contract import Contract
from harness.contract.automaton import failing_place
from harness.data.conversations import conversations
from harness.data.prompt import PROMPT_VERSION
from harness.data.tasks import Item, Message, PromptTask, RankingTask, Task, as_text, read_task
from harness.masking import masked as without_secrets
from harness.report.excerpt import Excerpt, excerpt
from harness.report.reading import WITHHELD, Place, RunFacts
from harness.report.text import masked
from harness.runs import Sample
from harness.runs.columns import read_task_rows
from harness.runs.directory import TASKS

PromptIs = Literal["checked", "unchecked", "wrong", "absent"]

_ABSENT = -2
_WITHHELD = "the provider withheld the answer, or what follows of it"
_PROMPT_WORDS: dict[PromptIs, str] = {
    "checked": "rendered again from the run's tasks, their hash as recorded",
    "unchecked": "rendered again; the run keeps a hash of their token ids, for its tokenizer to check",
    "wrong": "left out: rendered again they differ from what was asked",
    "absent": "not there: no tasks.jsonl, or another version of the prompt",
}
HIDDEN_TITLE = "(title hidden)"
_HIDDEN = Message(role="user", content="(prompt hidden)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run answered.

    Attributes:
        tier: parse tier, `none` where the answer was withheld.
        code: one of `CODES`, None where strict.
        output: the raw text.
        reason: where and why strict parsing failed, empty where it didn't.
        tokens: completion tokens, None when unknown.
        ndcg_at_1: None where undefined.
        prompt: the user message, None where it can't be shown.
        prompt_is: what is known of it.
        reasoning: what stood before the output, cut where it is very long; None where nothing did.
        reasoning_tokens: its, None when unknown.
    """

    tier: str
    code: str | None
    output: Excerpt
    reason: str
    tokens: int | None
    ndcg_at_1: float | None
    prompt: str | None
    prompt_is: PromptIs
    reasoning: str | None = None
    reasoning_tokens: int | None = None

    @property
    def passes(self) -> bool:
        """Whether it parsed strictly."""
        return self.code is None

    @property
    def withheld(self) -> bool:
        """Whether it is no answer of the model."""
        return self.code == WITHHELD


@dataclass(frozen=True, slots=True)
class Row:
    """One sample of one task.

    Attributes:
        dataset: hash of the dataset's file.
        task_id: the task.
        index: of the sample among those of the task.
        answers: one per run of the report, None where the run doesn't have this sample.
    """

    dataset: str
    task_id: str
    index: int
    answers: tuple[Answer | None, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The samples of the viewer.

    Attributes:
        rows: in the order of the datasets.
        total: rows there are.
    """

    rows: tuple[Row, ...]
    total: int

    def of(self, chosen: Collection[tuple[str, Place]]) -> Shown:
        """Only the chosen rows."""
        wanted = set(chosen)
        kept = (row for row in self.rows if (row.dataset, (row.task_id, row.index)) in wanted)
        return Shown(tuple(kept), self.total)

    @property
    def prompts_note(self) -> str:
        """What a reader has to know of the prompts, in a sentence; empty without samples."""
        counts = Counter(
            answer.prompt_is for row in self.rows for answer in row.answers if answer is not None
        )
        parts = [f"{counts[kind]} {words}" for kind, words in _PROMPT_WORDS.items() if counts[kind]]
        return f"Prompts: {'; '.join(parts)}." if parts else ""


def choose_rows(runs: Sequence[RunFacts], most: int) -> tuple[list[tuple[str, Place]], int]:
    """Choose rows so that every combination of failure codes is there, in equal numbers as far as it goes.

    Within a combination, rows are taken in the order of a hash of task and index: spread over the dataset,
    and the same in every report.

    Returns:
        (dataset hash, place) of the chosen, ascending; and how many rows there are.
    """
    codes: dict[tuple[str, Place], list[int]] = {}
    for number, facts in enumerate(runs):
        for place, row in facts.samples.row.items():
            found = codes.setdefault((facts.dataset, place), [_ABSENT] * len(runs))
            found[number] = int(facts.samples.code[row])
    if most >= len(codes):
        return sorted(codes), len(codes)
    strata: dict[tuple[int, ...], list[tuple[str, Place]]] = defaultdict(list)
    for key in sorted(codes, key=_spread):
        strata[tuple(codes[key])].append(key)
    queues = [iter(strata[combination]) for combination in sorted(strata)]
    chosen: list[tuple[str, Place]] = []
    while queues and len(chosen) < most:
        for queue in list(queues):
            following = next(queue, None)
            if following is None:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen.append(following)
    return sorted(chosen), len(codes)


def read_rows(runs: Sequence[RunFacts], most: int, *, redact: bool) -> Shown:
    """Read what every run answered in the chosen rows.

    Args:
        runs: of the report.
        most: number of rows.
        redact: mask titles and the words of outputs.

    Raises:
        DataError: a file of a run can't be read.
    """
    chosen, total = choose_rows(runs, most)
    wanted: dict[str, set[Place]] = defaultdict(set)
    for dataset, place in chosen:
        wanted[dataset].add(place)
    books: dict[tuple[str, str], dict[str, _Asked]] = {}
    answers = []
    for facts in runs:
        there = wanted[facts.dataset]
        # Runs that asked the same share the prompts: rendering them is what takes most of the time.
        manifest = facts.run.manifest
        made_of = (manifest.contract, manifest.prompt)
        words = "".join(one.model_dump_json() for one in made_of) + str(manifest.guarded)
        key = (facts.hashes.get(TASKS, ""), words)
        if key not in books:
            books[key] = _asked(facts, {task_id for task_id, _ in there}, redact)
        answers.append(dict(_answers(facts, there, books[key], redact)))
    rows = tuple(
        Row(
            dataset,
            place[0],
            place[1],
            tuple(
                found.get(place) if facts.dataset == dataset else None
                for facts, found in zip(runs, answers, strict=True)
            ),
        )
        for dataset, place in chosen
    )
    return Shown(rows, total)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task as it was asked: number of candidates, hash of the prompt, the prompt as it may be shown."""

    k: int
    sha256: str
    shown: str


def _asked(facts: RunFacts, wanted: set[str], redact: bool) -> dict[str, _Asked]:
    if not facts.has_tasks:
        return {}
    manifest = facts.run.manifest
    tasks = [read_task(row) for row in read_task_rows(facts.run) if row["task_id"] in wanted]

    def texts(of: Sequence[Task]) -> list[str]:
        made = conversations(of, manifest.contract, manifest.prompt, guarded=manifest.guarded)
        return [as_text(turns) for turns in made]

    book = {}
    asked = texts(tasks)
    shown = texts([_without_titles(task) for task in tasks]) if redact else asked
    shown = [f"{view}{_expected_of(task, redact)}" for task, view in zip(tasks, shown, strict=True)]
    for task, text, view in zip(tasks, asked, shown, strict=True):
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        book[task.task_id] = _Asked(task.k, sha256, view)
    return book


def _answers(
    facts: RunFacts, wanted: set[Place], book: dict[str, _Asked], redact: bool
) -> Iterator[tuple[Place, Answer]]:
    contract = facts.run.manifest.contract
    keep = contract.key if redact else None
    for sample in facts.run.iter_samples():
        place = (sample.task_id, sample.sample_index)
        if place in wanted:
            asked = book.get(sample.task_id)
            prompt_is = _prompt_is(facts, sample, asked)
            yield place, _answer(sample, contract, asked, prompt_is, keep)


def _answer(
    sample: Sample, contract: Contract, asked: _Asked | None, prompt_is: PromptIs, keep: str | None
) -> Answer:
    parse, fails_at = sample.parse, None
    code: str | None
    if parse is None:
        tier, code, reason = "none", WITHHELD, _WITHHELD
    else:
        tier, code, reason = parse.tier, parse.code, " ".join(filter(None, (parse.path, parse.message)))
        if code is not None and asked is not None:
            fails_at = failing_place(contract, sample.text, asked.k, parse.path)
    text = without_secrets(sample.text)
    if text != sample.text:
        fails_at = None  # That place isn't where it was.
    if keep is not None:
        text = masked(text, keep)
    known = asked is not None and prompt_is in ("checked", "unchecked")
    prompt = without_secrets(asked.shown) if asked is not None and known else None
    return Answer(
        tier=tier,
        code=code,
        output=excerpt(text, fails_at),
        reason=without_secrets(reason) if keep is None else "",
        tokens=sample.completion_tokens,
        ndcg_at_1=sample.scores.get("ndcg_at_1"),
        prompt=prompt,
        prompt_is=prompt_is,
        reasoning=_reasoning(sample, hidden=keep is not None),
        reasoning_tokens=sample.reasoning_tokens,
    )


def _reasoning(sample: Sample, *, hidden: bool) -> str | None:
    if not sample.reasoning:
        return None
    if hidden:
        return "(reasoning hidden)"
    shown = excerpt(without_secrets(sample.reasoning), None)
    return "".join(
        one if isinstance(one, str) else f"… {one:,} characters left out …" for one in shown.pieces
    )


def _expected_of(task: Task, redact: bool) -> str:
    """The right answer, where it is known, to stand below the prompt."""
    if not isinstance(task, PromptTask) or not task.has_expected:
        return ""
    value = "(hidden)" if redact else json.dumps(task.expected, ensure_ascii=False)
    return f"\n\nExpected answer: {value}"


def _prompt_is(facts: RunFacts, sample: Sample, asked: _Asked | None) -> PromptIs:
    if asked is None or facts.run.manifest.prompt_version != PROMPT_VERSION:
        return "absent"
    if asked.sha256 == sample.prompt_sha256:
        return "checked"
    # A run with a tokenizer records the hash of token ids, which says nothing about the text.
    has_ids = facts.run.manifest.engine.tokenizer_sha256 is not None or sample.prompt_tokens is not None
    return "unchecked" if has_ids else "wrong"


def _without_titles(task: Task) -> Task:
    if not isinstance(task, RankingTask):
        return task.model_copy(update={"messages": (_HIDDEN,), "prompt": None})
    messages = None if task.messages is None else (_HIDDEN,)

    def hidden(items: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(Item(item_id=item.item_id, title=HIDDEN_TITLE) for item in items)

    changes = {"history": hidden(task.history), "candidates": hidden(task.candidates), "messages": messages}
    return task.model_copy(update=changes | {"meta": {}})


def _spread(key: tuple[str, Place]) -> bytes:
    dataset, (task_id, index) = key
    return hashlib.sha256(f"{dataset}\0{task_id}\0{index}".encode("utf-8", "surrogatepass")).digest()
