"""A list of names, or the name of a run's file, stands once and is imported where it is needed."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import harness
from harness.cli import cliff_summary
from harness.cliff import SIDES
from harness.cliff import explain as cliff_explain
from harness.gate import junit, markdown
from harness.report import decision
from harness.runs import directory
from harness.runs.gate_record import Verdict

PACKAGE = Path(harness.__file__).parent
FEW = 3
# The command line offers a choice without loading what generates the data.
STILL_TYPED_AGAIN = {frozenset({"train", "validation", "test", "variable-k"})}


def lists_of_names(tree: ast.AST) -> Iterator[tuple[int, frozenset[str]]]:
    """Line and content of every literal tuple, list or set of three strings or more, `Literal` among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and len(node.elts) >= FEW:
            names = [part.value for part in node.elts if isinstance(part, ast.Constant)]
            if len(names) == len(node.elts) and all(isinstance(name, str) for name in names):
                yield node.lineno, frozenset(map(str, names))


def places() -> dict[frozenset[str], list[str]]:
    found: dict[frozenset[str], list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, names in lists_of_names(ast.parse(path.read_text(encoding="utf-8"))):
            found[names].append(f"{path.relative_to(PACKAGE)}:{line}")
    return found


def test_no_list_of_names_stands_twice() -> None:
    twice = {
        tuple(sorted(names)): where
        for names, where in places().items()
        if len(where) > 1 and names not in STILL_TYPED_AGAIN
    }
    assert not twice


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = ('a', 'b', 'c')", [{"a", "b", "c"}]),
        ("x: Literal['c', 'a', 'b']", [{"a", "b", "c"}]),
        ("x = {'a', 'b', 'c'} | set(['d', 'e', 'f'])", [{"a", "b", "c"}, {"d", "e", "f"}]),
        ("x = ('a', 'b')", []),
        ("x = ('a', 'b', c, 1)", []),
        ("x = ('a', 'b', 1)", []),
    ],
)
def test_what_a_list_of_names_is(source: str, names: list[set[str]]) -> None:
    assert [found for _, found in lists_of_names(ast.parse(source))] == names


@pytest.mark.parametrize("name", ["SAMPLES", "METRICS", "TASKS", "CLIFF", "GATE", "JUDGE_LOG", "LOCK"])
def test_the_name_of_a_runs_file_stands_once(name: str) -> None:
    """`manifest.json` isn't among them: training runs and sweeps have one too."""
    file = getattr(directory, name)
    where = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == file
    ]
    assert where == ["runs/directory.py"]


@pytest.mark.parametrize(
    "words",
    [cliff_summary._SIDE_STYLE, cliff_explain._PREDICTED, decision._SIDES],
    ids=["cli", "cliff", "report"],
)
def test_every_side_has_its_words(words: dict[str, object]) -> None:
    assert set(words) == set(SIDES)


@pytest.mark.parametrize(
    "words", [decision._KEPT, junit._ELEMENTS, markdown._SIGNS], ids=["report", "junit", "markdown"]
)
def test_every_verdict_has_its_words(words: dict[str, object]) -> None:
    assert set(words) == set(get_args(Verdict))
