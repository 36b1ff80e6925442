"""What Python source means, as a hash that its form and its place don't change."""

from __future__ import annotations

import ast
import hashlib
from typing import Any

_WORDS = {"description", "title", "examples"}
_NO_MEANING = {"annotation", "ctx", "kind", "returns", "type_comment", "type_ignores"}


def meaning(source: str) -> str:
    """SHA-256 of a module's syntax tree without what decides no number.

    Left out are comments, docstrings and positions; annotations, but those in class bodies, from which
    pydantic reads bounds; the words of errors and of field descriptions; `__all__`. Of imports those names
    count that the rest uses, wherever they are imported, and of this package's modules only aliases: where a
    module lives isn't what it means. The hash is the same under every version of Python.

    Raises:
        SyntaxError: it is no Python.
    """
    reading = _Reading()
    shape = reading.shape(ast.parse(source).body)
    imports = sorted({what for what, name in reading.imports if name in reading.names})
    return hashlib.sha256("\n".join([*imports, shape]).encode()).hexdigest()


class _Reading:
    """One pass over a tree; keeps the names it uses, and what imports give with its name here."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.imports: list[tuple[str, str]] = []

    def shape(self, node: Any) -> str:
        """A node, list of nodes or plain value as text; empty where nothing of it counts."""
        if isinstance(node, list):
            return f"[{','.join(text for item in node if (text := self.shape(item)))}]"
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
            return ""
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name):
            self.names.add(node.id)
        left = _what_counts(node)
        if left is None:
            return ""
        # Fields that are empty are left out: which of them a node has depends on Python's version.
        fields = [
            f"{name}={self._fields(value) if isinstance(left, ast.ClassDef) else self.shape(value)}"
            for name, value in ast.iter_fields(left)
            if name not in _NO_MEANING and value is not None and value != []
        ]
        return f"{type(left).__name__}({','.join(fields)})"

    def _fields(self, value: Any) -> str:
        """A part of a class: the annotations of its fields count."""
        if not isinstance(value, list):
            return self.shape(value)
        annotations = [[one.target, one.annotation] for one in value if isinstance(one, ast.AnnAssign)]
        return self.shape([*annotations, *value])

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        source = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        own = source.partition(".")[0] == "harness"
        for alias in node.names:
            name = alias.asname or (alias.name if source else alias.name.partition(".")[0])
            if not own or name != alias.name:
                self.imports.append((f"{'' if own else source}{alias.name} as {name}", name))


def _what_counts(node: ast.AST) -> ast.AST | None:
    """A node without its words; None where there is nothing else to it."""
    left: ast.AST | None = node
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant(value=str())) | ast.AnnAssign(value=None):
            left = None
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Assign(targets=[ast.Name(id="__all__")]):
            left = None
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            left = ast.Assign(targets=[target], value=value)
        case ast.Raise(exc=ast.Call(func=error)):
            left = ast.Raise(exc=error)
        case ast.Assert(test=test):
            left = ast.Assert(test=test)
        case ast.Call(func=ast.Name(id="Field") as function, args=args, keywords=keywords):
            left = ast.Call(function, args, [one for one in keywords if one.arg not in _WORDS])
    return left
