"""Untrusted words: nothing commands a terminal or a CI system, and ordinary text stays as it is."""

import io
import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import output
from harness.masking import masked, masked_values
from harness.plain_text import json_text, plain, plain_json, visible, without_commands
from harness.streams import GuardedStream, guarded

HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=4),
        st.sampled_from(
            ["\x1b[31m", "\x9b", "\r", "\n", "\t", " ", ":", "::", "##", "[", "##[", "##vso[", "#", "\u202e"]
        ),
    ),
    max_size=12,
).map("".join)
COMMAND = re.compile(r"(?m)^\s*::|##[A-Za-z]*\[")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain words",
        "汉字\u3000かな 한글",
        "crème brûlée, «\u00a0oui\u00a0»",
        "👩\u200d💻 👍🏽",
        "http://[::1]:8000/v1",
        "a: b, c:d",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert plain(text) == visible(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m\x08\x7f\x85", r"\x9b31m\x08\x7f\x85"),
        ("\u202eabc\u2066\u200b\ufeff\u2028", r"\u202eabc\u2066\u200b\ufeff\u2028"),
        ("a\u200db", r"a\u200db"),
        ("\ud800", r"\ud800"),
        ("::error::x", ": :error: :x"),
        (":::", ": : :"),
        ("##[error] ##vso[x] ##teamcity[y]", "## [error] ## vso[x] ## teamcity[y]"),
        ("section_start:1:x\r\x1b[0K", r"section_start :1:x\r\x1b[0K"),
    ],
)
def test_what_commands_is_visible(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(HOSTILE)
def test_nothing_commands(text: str) -> None:
    for shown in (plain(text), visible(text)):
        assert COMMAND.search(shown) is None
        odd = {one for one in shown if not one.isprintable() and unicodedata.category(one) != "Zs"}
        assert odd <= {"\u200d", "\n", "\t"}
    assert "\n" not in plain(text)


@given(st.dictionaries(HOSTILE, HOSTILE))
def test_a_json_document_means_what_it_meant(document: dict[str, str]) -> None:
    for shown in (json_text(document), plain_json(json.dumps(document, ensure_ascii=False, indent=1))):
        assert masked_values(json.loads(shown)) == masked_values(document)
        assert COMMAND.search(shown) is None
        assert all(one.isprintable() or one == "\n" or unicodedata.category(one) == "Zs" for one in shown)


@given(st.lists(HOSTILE, max_size=6))
def test_what_is_written_in_parts_commands_nothing(parts: list[str]) -> None:
    stream = io.StringIO()
    guarded = GuardedStream(stream)
    for part in parts:
        guarded.write(part)
    shown = stream.getvalue()
    assert COMMAND.search(shown) is None
    assert all(one.isprintable() or one in "\n\t\u200d" or unicodedata.category(one) == "Zs" for one in shown)


@given(st.lists(st.one_of(HOSTILE, st.just("\x1b[1m")), max_size=6))
def test_colours_of_ours_pass_and_commands_do_not(parts: list[str]) -> None:
    stream = io.StringIO()
    guarded = GuardedStream(stream)
    for part in parts:
        guarded.write_styled(part)
    assert COMMAND.search(re.sub(r"\x1b\[\d*m", "", stream.getvalue())) is None


@given(st.text())
def test_lines_without_commands_stay(text: str) -> None:
    if COMMAND.search(text) is None and "section_" not in text and "travis_" not in text:
        assert without_commands(text) == text


def test_a_terminal_without_unicode_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    GuardedStream(stream).write("crème 汉\n")
    stream.flush()
    assert raw.getvalue() == rb"cr\xe8me \u6c49" + b"\n"


def test_a_key_is_masked_in_what_a_library_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "words-that-are-secret")
    stream = io.StringIO()
    print("using", "words-that-are-secret", file=GuardedStream(stream))
    assert stream.getvalue() == "using ***\n"


@pytest.mark.parametrize(
    "words",
    [
        'say "Bearer abcdef" now',
        'see "http://x/?token=abc" now',
        'key "a:b@c.example" there',
        "section_start:1 travis_fold:x ##[group]",
        'password: "x\\"y"',
    ],
)
def test_a_document_on_a_guarded_stream_is_json_still(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        output.document({"v": words, "more": [words]})
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"v": masked(words), "more": [masked(words)]}


def test_lines_written_at_once_are_guarded(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        sys.stdout.writelines(["\x1b[31m red\n", "::error::x\n"])
    assert capsys.readouterr().out == "\\x1b[31m red\n: :error::x\n"
