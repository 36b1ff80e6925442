"""A public function, class or method has a caller in the product, or stands in README and docs for users."""

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "harness"
# Decorators that only change how a function is called; any other hands it to somebody (click, pydantic).
PLAIN = {"property", "staticmethod", "classmethod", "overload", "dataclass", "lru_cache", "cache"}
PLAIN |= {"cached_property", "contextmanager", "abstractmethod", "override"}
# Not imported for this test: methods of classes that extend theirs count as called by them.
HEAVY = {"torch", "transformers", "trl", "peft", "vllm", "accelerate"}


@dataclass(frozen=True)
class Definition:
    path: Path
    name: str
    owner: ast.ClassDef | None
    first: int
    last: int

    def __str__(self) -> str:
        of = f"{self.owner.name}." if self.owner else ""
        return f"{self.path.relative_to(ROOT)}: {of}{self.name}"

    def holds(self, path: Path, line: int) -> bool:
        return path == self.path and self.first <= line <= self.last


Use = tuple[Path, int]


def definitions(path: Path, tree: ast.Module) -> Iterator[Definition]:
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else []
        for one, owner in [(node, None), *((member, node) for member in members)]:
            if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not one.name.startswith("_") and {*map(decorator_name, one.decorator_list)} <= PLAIN:
                yield Definition(path, one.name, owner, one.lineno, one.end_lineno or one.lineno)


def decorator_name(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator).split(".")[-1]


def uses(path: Path, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that a module mentions, with their lines; what an `__init__` only hands on isn't used there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom) and path.name != "__init__.py":
            yield from ((alias.name, node.lineno) for alias in node.names)


def overrides(one: Definition, tree: ast.Module) -> bool:
    """Whether a method replaces one of a class from another library, which calls it."""
    bases = [] if one.owner is None else [ast.unparse(base).split("[")[0] for base in one.owner.bases]
    return any(_has(base, one.name, tree) for base in bases)


def _has(base: str, method: str, tree: ast.Module) -> bool:
    head, *rest = base.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) != head:
                    continue
                module = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
                if module.split(".")[0] in HEAVY:
                    return True
                if module.split(".")[0] == "harness":
                    return False
                found = importlib.import_module(module)
                for part in [alias.name, *rest] if isinstance(node, ast.ImportFrom) else rest:
                    found = getattr(found, part)
                return hasattr(found, method)
    return False


def told() -> set[str]:
    """Words of the Python examples in README and docs, and of the templates of pages."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    examples = [
        block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    templates = [page.read_text() for page in PACKAGE.rglob("*.j2")]
    return set(re.findall(r"\w+", " ".join([*examples, *templates])))


def without_caller(trees: dict[Path, ast.Module], known: set[str]) -> list[Definition]:
    """Definitions that nothing uses, or only such definitions do."""
    places: dict[str, list[Use]] = defaultdict(list)
    for path, tree in trees.items():
        for name, line in uses(path, tree):
            places[name].append((path, line))
    waiting = [
        one
        for path, tree in trees.items()
        for one in definitions(path, tree)
        if one.name not in known and not overrides(one, tree)
    ]
    dead: list[Definition] = []
    while True:
        found = [
            one
            for one in waiting
            if not any(
                not one.holds(*place) and not any(other.holds(*place) for other in dead)
                for place in places[one.name]
            )
        ]
        if not found:
            return sorted(dead, key=str)
        dead += found
        waiting = [one for one in waiting if one not in found]


def test_everything_public_is_used() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    found = [str(one) for one in without_caller(trees, told())]
    assert not found, "delete these, or move them to the tests that call them"


SOURCE = """
from pydantic import BaseModel
from json import JSONDecoder


def called(): ...
def recursive(): recursive()
def lonely(): also_lonely()
def also_lonely(): ...
@click.command()
def command(): ...
class Model(BaseModel):
    def method(self): ...
    def model_post_init(self, context): ...
class Decoder(JSONDecoder):
    def decode(self, text): ...
called(Model, Decoder)
"""


@pytest.mark.parametrize("known", [set(), {"lonely"}])
def test_what_counts_as_used(known: set[str]) -> None:
    found = {one.name for one in without_caller({ROOT / "module.py": ast.parse(SOURCE)}, known)}
    assert found == {"recursive", "method"} | ({"lonely", "also_lonely"} if not known else set())
