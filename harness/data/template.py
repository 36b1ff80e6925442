"""Jinja2 texts that a user writes for prompts: sandboxed, strict about names, bounded in time and size."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from harness.errors import nearest

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_CHARACTERS: Final = 1_000_000
"""Longest text of one template."""
MOST_REPEATED: Final = 1_000_000
"""Largest result of a multiplication, as a number of members or as a power's bits."""
_FILE: Final = "<template>"


class TemplateFaultError(ValueError):
    """What is wrong with a template, and where.

    Attributes:
        problem: one line.
        line: of the template, from 1; None where it concerns no single line.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.problem = " ".join(problem.split())[:300]
        self.line = line
        super().__init__(self.problem if line is None else f"line {line}: {self.problem}")


def check(text: str, names: Collection[str]) -> None:
    """Refuse a template that can't be read or speaks of what there isn't.

    Args:
        text: the template.
        names: of all variables that it will be given.

    Raises:
        TemplateFaultError: the first thing that is wrong.
    """
    from jinja2 import nodes
    from jinja2.meta import find_undeclared_variables

    _compiled(text)
    tree = _environment().parse(text)
    unknown = find_undeclared_variables(tree) - set(names) - _environment().globals.keys()
    if unknown:
        found = [one for one in tree.find_all(nodes.Name) if one.name in unknown]
        name, line = min(((one.name, one.lineno) for one in found), key=lambda one: one[1])
        known = ", ".join(sorted(names))
        raise TemplateFaultError(
            f"unknown variable {name!r}{nearest(name, sorted(names))}; there are {known}", line
        )


def render(text: str, variables: Mapping[str, Any]) -> str:
    """What a template makes of variables; whoever calls limits the time.

    Raises:
        TemplateFaultError: it fails, speaks of what there isn't, or writes too much.
    """
    pieces, length = [], 0
    template = _compiled(text)
    try:
        for piece in template.generate(variables):
            pieces.append(piece)
            length += len(piece)
            if length > MOST_CHARACTERS:
                raise TemplateFaultError(f"writes more than {MOST_CHARACTERS:,} characters")
    except TemplateFaultError:
        raise
    except RecursionError as error:
        raise TemplateFaultError("it calls itself without end") from error
    # Whatever a template trips over, it is at fault.
    except Exception as error:
        name = type(error).__name__
        said = str(error) if name in ("UndefinedError", "SecurityError") else f"{name}: {error}"
        raise TemplateFaultError(said, _line_of(error.__traceback__)) from error
    return "".join(pieces)


def _line_of(trace: TracebackType | None) -> int | None:
    """The template's line in a traceback, which Jinja rewrites to say it."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@lru_cache(maxsize=64)
def _compiled(text: str) -> Template:
    from jinja2 import TemplateError

    try:
        return _environment().from_string(text)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise TemplateFaultError(error.message or type(error).__name__, line) from None
    except RecursionError:
        raise TemplateFaultError("nests too deep") from None


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _is_huge(operator, left, right):
                raise TemplateFaultError(f"`{operator}` gives more than a prompt can hold")
            return super().call_binop(context, operator, left, right)

    # As chat templates are rendered: a block's own line leaves nothing behind.
    environment = Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    # Jinja's own escapes what HTML would trip over.
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    # The same task gives the same prompt.
    del environment.filters["random"], environment.globals["lipsum"]
    return environment


def _is_huge(operator: str, left: Any, right: Any) -> bool:
    if operator == "**":
        whole = isinstance(left, int) and isinstance(right, int)
        return whole and left.bit_length() * right > MOST_REPEATED
    sizes = [len(one) for one in (left, right) if isinstance(one, str | list | tuple)]
    times = [one for one in (left, right) if isinstance(one, int)]
    return bool(sizes and times) and sizes[0] * times[0] > MOST_REPEATED
