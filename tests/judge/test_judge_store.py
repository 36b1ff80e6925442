"""The sqlite file: answers that were paid for, and a ledger that forgets nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.judge.client import Reply
from harness.judge.cost import Tokens
from harness.judge.store import Spent, Store, default_store

REPLY = Reply('{"ok": 1}', "STOP", None, 100, 20)
BOUND, USED = Tokens(400, 2048), Tokens(100, 20)
DETAILS = {"rubric": "r", "model": "m", "mode": "ranking", "size": 400}


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    replies = {
        "a": REPLY,
        "b": Reply(None, "SAFETY", None, 90, 0),
        "c": Reply(None, "", "PROHIBITED_CONTENT", None, None),
        "d": Reply("😀 ünï", "STOP", None, 1, 2),
    }
    with Store(tmp_path / "s.sqlite") as store:
        for key, reply in replies.items():
            store.settle_answered(store.send("job", key, BOUND), key, reply, USED, **DETAILS)
    with Store(tmp_path / "s.sqlite") as store:
        assert {key: store.answer(key) for key in replies} == replies
        assert store.answer("other") is None


def test_the_ledger_tells_known_cost_from_doubt(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.settle_answered(store.send("job", "a", BOUND), "a", REPLY, USED, **DETAILS)
        store.settle(store.send("job", "b", BOUND), "free")
        store.settle(store.send("job", "c", BOUND), "in_doubt")
        store.send("job", "d", Tokens(5, 6))
        store.send("another job", "e", BOUND)
        expected = Spent(requests=4, tokens=USED, in_doubt=2, in_doubt_tokens=BOUND + Tokens(5, 6))
        assert store.spent("job") == expected
        assert store.settle_lost("job") == {"d"}
        assert store.spent("job") == expected
        assert store.settle_lost("job") == {"d"}
        assert store.settle_lost("another job") == {"e"}


def test_a_killed_process_leaves_what_it_had_written(tmp_path: Path) -> None:
    """SIGKILL after sending one and settling another: the first is in doubt, the second is there."""
    path = tmp_path / "s.sqlite"
    program = f"""
import os, signal
from pathlib import Path
from harness.judge.client import Reply
from harness.judge.cost import Tokens
from harness.judge.store import Store
store = Store(Path({str(path)!r}))
number = store.send("job", "a", Tokens(100, 50))
store.settle_answered(number, "a", Reply("x", "STOP", None, 10, 2), Tokens(10, 2),
                      rubric="r", model="m", mode="ranking", size=40)
store.send("job", "b", Tokens(100, 50))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    with Store(path) as store:
        assert store.answer("a") == Reply("x", "STOP", None, 10, 2)
        assert store.answer("b") is None
        assert store.settle_lost("job") == {"b"}
        assert store.spent("job") == Spent(2, Tokens(10, 2), 1, Tokens(100, 50))


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as one, Store(path) as other:
        one.settle_answered(one.send("a", "k", BOUND), "k", REPLY, USED, **DETAILS)
        assert other.answer("k") == REPLY
        other.send("b", "l", BOUND)
        assert one.spent("b").requests == 1


def test_usage_is_that_of_this_rubric_and_model(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        assert store.usage("r", "m", "ranking") is None
        for key, tokens in (("a", 100), ("b", 300)):
            reply = Reply("x", "STOP", None, tokens, 10)
            store.settle_answered(store.send("job", key, BOUND), key, reply, USED, **DETAILS)
        store.settle_answered(
            store.send("job", "c", BOUND), "c", Reply("x", "STOP", None, None, None), BOUND, **DETAILS
        )
        store.settle_answered(
            store.send("job", "d", BOUND),
            "d",
            Reply("x", "STOP", None, 9, 9),
            USED,
            **{**DETAILS, "model": "n"},
        )
        usage = store.usage("r", "m", "ranking")
        assert (usage.answers, usage.tokens_per_byte, usage.output_tokens) == (2, 0.5, 10.0)


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(HarnessError, match="`store=`"):
        Store(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(HarnessError, match="`store=`"):
        Store(folder)


def test_the_default_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "harness" / "judge.sqlite"
