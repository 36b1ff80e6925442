"""Pretraining of the tiny family on fashion-mini: find the taste, then the candidate that fits it best.

From random weights, ranking answers alone teach a tiny model the answer's form within a hundred steps and
nothing about the items within thousands: that an attribute of a candidate occurs in the history is then
worth too little of the loss. Here every attribute of every candidate is tagged as the taste's or not, and the
best candidate's number is asked for at the end of the prompt; with that, a few hundred steps teach both. No
answer is shown: its form is left to fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract import DEFAULT
from harness.data.conversations import conversations
from harness.data.fashion_mini import BRANDS, CATEGORIES, COLOURS
from harness.data.tasks import RankingTask
from harness.engines.tokenizer import ChatTokenizer
from harness.errors import DataError
from harness.opd.sft.examples import Example, ideal_ranking
from tools.zoo.tiny import TAGS

BEST_WEIGHT = 7.0
"""What the best candidate's number counts, against 1 for a tag: 24 tags tell more, and sooner."""
ATTRIBUTES = 3


def matching_examples(tasks: Sequence[RankingTask], tokenizer: ChatTokenizer) -> list[Example]:
    """Prompts with a target after every candidate attribute and one after the last token.

    Args:
        tasks: of fashion-mini, whose `meta.taste` names the category, colour and brand of the user's taste.
        tokenizer: of the tiny family, in which every attribute value is one token.

    Raises:
        DataError: tasks or a tokenizer of another kind.
    """
    values = _attribute_ids(tokenizer)
    preferred, other = tokenizer.tokenizer.convert_tokens_to_ids(list(TAGS))
    prompts = tokenizer.encode(conversations(tasks, DEFAULT))
    examples = []
    for task, prompt in zip(tasks, prompts, strict=True):
        places = [place for place, token in enumerate(prompt) if token in values]
        if len(places) != ATTRIBUTES * (len(task.history) + task.k) or "taste" not in task.meta:
            raise DataError(f"task {task.task_id} is not one of fashion-mini: its attributes can't be read")
        targets = list(prompt)
        weights = [0.0] * len(prompt)
        for place in places[ATTRIBUTES * len(task.history) :]:
            targets[place] = preferred if values[prompt[place]] in task.meta["taste"] else other
            weights[place] = 1.0
        targets[-1] = _number_id(tokenizer, ideal_ranking(task.relevance)[0])
        weights[-1] = BEST_WEIGHT
        examples.append(Example(prompt, tuple(targets), tuple(weights)))
    return examples


def _attribute_ids(tokenizer: ChatTokenizer) -> dict[int, str]:
    """The attribute value that a token stands for."""
    spelled = {f" {value}": value for value in (*CATEGORIES, *COLOURS)} | {
        f" – {brand}": brand for brand in BRANDS
    }
    return {_single_id(tokenizer, text): value for text, value in spelled.items()}


def _number_id(tokenizer: ChatTokenizer, number: int) -> int:
    return _single_id(tokenizer, str(number))


def _single_id(tokenizer: ChatTokenizer, text: str) -> int:
    ids = tokenizer.tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise DataError(
            f"{tokenizer.folder}: {text!r} is {len(ids)} tokens; matching needs the tiny family's"
        )
    return int(ids[0])
