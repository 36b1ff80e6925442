"""Prompts of a user's own: what a file's messages become, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.contract import DEFAULT, Contract, Terms
from harness.contract.mention import speaks_of
from harness.data import conversations as making
from harness.data.choice import PromptConfig
from harness.data.conversations import conversations
from harness.data.prompt_file import PromptRecord
from harness.data.tasks import Item, Message, PromptTask, RankingTask, as_user
from harness.errors import DataError, HarnessError

FAULTS = json.loads((Path(__file__).parents[1] / "cases" / "prompt_files.json").read_text(encoding="utf-8"))
GOOD = """
messages:
  - role: system
    content: You sort {{ k }} things for {{ meta.who }}.
  - role: user
    content: 'Example: 1. a 2. b'
  - role: assistant
    content: '{"ranking": [2, 1]}'
  - role: user
    content: |
      {% for item in history %}
      had {{ item.title }}
      {% endfor %}
      {% for one in candidates %}
      {{ one.number }}{{ one.letter }} {{ one.item_id }} {{ one.title }} {{ one.attributes | tojson }}
      {% endfor %}
      {{ contract.instruction }}
"""
TASK = RankingTask(
    task_id="a",
    history=(Item(item_id="h", title="Old  coat"),),
    candidates=(
        Item(item_id="c1", title="Red [SALE] <b>coat</b>"),
        Item(item_id="c2", title="Blue coat", attributes={"size": "é"}),
    ),
    relevance=(0.0, 1.0),
    meta={"who": "Ada"},
)


def prompt_of(folder: Path, text: str, **settings: Any) -> PromptRecord:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return PromptConfig(prompt=path, **settings).record()


def test_a_files_messages_show_everything_as_it_is(tmp_path: Path) -> None:
    [turns] = conversations([TASK], DEFAULT, prompt_of(tmp_path, GOOD))
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0].content == "You sort 2 things for Ada."
    assert turns[2].content == '{"ranking": [2, 1]}'
    assert turns[3].content == (
        "had Old  coat\n"
        "1A c1 Red [SALE] <b>coat</b> {}\n"
        '2B c2 Blue coat {"size": "é"}\n' + Terms(DEFAULT, 2).instruction()
    )
    short = prompt_of(tmp_path, GOOD + "max_title_characters: 5\n")
    assert "1A c1 Red… {}" in conversations([TASK], DEFAULT, short)[0][3].content
    guarded = conversations([TASK], DEFAULT, prompt_of(tmp_path, GOOD), guarded=True)
    assert "Red [ SALE] < b>coat< /b>" in guarded[0][3].content


def test_rows_with_messages_use_their_own(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, GOOD)
    own = TASK.model_copy(update={"messages": (Message(role="user", content="mine"),)})
    bare = PromptTask.model_validate({"task_id": "b", "prompt": "theirs {{ k }}"})
    made = conversations([own, bare, TASK], DEFAULT, prompt)
    assert made[:2] == [as_user("mine"), as_user("theirs {{ k }}")]
    assert len(made[2]) == 4
    with pytest.raises(DataError, match=r"every task has messages of its own.*leave `prompt=` out"):
        conversations([own, bare], DEFAULT, prompt)


def test_a_system_turn_stands_in_front_or_nowhere(tmp_path: Path) -> None:
    [turns] = conversations([TASK], DEFAULT, PromptRecord(system="Be brief."))
    assert [turn.role for turn in turns] == ["system", "user"]
    with pytest.raises(DataError, match="task a has a system turn already; leave `system=` out"):
        conversations([TASK], DEFAULT, prompt_of(tmp_path, GOOD, system="Be brief."))


def test_the_contracts_own_instruction_is_a_template() -> None:
    contract = Contract(instruction="Say {{ k }} numbers of {{ candidates[0].item_id }}.")
    [[turn]] = conversations([TASK], contract)
    assert turn.content.endswith("\n\nSay 2 numbers of c1.")
    with pytest.raises(DataError, match="the contract's instruction: line 1: unknown variable 'kk'"):
        conversations([TASK], Contract(instruction="{{ kk }}"))


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case["name"])
def test_a_bad_prompt_is_one_line(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "SECONDS", 0.5)
    with pytest.raises(HarnessError) as caught:
        conversations([TASK], DEFAULT, prompt_of(tmp_path, case["text"]))
    assert case["says"] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_only_what_a_file_says_counts(tmp_path: Path) -> None:
    first = prompt_of(tmp_path, GOOD)
    (tmp_path / "q.yaml").write_bytes(
        gzip.compress(b"\xef\xbb\xbf# a remark\r\n" + GOOD.replace("\n", "\r\n").encode())
    )
    again = PromptConfig(prompt=tmp_path / "q.yaml").record()
    assert first.sha256 == again.sha256 is not None
    assert PromptRecord.model_validate_json(first.model_dump_json()).sha256 == first.sha256
    assert prompt_of(tmp_path, GOOD, system="x").sha256 != first.sha256
    assert PromptRecord(reasoning_end="</think>").sha256 is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("[1]", "must be a JSON object"),
        ("{", "isn't JSON"),
        ('{"tokenize": true}', "tokenize is set by the harness"),
        ('{"messages": []}', "messages is set by the harness"),
    ],
)
def test_template_arguments_that_are_none(given: str, says: str) -> None:
    with pytest.raises(HarnessError, match=says) as caught:
        PromptConfig.flat({"chat_template_kwargs": given})
    assert "\n" not in str(caught.value)


def test_template_arguments_come_as_text_or_as_they_are() -> None:
    wanted = {"enable_thinking": True}
    assert PromptConfig.flat({"chat_template_kwargs": json.dumps(wanted)}).chat_template_kwargs == wanted
    assert PromptConfig.flat({"chat_template_kwargs": wanted}).chat_template_kwargs == wanted


@pytest.mark.parametrize(
    ("text", "contract", "mentions"),
    [
        ("Answer in JSON.", DEFAULT, True),
        ("Fill in `ranking`.", DEFAULT, True),
        ("Give the rankings.", DEFAULT, False),
        ("Which city?", Contract.model_validate({"kind": "schema", "schema": {"type": "object"}}), False),
        (
            "Name the city.",
            Contract.model_validate({"kind": "schema", "schema": {"properties": {"city": {}}}}),
            True,
        ),
    ],
)
def test_whether_a_prompt_mentions_the_contract(text: str, contract: Contract, mentions: bool) -> None:
    terms = Terms(contract, 2 if contract.kind == "listwise" else 0)
    assert speaks_of(text, terms) is mentions
