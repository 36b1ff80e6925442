"""Class masses and `harness cliff` over HTTP, from real vLLM servers of the planted models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vllm")

from harness.cli import main
from harness.cliff import lambda_star
from harness.measure.score_log import SCORES
from harness.runs import load
from tests.checkpoints.planted_bigram import (
    BASE,
    END,
    GARBAGE,
    START,
    TEACHER,
    token_ids,
    write_planted,
    write_tasks,
)
from tests.checkpoints.vllm_server import VllmServer

pytestmark = [pytest.mark.vllm, pytest.mark.model]

TASKS = 24


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder / "teacher", TEACHER)
    write_planted(folder / "base", BASE)
    write_tasks(folder / "tasks.jsonl", TASKS)
    return folder


@pytest.fixture(scope="module")
def urls(planted: Path) -> Iterator[dict[str, str]]:
    servers = {name: VllmServer(planted / name) for name in ("teacher", "base")}
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(VllmServer.start, servers.values()))
        yield {name: server.url for name, server in servers.items()}
    finally:
        for server in servers.values():
            if server.process is not None and server.process.poll() is None:
                server.kill()


def arguments(planted: Path, urls: dict[str, str], out: Path, *more: str) -> list[str]:
    return [
        *("cliff", "--teacher", str(planted / "teacher"), "--base", str(planted / "base")),
        *("--engine", "openai", "--teacher-url", urls["teacher"], "--base-url", urls["base"]),
        *("--data", str(planted / "tasks.jsonl"), "--max-tokens", "16", "--lambda", "1.02", "--clip", "5"),
        *("--out", str(out), *more),
    ]


def planted_masses(planted: Path, out: Path) -> dict[str, list[tuple[str, float, float]]]:
    """Role, teacher's and base's class mass of every position of every stored rollout, by the tables."""
    text = {index: token for token, index in token_ids(planted / "base").items()}
    found: dict[str, list[tuple[str, float, float]]] = {}
    for sample in load(out).iter_samples():
        before, rows = START, []
        for token_id in sample.token_ids:
            rows.append((*TEACHER.at(before), BASE.at(before)[1]))
            before = text[token_id]
            repeats = before in (" 1", " 2") and f"[{before.strip()}" in sample.text.replace(" ", "")
            if before in (GARBAGE, END) or repeats:
                break
        found[sample.key] = rows
    return found


def merged(rows: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """One row a decision: `ranking` and the quote behind it are one, whose mass is their product."""
    found: list[tuple[str, float, float]] = []
    for role, teacher, base in rows:
        if found and found[-1][0] == role:
            _, first, other = found.pop()
            found.append((role, teacher * first, base * other))
        else:
            found.append((role, teacher, base))
    return found


@pytest.mark.parametrize("top_k", ["1", "20"])
def test_bounds_of_a_server_hold_the_planted_masses(
    planted: Path, urls: dict[str, str], tmp_path: Path, top_k: str
) -> None:
    out = tmp_path / "run"
    assert main(arguments(planted, urls, out, "--top-k", top_k)) == 0
    document = json.loads((out / "cliff.json").read_bytes())
    # A server's top-k is no distribution; the coin and the edge are told all the same.
    fixed = document["fixed_points"]
    assert fixed["missing"].startswith("not measured with this engine")
    assert all(one["target_tail"] is None and one["edge"] is not None for one in fixed["roles"])
    assert [model["engine"] for model in document["models"]] == ["openai", "openai"]
    assert not document["estimate"]["exact"]
    expected = planted_masses(planted, out)
    rows = [json.loads(line) for line in (out / SCORES).open()]
    assert len(rows) == 2 * TASKS
    first, *_ = (row["scorer"] for row in rows)  # the base, which drew them
    widths = []
    for row in rows:
        masses = [one[2 if row["scorer"] == first else 1] for one in expected[row["key"]]]
        low, high = (
            np.exp([-np.inf if x is None else x for x in bound[0]]) for bound in (row["low"], row["high"])
        )
        assert len(low) == len(masses)
        assert np.all(low <= np.array(masses) + 1e-6)
        assert np.all(high >= np.array(masses) - 1e-6)
        widths.extend(high - low)
    # One token leaves much unseen; twenty show all that these tables hold.
    assert bool(max(widths) < 5e-6) is (top_k == "20")


def test_lambda_star_of_every_role_lies_where_the_tables_say(
    planted: Path, urls: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert main(arguments(planted, urls, out)) == 0
    document = json.loads((out / "cliff.json").read_bytes())
    decisions = [row for rows in planted_masses(planted, out).values() for row in merged(rows)]
    finite = 0
    for role in document["estimate"]["role"]["roles"]:
        masses = np.array([row[1:] for row in decisions if row[0] == role["role"]])
        assert role["n_positions"] == len(masses)
        star = role["lambda_star"]
        if star["status"] == "finite":
            planted_star = lambda_star(*masses.mean(axis=0), 5.0)
            assert star["identified_low"] - 1e-5 <= planted_star <= star["identified_high"] + 1e-5
            assert star["identified_high"] - star["identified_low"] < 5e-3
            finite += 1
    assert finite >= 5


def test_a_top_k_the_server_refuses_is_one_line(
    planted: Path, urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(planted, urls, tmp_path / "run", "--top-k", "500")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "HTTP 400" in error
    assert "Traceback" not in error


def test_a_model_without_a_server_is_named(
    planted: Path, urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(planted, urls, tmp_path / "run")
    at = given.index("--teacher-url")
    assert main(given[:at] + given[at + 2 :]) == 2
    assert "give --teacher-url" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
