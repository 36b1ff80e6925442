"""Answers that are all wrong in the same way, and the setting under which they'd be right.

A format that nobody asked for is the commonest reason for a run of nothing but failures. Whether another
contract would take the answers isn't guessed: each is judged by it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from harness.contract.member_path import path_of
from harness.contract.mention import speaks_of
from harness.contract.model import Contract, Top
from harness.contract.parser import decoded, judge
from harness.contract.spelling import Ids
from harness.contract.terms import Terms
from harness.errors import HarnessError

LEAST_ANSWERS: Final = 8
"""Fewer may be alike by chance."""
LEAST_SHARE: Final = 0.9
"""Of answers that must fail, and be right another way, to be worth a line."""
MOST_LOOKED_AT: Final = 100
_DEEPEST: Final = 3
_BOTH: Final = "; and they "
_MOST_FIELDS: Final = 4
_FENCED: Final = re.compile(r"\s*```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer and what it was held to."""

    text: str
    terms: Terms
    finish_reason: str | None = None


def diagnosis(
    answers: Sequence[Answered], prompts: Sequence[str] = (), marks: Iterable[str] = ()
) -> str | None:
    """What nearly all answers have in common that breaks the contract, and what would take them.

    Args:
        answers: as they came, at most `MOST_LOOKED_AT` of which are looked at, spread evenly.
        prompts: what some of them answer, as far as that is known.
        marks: that end the reasoning of some model.

    Returns:
        One line; None where most are right, few, or wrong in different ways.
    """
    step = -(-len(answers) // MOST_LOOKED_AT) or 1
    looked = [one for one in answers[::step] if one.text.strip()]
    if len(looked) < LEAST_ANSWERS or not _most(len(looked) - _strict(looked), looked):
        return None
    unsaid = _never_asked(looked[0].terms, prompts)
    found = _remedy(looked, marks)
    if found is None:
        return None if unsaid is None else f"{_of(looked)} break the contract, and {unsaid}"
    return found if unsaid is None else f"{found}; {unsaid}"


def _remedy(looked: Sequence[Answered], marks: Iterable[str]) -> str | None:
    stripped, said = list(looked), []
    marker = next((one for one in marks if _most(sum(one in answer.text for answer in looked), looked)), None)
    if marker is not None:
        stripped = [replace(one, text=one.text.rpartition(marker)[2]) for one in stripped]
        said.append(f"begin with reasoning: `reasoning_end={marker}` keeps it apart")
    inside = [_FENCED.fullmatch(one.text) for one in stripped]
    if _most(sum(one is not None for one in inside), looked):
        stripped = [
            one if found is None else replace(one, text=found[1])
            for one, found in zip(stripped, inside, strict=True)
        ]
        said.append(
            "stand in ``` fences: parse_validity.lenient counts those; ask for bare JSON, or draw "
            "with `constrained=True`"
        )
    for contract in (looked[0].terms.contract, *_others(stripped)):
        would = _strict(stripped, contract)
        if not _most(would, looked):
            continue
        mine = looked[0].terms.contract
        if contract != mine:
            said.append(f"{_wrong(mine, contract)}: `contract='{{{_spelled(contract)}}}'` takes them")
        then = f"(then {would / len(looked):.0%} are valid)"
        return f"{_of(looked)} {_BOTH.join(said)} {then}" if said else None
    lenient = sum(judge(one.text, one.terms).tier == "lenient" for one in stripped)
    if _most(lenient, looked):
        said.append("hold one valid answer within other text: parse_validity.lenient counts those")
        return f"{_of(looked)} {_BOTH.join(said)}"
    return None


def _of(looked: Sequence[Answered]) -> str:
    return f"nearly all answers ({len(looked)} looked at)"


def _most(count: int, looked: Sequence[Answered]) -> bool:
    return count >= LEAST_SHARE * len(looked)


def _strict(answers: Sequence[Answered], contract: Contract | None = None) -> int:
    count = 0
    for one in answers:
        try:
            terms = one.terms if contract is None else replace(one.terms, contract=contract)
        except ValueError:
            continue  # no answer to such a task could keep it
        count += judge(one.text, terms, finish_reason=one.finish_reason).tier == "strict"
    return count


def _never_asked(terms: Terms, prompts: Sequence[str]) -> str | None:
    """That no prompt speaks of what is wanted."""
    if not prompts or any(speaks_of(prompt, terms) for prompt in prompts):
        return None
    return "the prompt never speaks of JSON: write `{{ contract.instruction }}` where it says what to answer"


def _others(answers: Sequence[Answered]) -> Iterator[Contract]:
    """Contracts that answers of this form might keep, the likelier first."""
    contract = answers[0].terms.contract
    if contract.kind != "listwise":
        return
    form = _form([_decoded(one.text) for one in answers], contract)
    if form is None:
        return
    shortest = Top(top=form.listed)
    lengths: list[Literal["all"] | Top] = [contract.length]
    usual: tuple[Literal["all"] | Top, ...] = ("all", shortest)
    lengths += [one for one in usual if one != contract.length]
    kinds = [contract.ids, *(one for one in get_args(Ids) if one != contract.ids)]
    for length in lengths:
        for ids in kinds:
            for id_field in form.id_fields:
                try:
                    yield contract.changed(
                        ranking=path_of(form.members),
                        ids=ids,
                        id_field=id_field,
                        length=length,
                        extra_keys=contract.extra_keys or form.has_others,
                    )
                except HarnessError:
                    continue  # the further schema forbids it


@dataclass(frozen=True, slots=True)
class _Form:
    """Where most answers have an array: members on the way, members of its elements, and its length."""

    members: tuple[str, ...]
    id_fields: tuple[str | None, ...]
    listed: int
    has_others: bool


def _form(values: Sequence[Any], contract: Contract) -> _Form | None:
    places = [list(_arrays(value)) for value in values]
    paths = Counter(path for found in places for path, _, _ in found)
    if not paths:
        return None
    most = paths.most_common(1)[0][1]
    members = contract.members if paths[contract.members] == most else paths.most_common(1)[0][0]
    arrays = [(array, others) for found in places for path, array, others in found if path == members]
    fields: Counter[str] = Counter()
    for array, _ in arrays:
        first = array[0]
        if isinstance(first, dict):
            fields.update(name for name, one in first.items() if isinstance(one, int | str))
    id_fields: tuple[str | None, ...] = (None,)
    if fields:
        mine = contract.id_field
        id_fields = (*sorted(fields, key=lambda name: (name != mine, -fields[name])),)
    return _Form(
        members,
        id_fields[:_MOST_FIELDS],
        Counter(len(array) for array, _ in arrays).most_common(1)[0][0],
        any(others for _, others in arrays),
    )


def _arrays(
    value: Any, path: tuple[str, ...] = (), others: bool = False
) -> Iterator[tuple[tuple[str, ...], list[Any], bool]]:
    """Arrays that aren't empty, the members that lead there, and whether objects on the way have others."""
    if isinstance(value, list) and value:
        yield path, value, others
    elif isinstance(value, dict) and len(path) < _DEEPEST:
        for name, below in value.items():
            yield from _arrays(below, (*path, name), others or len(value) > 1)


def _decoded(text: str) -> Any:
    try:
        return decoded(text)
    except (ValueError, RecursionError):
        return None


def _wrong(mine: Contract, other: Contract) -> str:
    """What the answers do that the contract doesn't say."""
    said = []
    if other.members != mine.members:
        said.append("are bare arrays" if not other.members else f"rank under {other.ranking}")
    if other.id_field != mine.id_field:
        said.append(
            "list bare ids" if other.id_field is None else f"list objects whose `{other.id_field}` is the id"
        )
    if other.ids != mine.ids:
        said.append(_ID_WORDS[other.ids])
    if other.length != mine.length:
        said.append("list all" if other.length == "all" else f"list only {other.length.top}")
    if other.extra_keys and not mine.extra_keys:
        said.append("have further keys")
    return ", ".join(said)


_ID_WORDS: Final[dict[Ids, str]] = {
    "number": "number the candidates from 1",
    "number0": "number the candidates from 0",
    "string": "give numbers as strings",
    "letter": "name candidates by letters",
    "item_id": "give item ids",
}


def _spelled(contract: Contract) -> str:
    """A contract's settings that aren't the usual ones, as in a contract's file."""
    said = []
    for name, value in contract.model_dump(exclude_defaults=True).items():
        if name in ("schema", "instruction") or value in (None, False):
            continue
        text = f"{{top: {value['top']}}}" if isinstance(value, dict) else str(value)
        plain = re.fullmatch(r"[\w$.{}: -]+", text) is not None
        said.append(f"{name}: {str(value).lower() if value is True else text if plain else json.dumps(text)}")
    return ", ".join(said) or "kind: listwise"
