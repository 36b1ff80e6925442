"""From tasks to the turns that are put to a model: the default prompt, a file's, or the row's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from harness.contract.spelling import letter
from harness.data.prompt import guarded as without_tokens
from harness.data.prompt import render_prompt, shortened
from harness.data.prompt_file import VARIABLES, PromptRecord
from harness.data.tasks import Conversation, Item, Message, PromptTask, RankingTask, Task, as_user, terms_of
from harness.data.template import TemplateFaultError, check, render
from harness.errors import DataError
from harness.time_limit import Runaway, within

if TYPE_CHECKING:
    from harness.contract import Contract

SECONDS: Final = 10.0
"""A prompt that isn't rendered in this time is taken for one that never ends."""
DEFAULT_PROMPT: Final = PromptRecord()


def conversations(
    tasks: Sequence[Task],
    contract: Contract,
    prompt: PromptRecord = DEFAULT_PROMPT,
    *,
    guarded: bool = False,
) -> list[Conversation]:
    """The turns of each task, in their order.

    A row's own messages come before everything; a system turn of `prompt` is put in front of all.

    Args:
        tasks: what is asked.
        contract: the output format asked for.
        prompt: what the turns are made of.
        guarded: break what looks like a special token in titles and attributes, for engines whose tokenizer
            isn't known; those that know theirs break its own tokens themselves.

    Raises:
        DataError: a template that fails, or two system turns.
    """
    making = _Making(contract, prompt, guarded)
    if prompt.messages is None and contract.instruction is None:
        return [making.of(task) for task in tasks]
    if prompt.messages is not None and all(task_messages(task) is not None for task in tasks):
        raise DataError(
            "every task has messages of its own, so the prompt file is never used; leave `prompt=` out"
        )
    made: list[Conversation] = []

    def render_all() -> Iterator[None]:
        for task in tasks:
            made.append(making.of(task))
            yield

    try:
        within(SECONDS, render_all())
    except Runaway:
        task_id = tasks[min(len(made), len(tasks) - 1)].task_id
        source = (prompt.messages[0].source if prompt.messages else None) or "the prompt"
        raise DataError(
            f"{source} doesn't end: rendering it for task {task_id} was stopped after {SECONDS:g} s; "
            "mend its loops"
        ) from None
    return made


def task_messages(task: Task) -> Conversation | None:
    """The row's own turns, None where it has none."""
    return task.conversation if isinstance(task, PromptTask) else task.messages


class _Making:
    def __init__(self, contract: Contract, prompt: PromptRecord, guarded: bool) -> None:
        self._contract, self._prompt, self._guarded = contract, prompt, guarded
        own = contract.instruction
        if own is not None:
            try:
                check(own, [name for name in VARIABLES if name != "contract"])
            except TemplateFaultError as problem:
                raise DataError(f"the contract's instruction: {problem}; mend the contract") from problem

    def of(self, task: Task) -> Conversation:
        turns = task_messages(task)
        if turns is None:
            assert isinstance(task, RankingTask), "all others have their own"
            turns = self._rendered(task)
        if self._prompt.system is None:
            return turns
        if turns[0].role == "system":
            raise DataError(
                f"the prompt of task {task.task_id} has a system turn already; leave `system=` out"
            )
        return (Message(role="system", content=self._prompt.system), *turns)

    def _rendered(self, task: RankingTask) -> Conversation:
        templates = self._prompt.messages
        if templates is None:
            text = render_prompt(task, self._instruction(task), guarded=self._guarded)
            return as_user(text)
        variables = self._variables(task)
        variables["contract"] = {"instruction": self._instruction(task)}
        turns = []
        for number, template in enumerate(templates):
            try:
                text = render(template.content, variables)
                if not text.strip():
                    raise TemplateFaultError("renders to nothing")
            except TemplateFaultError as problem:
                raise template.problem(problem, number, task.task_id) from problem
            turns.append(Message.model_construct(role=template.role, content=text))
        return tuple(turns)

    def _instruction(self, task: RankingTask) -> str:
        own = self._contract.instruction
        if own is None:
            return terms_of(task, self._contract).instruction()
        try:
            return render(own, self._variables(task))
        except TemplateFaultError as problem:
            raise DataError(
                f"the contract's instruction: {problem} (task {task.task_id}); mend the contract"
            ) from problem

    def _variables(self, task: RankingTask) -> dict[str, Any]:
        item = partial(_shown, most=self._prompt.max_title_characters, guarded=self._guarded)
        return {
            "task_id": task.task_id,
            "k": task.k,
            "history": [item(one) for one in task.history],
            "candidates": [
                {"number": number, "letter": letter(number), **item(one)}
                for number, one in enumerate(task.candidates, 1)
            ],
            "meta": task.meta,
        }


def _shown(item: Item, most: int | None, guarded: bool) -> dict[str, Any]:
    def safe(text: str) -> str:
        return without_tokens(text) if guarded else text

    title = item.title if most is None else shortened(item.title, most)
    attributes = {safe(name): safe(value) for name, value in item.attributes.items()}
    return {"item_id": item.item_id, "title": safe(title), "attributes": attributes}
