"""The output contract: its prompt text, its JSON Schema, its parser and its structural roles."""

from harness.contract.automaton import ROLES, Role, State, advance, is_complete, role, start
from harness.contract.model import DEFAULT, Contract, IdStyle
from harness.contract.parser import parse
from harness.contract.result import FAILURE_CODES, TIERS, FailureCode, ParseResult, Tier

__all__ = [
    "DEFAULT",
    "FAILURE_CODES",
    "ROLES",
    "TIERS",
    "Contract",
    "FailureCode",
    "IdStyle",
    "ParseResult",
    "Role",
    "State",
    "Tier",
    "advance",
    "is_complete",
    "parse",
    "role",
    "start",
]
