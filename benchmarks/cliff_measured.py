"""The cliff, measured and locked beforehand: tables, onsets, hit or miss, and the picture in the README.

Makes everything again from the stored results of all runs; nothing is trained.

Run: python benchmarks/cliff_measured.py [--sweep DIR …] [--pictures docs] [--export DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from rich.console import Console

from harness.cli.sweep_figure import draw_sweep
from harness.cli.sweep_tables import print_analysis, print_lock, print_report
from harness.errors import RunMismatchError
from harness.sweep.analysis import SweepAnalysis, analyse
from harness.sweep.folder import LOCK, SWEEP, SweepFolder
from harness.sweep.prereg.check import check
from harness.sweep.prereg.lock_file import PreregLock, read_lock
from harness.sweep.results import TABLE, read_results, write_table

STORED = Path(__file__).parent / "results" / "cliff-measured"
WIDTH = 116
ONE_CLASS = "one-class"
# File, headline, and its lines: arm and sweep. The sweeps of a picture share checkpoints and evaluation.
Lines = tuple[tuple[str, str], ...]
PICTURES: tuple[tuple[str, str, Lines], ...] = (
    (
        "cliff-one-class.svg",
        "Teacher and base differ in one class of tokens: collapse over λ, and λ* as locked before",
        tuple((arm, ONE_CLASS) for arm in ("c1.5", "c5", "c1.5-slow", "c1.5-fast", "c1.5-fresh")),
    ),
    (
        "cliff.svg",
        "Collapse over λ, and λ* as it was locked before",
        (
            ("c1.5", "ppo-clip"),
            ("c5", "ppo-clip"),
            ("mask-c1.5", "mask"),
            ("mask-c5", "mask-fine"),
            ("mask-c5-slow", "mask-fine"),
        ),
    ),
)
CLIPS = {"differentiated": "PPO clip", "detached": "hard mask"}


def show(folder: Path, console: Console) -> tuple[PreregLock, SweepAnalysis]:
    """Print what was locked, what came out, and what `harness prereg check` says of it."""
    locked, results = read_lock(folder / LOCK), read_results(folder)
    console.rule(f"{folder.name}: {CLIPS[locked.plan.training.ratio_gradient]}")
    print_lock(locked, console)
    try:
        report = check(SweepFolder(folder))
        analysis = report.analysis
        print_report(report, console)
    except RunMismatchError as error:
        console.print(f"prereg check refuses: {error}", style="red")
        analysis = analyse(locked.plan, results, locked.base_strict)
        print_analysis(analysis, console)
    seconds = sum(one.train_seconds + one.evaluate_seconds for one in results)
    console.print(
        f"{len(results)} runs, {seconds / 3600:.1f} process hours. Note in the lock:\n{locked.note}\n"
    )
    return locked, analysis


def export(folder: Path, target: Path) -> None:
    """Copy what the tables and the picture are made of: lock, record, all results."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (LOCK, SWEEP):
        shutil.copy(folder / name, target / name)
    write_table(read_results(folder), target / TABLE)


def picture(shown: dict[str, tuple[PreregLock, SweepAnalysis]], headline: str, lines: Lines) -> str:
    """Arms of sweeps that share checkpoints and evaluation set, and with them the collapse threshold."""
    thresholds = {shown[sweep][1].threshold for _, sweep in lines}
    if len(thresholds) != 1:
        raise SystemExit(f"sweeps with different collapse thresholds {thresholds} don't go into one picture")
    chosen = []
    for name, sweep in lines:
        locked, analysis = shown[sweep]
        clip = CLIPS[locked.plan.training.ratio_gradient]
        chosen += [dataclasses.replace(arm, arm=clip) for arm in analysis.arms if arm.arm == name]
    locked, analysis = shown[lines[0][1]]
    return draw_sweep(dataclasses.replace(analysis, arms=tuple(chosen)), locked.predictions, headline)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweep", type=Path, nargs="+", help="folders of sweeps, or of what --export wrote")
    parser.add_argument("--pictures", type=Path, help="folder for the SVG files")
    parser.add_argument("--export", type=Path, help="folder for the compact copies, one folder a sweep")
    given = parser.parse_args()
    folders = given.sweep or sorted(file.parent for file in STORED.glob(f"*/{LOCK}"))
    console = Console(width=WIDTH)
    shown = {folder.name: show(folder, console) for folder in folders}
    if given.pictures is not None:
        for file, headline, lines in PICTURES:
            (given.pictures / file).write_text(picture(shown, headline, lines), encoding="utf-8")
            console.print(f"picture: {given.pictures / file}")
    if given.export is not None:
        for folder in folders:
            export(folder, given.export / folder.name)
        console.print(f"compact copies: {given.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
