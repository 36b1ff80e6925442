"""`check(run, policy=…)`: the gate as an assertion, for tests and notebooks."""

from __future__ import annotations

from pathlib import Path

from harness.gate.decide import decide
from harness.gate.policy import Policy, load_policy
from harness.gate.record import write_record
from harness.gate.text import as_text
from harness.runs import open_run
from harness.runs.gate_record import GateResult


class GateFailure(AssertionError):  # noqa: N818 - named for what it says in a test report
    """A gate that didn't pass; the message is its table.

    Attributes:
        result: the whole result.
    """

    def __init__(self, result: GateResult) -> None:
        super().__init__(as_text(result))
        self.result = result


def check(
    run: str | Path,
    *,
    policy: Policy | str | Path | None = None,
    baseline: str | Path | None = None,
    allow_incomplete: bool = False,
    common: bool = False,
    record: bool = True,
) -> GateResult:
    """Judge a stored run and raise unless it passes.

    Args:
        run: run directory.
        policy: a policy or its file; None is `parse_validity.strict >= 0.95`.
        baseline: run directory of the baseline.
        allow_incomplete: see `decide`.
        common: see `decide`.
        record: leave the verdict in the run as `gate.json`, where it is counted as a look.

    Raises:
        GateFailure: it failed, or is inconclusive and the policy doesn't count that as passed.
        HarnessError: nothing could be decided; the message says why.
    """
    rules = (policy or Policy()) if policy is None or isinstance(policy, Policy) else load_policy(policy)
    judged = open_run(run)
    result = decide(
        judged,
        rules,
        None if baseline is None else open_run(baseline),
        allow_incomplete=allow_incomplete,
        common=common,
    )
    if record:
        write_record(judged.path, result, rules)
    if result.exit_code != 0:
        raise GateFailure(result)
    return result
