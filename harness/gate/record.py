"""`gate.json` in a run directory: the last verdict on this run and all looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import __version__, files
from harness.errors import DataError
from harness.gate.looks import Spending
from harness.gate.policy import Policy
from harness.runs.directory import GATE
from harness.runs.gate_record import GateRecord, GateResult, Look
from harness.runs.integrity import read_gate
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


def earlier_looks(folder: Path) -> tuple[Look, ...]:
    """What `gate.json` knows of earlier looks at a run; none where there is no such file.

    Raises:
        DataError: the file can't be read, so that nobody knows how often the run was looked at.
    """
    try:
        return GateRecord.from_dict(read_gate(folder)).result.looks
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / GATE} can't be read ({str(error).splitlines()[0]}), so earlier looks at this run "
            "can't be counted; restore it, or delete it to begin anew"
        ) from error


def counted(
    result: GateResult, earlier: Sequence[Look], spending: Spending, policy: Policy, state: str
) -> GateResult:
    """The result with this look at the end of those before; one at the same samples takes its place.

    Args:
        result: what was decided.
        earlier: looks at the run.
        spending: of this one.
        policy: by which it was decided.
        state: digest of what was judged.
    """
    assert result.source is not None
    look = Look(
        decided=now(),
        samples=result.source.samples,
        drawn_sha256=state,
        policy_sha256=policy.sha256,
        share=spending.share,
        alpha=spending.share * policy.alpha,
        kind=spending.kind,
        verdict=result.verdict,
    )
    same = (look.kind, look.drawn_sha256, look.policy_sha256)
    before = [one.alpha for one in earlier if (one.kind, one.drawn_sha256, one.policy_sha256) == same]
    look = replace(look, alpha=max([look.alpha, *before]))
    others = [one for one in earlier if (one.kind, one.drawn_sha256, one.policy_sha256) != same]
    return replace(result, looks=(*others, look))


def write_record(folder: Path, result: GateResult, policy: Policy) -> None:
    """Replace `gate.json` in one step.

    Raises:
        HarnessError: the run directory can't be written to.
    """
    content = sealed_document(record(result, policy))
    with files.output(folder / GATE, "gate with `no_record=True` to leave the run as it is"):
        files.write_text(folder / GATE, content)
