"""The dataset row: a listwise ranking task, or a task that is a prompt of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.contract import Contract, Terms
from harness.contract.model import ROW
from harness.contract.spelling import MAX_LISTED
from harness.errors import DataError

MIN_CANDIDATES = 2
MAX_CANDIDATES = MAX_LISTED
MAX_RELEVANCE = 100.0
"""Largest label: gains are 2**relevance − 1 and must stay ordinary numbers."""

VisibleText = Annotated[str, Field(min_length=1, pattern=r"\S")]
Label = Annotated[FiniteFloat, Field(ge=0, le=MAX_RELEVANCE)]


class Item(BaseModel):
    """One catalogue item as the model sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: VisibleText
    title: VisibleText
    attributes: dict[str, str] = Field(default_factory=dict)


MessageRole = Literal["system", "user", "assistant"]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: MessageRole
    content: VisibleText


Conversation = tuple[Message, ...]
"""The turns before an answer: perhaps the system's first, the user's last."""


def as_text(conversation: Conversation) -> str:
    """A conversation as one text, by which it is hashed: the user's turn where it is the only one."""
    if len(conversation) == 1:
        return conversation[0].content
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in conversation)


def as_user(text: str) -> Conversation:
    """The conversation whose only turn is this, the user's."""
    return (Message.model_construct(role="user", content=text),)


class HasRole(Protocol):
    """A turn, of a conversation or of what makes one."""

    @property
    def role(self) -> MessageRole:
        """Whose turn."""
        ...


def problem_of(messages: Sequence[HasRole]) -> tuple[int, str] | None:
    """Index of a turn and what is wrong with it, of messages that no answer can follow; else None."""
    if not any(message.role == "user" for message in messages):
        return max(len(messages) - 1, 0), "no turn is the user's; the last must be"
    for index, message in enumerate(messages[1:], 1):
        if message.role == "system":
            return index, "a system turn stands first or nowhere"
    if messages[-1].role != "user":
        return len(messages) - 1, "the last turn must be the user's, for the model to answer"
    return None


def _require_answerable(messages: Conversation | None) -> None:
    if messages is not None and (problem := problem_of(messages)) is not None:
        index, why = problem
        raise PydanticCustomError("messages", "{why}", {"field": f"messages[{index}].role", "why": why})


