"""From a completion to a `ParseResult`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from harness.contract.accept import plain_ranking, ranking_of
from harness.contract.cut import Cut, cut, only_objects
from harness.contract.explain import explain
from harness.contract.json_text import (
    MAX_DEPTH,
    QUICK_DECODER,
    WHITE_SPACE,
    Malformed,
    RepeatedKeyError,
    decode,
    decode_remembering,
    skim,
)
from harness.contract.model import DEFAULT, Contract
from harness.contract.repair import repaired
from harness.contract.result import ParseResult, Tier
from harness.contract.terms import Terms
from harness.contract.wording import Failure, explain_repeated_key, snippet

_QUICK_LENGTH: Final = 4096
_BRIEF_LENGTH: Final = 16_384


def parse(
    text: str,
    k: int,
    contract: Contract | Mapping[str, Any] | str = DEFAULT,
    *,
    item_ids: Sequence[str] = (),
    schema: Mapping[str, Any] | str | None = None,
    finish_reason: str | None = None,
) -> ParseResult:
    """Judge one completion.

    Args:
        text: the completion, any string, lone surrogates included.
        k: number of candidates, ≥ 1; of no matter for kind `schema`.
        contract: what the text is held to, also as its fields, or `listwise`.
        item_ids: [k] ids of the candidates, where the contract lists these.
        schema: the task's own JSON Schema, also as JSON text, where the contract leaves it to the tasks.
        finish_reason: the engine's; `length` makes `truncated` the reason of a failure.

    Returns:
        Tier, failure code, path, message and ranking.

    Raises:
        ValueError: `k` < 1, or no answer could keep the contract. No text raises.
        HarnessError: `contract` is none.
    """
    if not isinstance(contract, Contract):
        contract = DEFAULT if contract == "listwise" else Contract.read(contract, "contract")
    if contract.is_plain and k > 0:
        ranking = _quick(text, k, contract)
        if ranking is not None:
            return ParseResult("strict", None, None, None, ranking)
    own = schema if schema is None or isinstance(schema, str) else json.dumps(schema)
    return judge(text, Terms(contract, k, tuple(item_ids), own), finish_reason=finish_reason)


def judge(text: str, terms: Terms, *, finish_reason: str | None = None) -> ParseResult:
    """Judge one completion.

    Strict is judged on the text alone: a valid text that met the token limit is still valid. Time is linear
    in the text's length but for two bounded searches (`cut.WORK_BUDGET`, `repair.MAX_LENGTH`), and the
    result depends neither on the caller's stack depth nor on interpreter settings.

    Args:
        text: the completion, any string, lone surrogates included.
        terms: what it is held to.
        finish_reason: the engine's; `length` makes `truncated` the reason of a failure.

    Returns:
        Tier, failure code, path, message and ranking. No text raises.
    """
    if terms.contract.is_plain:
        ranking = _quick(text, terms.k, terms.contract)
        if ranking is not None:
            return ParseResult("strict", None, None, None, ranking)
    else:
        kept = _keeps_at_once(text, terms)
        if kept is not None:
            return ParseResult("strict", None, None, None, kept or None)
    try:
        return _judge(text, terms, finish_reason)
    except RecursionError:
        # The caller's stack was nearly full. What is done here needs little of it, so a fresh one will do,
        # and the answer is the same whoever asks.
        return _on_fresh_stack(lambda: _judge(text, terms, finish_reason, fresh=True))


def decoded(text: str) -> Any:
    """The JSON value of a text that is strictly valid, white space around it or not.

    Raises:
        ValueError: it isn't JSON, or an object in it has a key twice.
    """
    start = len(text) - len(text.lstrip(WHITE_SPACE))
    if skim(text, start) != len(text.rstrip(WHITE_SPACE)):
        raise ValueError("the text isn't one JSON value")
    return decode(text, start)


def _quick(text: str, k: int, contract: Contract) -> tuple[int, ...] | None:
    """The ranking of a valid answer of ordinary size, or None: a long look is needed."""
    if len(text) > _QUICK_LENGTH:
        return None
    trimmed = text.strip(WHITE_SPACE)
    if trimmed.count("{") + trimmed.count("[") > MAX_DEPTH:
        return None
    try:
        value, end = QUICK_DECODER.raw_decode(trimmed)
    except (ValueError, RecursionError):
        return None
    return plain_ranking(value, k, contract) if end == len(trimmed) else None


def _keeps_at_once(text: str, terms: Terms) -> tuple[int, ...] | None:
    """As `_quick`, of any contract; apart from it, because there one call more is felt."""
    trimmed = text.strip(WHITE_SPACE)
    if len(text) > _QUICK_LENGTH or trimmed.count("{") + trimmed.count("[") > MAX_DEPTH:
        return None
    try:
        value, end = QUICK_DECODER.raw_decode(trimmed)
    except (ValueError, RecursionError):
        return None
    return ranking_of(value, terms) if end == len(trimmed) else None


def _judge(text: str, terms: Terms, finish_reason: str | None, *, fresh: bool = False) -> ParseResult:
    """As `judge`, for texts that need more than a quick look."""
    start = len(text) - len(text.lstrip(WHITE_SPACE))
    end = len(text.rstrip(WHITE_SPACE))
    skimmed = skim(text, start)
    is_json = skimmed == end
    judged = _whole(text, start, terms) if is_json else None
    if isinstance(judged, tuple):
        return ParseResult("strict", None, None, None, judged or None)
    found = cut(text, terms)
    failure = judged or _outside(text, skimmed, _called(terms) if found.any_value else None)
    if not text.strip():
        failure = Failure("empty", None, "nothing but white space" if text else "no text at all")
    elif finish_reason == "length":
        failure = Failure("truncated", None, f"cut off by the token limit after {len(text)} characters")
    tier, ranking = _saved(text, terms, found, may_repair=not is_json, fresh=fresh)
    return ParseResult(tier, failure.code, failure.path, failure.message, ranking or None)


def _whole(text: str, start: int, terms: Terms) -> tuple[int, ...] | Failure:
    """Judge a text that is one JSON value."""
    try:
        value = decode(text, start)
    except RepeatedKeyError:
        return explain_repeated_key(decode_remembering(text, start))
    ranking = ranking_of(value, terms)
    return explain(value, terms, brief=len(text) > _BRIEF_LENGTH) if ranking is None else ranking


def _outside(text: str, skimmed: int | Malformed, within: str | None) -> Failure:
    """Why a text isn't one JSON value; `skimmed` says how far it is one, `within` what can be cut out."""
    if isinstance(skimmed, Malformed):
        at, reason = skimmed.position, skimmed.reason
        if skimmed.too_deep:
            return Failure("not_json", None, f"{reason} at character {at}")
    else:
        at, reason = len(text) - len(text[skimmed:].lstrip(WHITE_SPACE)), "expected nothing more"
    found = snippet(text[at : at + 12]) if at < len(text) else "the end"
    where = f"{reason} at character {at}, found {found}"
    if within is not None:
        return Failure("extra_text", None, f"{within} with other text around it: {where}")
    return Failure("not_json", None, where)


def _called(terms: Terms) -> str:
    if only_objects(terms):
        return "an object"
    return "a JSON value" if terms.contract.kind == "schema" else "an array"


def _saved(
    text: str, terms: Terms, found: Cut, *, may_repair: bool, fresh: bool
) -> tuple[Tier, tuple[int, ...] | None]:
    """Tier and ranking of a text that isn't strict."""
    if found.gave_up or len(found.rankings) > 1:
        return "none", None
    if found.rankings:
        return "lenient", found.rankings[0]
    if not may_repair:
        return "none", None
    try:
        ranking = repaired(text, terms)
    except RecursionError:
        if not fresh:
            raise
        ranking = None
    return ("none", None) if ranking is None else ("repaired", ranking)


def _on_fresh_stack(work: Callable[[], ParseResult]) -> ParseResult:
    """Run `work` in a thread of its own, whose stack is empty."""
    results: list[ParseResult] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
