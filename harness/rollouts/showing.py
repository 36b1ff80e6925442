"""One task as it is put to a model: its turns, the text that a chat template makes of them, its tokens."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract import DEFAULT, Terms
from harness.data.choice import ContractChoice, DataName, PromptConfig, Split
from harness.data.conversations import conversations
from harness.data.loading import load_tasks
from harness.data.tasks import Conversation, Task, terms_of
from harness.engines.checkpoint import find_tokenizer
from harness.engines.config import TrustRemoteCode
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError, nearest
from harness.settings import Settings


class ShowConfig(Settings, title="Show"):
    """Which task is shown, and how it is asked."""

    data: DataName = "fashion-mini"
    split: Split = None
    task: str = "1"
    """Number of a task in its file, from 1, or its id."""
    ckpt: str | None = None
    """Checkpoint, or a folder with its tokenizer: shows the text that the model reads and its tokens."""
    trust_remote_code: TrustRemoteCode = False
    contract: ContractChoice = DEFAULT
    prompting: PromptConfig = PromptConfig()


@dataclass(frozen=True, slots=True)
class Read:
    """What a model reads.

    Attributes:
        text: the conversation as its chat template renders it.
        token_ids: of the text.
        special: place, id and piece of each special token among them.
        defused: whether special tokens stood in the messages, which don't reach the model as such.
        reasoning_end: the mark that ends reasoning in this checkpoint's answers, None where none is known.
    """

    text: str
    token_ids: tuple[int, ...]
    special: tuple[tuple[int, int, str], ...]
    defused: bool
    reasoning_end: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A task as it is asked; `read` is None where no checkpoint was named."""

    task_id: str
    terms: Terms
    messages: Conversation
    read: Read | None


def show_prompt(config: ShowConfig) -> Shown:
    """Render one task.

    Raises:
        DataError: no such task, or a prompt that can't be made.
        EngineUnavailableError: the checkpoint's tokenizer or template can't be used.
    """
    task = _chosen(config)
    terms = terms_of(task, config.contract)
    prompt = config.prompting.record()
    [turns] = conversations([task], config.contract, prompt)
    if config.ckpt is None:
        return Shown(task.task_id, terms, turns, None)
    tokenizer = ChatTokenizer(find_tokenizer(config.ckpt), config.trust_remote_code)
    [ids] = tokenizer.encode([turns], prompt.chat_template_kwargs)
    [text] = tokenizer.rendered([turns], prompt.chat_template_kwargs)
    pieces = {index: token.content for index, token in tokenizer.special_tokens().items()}
    special = tuple((place, one, pieces[one]) for place, one in enumerate(ids) if one in pieces)
    read = Read(text, ids, special, tokenizer.defused > 0, tokenizer.reasoning_end)
    return Shown(task.task_id, terms, turns, read)


def _chosen(config: ShowConfig) -> Task:
    tasks = load_tasks(config.data, config.split).tasks
    for task in tasks:
        if task.task_id == config.task:
            return task
    if not config.task.isascii() or not config.task.isdigit():
        known = [task.task_id for task in tasks]
        raise DataError(
            f"there is no task {config.task!r}{nearest(config.task, known)}; give its id, or its number from "
            f"1 to {len(tasks)}"
        )
    number = int(config.task[:9])
    if not 1 <= number <= len(tasks):
        raise DataError(f"there is no task {config.task}; the file has tasks 1 to {len(tasks)}")
    return tasks[number - 1]
