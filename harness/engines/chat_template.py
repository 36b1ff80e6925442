"""A checkpoint's chat template: a stranger's program, run so that it can only succeed or be refused.

What it renders must hold the message, white space aside: a prompt without its question would be measured as a
model that doesn't answer. And it must render the same whenever it runs, else a run couldn't be gone on with
and two runs couldn't be compared: the clock is fixed, and templates that draw at random are refused.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from typing import Any, Final, Literal, NoReturn

from harness.errors import EngineUnavailableError

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
        """What the template is given besides the message; only what it mentions."""
        wanted = {"enable_thinking": False, "date_string": FIXED_DATE}
        return {name: value for name, value in wanted.items() if name in self.text}

    @cached_property
    def content_format(self) -> ContentFormat:
        """Text where the template keeps it, parts where only those are kept.

        Raises:
            EngineUnavailableError: it fails, or keeps neither.
        """
        try:
            rendered = self._run([_PROBE], "string")[0]
        except EngineUnavailableError as error:
            if isinstance(error.__cause__, _Runaway) or not self._keeps_parts():
                raise
            return "parts"
        if (why := lost(_PROBE, rendered)) is None:
            return "string"
        if self._keeps_parts():
            return "parts"
        self._refuse(why)

    def render(self, messages: Sequence[str]) -> list[str]:
        """The prompt of each user message, ready for the answer.

        Raises:
            EngineUnavailableError: the template fails on one of them, or doesn't keep it.
        """
        if not messages:
            return []
        prompts = self._run(messages, self.content_format)
        for number, (message, prompt) in enumerate(zip(messages, prompts, strict=True)):
            if why := lost(message, prompt):
                self._refuse(f"{why} (prompt {number})")
        return prompts

    def _keeps_parts(self) -> bool:
        try:
            return lost(_PROBE, self._run([_PROBE], "parts")[0]) is None
        except EngineUnavailableError:
            return False

    def _run(self, messages: Sequence[str], content_format: ContentFormat) -> list[str]:
        prompts: list[str] = []

        def place() -> str:
            return "" if messages == [_PROBE] else f" on prompt {len(prompts)}"

        def render_all() -> Iterator[None]:
            for message in messages:
                prompts.append(self._one(message, content_format))
                yield

        try:
            _within(SECONDS, render_all())
        except EngineUnavailableError:
            raise
        except _Runaway as error:
            self._refuse(f"doesn't end{place()}: it was stopped after {SECONDS:g} s", error)
        # A program of a stranger may raise anything at all, and whatever it is, the template is at fault.
        except Exception as error:
            self._refuse(f"fails{place()}: {_said(error)}", error)
        return prompts

    def _one(self, message: str, content_format: ContentFormat) -> str:
        content = message if content_format == "string" else [{"type": "text", "text": message}]
        given = dict(self.arguments)
        if "strftime_now" in self.text:
            given["strftime_now"] = _FIXED.strftime
        prompt = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **given
        )
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
        messages: what was asked.
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


class _Runaway(BaseException):
    """Thrown into a thread whose template doesn't end; no template can catch it."""


def _within(seconds: float, work: Iterator[None]) -> None:
    """Do `work` in a thread of its own, each step of it in this time.

    A thread, because a loop in a template can only be ended from outside, and signals belong to the caller.

    Raises:
        _Runaway: a step took longer.
        BaseException: whatever the work raised.
    """
    raised: list[BaseException] = []
    steps = count()
    done = [0]

    def run() -> None:
        try:
            for _ in work:
                done[0] = next(steps) + 1
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="chat-template", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            before = done[0]
            thread.join(seconds)
            if before == done[0]:
                break
    finally:
        if thread.is_alive() and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(_Runaway)
            )
            thread.join(1.0)
            raised.append(_Runaway())
    if raised:
        raise raised[0]


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
