"""Hypothesis strategies: valid answers in every spelling, near misses, and arbitrary text."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from harness.contract import Contract, Terms

KEYS = ["ranking", "r", 'a"b', "é", "😀/x", "\n\\", "true", " "]

contracts = st.builds(
    Contract,
    key=st.sampled_from(KEYS),
    id_style=st.sampled_from(["integer", "string"]),
    extra_keys=st.booleans(),
)

ks = st.integers(1, 12)

white = st.text(" \t\n\r", max_size=2)

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates included

FRAGMENTS = [
    *'{}[]:,"\\ \n\t0123456789-+.eEu',
    '"ranking"',
    '"r"',
    '{"ranking": [',
    "true",
    "null",
    "NaN",
    "\\u0072",
    "\\ud83d",
    "\\ude00",
    "\ud83d",
    "\ude00",
    '"1"',
    "1, 2, 3",
    "```",
    "\ufeff",
    "\u00a0",
    "\uff11",
    "\x00",
    '"a": 1,',
    "{}",
    "[]",
]
soup = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-20, 20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=()), max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab\ud83d", max_size=2), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def spelled_strings(draw, text: str) -> str:
    """A JSON string that decodes to `text`, each character written in one of the ways there are."""
    parts = []
    for char in text:
        code = ord(char)
        pair = [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]
        escape = "".join(f"\\u{unit:04x}" for unit in ([code] if code < 0x10000 else pair))
        ways = [escape, escape[:2] + escape[2:].upper().replace("\\U", "\\u"), json.dumps(char)[1:-1]]
        if char not in '"\\' and char >= " ":
            ways += [char] * 4
        parts.append(draw(st.sampled_from(ways)))
    return f'"{"".join(parts)}"'


@st.composite
def answers(draw, contract: Contract, ranking: list[int]) -> str:
    """A strictly valid answer."""

    def gap() -> str:
        return draw(white)

    spelled = [str(n) if contract.ids == "number" else draw(spelled_strings(str(n))) for n in ranking]
    listed = ",".join(gap() + one + gap() for one in spelled)
    members = [(draw(spelled_strings(contract.key)), f"[{listed}]")]
    if contract.extra_keys:
        names = st.text("abr\n😀", max_size=3).filter(lambda name: name != contract.key)
        for name in draw(st.lists(names, unique=True, max_size=3)):
            value = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()))
            members.insert(draw(st.integers(0, len(members))), (draw(spelled_strings(name)), value))
    inside = ",".join(gap() + name + gap() + ":" + gap() + value + gap() for name, value in members)
    return gap() + "{" + inside + "}" + gap()


@st.composite
def valid(draw) -> tuple[str, int, Contract, tuple[int, ...]]:
    """A strictly valid text with its K, contract and ranking."""
    contract, k = draw(contracts), draw(ks)
    ranking = draw(st.permutations(range(1, k + 1)))
    return draw(answers(contract, ranking)), k, contract, tuple(ranking)


@st.composite
def edited(draw, text: str) -> str:
    """The text after up to three small edits."""
    for _ in range(draw(st.integers(0, 3))):
        low = draw(st.integers(0, len(text)))
        high = min(len(text), low + draw(st.integers(0, 3)))
        kind = draw(st.sampled_from(["replace", "insert", "delete", "repeat", "cut"]))
        if kind == "replace":
            text = text[:low] + draw(st.sampled_from(FRAGMENTS)) + text[high:]
        elif kind == "insert":
            text = text[:low] + draw(st.sampled_from(FRAGMENTS)) + text[low:]
        elif kind == "delete":
            text = text[:low] + text[high:]
        elif kind == "repeat":
            text = text[:high] + text[low:]
        else:
            text = text[:low]
    return text


@st.composite
def near_answers(draw) -> tuple[str, int, Contract]:
    """A text that is valid, nearly valid, or nothing of the kind, with the K and contract to hold it to."""
    kind = draw(st.sampled_from(["edited", "edited", "edited", "soup", "any"]))
    if kind == "edited":
        text, k, contract, _ = draw(valid())
        return draw(edited(text)), k, contract
    return draw(soup if kind == "soup" else any_text), draw(ks), draw(contracts)


@st.composite
def near_values(draw) -> tuple[object, int, Contract]:
    """A decoded value that keeps the contract or breaks it in a few places, with its K and contract."""
    contract, k = draw(contracts), draw(st.integers(1, 5))
    ids: list[object] = [Terms(contract, k).spell(n) for n in draw(st.permutations(range(1, k + 1)))]
    odd = st.one_of(
        st.integers(-1, k + 1),
        st.integers(-1, k + 1).map(str),
        st.integers(0, k).map(float),
        st.booleans(),
        json_values,
    )
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(ids)))
        ids[at : at + draw(st.integers(0, 1))] = [draw(odd)] * draw(st.integers(0, 2))
    value: dict[str, object] = {contract.key: ids}
    if draw(st.integers(0, 3)) == 0:
        value |= draw(st.dictionaries(st.sampled_from(["a", "b c", "é"]), json_values, max_size=2))
    kind = draw(st.integers(0, 12))
    if kind == 0:
        value[contract.key] = draw(json_values)
    elif kind == 1:
        del value[contract.key]
    elif kind == 2:
        return draw(json_values), k, contract
    return value, k, contract
