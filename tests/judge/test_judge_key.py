"""The key masks itself."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge.key import ApiKey

KEY = "AIzaSyD-abc_DEF+123/456=xyz"
printable = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("", ""),
        ("nothing here", "nothing here"),
        (KEY, "***"),
        (f"a{KEY}b{KEY}c", "a***b***c"),
        (f"{KEY}{KEY}", "***"),
        (f"cut off: {KEY[:12]}", "cut off: ***"),
        (f"…{KEY[9:]} and on", "…*** and on"),
        ("?key=AIzaSyD-abc_DEF%2B123%2F456%3Dxyz&x", "?key=***&x"),
        ("AIza", "AIza"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert ApiKey(KEY).redact(text) == masked


@given(printable, printable, printable)
def test_no_key_survives(key: str, before: str, after: str) -> None:
    masked = ApiKey(key).redact(f"{before}{key}{after}")
    assert key not in masked.replace("***", "\n")


def test_it_doesnt_print_or_pickle_itself() -> None:
    key = ApiKey(KEY)
    assert KEY not in f"{key} {key!r} {vars(type(key))}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
