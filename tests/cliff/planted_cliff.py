"""The planted populations of benchmarks/cliff_oracles.py, for the tests that need data with a known λ*."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "cliff_oracles.py"
    spec = importlib.util.spec_from_file_location("cliff_oracles", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cliff_oracles = load_benchmark()
