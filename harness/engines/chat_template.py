"""A checkpoint's chat template: a stranger's program, run so that it can only succeed or be refused.

What it renders must hold the message, white space aside: a prompt without its question would be measured as a
model that doesn't answer. And it must render the same whenever it runs, else a run couldn't be gone on with
and two runs couldn't be compared: the clock is fixed, and templates that draw at random are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Literal, NoReturn

from harness.data.tasks import Conversation, Message
from harness.errors import EngineUnavailableError
from harness.time_limit import Runaway, within

ContentFormat = Literal["string", "parts"]
"""How a template takes a message's content: as text, or as a list of parts with a type each."""

# The date that Llama's own templates fall back to.
_FIXED: Final = datetime(2024, 7, 26, tzinfo=UTC)
FIXED_DATE: Final = _FIXED.strftime("%d %b %Y")
"""What every template is told that today is."""

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SECONDS: Final = 10.0
"""A template that renders no message in this time is taken for one that never ends; it needs microseconds."""
MOST_ADDED: Final = 1_000_000
"""Most characters that a template may add to a message."""

# Holds what templates are found to trip over: quotation marks, angle brackets, line ends, other scripts.
_PROBE: Final = 'Rank "these" & <those>, it\'s:\n1. crème 2. 漢字 {"a": [1, 2]}\n\nthe last line, 7f3a91.'
_ASKED: Final[Conversation] = (Message(role="user", content=_PROBE),)
_SYSTEM_PROBE: Final = "Follow these rules, 5c20b8."
_RANDOM = re.compile(r"\|\s*random\b|\blipsum\b")
_WORD = re.compile(r"\w{3,}")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}>")


