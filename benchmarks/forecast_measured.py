"""Trained students against the forecast that was locked before them: table, hit or miss, picture.

Makes everything again from the stored lock and rows; nothing is trained. Runs that are missing are named.

Run: PYTHONPATH=. python benchmarks/forecast_measured.py [NAME …] [--pictures docs]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from forecast_outcomes import FARTHEST, LEAST_PARSED, at, outcomes
from forecast_training import LOCK, RESULTS, ROWS, code, runs_of
from rich.console import Console
from rich.table import Table

from harness import files
from harness.report.figure import Column, Figure, Line, draw
from harness.stats import Estimate

WIDTH = 110
Row = dict[str, Any]


def read(name: str) -> tuple[dict[str, Any], list[Row]]:
    """Lock and rows; rows placed on the line of their own training alone."""
    locked = json.loads((RESULTS / name / LOCK).read_bytes())
    file = RESULTS / name / ROWS
    rows = json.loads(file.read_bytes()) if file.exists() else []
    return locked, [row for row in rows if row["line"] == row["plausible"]]


def provenance(locked: dict[str, Any], rows: list[Row], console: Console) -> None:
    first = min((row["started"] for row in rows), default=None)
    console.print(f"locked {locked['locked']} at {locked['git']['sha'][:7]}, first run {first or 'not yet'}")
    changed = [one for one, what in locked["code"]["analysis"].items() if code()["analysis"].get(one) != what]
    if changed:
        console.print(f"the analysis code isn't the locked one: {', '.join(changed)}")
    done = {(row["arm"], row["lam"], row["seed"]) for row in rows}
    planned = [(arm["name"], lam, seed) for arm, lam, seed in runs_of(locked["plan"])]
    console.print(f"{len(done)} of {len(planned)} runs; the others are open")


def table(locked: dict[str, Any], rows: list[Row]) -> Table:
    curves = curves_of(locked)
    shown = Table(box=None, pad_edge=False)
    for heading in ("arm", "λ", "steps", "forecast", "seeds", "strict", "λ reached", "off", "forecast there"):
        shown.add_column(heading, justify="left" if heading == "arm" else "right")
    shown.add_column("NDCG@1", justify="right")
    for arm in locked["plan"]["arms"]:
        for lam in arm["lambdas"]:
            for step in locked["plan"]["measured_at"]:
                own = [
                    row for row in rows if (row["arm"], row["lam"], row["step"]) == (arm["name"], lam, step)
                ]
                if not own:
                    continue
                reached = [FARTHEST if row["reached"] is None else row["reached"] for row in own]
                there = [at(curves[arm["plausible"]], one) for one in reached]
                ndcg = [row["ndcg_parsed"] for row in own if row["ndcg_parsed"] is not None]
                shown.add_row(
                    arm["name"],
                    f"{lam:g}",
                    str(step),
                    f"{at(curves[arm['plausible']], lam):.3f}",
                    str(len(own)),
                    " ".join(f"{row['strict']:.3f}" for row in own),
                    " ".join(f"{one:.2f}" for one in reached),
                    f"{np.mean([row['off'] for row in own]):.3f}",
                    " ".join(f"{one:.3f}" for one in there),
                    f"{np.mean(ndcg):.3f}" if ndcg else "–",
                )
    return shown


def curves_of(locked: dict[str, Any]) -> dict[float, list[tuple[float, float]]]:
    return {
        one["plausible"]: [(point["lam"], point["strict"]) for point in one["points"]]
        for one in locked["forecasts"]
    }


def tests(locked: dict[str, Any], rows: list[Row]) -> Table:
    shown = Table(box=None, pad_edge=False)
    for heading in ("locked test", "window", "measured", ""):
        shown.add_column(heading)
    for one in outcomes(locked, rows):
        measured = "–" if one["estimate"] is None else f"{one['estimate']:.3f}"
        if one.get("low") is not None:
            measured += f" [{one['low']:.3f}, {one['high']:.3f}]"
        shown.add_row(
            one["question"], f"{one['window'][0]:g} … {one['window'][1]:g}", measured, one["outcome"]
        )
    return shown


def picture(locked: dict[str, Any], rows: list[Row]) -> str:
    """Validity over λ on the left, over λ reached on the right, the forecast in both."""
    plain = next(one for one in locked["forecasts"] if one["plausible"] == 0.0)
    drawn = Line(
        f"forecast, {plain['points'][0]['n']} answers a λ, before any training",
        tuple(
            (one["lam"], (Estimate(one["n"], one["strict"], one["low"], one["high"], ""),))
            for one in plain["points"]
        ),
    )
    lines, over_lam, over_reached = [drawn], [0], [0]
    for step in locked["plan"]["measured_at"]:
        by_lam, by_reached = [], []
        for lam in locked["plan"]["arms"][0]["lambdas"]:
            own = [row for row in rows if (row["arm"], row["lam"], row["step"]) == ("plain", lam, step)]
            if not own:
                continue
            mean = _seeds(own, "strict")
            reached = float(np.mean([FARTHEST if row["reached"] is None else row["reached"] for row in own]))
            by_lam.append((lam, (mean,)))
            by_reached.append((round(max(reached, 0.0), 2), (mean,)))
        if step == locked["plan"]["steps"] and by_lam:
            over_lam.append(len(lines))
            lines.append(Line(f"students after {step} steps, at their λ", tuple(by_lam)))
        if by_reached:
            over_reached.append(len(lines))
            at_reached = tuple(sorted(by_reached, key=lambda one: one[0]))
            lines.append(Line(f"students after {step} steps, at their λ reached", at_reached))
    return draw(
        Figure(
            title="Students against the forecast that was locked before their training",
            panels=("strict parse validity",),
            columns=(Column("at λ", tuple(over_lam)), Column("at λ reached", tuple(over_reached))),
            lines=tuple(lines),
            rules=(("strict parse validity", False, locked["collapse_line"]),),
            notes=(("rule", "half of the base's validity; bars of students: lowest and highest seed"),),
        )
    )


def headline(locked: dict[str, Any], rows: list[Row]) -> str:
    """One column: validity and NDCG@1 on what parses, of the forecast and of the students at the end."""
    plain = next(one for one in locked["forecasts"] if one["plausible"] == 0.0)
    drawn, trained = [], []
    for one in plain["points"]:
        parsed = round(one["n"] * one["strict"])
        ranking = one["ndcg_at_1_parsed"] if parsed >= LEAST_PARSED else None
        quality = Estimate(parsed, ranking, None, None, "")
        drawn.append((one["lam"], (Estimate(one["n"], one["strict"], one["low"], one["high"], ""), quality)))
    for lam in locked["plan"]["arms"][0]["lambdas"]:
        last = ("plain", lam, locked["plan"]["steps"])
        own = [row for row in rows if (row["arm"], row["lam"], row["step"]) == last]
        if own:
            ranked = [row for row in own if row["parsed"] >= LEAST_PARSED]
            trained.append((lam, (_seeds(own, "strict"), _seeds(ranked, "ndcg_parsed"))))
    seeds = len({row["seed"] for row in rows if row["arm"] == "plain"})
    return draw(
        Figure(
            title="JSON falls off a cliff, ranking doesn't",
            panels=("strict validity", "NDCG@1 on parsed"),
            columns=(Column("", (0, 1)),),
            lines=(
                Line("drawn before any training: harness forecast", tuple(drawn)),
                Line(f"students trained afterwards ({seeds} seeds)", tuple(trained)),
            ),
            described="Strict validity over λ, of the forecast and of trained students, and NDCG@1 below it.",
        )
    )


def _seeds(rows: list[Row], name: str) -> Estimate:
    if not rows:
        return Estimate(0, None, None, None, "")
    values = [row[name] for row in rows]
    return Estimate(len(values), float(np.mean(values)), min(values), max(values), "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(path.parent.name for path in RESULTS.glob(f"*/{LOCK}"))
    parser.add_argument("names", nargs="*", default=names)
    parser.add_argument("--pictures", type=Path, help="folder for forecast-NAME.svg and fall-NAME.svg")
    given = parser.parse_args()
    console = Console(width=WIDTH, highlight=False)
    for name in given.names:
        locked, rows = read(name)
        console.rule(name)
        provenance(locked, rows, console)
        console.print(table(locked, rows))
        console.print(tests(locked, rows))
        if given.pictures is not None:
            files.write_text(given.pictures / f"forecast-{name}.svg", picture(locked, rows))
            files.write_text(given.pictures / f"fall-{name}.svg", headline(locked, rows))


if __name__ == "__main__":
    main()
