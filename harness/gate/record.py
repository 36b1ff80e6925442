"""`gate.json` in a run directory: the last verdict on this run, for reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import HarnessError
from harness.gate.policy import Policy
from harness.runs.directory import GATE
from harness.runs.gate_record import GateResult
from harness.runs.manifest import now

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
    content = json.dumps(record(result, policy), indent=1, allow_nan=False) + "\n"
    draft = folder / f"{GATE}.new"
    try:
        draft.write_text(content, encoding="utf-8")
        draft.replace(folder / GATE)
    except OSError as error:
        raise HarnessError(
            f"{folder / GATE} can't be written ({error.strerror or error}); gate with --no-record to leave "
            "the run as it is"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
