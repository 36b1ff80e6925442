"""Ship or not: a run judged by a policy, with stated error rates."""

from harness.gate.check import GateFailure, check
from harness.gate.decide import decide
from harness.gate.expression import PolicyError, parse_rule
from harness.gate.policy import Policy, load_policy
from harness.runs import open_run
from harness.runs.gate_record import GateResult, LiveFacts, RuleResult, Subject

__all__ = [
    "GateFailure",
    "GateResult",
    "LiveFacts",
    "Policy",
    "PolicyError",
    "RuleResult",
    "Subject",
    "check",
    "decide",
    "load_policy",
    "open_run",
    "parse_rule",
]
