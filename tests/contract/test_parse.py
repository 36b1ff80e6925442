"""The parser: cases as data, properties against independent definitions, and inputs made to hurt it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DEFAULT, FAILURE_CODES, TIERS, Contract, ParseResult, Terms, accept, cut, parse
from harness.contract.json_text import MAX_DEPTH, Malformed, Reading, skim
from tests.contract.answers import any_text, edited, json_values, near_answers, near_values, soup, valid
from tests.contract.slow_cut import slow_cut, slow_skim
from tests.contract.strict_oracle import strict_ranking
from tests.examples import examples

CASES = json.loads((Path(__file__).parents[1] / "cases" / "parse.json").read_text())
MEGABYTES = 10_000_000


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_case(case):
    contract = Contract(**case.get("contract", {}))
    result = parse(case["input"], case["k"], contract, finish_reason=case.get("finish_reason"))
    ranking = tuple(case["ranking"]) if case["ranking"] else None
    assert (result.tier, result.code, result.path, result.ranking) == (
        case["tier"],
        case["code"],
        case["path"],
        ranking,
    )
    assert_well_formed(result, case["k"])


def test_cases_cover_every_tier_and_code_in_both_id_styles():
    assert len(CASES) >= 150
    assert {case["tier"] for case in CASES} == set(TIERS)
    by_style = {
        style: {c["code"] for c in CASES if c.get("contract", {}).get("id_style", "integer") == style}
        for style in ("integer", "string")
    }
    assert by_style["integer"] == {None, *FAILURE_CODES} - {"wrong_value"}
    # Codes that are given before any id is looked at can't differ between the styles.
    assert by_style["string"] >= {
        None,
        "not_json",
        "extra_text",
        "wrong_id_type",
        "wrong_length",
        "unknown_id",
        "duplicate_id",
    }
    assert len({case["why"] for case in CASES}) == len(CASES)


def assert_well_formed(result: ParseResult, k: int) -> None:
    assert result.tier in TIERS
    assert (result.tier == "strict") == (result.code is None) == (result.message is None)
    assert (result.ranking is None) == (result.tier == "none")
    if result.ranking is not None:
        assert isinstance(result.ranking, tuple)
        assert all(type(n) is int for n in result.ranking)
        assert sorted(result.ranking) == list(range(1, k + 1))
    if result.code is not None:
        assert result.code in FAILURE_CODES
        assert 0 < len(result.message) <= 200
        result.message.encode()
    if result.path is not None:
        assert result.path.startswith("$")
        assert result.path.isascii()


@given(near_answers(), st.sampled_from([None, "stop", "length"]))
@examples(1500)
def test_no_text_raises_and_strict_is_what_the_slow_definition_says(answer, finish_reason):
    text, k, contract = answer
    result = parse(text, k, contract, finish_reason=finish_reason)
    assert_well_formed(result, k)
    expected = strict_ranking(text, k, contract.key, contract.ids, contract.extra_keys)
    assert (result.ranking if result.tier == "strict" else None) == expected
    if expected is None:
        assert (result.code == "empty") == (not text.strip())
        assert (result.code == "truncated") == (finish_reason == "length" and bool(text.strip()))


@given(valid())
def test_a_valid_answer_in_any_spelling_is_strict_with_its_ranking(answer):
    text, k, contract, ranking = answer
    assert parse(text, k, contract) == ParseResult("strict", None, None, None, ranking)


no_braces = st.text(st.characters(exclude_characters="{}[]", exclude_categories=())).filter(
    lambda text: text.strip(" \t\n\r")
)


@given(valid(), no_braces, no_braces, st.sampled_from(["", "```json\n", "<think>so</think>"]))
def test_a_strict_text_in_prose_or_fences_is_lenient_with_the_same_ranking(answer, before, after, fence):
    text, k, contract, ranking = answer
    wrapped = before + fence + text + fence + after
    result = parse(wrapped, k, contract)
    assert (result.tier, result.code, result.ranking) == ("lenient", "extra_text", ranking)


@given(valid(), valid(), no_braces)
def test_two_valid_objects_are_never_chosen_between(first, second, between):
    text, k, contract, ranking = first
    other = json.dumps({contract.key: [Terms(contract, k).spell(n) for n in reversed(ranking)]})
    assert parse(text + between + other, k, contract).tier == "none"


@given(valid().flatmap(lambda answer: st.tuples(edited(answer[0]), st.just(answer))))
@examples(500)
def test_a_repair_invents_and_reorders_no_id(case):
    text, (_, k, contract, _) = case
    result = parse(text.replace('"', "'"), k, contract)
    if result.tier == "repaired":
        numbers = [int(n) for n in re.findall(r"\d+", re.sub(r"\\u....", " ", text))]
        windows = [tuple(numbers[i : i + k]) for i in range(len(numbers) - k + 1)]
        assert result.ranking in windows


@given(near_values())
@examples(1000)
def test_acceptance_and_code_follow_the_published_schema(case):
    value, k, contract = case
    is_integer = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, item: isinstance(item, int) and not isinstance(item, bool)
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=is_integer)
    is_valid = validator(Terms(contract, k).json_schema()).is_valid(value)
    assert (accept.ranking_of(value, Terms(contract, k)) is not None) == is_valid
    result = parse(json.dumps(value), k, contract)
    assert (result.tier == "strict") == is_valid
    assert (result.code, result.path) == expected_failure(value, k, contract)


def expected_failure(value, k, contract):
    """Code and path of a decoded value without repeated keys, in the order of DESIGN.md."""
    return next(failures(value, k, contract), (None, None))


def failures(value, k, contract):
    key = contract.key
    if not isinstance(value, dict):
        yield "wrong_type", "$"
        return
    if not isinstance(value.get(key, []), list):
        yield "wrong_type", f"${named(key)}"
    if key not in value:
        yield "missing_key", "$"
    if not contract.extra_keys:
        yield from (("extra_key", f"${named(other)}") for other in value if other != key)
    ids = value.get(key, [])
    wanted = {"number": int, "string": str}[contract.ids]
    allowed = [Terms(contract, k).spell(n) for n in range(1, k + 1)]
    at = [f"${named(key)}[{i}]" for i in range(len(ids))]
    yield from (
        ("wrong_id_type", path) for path, item in zip(at, ids, strict=True) if type(item) is not wanted
    )
    if len(ids) != k:
        yield "wrong_length", f"${named(key)}"
    yield from (("unknown_id", path) for path, item in zip(at, ids, strict=True) if item not in allowed)
    yield from (("duplicate_id", path) for i, path in enumerate(at) if ids[i] in ids[:i])


def named(key):
    return f".{key}" if re.fullmatch("[a-z]+", key) else f"[{json.dumps(key)}]"


@given(
    st.one_of(json_values.map(json.dumps).flatmap(edited), near_answers().map(lambda a: a[0]), soup, any_text)
)
@examples(1500)
def test_skim_reads_what_pythons_decoder_reads(text):
    def refuse(name):
        raise ValueError(name)

    found = skim(text, 0)
    try:
        _, end = json.JSONDecoder(parse_constant=refuse).raw_decode(text)
    except ValueError:
        assert isinstance(found, Malformed)
        assert 0 <= found.position <= len(text)
    else:
        assert found == end


@pytest.mark.parametrize("unit", ["[]", "[1,2]", '{"a": 1}', '"a\\n"', "1.5e3", '{"b": [true, {"c": []}]}'])
def test_skim_of_many_elements(unit):
    text = "[" + ", ".join([unit] * 1000) + "]"
    assert skim(text, 0) == len(text)
    assert skim(text[:-1], 0) == Malformed(len(text) - 1, "expected ',' or ']'")
    members = "{" + ", ".join(f'"k{i}": {unit}' for i in range(1000)) + "}"
    assert skim(members, 0) == len(members)
    assert skim(members + "]", 0) == len(members)


def test_nesting_is_counted_exactly():
    def nested(depth):
        return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)

    assert skim(nested(MAX_DEPTH), 0) == len(nested(MAX_DEPTH))
    assert skim(nested(MAX_DEPTH + 1), 0) == Malformed(
        5 * MAX_DEPTH, f"nested deeper than {MAX_DEPTH} levels", too_deep=True
    )


def repeated(unit: str) -> str:
    return unit * (MEGABYTES // len(unit))


@pytest.mark.parametrize(
    ("text", "tier", "code"),
    [
        (lambda: repeated("{"), "none", "not_json"),
        (lambda: repeated("["), "none", "not_json"),
        (lambda: repeated('{"a":'), "none", "not_json"),
        (lambda: repeated('{"'), "none", "not_json"),
        (lambda: repeated("{}"), "none", "extra_text"),
        (lambda: repeated('{"":[[[['), "none", "not_json"),
        (lambda: '{"a":[' + repeated("1,"), "none", "not_json"),
        (lambda: '{"a":[' + repeated('{"a":[1,1,1,'), "none", "not_json"),
        (lambda: repeated('{"ranking":[3,1,2'), "none", "not_json"),
        (lambda: '{"ranking":[3,1,2,' + repeated("3,1,2,"), "none", "not_json"),
        (lambda: "{'ranking': [3, 1, 2]}" + repeated("'"), "none", "not_json"),
        (lambda: repeated("lorem ipsum "), "none", "not_json"),
        (lambda: repeated(" "), "none", "empty"),
        (lambda: repeated("\ud800"), "none", "not_json"),
        (lambda: repeated("9"), "none", "wrong_type"),
        (lambda: '{"ranking":[' + repeated("9") + "]}", "none", "wrong_length"),
        (lambda: '{"ranking":[' + repeated("1,") + "1.5]}", "none", "wrong_id_type"),
        (lambda: '{"ranking":["' + repeated("x") + '"]}', "none", "wrong_id_type"),
        (lambda: '{"' + repeated("x") + '":1}', "none", "missing_key"),
        (lambda: '{"ranking":[3,1,2],"' + repeated("x") + '":1}', "none", "extra_key"),
        (lambda: "{" + repeated('"a":1,') + '"a":1}', "none", "duplicate_key"),
        (lambda: repeated(" ") + '{"ranking": [3, 1, 2]}', "strict", None),
        (lambda: repeated("lorem ipsum ") + '{"ranking": [3, 1, 2]}', "lenient", "extra_text"),
    ],
)
def test_ten_megabytes(text, tier, code):
    result = parse(text(), 3)
    assert (result.tier, result.code) == (tier, code)
    assert_well_formed(result, 3)
    assert len(result.path or "") <= 200


PIECES = [
    *(
        '{"a":',
        "{",
        "}",
        "[",
        "]",
        '"',
        ",",
        ":",
        "1",
        '"x"',
        '{"',
        '\\"',
        "\\",
        "\n",
        " ",
        '{ "',
        "true",
        "-",
    ),
    *('{"ranking":', "[3,1,2]", '{"ranking":[3,1,2]}', ',"b":', "{}", '"{', '}"', '{"a":[', '"a":"', "\\u12"),
]
texts_of_openings = st.tuples(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).flatmap(
        lambda few: st.lists(st.sampled_from(few), max_size=40).map("".join)
    ),
    st.sampled_from([1, 1, 2, 7, 70]),
    st.sampled_from(["", "}" * 66, "]}" * 20, '{"ranking":[3,1,2]}']),
).map(lambda parts: parts[0] * parts[1] + parts[2])


@given(texts_of_openings)
@examples(500)
def test_reading_a_text_once_finds_what_reading_it_from_each_opening_finds(text):
    assert cut.cut(text, Terms(DEFAULT, 3)) == slow_cut(text, Terms(DEFAULT, 3))
    places = [place for place, char in enumerate(text) if char in "{["][:300]
    reading = Reading(text, places[0]) if places else None
    for place in places:
        expected = slow_skim(text, place)
        assert skim(text, place) == expected
        assert reading.ends(place) in (None, expected)


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 3 * MAX_DEPTH])
@pytest.mark.parametrize("inside", ["", "1", "{}", '{"ranking":[3,1,2]}', "}"])
def test_nested_openings_that_close(depth, inside):
    for opening, closing in (('{"a":', "}"), ('{"a":[', "]}"), ('[{"a":', "}]")):
        text = "x" + opening * depth + inside + closing * depth
        assert cut.cut(text, Terms(DEFAULT, 3)) == slow_cut(text, Terms(DEFAULT, 3))


UNITS = [
    '{"a":',
    "{}",
    '{"',
    '{"a":[1,1,1,',
    '{"ranking":[3,1,',
    '{"a":1} ',
    '["{",":{",',
    '{"x":"{\\"a\\":',
    '{"a":"{","b":',
]


@pytest.mark.parametrize("unit", UNITS)
def test_the_search_for_objects_does_bounded_work(monkeypatch, unit):
    readings = []

    class Counted(Reading):
        __slots__ = ()

        def __init__(self, text, start):
            super().__init__(text, start)
            readings.append(self)

    def characters_read():
        return sum(reading._position - reading._start for reading in readings)

    monkeypatch.setattr(cut, "Reading", Counted)
    assert cut.cut(unit * 500_000, Terms(DEFAULT, 3)).gave_up
    attempts = cut.WORK_BUDGET // cut.ATTEMPT_COST + 2
    assert len(readings) <= attempts
    # Twice each character that the search comes by, and what one object may nest beyond.
    assert characters_read() <= 2 * (attempts + MAX_DEPTH) * len(unit) + cut.WORK_BUDGET
    readings.clear()
    short = unit * 200 + '{"ranking": [3, 1, 2]}'
    assert not cut.cut(short, Terms(DEFAULT, 3)).gave_up
    assert characters_read() <= 2 * len(short)


def test_an_unfinished_search_saves_nothing():
    valid_object = '{"ranking": [3, 1, 2]} '
    rest = '{"a":' * 200_000
    assert parse(valid_object + '{"a":' * 200, 3).tier == "lenient"
    assert parse(valid_object + rest, 3).tier == "none"
    assert parse(rest + valid_object, 3).tier == "none"


HARD_TEXTS = [
    '{"ranking": [3, 1, 2]}',
    '{"ranking": [3, 1, 1]}',
    '```{"ranking": [3, 1, 2]}```',
    "{'ranking': [3, 1, 2]}",
    '{"a": ' + "[" * 62 + "]" * 62 + "}",
    '{"a": ' + "[" * 63 + "]" * 63 + "}",
    '{"a": ' + "[" * 64 + "]" * 64 + "}",
    "{'ranking': [3, 1, 2], 'a': " + "[" * 60,
    '{"a":' * 300,
]


@pytest.mark.parametrize("contract", [DEFAULT, Contract(extra_keys=True)])
@pytest.mark.parametrize("text", HARD_TEXTS)
def test_the_callers_stack_decides_nothing(text, contract):
    """Parse with ever fewer frames left, down to what starting a thread takes."""
    expected = parse(text, 3, contract)

    def at_depth(left):
        return parse(text, 3, contract) if left == 0 else at_depth(left - 1)

    here = len([*iter_frames()])
    for spare in (400, 300, 200, 150, 120, 100, 80, 60, 50, 40, 30):
        assert at_depth(sys.getrecursionlimit() - here - spare) == expected


def iter_frames():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


@pytest.mark.parametrize("limit", [640, 4300, 0])
def test_the_interpreters_digit_limit_decides_nothing(limit):
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    try:
        for digits in (600, 641, 4000, 5000, 100_000):
            number = "9" * digits
            assert parse(f'{{"ranking": [3, {number}, 2]}}', 3).code == "unknown_id"
            assert parse(f'{{"ranking": [3, -{number}, 2]}}', 3).path == "$.ranking[1]"
            extra = f'{{"a": {number}, "ranking": [3, 1, 2]}}'
            assert parse(extra, 3, Contract(extra_keys=True)).ranking == (3, 1, 2)
    finally:
        sys.set_int_max_str_digits(before)


def test_a_long_key_makes_no_long_message():
    contract = Contract(key="k" * 100_000)
    for text in ("{}", '{"a": 1}', "x", json.dumps({contract.key: 1}), json.dumps({contract.key: [4, 1, 2]})):
        result = parse(text, 3, contract)
        assert_well_formed(result, 3)
        assert len(result.path or "") <= 200
    assert parse(Terms(contract, 3).example(), 3, contract).tier == "strict"


def test_k_below_one_is_the_callers_mistake():
    with pytest.raises(ValueError, match="k must be at least 1"):
        parse("{}", 0)


def test_many_candidates():
    k = 500
    assert parse(Terms(DEFAULT, k).example(), k).tier == "strict"
    doubled = json.dumps({"ranking": [*range(1, k), 1]})
    assert parse(doubled, k).path == f"$.ranking[{k - 1}]"
