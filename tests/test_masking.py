"""Secrets: what is masked, in which spellings, and what stays."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engines import EngineInfo
from harness.masking import (
    MASK,
    is_secret,
    learn,
    masked,
    masked_bytes,
    masked_command,
    masked_values,
    remember,
    without_known,
)

KEY = "sk-Case/1+2=9'x"
CASES = json.loads((Path(__file__).parent / "cases" / "secrets.json").read_text())
keys = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=8, max_size=60)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_what_is_masked(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    assert masked(text) == expected
    assert masked(expected) == expected


@given(keys, st.text(max_size=20), st.text(max_size=20))
def test_a_known_key_is_nowhere_however_it_is_written(key: str, before: str, after: str) -> None:
    whole = (before + key + after).encode("utf-8", "surrogatepass")
    for written in (
        before + key + after,
        quote(before + key + after, safe="", errors="surrogatepass"),
        repr(before + key + after),
        json.dumps(before + key + after),
        base64.b64encode(whole).decode(),
    ):
        shown = without_known(written, key).replace(MASK, "\n")
        assert key not in shown
        assert quote(key, safe="") not in shown
        # Of what it shares no bits with its neighbours nothing is left.
        assert base64.b64encode(key.encode()).decode()[2:-4] not in shown or len(key) < 12


@pytest.mark.parametrize("value", ["test", "none", "EMPTY"])
def test_a_word_in_a_key_variable_hides_no_other_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert masked(f"split {value}") == f"split {value}"


def test_a_file_that_holds_a_key_is_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert masked(f"in {tmp_path}") == f"in {tmp_path}"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD"]
)
def test_variables_that_are_named_like_keys(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "only-words-here")
    assert masked("it is only-words-here") == f"it is {MASK}"


def test_an_at_sign_behind_an_address_makes_no_password_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `PYTEST_CURRENT_TEST` has it, and a shell's history."""
    monkeypatch.setenv("LAST_SEEN", "of [http://[::1]:8000/v1]@some/file.py, and http://host/v1 a@b")
    assert masked("http://[::1]:8000/v1 of host/v1 a") == "http://[::1]:8000/v1 of host/v1 a"


def test_what_is_remembered_is_masked() -> None:
    assert masked("plain words of a gateway") == "plain words of a gateway"
    remember("words of a gateway")
    assert masked("plain words of a gateway") == f"plain {MASK}"


def test_an_answer_that_only_looks_like_a_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    words = json.dumps({"text": f"user:PASS@host AIzaSyA1b2C3d4E5 {KEY}"}).encode()
    assert json.loads(masked_bytes(words)) == {"text": f"user:PASS@host AIzaSyA1b2C3d4E5 {MASK}"}


def test_a_command_line() -> None:
    words = ["harness", "eval", "--engine-arg", "hf_token=abc", "--engine-arg", "dtype=auto"]
    words += ["--base-url", "http://u:p@h/v1?key=q", "--api-key", "zzz", "--out", "runs/a b"]
    assert masked_command(words) == (
        *("harness", "eval", "--engine-arg", "hf_token=***", "--engine-arg", "dtype=auto"),
        *("--base-url", "http://***@h/v1?key=***", "--api-key", "***", "--out", "runs/a b"),
    )
    assert masked_command(masked_command(words)) == masked_command(words)


@pytest.mark.parametrize(
    "words",
    [
        ["harness", "cliff", "--clip-key", "student_logprobs", "--assume", "run-key=1.5", "--seed", "3"],
        ["harness", "eval", "--engine-arg", "eos_token=</s>", "--engine-arg", "dtype=auto", "--token"],
        ["harness", "eval", "--ckpt", "zoo:one-with-a-long-name@a@b", "--teacher=zoo:another-long-one@main"],
    ],
)
def test_a_command_line_without_secrets_stays(words: list[str]) -> None:
    learn(words)
    assert masked_command(words) == tuple(words)
    assert masked(" ".join(words)) == " ".join(words)


def test_the_password_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:words-that-are-secret@proxy:8080")
    assert masked("refused: words-that-are-secret") == f"refused: {MASK}"


def test_a_command_line_is_learnt() -> None:
    learn(["eval", "--hf-token=words-that-are-secret", "--base-url", "//me:another-word@h"])
    assert masked("words-that-are-secret or another-word") == f"{MASK} or {MASK}"


def test_values_by_their_names() -> None:
    config = {"key": "ranking", "hf_token": "a", "engine_args": {"token": "b", "eos_token": "c", "seed": 1}}
    assert masked_values(config) == {
        "key": "ranking",
        "hf_token": MASK,
        "engine_args": {"token": MASK, "eos_token": "c", "seed": 1},
    }


@pytest.mark.parametrize("name", ["hf_token", "apiKey", "X-Api-Key", "password", "aws_secret_access_key"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["eos_token", "max_tokens", "tokenizer", "key", "clip_key", "duplicate_key"])
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize("case", [str.lower, str.upper])
@pytest.mark.parametrize(
    "spell",
    [
        lambda raw: raw.hex(),
        lambda raw: raw.hex(":"),
        lambda raw: raw.hex(" "),
        lambda raw: "".join(f"%{one:02x}" for one in raw),
        lambda raw: "".join(f"\\u{one:04x}" for one in raw),
        lambda raw: "".join(f"\\\\u{one:04x}" for one in raw),
        lambda raw: "".join(f"\\x{one:02x}" for one in raw),
        lambda raw: "".join(f"&#{one};" for one in raw),
        lambda raw: "".join(f"&#x{one:02x};" for one in raw),
    ],
)
@pytest.mark.parametrize("cut", [slice(None), slice(3, None), slice(0, -2)])
def test_a_key_told_by_the_numbers_of_its_characters(
    monkeypatch: pytest.MonkeyPatch,
    cut: slice,
    spell: Callable[[bytes], str],
    case: Callable[[str], str],
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    told = case(spell(KEY.encode()[cut]))
    assert masked(f"bad key <{told}>, see") == f"bad key <{MASK}>, see"
    assert masked_bytes(f"é <{told}>".encode()) == f"é <{MASK}>".encode()
    other = case(spell(b"other words of a server"))
    assert masked(f"<{other}>") == f"<{other}>"


def test_a_model_keeps_its_name_but_for_a_key_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "words-of-a-key")
    info = EngineInfo(
        "openai",
        "1",
        "qwen:7b@q4/sk-proj-A1b2C3d4E5f6G7h8",
        options={"base_urls": ["http://g/sk-proj-A1b2C3d4E5f6G7h8"], "remarks": ["it is words-of-a-key"]},
    )
    assert info.checkpoint == f"qwen:7b@q4/{MASK}"
    assert info.options == {"base_urls": [f"http://g/{MASK}"], "remarks": [f"it is {MASK}"]}
    assert replace(info) == info
