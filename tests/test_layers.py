"""Dependencies point one way: each package imports only from its own row of DESIGN's table or rows above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "harness"
ROWS = (
    ("errors", "progress", "retrying"),
    ("contract", "metrics", "stats", "cliff"),
    ("data", "engines", "judge", "runs"),
    ("evaluate", "measure", "gate", "report", "opd", "sweep"),
    ("cli", "demo", "integrations", "__main__"),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
# A job starts these others and knows nothing of the rest.
STARTS = {
    "gate": {"evaluate", "opd"},
    "sweep": {"evaluate", "opd"},
    "forecast": {"evaluate"},
    "measure": {"evaluate"},
}
# Until rollouts and keys of samples have a room below the jobs.
STILL_STARTS = {"opd": {"evaluate", "measure"}}
# The one module of each adapter that may import a heavy library; even there only inside a function.
HEAVY = {"torch", "vllm", "transformers", "peft", "google", "pandas", "accelerate", "trl", "xgrammar", "gguf"}
RULES_MAY_IMPORT = {"numpy", "jsonschema", "pydantic", "sklearn", "json_repair", "harness"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names.add(node.module or "")
    return names


def top_level(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up(path: Path) -> None:
    package = top_level(path)
    if package == "__init__":
        return
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "harness" and len(parts) > 1:
            assert ROW_OF[parts[1]] <= ROW_OF[package], f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_jobs_start_only_those_they_may(path: Path) -> None:
    jobs, package = ROWS[3], top_level(path)
    if package not in jobs:
        return
    allowed = {package} | STARTS.get(package, set()) | STILL_STARTS.get(package, set())
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "harness" and len(parts) > 1 and parts[1] in jobs:
            assert parts[1] in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rules_are_pure(path: Path) -> None:
    if top_level(path) not in ROWS[1]:
        return
    import sys

    for name in imported(ast.parse(path.read_text())):
        first = name.split(".")[0]
        assert first in RULES_MAY_IMPORT or first in sys.stdlib_module_names, f"{path} imports {name}"
        assert first not in {"os", "pathlib", "socket", "subprocess", "urllib", "io"}, (
            f"{path} imports {name}"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_imports_wait(path: Path) -> None:
    """No module loads a heavy library when it is itself imported; `harness.opd` is torch code throughout."""
    if top_level(path) == "opd":
        return
    tree = ast.parse(path.read_text())
    for node in tree.body:
        for name in imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            assert name.split(".")[0] not in HEAVY, f"{path} imports {name} at module level"


def test_datasets_folder_is_no_package() -> None:
    """A package of that name would shadow Hugging Face's when Python runs from the repository root."""
    assert not list((ROOT / "datasets").rglob("*.py"))


FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(r"`harness [^`]*`")
FLAGLESS = ("engines", "judge")


def strings(tree: ast.AST) -> set[str]:
    """Every string of a module but docstrings; of an f-string the whole, with its values left out."""
    found = set()
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.Expr | ast.JoinedStr):
                continue
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                found.add(child.value)
            elif isinstance(child, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "" for part in child.values)
                found.add("".join(map(str, parts)))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_face_knows_flags(path: Path) -> None:
    """Libraries write a setting as `name=` and the face puts the flag there (`harness.cli.problems`)."""
    if top_level(path) not in FLAGLESS:
        return
    spoken = [text for text in strings(ast.parse(path.read_text())) if FLAG.search(COMMAND.sub("", text))]
    assert not spoken
