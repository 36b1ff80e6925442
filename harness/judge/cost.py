"""What judging costs: prices, the most a request can cost, and a budget that can't be overrun."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.judge.client import Question

_PER_TOKEN = 1e-6
_OVERHEAD_TOKENS = 64
"""Tokens the service adds around texts (roles, turn marks); far more than seen in practice."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one or more requests.

    Attributes:
        prompt: input tokens.
        output: output tokens, thinking included.
    """

    prompt: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.output + other.output)


@dataclass(frozen=True, slots=True)
class Price:
    """Price of a model.

    Attributes:
        input: US dollars per million input tokens.
        output: US dollars per million output tokens, thinking included.

    Raises:
        HarnessError: a price that is negative or not a number.
    """

    input: float
    output: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(price) and price >= 0 for price in (self.input, self.output)):
            raise HarnessError(f"a price of {self.input} and {self.output} can't be; give two numbers ≥ 0")

    def cost(self, tokens: Tokens) -> float:
        """US dollars for so many tokens."""
        return _PER_TOKEN * (tokens.prompt * self.input + tokens.output * self.output)


def price_of(model: str, on: date) -> Price | None:
    """The listed price of a model on a day, None when it isn't listed."""
    entries = [entry for entry in _table().get(model, []) if entry.get("since", date.min) <= on]
    if not entries:
        return None
    entry = max(entries, key=lambda entry: entry.get("since", date.min))
    return Price(float(entry["input"]), float(entry["output"]))


@cache
def _table() -> dict[str, list[dict[str, Any]]]:
    text = resources.files("harness.judge").joinpath("prices.yaml").read_text(encoding="utf-8")
    models: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)["models"]
    return models


def request_bytes(question: Question) -> int:
    """Bytes of everything in a request that is counted as input tokens."""
    return (
        len(question.prompt.system.encode())
        + len(question.prompt.user.encode())
        + len(json.dumps(question.schema))
    )


def most_tokens(question: Question) -> Tokens:
    """The most that one request can take: every byte a token, and the answer as long as it may be.

    No tokenizer makes more tokens than there are bytes.
    """
    return Tokens(request_bytes(question) + _OVERHEAD_TOKENS, question.model.max_output_tokens)


class Budget:
    """Keeps requests and money under their caps, counting what is under way at the most it can cost.

    Args:
        max_requests: most HTTP requests, None for no cap.
        max_cost: most US dollars, None for no cap.
        requests: sent before, in earlier sessions.
        spent: their cost; for those whose outcome is unknown, the most they can have cost.
    """

    def __init__(
        self, max_requests: int | None, max_cost: float | None, *, requests: int = 0, spent: float = 0.0
    ) -> None:
        self._max_requests = max_requests
        self._max_cost = max_cost
        self.requests = requests
        self.spent = spent
        self.reserved = 0.0
        self.in_flight = 0

    def allows_request(self) -> bool:
        """Whether one more request stays within `max_requests`."""
        return self._max_requests is None or self.requests < self._max_requests

    def allows_cost(self, bound: float) -> bool:
        """Whether a request that costs at most `bound` stays within `max_cost`, whatever is under way."""
        return self._max_cost is None or self.spent + self.reserved + bound <= self._max_cost

    def reserve(self, bound: float) -> None:
        """Count a request that is about to be sent.

        Raises:
            ValueError: it would break a cap.
        """
        if not (self.allows_request() and self.allows_cost(bound)):
            raise ValueError("the request would break the budget")
        self.requests += 1
        self.in_flight += 1
        self.reserved += bound

    def settle(self, bound: float, cost: float) -> None:
        """Replace a reservation by what the request cost, or by the bound itself when that is unknown."""
        self.in_flight -= 1
        # With nothing under way the sum of reservations is 0, not a rounding error.
        self.reserved = self.reserved - bound if self.in_flight else 0.0
        self.spent += cost
