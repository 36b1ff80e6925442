"""What prompts are made of, as manifests keep it, and the file in which a user says it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from harness.data.tasks import MessageRole, VisibleText, problem_of
from harness.data.template import TemplateFaultError, check
from harness.errors import DataError, words_of
from harness.settings import first_problem
from harness.yaml_files import UnreadableYamlError, read_document

if TYPE_CHECKING:
    import yaml

VARIABLES: Final = ("candidates", "contract", "history", "k", "meta", "task_id")
"""What a prompt file's messages are given."""


class TemplateMessage(BaseModel):
    """One turn of a prompt file, its content a Jinja2 text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: MessageRole
    content: VisibleText
    source: str | None = Field(default=None, exclude=True)
    """File that it was read from, where that is known."""
    line: int | None = Field(default=None, exclude=True)
    """Line of the file that its first line stands in."""

    def problem(self, found: TemplateFaultError, number: int, task_id: str | None = None) -> DataError:
        """The error that says what is wrong with it, and where.

        Args:
            found: what rendering or reading it raised.
            number: of the turn, from 0.
            task_id: of the task it was rendered for.
        """
        where = self.source or "the prompt"
        place = f"messages[{number}].content"
        if found.line is not None:
            own = found.line if self.line is None else self.line + found.line - 1
            where += f":{own}" if self.line is not None else ""
            place += "" if self.line is not None else f", line {own}"
        of_task = "" if task_id is None else f" (task {task_id})"
        return DataError(f"{where}: {place}: {found.problem}{of_task}; mend the prompt file")


class PromptRecord(BaseModel):
    """All that decides which messages a task gives, and how their answer is read.

    Attributes:
        messages: of a prompt file; None for the default prompt.
        max_title_characters: longer titles are cut; None for no limit.
        system: a system turn before all others.
        chat_template_kwargs: what the chat template is told besides.
        reasoning_end: what ends the reasoning before an answer; None where none is looked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: Annotated[tuple[TemplateMessage, ...], Field(min_length=1)] | None = None
    max_title_characters: Annotated[int, Field(ge=1)] | None = None
    system: str | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    reasoning_end: str | None = None

    @model_validator(mode="after")
    def _answerable(self) -> PromptRecord:
        if self.messages is not None and (found := problem_of(self.messages)) is not None:
            raise PydanticCustomError("messages", "{why}", {"why": f"messages[{found[0]}]: {found[1]}"})
        return self

    @property
    def sha256(self) -> str | None:
        """Hash of what decides the prompts; None of the default prompt, without anything else said."""
        said = self.model_dump(exclude={"reasoning_end"})
        if said == PromptRecord().model_dump(exclude={"reasoning_end"}):
            return None
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class PromptFile(BaseModel):
    """What a prompt file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: Annotated[tuple[TemplateMessage, ...], Field(min_length=1)]
    max_title_characters: Annotated[int, Field(ge=1, strict=True)] | None = None


def read_prompt_file(path: Path) -> PromptFile:
    """The prompt in a YAML file, its templates checked.

    Raises:
        DataError: it can't be read, or something in it is wrong; with file and line.
    """
    try:
        document = read_document(path)
    except (OSError, UnreadableYamlError) as error:
        raise DataError(f"{path} can't be read as a prompt: {words_of(error)}") from error
    for line, where in document.repeated_keys():
        raise DataError(f"{path}:{line}: {where} is given twice")
    content = document.data
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds no prompt: it is {_kind(content)}, not a mapping; write `messages:` and below "
            "it a list of turns, each with role and content"
        )
    try:
        found = PromptFile.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_said(error)}") from error
    lines = _content_lines(document.root)
    messages = tuple(
        message.model_copy(update={"source": str(path), "line": line})
        for message, line in zip(found.messages, lines, strict=True)
    )
    for number, message in enumerate(messages):
        try:
            check(message.content, VARIABLES)
        except TemplateFaultError as problem:
            raise message.problem(problem, number) from problem
    if (unfit := problem_of(messages)) is not None:
        number, why = unfit
        raise DataError(f"{path}:{messages[number].line}: messages[{number}].role: {why}")
    return found.model_copy(update={"messages": messages})


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "literal_error":
        where = ".".join(map(str, first["loc"]))
        return f"`{where}` must be {first['ctx']['expected']}"
    return first_problem(error, PromptFile)


def _kind(content: object) -> str:
    names = {list: "a list", type(None): "empty", str: "a text"}
    return names.get(type(content), type(content).__name__)


def _content_lines(root: yaml.Node | None) -> list[int | None]:
    """Lines of the file in which the contents of the messages begin, where they can be told."""
    messages = _member(root, "messages")
    lines: list[int | None] = []
    for turn in messages.value if messages is not None else []:
        content = _member(turn, "content")
        if content is None:
            lines.append(None)
        else:
            # A block's text begins below its `|`.
            lines.append(content.start_mark.line + 1 + (getattr(content, "style", None) in ("|", ">")))
    return lines


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if type(node).__name__ == "MappingNode" and node is not None else []
    return next((value for key, value in pairs if key.value == name), None)
