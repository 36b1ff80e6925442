"""What a judging will take, before it starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from harness.judge.client import JudgeClient, Question
from harness.judge.cost import Price, Tokens, most_tokens
from harness.judge.plan import Ask, Plan
from harness.judge.store import Usage

Basis = Literal["earlier answers", "the service's own count", "a rule of thumb"]

_ENOUGH_ANSWERS = 20
_COUNTED_PROMPTS = 20
_BYTES_PER_TOKEN = 4.0
"""English text; other scripts take more tokens a byte or fewer."""
_EXAMPLE_REASON = (
    "The first choice matches the brand and the kind of product that the shopper has chosen before, "
    "while two items lower down would have fitted the colour and the style somewhat better"
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a judging will take when no request fails.

    Attributes:
        judgements: wanted in all.
        done: of those, judged already, here or in the cache.
        requests: to be sent.
        tokens: expected, all requests together.
        cost: expected US dollars, None when the price isn't known.
        highest_cost: the most it can cost, None when the price isn't known.
        basis: where the expectation comes from.
    """

    judgements: int
    done: int
    requests: int
    tokens: Tokens
    cost: float | None
    highest_cost: float | None
    basis: Basis


def forecast(
    plan: Plan,
    asks: Sequence[Ask],
    *,
    usage: Usage | None,
    price: Price | None,
    client: JudgeClient | None,
) -> Forecast:
    """Expect tokens and cost of the questions that are still to be asked.

    The best source at hand counts: at least 20 earlier answers to the same rubric by the same model; else the
    service's own count (free of charge) of 20 prompts and of an answer with the words asked for; else a rule
    of thumb. Thinking is only known from earlier answers.

    Args:
        plan: the judging.
        asks: the questions to be asked.
        usage: tokens of earlier answers, None when there are none.
        price: None when the model's price isn't known.
        client: to count tokens with; None to stay off the network.

    Raises:
        RequestFailedError: the service didn't count.
    """
    size = sum(ask.size for ask in asks)
    if usage is not None and usage.answers >= _ENOUGH_ANSWERS:
        basis: Basis = "earlier answers"
        prompt, output = size * usage.tokens_per_byte, len(asks) * usage.output_tokens
    elif client is not None and asks:
        basis = "the service's own count"
        answer = client.count_tokens(plan.config.rubric.model.name, _example_answer(plan))
        prompt, output = size * _counted_per_byte(plan, asks, client), float(len(asks) * answer)
    else:
        basis = "a rule of thumb"
        prompt, output = size / _BYTES_PER_TOKEN, len(asks) * len(_example_answer(plan)) / _BYTES_PER_TOKEN
    tokens = Tokens(round(prompt), round(output))
    most = None
    if price is not None:
        most = sum(price.cost(most_tokens(plan.question(ask.units[0]))) for ask in asks)
    return Forecast(
        judgements=len(plan.units),
        done=len(plan.units) - sum(len(ask.units) for ask in asks),
        requests=len(asks),
        tokens=tokens,
        cost=None if price is None else price.cost(tokens),
        highest_cost=most,
        basis=basis,
    )


def _example_answer(plan: Plan) -> str:
    """An answer with the words asked for."""
    rubric = plan.config.rubric
    reason = " ".join(islice(cycle(_EXAMPLE_REASON.split()), rubric.reason_words))
    if plan.mode == "pair":
        return json.dumps({"reason": reason, "better": "first"})
    return json.dumps({"reason": reason, "scores": {each.name: each.highest for each in rubric.criteria}})


def _counted_per_byte(plan: Plan, asks: Sequence[Ask], client: JudgeClient) -> float:
    """Tokens a byte, counted by the service on prompts spread evenly over the plan."""
    step = max(1, len(asks) // _COUNTED_PROMPTS)
    tokens = size = 0
    for ask in asks[::step][:_COUNTED_PROMPTS]:
        question = plan.question(ask.units[0])
        tokens += client.count_tokens(question.model.name, _all_text(question))
        size += ask.size
    return tokens / size


def _all_text(question: Question) -> str:
    """Everything that is charged as input, as one text: the count takes no system instruction."""
    return "\n".join([question.prompt.system, question.prompt.user, json.dumps(question.schema)])