class ChatTemplate:
    """The template of one tokenizer.

    Attributes:
        text: the template itself.
    """

    def __init__(self, tokenizer: Any, owner: str) -> None:
        """Find the template; nothing is rendered yet.

        Args:
            tokenizer: a transformers tokenizer that has one.
            owner: whose it is, for messages.

        Raises:
            EngineUnavailableError: several with no default, one that isn't text, or one that draws at random.
        """
        self._tokenizer, self._owner = tokenizer, owner
        try:
            text = tokenizer.get_chat_template()
        except Exception as error:
            names = tokenizer.chat_template
            if isinstance(names, dict):
                listed = ", ".join(sorted(map(str, names))) or "none"
                raise EngineUnavailableError(
                    f"{owner} has several chat templates and no `default` among them ({listed}); "
                    "name one of them `default` in tokenizer_config.json"
                ) from error
            self._refuse(f"can't be read ({_said(error)})", error)
        if not isinstance(text, str):
            self._refuse(f"isn't text but {type(text).__name__}")
        if found := _RANDOM.search(text):
            self._refuse(
                f"draws at random (`{' '.join(found[0].split())}`), so no prompt could be made twice"
            )
        self.text: str = text

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """What the template is given besides the messages; only what it mentions."""
        wanted = {"enable_thinking": False, "date_string": FIXED_DATE}
        return {name: value for name, value in wanted.items() if name in self.text}

    def arguments_with(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The same with what a user asks for.

        Raises:
            EngineUnavailableError: the template doesn't mention one of these.
        """
        if absent := [name for name in asked if not re.search(rf"\b{re.escape(name)}\b", self.text)]:
            raise EngineUnavailableError(
                f"the chat template of {self._owner} never mentions `{absent[0]}`, so "
                "`chat_template_kwargs=` can't set it; leave it out"
            )
        return self.arguments | dict(asked)

    @cached_property
    def content_format(self) -> ContentFormat:
        """Text where the template keeps it, parts where only those are kept.

        Raises:
            EngineUnavailableError: it fails, or keeps neither.
        """
        try:
            rendered = self._run([_ASKED], "string", self.arguments)[0]
        except EngineUnavailableError as error:
            if isinstance(error.__cause__, Runaway) or not self._keeps_parts():
                raise
            return "parts"
        if (why := lost(_PROBE, rendered)) is None:
            return "string"
        if self._keeps_parts():
            return "parts"
        self._refuse(why)

    def render(
        self, conversations: Sequence[Conversation], asked: Mapping[str, Any] | None = None
    ) -> list[str]:
        """The prompt of each conversation, ready for the answer.

        Args:
            conversations: each ends with the user's turn.
            asked: arguments of the template besides its usual ones.

        Raises:
            EngineUnavailableError: the template fails on one of them, doesn't keep all of its turns, or has
                no place for an argument.
        """
        if not conversations:
            return []
        given = self.arguments_with(asked or {})
        if any(turns[0].role == "system" for turns in conversations):
            self._require_system(given)
        prompts = self._run(conversations, self.content_format, given)
        for number, (turns, prompt) in enumerate(zip(conversations, prompts, strict=True)):
            for turn in turns:
                if why := lost(turn.content, prompt):
                    of = "" if len(turns) == 1 else f" of the {turn.role}'s turn"
                    self._refuse(f"{why}{of} (prompt {number})")
        return prompts

    def _require_system(self, given: Mapping[str, Any]) -> None:
        """Refuse a template that fails on a system turn or drops it, though it takes what follows."""
        try:
            turns = (Message(role="system", content=_SYSTEM_PROBE), *_ASKED)
            why = lost(_SYSTEM_PROBE, self._run([turns], self.content_format, given)[0])
        except EngineUnavailableError as error:
            if isinstance(error.__cause__, Runaway):
                raise
            why = "fails"
        if why is not None:
            raise EngineUnavailableError(
                f"the chat template of {self._owner} has no system turn (it {why.split(',')[0]}); write that "
                "text into the user's first turn and leave the system turn out"
            )

    def _keeps_parts(self) -> bool:
        try:
            return lost(_PROBE, self._run([_ASKED], "parts", self.arguments)[0]) is None
        except EngineUnavailableError:
            return False

    def _run(
        self, conversations: Sequence[Conversation], content_format: ContentFormat, given: Mapping[str, Any]
    ) -> list[str]:
        prompts: list[str] = []

        def place() -> str:
            return "" if conversations == [_ASKED] else f" on prompt {len(prompts)}"

        def render_all() -> Iterator[None]:
            for turns in conversations:
                prompts.append(self._one(turns, content_format, given))
                yield

        try:
            within(SECONDS, render_all())
        except EngineUnavailableError:
            raise
        except Runaway as error:
            self._refuse(f"doesn't end{place()}: it was stopped after {SECONDS:g} s", error)
        # A program of a stranger may raise anything at all, and whatever it is, the template is at fault.
        except Exception as error:
            self._refuse(f"fails{place()}: {_said(error)}", error)
        return prompts

    def _one(self, turns: Conversation, content_format: ContentFormat, given: Mapping[str, Any]) -> str:
        in_parts = content_format == "parts"
        written = [
            {
                "role": turn.role,
                "content": [{"type": "text", "text": turn.content}] if in_parts else turn.content,
            }
            for turn in turns
        ]
        clock = {"strftime_now": _FIXED.strftime} if "strftime_now" in self.text else {}
        prompt = self._tokenizer.apply_chat_template(
            written, tokenize=False, add_generation_prompt=True, **given, **clock
        )
        message = "\n".join(turn.content for turn in turns)
        if not isinstance(prompt, str):
            self._refuse(f"gives {type(prompt).__name__} and no text")
        added = len(prompt) - len(message)
        if added > MOST_ADDED:
            self._refuse(f"adds {added} characters to a message of {len(message)}")
        if found := LONE_SURROGATE.search(prompt):
            self._refuse(f"writes a lone surrogate (U+{ord(found[0]):04X}), which no tokenizer can read")
        if (found := _ADDRESS.search(prompt)) and found[0] not in message:
            self._refuse("writes an address in memory, which is another in every process")
        return prompt

    def _refuse(self, why: str, cause: BaseException | None = None) -> NoReturn:
        raise EngineUnavailableError(
            f"the chat template of {self._owner} {why}; mend it there, in tokenizer_config.json or "
            "chat_template.jinja"
        ) from cause


def lost(message: str, prompt: str) -> str | None:
    """What a prompt lacks of its message, None where it holds all of it, white space aside."""
    if message in prompt:
        return None
    wanted, there = " ".join(message.split()), " ".join(prompt.split())
    if wanted in there:
        return None
    kept, beyond = 0, len(wanted)
    while beyond - kept > 1:
        middle = (kept + beyond) // 2
        if wanted[:middle] in there:
            kept = middle
        else:
            beyond = middle
    words = set(_WORD.findall(wanted.casefold()))
    seen = words & set(_WORD.findall(there.casefold()))
    if wanted[-16:] in there or (kept < 8 and 2 * len(seen) > len(words) > 1):
        return f"changes the message, from character {kept} on ({wanted[kept : kept + 12]!a})"
    # Some first letters stand in any prompt.
    return "drops the message" if kept < 8 else f"keeps {kept} of the message's {len(wanted)} characters"


def require_told_apart(messages: Sequence[str], prompts: Sequence[tuple[int, ...]], owner: str) -> None:
    """Refuse prompts of a template that can't be seen, a server's, which don't depend on their messages.

    Args:
        messages: what was asked, each conversation as one text.
        prompts: the token ids it was made into.
        owner: whose template it is.

    Raises:
        EngineUnavailableError: two messages gave the same prompt, or one gave none.
    """
    first: dict[tuple[int, ...], str] = {}
    for message, prompt in zip(messages, prompts, strict=True):
        if not prompt:
            raise EngineUnavailableError(f"the server of {owner} makes no token at all of a prompt")
        if " ".join(first.setdefault(prompt, message).split()) != " ".join(message.split()):
            raise EngineUnavailableError(
                f"the chat template of the server of {owner} drops the message: two others give the same "
                "prompt; start the server with another, or give `tokenizer=`"
            )


def _said(error: BaseException) -> str:
    """What an exception says, in one line."""
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    if isinstance(error, MemoryError):
        return "it wants more memory than there is"
    text = " ".join(str(error).split())[:200]
    line = getattr(error, "lineno", None)
    place = f" (line {line})" if isinstance(line, int) else ""
    name = type(error).__name__
    return (
        f"{text}{place}" if name == "TemplateError" and text else f"{name}{place}{': ' if text else ''}{text}"
    )
