"""The command that `harness cliff` ends with is one `harness forecast` takes, of the same pair and tasks."""

from __future__ import annotations

import shlex

import pytest

from harness.cli.cliff import cliff, forecast_line
from harness.cli.eval import eval_command
from harness.cli.forecast import forecast_command

PAIR = ["--teacher", "my 8b", "--base", "zoo:base", "--lambda", "1.1", "--clip", "5"]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (cliff, ["--student", "zoo:listopd", "--split", "validation", "--limit", "9", "--plausible", "0.1"]),
        (eval_command, ["--ckpt", "zoo:listopd", "--split", "validation", "--out", "runs/x", "--json"]),
    ],
)
def test_the_forecast_of_the_pair_at_hand(command, more):
    with command.make_context("harness", [*PAIR, *more]):
        line = forecast_line(0.1)
    name, verb, *words = shlex.split(line)
    assert (name, verb) == ("harness", "forecast")
    told = forecast_command.make_context("forecast", words).params
    assert (told["teacher"], told["base"], told["split"]) == ("my 8b", "zoo:base", "validation")
    assert (told["plausible"], told["clip"], str(told["out"])) == (0.1, None, "runs/forecast")
    assert told["limit"] == 128
