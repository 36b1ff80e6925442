"""Dependencies point one way: each package imports only from its own row of DESIGN's table or rows above."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "harness"
ROWS = (
    (
        "errors",
        "files",
        "masking",
        "plain_text",
        "progress",
        "retrying",
        "streams",
        "time_limit",
        "yaml_files",
    ),
    ("settings", "contract", "metrics", "stats", "cliff"),
    ("data", "engines", "judge", "runs", "rollouts"),
    ("evaluate", "measure", "forecast", "gate", "report", "opd", "sweep"),
    ("cli", "demo", "integrations", "__main__"),
)
# A job may start these others.
MAY_START = {
    "forecast": {"evaluate"},
    "gate": {"evaluate"},
    "measure": {"evaluate"},
    "sweep": {"evaluate", "opd"},
}
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
# The one module of each adapter that may import a heavy library; even there only inside a function.
HEAVY = {"torch", "vllm", "transformers", "peft", "google", "pandas", "accelerate", "trl", "xgrammar", "gguf"}
RULES_MAY_IMPORT = {
    "numpy",
    "jsonschema",
    "jsonschema_rs",
    "pydantic",
    "scipy",
    "sklearn",
    "json_repair",
    "harness",
}


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
def test_jobs_keep_to_themselves(path: Path) -> None:
    job = top_level(path)
    if job not in ROWS[3]:
        return
    others = {name.split(".")[1] for name in imported(ast.parse(path.read_text())) if "harness." in name}
    started = others & set(ROWS[3]) - {job}
    assert started <= MAY_START.get(job, set()), f"{path} imports {started}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a module imports at run time, inside functions as well."""
    tree = ast.parse(path.read_text())
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in full}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & known) - {module_name(path)}


def test_no_module_imports_in_a_circle() -> None:
    known = {module_name(path) for path in modules()}
    try:
        TopologicalSorter({module_name(path): own_imports(path, known) for path in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rules_are_pure(path: Path) -> None:
    if top_level(path) not in ROWS[1]:
        return
    import sys

    for name in imported(ast.parse(path.read_text())):
        first = name.split(".")[0]
        assert first in RULES_MAY_IMPORT or first in sys.stdlib_module_names, f"{path} imports {name}"
        outside = first in {"os", "pathlib", "socket", "subprocess", "urllib", "io"}
        # Of urllib one module takes strings apart and fetches nothing.
        assert not outside or name == "urllib.parse", f"{path} imports {name}"


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
# These write whole command lines: how a data card, a page and a run of a sweep are made; what git is asked;
# what other frameworks merge their checkpoints with.
WRITERS = (
    "data/fashion_mini_files.py",
    "engines/folder_kinds.py",
    "report/view.py",
    "runs/manifest.py",
    "sweep/job.py",
)


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
    if top_level(path) in ("cli", "errors") or str(path.relative_to(PACKAGE)) in WRITERS:
        return
    spoken = [text for text in strings(ast.parse(path.read_text())) if FLAG.search(COMMAND.sub("", text))]
    assert not spoken


ENGINES = {"vllm", "hf", "openai", "replay", "target"}


def compared(tree: ast.AST) -> set[str]:
    """Names of engines that something is compared with, matched against or looked up by."""
    found: set[str] = set()
    for node in ast.walk(tree):
        sides: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) != "Literal":
            sides = [node.slice]
        elif isinstance(node, ast.Dict) and {"vllm", "hf", "openai"} & {
            key.value for key in node.keys if isinstance(key, ast.Constant)
        }:
            sides = [key for key in node.keys if key is not None]
        for side in sides:
            members = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            found |= {one.value for one in members if isinstance(one, ast.Constant)} & ENGINES
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_asks_what_an_engine_is_called(path: Path) -> None:
    """Engines say what they can do (`Capabilities`), and a configuration what it means."""
    if top_level(path) == "engines":
        return
    assert not compared(ast.parse(path.read_text())), f"{path} asks for the name of an engine"


@pytest.mark.parametrize(
    "code",
    [
        'engine.name == "hf"',
        'info.name in ("vllm", "openai")',
        'LARGEST = {"vllm": 1280}[info.name]',
        'match name:\n    case "replay":\n        pass',
        '"hf" != name',
    ],
)
def test_a_question_for_a_name_is_seen(code: str) -> None:
    assert compared(ast.parse(code))
    assert not compared(ast.parse('EngineConfig(engine="hf")\nchanges = {"ckpt": 1, "replay": None}'))
    assert not compared(ast.parse('Engine = Literal["hf", "vllm"]'))
