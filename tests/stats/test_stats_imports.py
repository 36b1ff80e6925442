import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harness.stats


def modules_after(code):
    code += "; import sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in loaded.split()}


def test_no_heavy_library_is_loaded():
    """SciPy, statsmodels and scikit-learn are oracles of the tests, not dependencies at run time."""
    top = modules_after("import harness.metrics; from harness.stats import *; from harness.stats import holm")
    for name in dir(harness.stats):
        assert getattr(harness.stats, name) is not None
    assert "numpy" in top
    assert not top & {
        "scipy",
        "statsmodels",
        "sklearn",
        "pandas",
        "torch",
        "transformers",
        "vllm",
        "pydantic",
    }


def test_an_estimate_costs_no_numpy():
    assert "numpy" not in modules_after("from harness.stats import Estimate")


def test_type_checkers_and_the_interpreter_see_the_same_names():
    tree = ast.parse(Path(harness.stats.__file__).read_text(encoding="utf-8"))
    static = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert static == harness.stats._HOME


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no_such_test"):
        harness.stats.no_such_test  # noqa: B018