class RankingTask(BaseModel):
    """Rank K candidates for a user with this history.

    Attributes:
        task_id: unique in its file.
        history: what the user chose before, oldest first; may be empty.
        candidates: the K items to rank, 2 ≤ K ≤ 100, their ids distinct; number i in a ranking is
            `candidates[i - 1]`.
        relevance: one graded label per candidate, finite, 0 ≤ label ≤ 100.
        messages: asked in place of the prompt that history and candidates would give; None where they do.
        meta: anything else; carried along, never interpreted.
        crc32: checksum of the row where it comes from a run's `tasks.jsonl`; no part of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: VisibleText
    history: tuple[Item, ...] = ()
    candidates: tuple[Item, ...] = Field(min_length=MIN_CANDIDATES, max_length=MAX_CANDIDATES)
    relevance: tuple[Label, ...]
    messages: Conversation | None = Field(default=None, min_length=1)
    meta: dict[str, Any] = Field(default_factory=dict)
    crc32: str | None = Field(default=None, exclude=True, repr=False)

    @property
    def k(self) -> int:
        """Number of candidates."""
        return len(self.candidates)

    @model_validator(mode="after")
    def _one_label_per_candidate(self) -> RankingTask:
        if len(self.relevance) != len(self.candidates):
            raise PydanticCustomError(
                "label_count",
                "has {labels} labels for {candidates} candidates",
                {"field": "relevance", "labels": len(self.relevance), "candidates": len(self.candidates)},
            )
        return self

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        _require_answerable(self.messages)
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Rows without messages stay the bytes that they were before there were any.
        row: dict[str, Any] = handler(self)
        if self.messages is None:
            row.pop("messages", None)
        return row

    @model_validator(mode="after")
    def _distinct_candidates(self) -> RankingTask:
        item_id, count = Counter(item.item_id for item in self.candidates).most_common(1)[0]
        if count > 1:
            ids = [item.item_id for item in self.candidates]
            second = ids.index(item_id, ids.index(item_id) + 1)
            raise PydanticCustomError(
                "duplicate_candidate",
                "is the id of {count} candidates",
                {"field": f"candidates[{second}].item_id", "count": count},
            )
        return self


class PromptTask(BaseModel):
    """Answer a prompt of its own; what is right is known or isn't.

    Attributes:
        task_id: unique in its file.
        messages: the turns before the answer; or
        prompt: the only one, the user's.
        schema_: JSON Schema of this task's answer, for contracts whose schema is `row`; `schema` in the file.
        expected: the right answer, a JSON value; see `has_expected`.
        meta: anything else; carried along, only prompts may show it.
        crc32: checksum of the row where it comes from a run's `tasks.jsonl`; no part of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: VisibleText
    messages: Conversation | None = Field(default=None, min_length=1)
    prompt: VisibleText | None = None
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    expected: Any = None
    meta: dict[str, Any] = Field(default_factory=dict)
    crc32: str | None = Field(default=None, exclude=True, repr=False)

    @property
    def k(self) -> int:
        """Number of candidates: none."""
        return 0

    @property
    def relevance(self) -> tuple[float, ...]:
        """Labels of the candidates: none."""
        return ()

    @property
    def has_expected(self) -> bool:
        """Whether the right answer is known; it may be null."""
        return "expected" in self.model_fields_set

    @property
    def conversation(self) -> Conversation:
        """The turns before the answer."""
        if self.messages is not None:
            return self.messages
        assert self.prompt is not None, "the model's validator sees to it"
        return as_user(self.prompt)

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if (self.messages is None) == (self.prompt is None):
            said = "both `messages` and `prompt` are given; leave one out" if self.prompt else "missing"
            raise PydanticCustomError("prompt_count", "{said}", {"field": "messages", "said": said})
        _require_answerable(self.messages)
        return self

    @model_serializer(mode="plain")
    def _without_absent(self) -> dict[str, Any]:
        row: dict[str, Any] = {"task_id": self.task_id}
        if self.messages is not None:
            row["messages"] = [message.model_dump() for message in self.messages]
        else:
            row["prompt"] = self.prompt
        if self.schema_ is not None:
            row["schema"] = self.schema_
        if self.has_expected:
            row["expected"] = self.expected
        return row | {"meta": self.meta}


Task = RankingTask | PromptTask


def kind_of(row: object) -> type[RankingTask] | type[PromptTask]:
    """Which kind of task a decoded row is, or is meant to be."""
    asks = isinstance(row, Mapping) and "candidates" not in row and bool(row.keys() & {"messages", "prompt"})
    return PromptTask if asks else RankingTask


def read_task(row: Mapping[str, Any]) -> Task:
    """A task of a decoded row.

    Raises:
        ValueError: it is none.
    """
    return kind_of(row).model_validate(row)


def terms_of(task: Task, contract: Contract) -> Terms:
    """What an answer to a task is held to.

    Raises:
        DataError: the contract can't be kept by an answer to this task.
    """
    item_ids: tuple[str, ...] = ()
    schema = None
    if contract.kind == "listwise" and not isinstance(task, RankingTask):
        raise DataError(
            f"task {task.task_id} has no candidates to rank; give the contract of its answers, as "
            "`contract=schema:FILE.json`"
        )
    if isinstance(task, RankingTask):
        if contract.ids == "item_id":
            item_ids = tuple(item.item_id for item in task.candidates)
    elif contract.schema_ == ROW and task.schema_ is not None:
        schema = json.dumps(task.schema_, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return Terms(contract, task.k if contract.kind == "listwise" else 0, item_ids, schema)
    except ValueError as error:
        raise DataError(f"task {task.task_id}: {error}") from error
