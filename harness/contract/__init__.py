"""The output contract: its prompt text, its JSON Schema, its parser and its structural roles."""

from harness.contract.automaton import ROLES, Role, State, advance, is_complete, role, start
from harness.contract.model import DEFAULT, Contract, Kind, Top
from harness.contract.parser import decoded, judge, parse
from harness.contract.result import FAILURE_CODES, TIERS, FailureCode, ParseResult, Tier
from harness.contract.spelling import Ids
from harness.contract.terms import Terms

__all__ = [
    "DEFAULT",
    "FAILURE_CODES",
    "ROLES",
    "TIERS",
    "Contract",
    "FailureCode",
    "Ids",
    "Kind",
    "ParseResult",
    "Role",
    "State",
    "Terms",
    "Tier",
    "Top",
    "advance",
    "decoded",
    "is_complete",
    "judge",
    "parse",
    "role",
    "start",
]
