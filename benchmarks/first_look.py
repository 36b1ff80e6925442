"""The first look beside what was drawn: validity at each λ of a forecast, weighed from the run at one.

Example: python benchmarks/first_look.py runs/forecast --at 1 --out runs/look
"""

import argparse
from pathlib import Path

from harness.engines import EngineConfig
from harness.evaluate import EvalConfig
from harness.forecast import ForecastConfig, first_look
from harness.runs.forecast_record import read_forecast


def main() -> None:
    """Print a line for each λ, and how many intervals hold what was drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of a forecast at T = 1")
    parser.add_argument("--at", default="1", help="λ whose answers are weighed, as its folder is called")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    drawn = read_forecast(arguments.folder)
    validity = {point.lam: point.parse_validity for point in drawn.points}
    looked = first_look(
        ForecastConfig(
            evaluation=EvalConfig(engine=EngineConfig(device="cpu")),
            teacher=drawn.teacher,
            base=drawn.base,
            plausible=drawn.plausible,
            lambdas=tuple(validity),
            stored=(arguments.folder / f"lambda-{arguments.at}",),
            out=arguments.out,
        )
    )
    print(f"{'λ':>5}  {'drawn':>6}  {'weighed':>7}  {'95 %':>13}  {'effective':>9}  {'unseen':>6}")
    holds = told = 0
    for point in looked.points:
        rate, there = point.parse_validity, validity[point.lam].estimate or 0.0
        shown, interval = "–", ""
        if rate.estimate is not None and rate.low is not None and rate.high is not None:
            shown, interval = f"{rate.estimate:.3f}", f"{rate.low:.3f} … {rate.high:.3f}"
            told += 1
            holds += rate.low <= there <= rate.high
        seen = f"{point.effective:>9.0f}  {point.unseen:>6.3f}"
        print(f"{point.lam:>5g}  {there:>6.3f}  {shown:>7}  {interval:>13}  {seen}")
    print(f"{holds} of {told} intervals hold what was drawn; no number at {len(looked.points) - told} λ")


if __name__ == "__main__":
    main()
