"""The cliff, measured and locked beforehand: tables, onsets, hit or miss, and the picture in the README.

Makes everything again from the stored results of all runs; nothing is trained.

Run: python benchmarks/cliff_measured.py [--sweep DIR] [--picture docs/cliff.svg] [--export DIR]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rich.console import Console

from harness.cli.sweep_tables import print_analysis, print_lock, print_report
from harness.errors import RunMismatchError
from harness.opd.prereg_check import check
from harness.opd.prereg_model import read_lock
from harness.opd.sweep_analysis import analyse
from harness.opd.sweep_folder import LOCK, SWEEP, SweepFolder
from harness.opd.sweep_plot import draw_sweep
from harness.opd.sweep_results import TABLE, read_results, write_table

STORED = Path(__file__).parent / "results" / "cliff-measured"
WIDTH = 116


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--sweep", type=Path, default=STORED, help="folder of a sweep, or what --export wrote"
    )
    parser.add_argument("--picture", type=Path, help="SVG file to write")
    parser.add_argument("--export", type=Path, help="folder for the compact copy: lock, record, all results")
    parser.add_argument("--title", default="Collapse of tiny students over λ, against the λ* locked before")
    given = parser.parse_args()
    locked, results = read_lock(given.sweep / LOCK), read_results(given.sweep)
    console = Console(width=WIDTH)
    print_lock(locked, console)
    try:
        report = check(SweepFolder(given.sweep))
        analysis = report.analysis
        print_report(report, console)
    except RunMismatchError as error:
        console.print(f"prereg check refuses: {error}", style="red")
        analysis = analyse(locked.plan, results, locked.base_strict)
        print_analysis(analysis, console)
    seconds = [one.train_seconds + one.evaluate_seconds for one in results]
    console.print(
        f"{len(results)} runs, {sum(seconds) / 3600:.1f} process hours; note in the lock:\n{locked.note}"
    )
    if given.picture is not None:
        given.picture.write_text(draw_sweep(analysis, locked.predictions, given.title), encoding="utf-8")
        console.print(f"picture: {given.picture}")
    if given.export is not None:
        given.export.mkdir(parents=True, exist_ok=True)
        for name in (LOCK, SWEEP):
            shutil.copy(given.sweep / name, given.export / name)
        write_table(results, given.export / TABLE)
        console.print(f"compact copy: {given.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
