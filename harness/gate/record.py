"""`gate.json` in a run directory: the last verdict on this run, for reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.gate.policy import Policy
from harness.runs.directory import GATE
from harness.runs.gate_record import GateResult
from harness.runs.manifest import now
from harness.runs.seals import sealed_document

FORMAT_VERSION = 1


def record(result: GateResult, policy: Policy) -> dict[str, Any]:
    """What `gate.json` holds: the result, the policy behind it and which code decided."""
    return {
        "format_version": FORMAT_VERSION,
        "harness_version": __version__,
        "decided": now(),
        **result.to_dict(),
        "policy": policy.model_dump(mode="json"),
        "policy_sha256": policy.sha256,
    }


def write_record(folder: Path, result: GateResult, policy: Policy) -> None:
    """Replace `gate.json` in one step.

    Raises:
        HarnessError: the run directory can't be written to.
    """
    content = sealed_document(record(result, policy))
    with files.output(folder / GATE, "gate with `no_record=True` to leave the run as it is"):
        files.write_text(folder / GATE, content)
