"""Rollouts: which are drawn, that they are T = 1 samples of the policy, and how they end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DEFAULT, parse
from harness.data.fashion_mini import generate_tasks
from harness.engines import SamplingParams
from harness.engines.tokenizer import ChatTokenizer
from harness.opd.rounds.drawing import Drawer, Order, round_orders
from harness.rollouts import make_prompts

pytestmark = pytest.mark.model


@given(
    tasks=st.integers(1, 20),
    prompts=st.integers(1, 20),
    samples=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_rounds_go_through_all_tasks_evenly(tasks: int, prompts: int, samples: int, seed: int) -> None:
    rounds = [round_orders(tasks, prompts, samples, number, seed) for number in range(6)]
    every = [order for orders in rounds for order in orders]
    assert len(every) == 6 * prompts * samples
    counts = Counter(order.task for order in every)
    assert max(counts.values()) - min(counts[task] for task in range(tasks)) <= samples
    assert len({(order.task, order.draw) for order in every}) == len(every)
    assert len({order.seed for order in every}) == len(every)
    assert rounds[3] == round_orders(tasks, prompts, samples, 3, seed)
    for orders in rounds:
        for place in range(0, len(orders), samples):
            assert len({order.task for order in orders[place : place + samples]}) == 1


def test_another_seed_draws_other_rollouts() -> None:
    first, second = (round_orders(50, 20, 1, 0, seed) for seed in (0, 1))
    assert [one.task for one in first] != [one.task for one in second]
    assert {one.seed for one in first}.isdisjoint(one.seed for one in second)


def drawer(folder: Path, max_tokens: int, context: int | None = None) -> Drawer:
    tokenizer = ChatTokenizer(folder)
    tasks = generate_tasks("train", 3, seed=4, k=(3, 5))
    assert tokenizer.eos_token_id is not None
    return Drawer(
        prompts=make_prompts(tasks, DEFAULT, tokenizer.encode),
        tokenizer=tokenizer,
        contract=DEFAULT,
        stop_ids=(tokenizer.eos_token_id,),
        sampling=SamplingParams(temperature=1.0, max_tokens=max_tokens),
        context_length=context,
    )


def load(folder: Path) -> object:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def test_a_rollout_does_not_depend_on_its_neighbours(family: dict[str, Path]) -> None:
    draw, model = drawer(family["base"], 24), load(family["base"])
    orders = [Order(task, number, 1000 * task + number) for task in range(3) for number in range(4)]
    together = draw.with_model(model, orders)
    alone = [draw.with_model(model, [order])[0] for order in orders]
    assert together == alone
    assert draw.with_model(model, orders[::-1])[::-1] == together


def test_first_tokens_are_drawn_from_the_policy_itself(family: dict[str, Path]) -> None:
    """T = 1, top_p = 1, whatever the checkpoint's generation config says: chi-squared over 2,000 draws."""
    import torch
    from scipy.stats import chisquare

    draw, model = drawer(family["untrained"], 1), load(family["untrained"])
    model.generation_config.temperature = 0.1  # type: ignore[attr-defined]
    model.generation_config.do_sample = True  # type: ignore[attr-defined]
    number = 2000
    drawn = draw.with_model(model, [Order(0, place, place) for place in range(number)])
    counts = Counter(one.token_ids[0] for one in drawn)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([draw.prompts[0].ids])).logits[0, -1].double()  # type: ignore[operator]
    shares = torch.softmax(logits, -1).numpy()
    frequent = np.flatnonzero(shares * number >= 5)
    observed = [*(counts[int(token)] for token in frequent), 0]
    expected = [*(shares[frequent] * number), shares.sum() * number - (shares[frequent] * number).sum()]
    observed[-1] = number - sum(observed)
    assert chisquare(observed, expected).pvalue > 1e-4


def test_an_end_token_is_kept_and_what_is_cut_off_is_counted(family: dict[str, Path]) -> None:
    model = load(family["teacher"])
    orders = [Order(0, number, number) for number in range(8)]
    long, short = drawer(family["teacher"], 40), drawer(family["teacher"], 3)
    for one in long.with_model(model, orders):
        ended = one.token_ids[-1] == long.stop_ids[0]
        assert one.finish_reason == ("stop" if ended else "length")
        assert long.stop_ids[0] not in one.token_ids[:-1]
        assert one.strict is (parse(long.tokenizer.decode(one.token_ids), one.terms.k).tier == "strict")
    assert any(one.finish_reason == "stop" for one in long.with_model(model, orders))
    cut = short.with_model(model, orders)
    assert all(one.finish_reason == "length" and len(one.token_ids) == 3 and not one.strict for one in cut)


def test_the_context_ends_an_answer(family: dict[str, Path]) -> None:
    tight = drawer(family["untrained"], 40)
    length = len(tight.prompts[0].ids)
    tight = drawer(family["untrained"], 40, context=length + 5)
    assert len(tight.with_model(load(family["untrained"]), [Order(0, 0, 7)])[0].token_ids) <= 5


def test_the_model_keeps_its_mode_and_settings(family: dict[str, Path]) -> None:
    model = load(family["base"])
    settings = model.generation_config  # type: ignore[attr-defined]
    for training in (True, False):
        model.train(training)  # type: ignore[attr-defined]
        drawer(family["base"], 4).with_model(model, [Order(0, 0, 1)])
        assert model.training is training  # type: ignore[attr-defined]
        assert model.generation_config is settings  # type: ignore[attr-defined]
