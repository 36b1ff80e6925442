"""Which tasks a job is about, and what an answer to them is held to, as settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from harness.contract import Contract
from harness.data.contract_file import chosen_contract
from harness.data.prompt_file import PromptRecord, read_prompt_file
from harness.settings import Chosen, Settings

DataName = Annotated[str, Field(description="Bundled dataset, .jsonl file or folder of splits.")]
Split = Annotated[str | None, Field(description="Split of a named dataset or folder.")]
Limit = Annotated[int | None, Field(ge=1, description="Only the first N tasks.")]
ContractChoice = Annotated[
    Contract,
    Chosen(),
    BeforeValidator(chosen_contract),
    Field(
        description="What a valid answer is: listwise, FILE.yaml or FILE.json, schema:FILE.json (any JSON "
        "Schema), schema:row (each task's own), or the contract itself, as '{ranking: $.order}'."
    ),
]

NO_REASONING = "none"
_OF_THE_HARNESS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "strftime_now",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Arguments of chat templates, and of what renders them, that aren't the user's to give."""


_EXAMPLE = """'{"enable_thinking": true}'"""


def _object_of(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        found = json.loads(given)
    except ValueError as error:
        raise ValueError(f"isn't JSON ({error}); write an object, as {_EXAMPLE}") from None
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON object, as {_EXAMPLE}")
    return found


class PromptConfig(Settings, title="Prompt"):
    """What is put to a model, and how its reasoning is told from its answer."""

    prompt: Path | None = None
    """YAML file of the messages that ask, each a role and a Jinja2 text; rows with messages use their own."""
    system: str | None = None
    """System turn before all others."""
    chat_template_kwargs: Annotated[dict[str, Any], BeforeValidator(_object_of)] = Field(default_factory=dict)
    """JSON object of arguments of the chat template; thinking is off unless {"enable_thinking": true}."""
    reasoning_end: Annotated[str, Field(min_length=1)] | None = None
    """What ends the reasoning before an answer, which is kept apart and isn't parsed; by default the mark
    that the checkpoint's template or vocabulary knows, such as </think>; none looks for no reasoning."""

    @field_validator("system")
    @classmethod
    def _says_something(cls, system: str | None) -> str | None:
        if system is not None and not system.strip():
            raise ValueError("holds no visible character; leave it out")
        return system

    @field_validator("chat_template_kwargs")
    @classmethod
    def _are_the_users(cls, given: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(given.keys() & _OF_THE_HARNESS):
            raise ValueError(f"{taken[0]} is set by the harness; leave it out")
        return given

    @property
    def is_default(self) -> bool:
        """Whether nothing was said."""
        return self == PromptConfig()

    def record(self) -> PromptRecord:
        """What it says, the file read; the mark that ends reasoning only where it is given.

        Raises:
            DataError: the file can't be used.
        """
        said: dict[str, Any] = {
            "system": self.system,
            "chat_template_kwargs": self.chat_template_kwargs,
            "reasoning_end": None if self.reasoning_end == NO_REASONING else self.reasoning_end,
        }
        if self.prompt is not None:
            file = read_prompt_file(self.prompt)
            said |= {"messages": file.messages, "max_title_characters": file.max_title_characters}
        return PromptRecord(**said)
