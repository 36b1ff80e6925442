"""Damage a run in every way we know and see that no command tells a different story without a word.

Run: python benchmarks/run_damage.py [--flips 2000] [--seed 0]

A small run with judgements, a cliff and a verdict against a baseline is damaged: random bits of its files are
flipped (files weighted by size), lines are doubled, dropped, swapped and edited, numbers are forged, with
checksums as they were and repaired. Then it is gated, rescored and reported in this process. Each command
either refuses, says that something is stale, or gives what it gave of the undamaged run; anything else is
SILENT and makes the exit code 1. Last, a verdict is made stale by several routes, and the report must say so.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, InternalError
from harness.evaluate import rescore
from harness.gate import Policy, decide, open_run
from harness.gate.record import write_record
from harness.judge import merge_rubric_metrics
from harness.report import Format, ReportConfig, report
from harness.runs import RunDirectory, load, stale_reasons
from harness.runs.gate_record import GateRecord
from harness.runs.integrity import read_gate
from harness.stats import Estimate
from tests.report.report_runs import answers, judged, make_run, tasks, with_cliff
from tests.resealing import change_document, change_rows

TASKS = 24
RULES = (
    "parse_validity.strict >= 0.3",
    "ndcg_at_1.all >= baseline - 0.5",
    "rubric.listwise-relevance >= 0.2",
    "cliff.lambda_star >= 1.01",
    "cliff.verdict in [left]",
)
FILES = (
    "manifest.json",
    "tasks.jsonl",
    "samples.jsonl",
    "metrics.json",
    "cliff.json",
    "judge.jsonl",
    "gate.json",
)
COMMANDS = ("gate", "rescore", "report")
_HASH = re.compile(r"[0-9a-f]{8,}")
REFUSED, SAID, SAME, SILENT, UNNAMED = "refused", "said", "same", "SILENT", "REFUSED WITHOUT A NAME"


@dataclass(frozen=True)
class World:
    """An undamaged run and its baseline, and what the commands say of it."""

    folder: Path
    run: Path
    baseline: Path
    policy: Policy
    expected: dict[str, str]


def build(folder: Path) -> World:
    """Make the runs; every number of them is computed by the code that users run."""
    rows = tasks(TASKS)
    baseline = make_run(folder / "baseline", rows, answers(0.9), seed=1)
    judged(baseline)
    made = judged(with_cliff(make_run(folder / "run", rows, answers(0.8), seed=2), 1.1))
    policy = Policy(rules=RULES)
    write_record(made.path, decide(made, policy, load(baseline.path)), policy)
    world = World(folder, made.path, baseline.path, policy, {})
    expected = {command: said(world, command, made.path)[0] for command in COMMANDS}
    return World(folder, made.path, baseline.path, policy, expected)


def said(world: World, command: str, run: Path) -> tuple[str, str]:
    """What a command says of a run: its numbers and verdicts, and its remarks on damage.

    Raises:
        HarnessError: it refuses.
    """
    if command == "gate":
        result = decide(open_run(run), world.policy, open_run(world.baseline)).to_dict()
        return repr((result["verdict"], result["rules"], result["subject"]["samples"])), ""
    if command == "rescore":
        remarks: list[str] = []
        done = rescore(run, on_remark=remarks.append)
        texts = sorted((sample.key, sample.text, sample.parse) for sample in done.iter_samples())
        return repr(({name: asdict(one) for name, one in done.metrics.items()}, texts)), " ".join(remarks)
    document = report(ReportConfig(runs=(world.baseline, run)), "md").document
    # Digests of files are shown, and differ where a change of format changes nothing else.
    return _HASH.sub("…", document.replace(str(run), "RUN")), document if "stale" in document else ""


def outcomes(world: World, damage: Callable[[Path], object], names: tuple[str, ...]) -> dict[str, str]:
    """How each command takes a run that was damaged.

    Args:
        world: the runs.
        damage: changes a copy of the run, which has the run's name.
        names: one of which a refusal must hold.
    """
    found = {}
    for command in COMMANDS:
        with tempfile.TemporaryDirectory(dir=world.folder) as folder:
            copy = Path(shutil.copytree(world.run, Path(folder) / world.run.name))
            # Without it the report would say of every copy that the verdict's baseline is gone.
            (Path(folder) / world.baseline.name).symlink_to(world.baseline)
            damage(copy)
            try:
                text, remark = said(world, command, copy)
            except InternalError:
                raise
            except HarnessError as error:
                found[command] = (
                    REFUSED if any(name in str(error) for name in names) else f"{UNNAMED}: {error}"
                )
            else:
                found[command] = SAME if text == world.expected[command] else SAID if remark else SILENT
    return found


def flips(world: World, count: int, seed: int) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Random single bits, each byte of the run as likely as any other."""
    rng = random.Random(seed)
    sizes = [(world.run / name).stat().st_size for name in FILES]
    for _ in range(count):
        [name] = rng.choices(FILES, sizes)
        place, bit = rng.randrange(sizes[FILES.index(name)]), 1 << rng.randrange(8)
        yield name, partial(_flip, name, place, bit)


def _flip(name: str, place: int, bit: int, run: Path) -> None:
    path = run / name
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(bytes(content))


@dataclass(frozen=True)
class Edit:
    """A change by hand.

    Attributes:
        what: is done.
        names: one of which a refusal must hold.
        damage: does it to a run.
    """

    what: str
    names: tuple[str, ...]
    damage: Callable[[Path], object]

    def __str__(self) -> str:
        return self.what


_LINE_CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "doubled": lambda lines: [*lines, lines[5]],
    "dropped": lambda lines: lines[:5] + lines[6:],
    "last dropped": lambda lines: lines[:-1],
    "swapped": lambda lines: [lines[7], *lines[1:7], lines[0], *lines[8:]],
    "gone": lambda lines: [],
    "half": lambda lines: lines[: len(lines) // 2],
}
_ALSO = {"samples.jsonl": ("samples",), "tasks.jsonl": ("tasks", "samples"), "judge.jsonl": ()}


def edits() -> list[Edit]:
    """Changes of whole lines, and forgeries with checksums as they were and repaired."""
    found = []
    for name, also in _ALSO.items():
        for what, change in _LINE_CHANGES.items():
            found.append(Edit(f"{name}: {what}", (name, *also), partial(_change_lines, name, change)))
        found.append(Edit(f"{name}: removed", (name,), partial(_remove, name)))
    for repaired in (False, True):
        suffix = ", checksum repaired" if repaired else ""
        for what, name, forge in _forgeries():
            names = (name, "samples", "scored", "contract.ranking")
            found.append(Edit(f"{what}{suffix}", names, partial(_forge, name, forge, repaired)))
    return [*found, Edit("metrics forged as if just computed", ("metrics.json",), _forged_as_new)]


def _forgeries() -> Iterator[tuple[str, str, Callable[[Any], object]]]:
    """What is forged, in which file, and how its content changes."""
    for name in ("parse_validity.strict", "ndcg_at_1.all", "rubric.listwise-relevance", "cliff.lambda_star"):
        yield f"metrics: {name} forged", "metrics.json", partial(_perfect, name)
    strict, scores = "parse_validity.strict", {"low": 0.9}
    yield "metrics: an interval forged", "metrics.json", lambda rows: rows[strict].update(scores)
    yield "metrics: n forged", "metrics.json", lambda rows: rows[strict].update(n=4000)
    yield "cliff: λ forged", "cliff.json", lambda content: content.update({"lambda": 0.5, "lam": 0.5})
    yield "cliff: verdict forged", "cliff.json", lambda content: content.update(verdict="on_cliff")
    yield "samples: a text edited", "samples.jsonl", lambda rows: rows[3].update(text="I refuse")
    yield "samples: two texts swapped", "samples.jsonl", _swap_texts
    yield "samples: a parse edited", "samples.jsonl", _fail_one
    yield "tasks: labels edited", "tasks.jsonl", lambda rows: rows[2]["relevance"].reverse()
    yield "judge: a score edited", "judge.jsonl", _lowest_scores
    yield "manifest: another seed", "manifest.json", lambda content: content["sampling"].update(seed=7)
    other = {"key": "r!nking"}
    yield "manifest: another contract", "manifest.json", lambda content: content["contract"].update(other)


def _perfect(name: str, rows: dict[str, Any]) -> None:
    rows[name].update({"estimate": 1.0, "low": 0.99, "high": 1.0})


def _lowest_scores(rows: list[dict[str, Any]]) -> None:
    rows[3].update(scores=dict.fromkeys(rows[3]["scores"], 1))


def _swap_texts(rows: list[dict[str, Any]]) -> None:
    first = next(row for row in rows if row["parse"]["tier"] == "strict")
    second = next(row for row in rows if row["parse"]["tier"] != "strict")
    first["text"], second["text"] = second["text"], first["text"]


def _fail_one(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["parse"]["tier"] == "strict")
    row["parse"].update(tier="lenient", code="extra_text")
    row["scores"] = dict.fromkeys(row["scores"])


def _remove(name: str, run: Path) -> None:
    (run / name).unlink()


def _change_lines(name: str, change: Callable[[list[bytes]], list[bytes]], run: Path) -> None:
    path = run / name
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def _forge(name: str, change: Callable[[Any], object], repaired: bool, run: Path) -> None:
    path = run / name
    before = path.read_bytes()
    (change_rows if path.suffix == ".jsonl" else change_document)(path, change)
    if not repaired:
        path.write_bytes(_with_old_checksums(before, path.read_bytes()))


def _with_old_checksums(before: bytes, after: bytes) -> bytes:
    """The edited content under the checksums of the content before."""
    pattern = re.compile(rb'"(?:crc32|seal)": ?"[0-9a-f]+"')
    old = iter(pattern.findall(before))
    return pattern.sub(lambda found: next(old), after)


def _forged_as_new(run: Path) -> None:
    """The harness's own writer, told wrong numbers: seal and source are right."""
    metrics = load(run).metrics
    strict = metrics["parse_validity.strict"]
    with RunDirectory(run) as directory:
        directory.write_metrics(
            metrics | {"parse_validity.strict": Estimate(strict.n, 1.0, 0.98, 1.0, strict.method)}
        )


def routes(world: World) -> dict[str, Callable[[Path, Path], object]]:
    """Ways, each by the harness's own commands or its writer, in which a verdict ceases to hold."""

    def judged_anew(run: Path, _: Path) -> None:
        _change_lines("judge.jsonl", lambda lines: lines[:-8], run)
        _remerge(run)

    def cliff_anew(run: Path, _: Path) -> None:
        with_cliff(load(run), 1.3, seed=5)
        _remerge(run)

    def scored_anew(run: Path, _: Path) -> None:
        change_rows(run / "samples.jsonl", _fail_one)
        rescore_metrics(run)

    def texts(run: Path, _: Path) -> None:
        change_rows(run / "samples.jsonl", lambda rows: rows[3].update(text="I refuse"))
        rescore(run)

    def labels(run: Path, _: Path) -> None:
        change_rows(run / "tasks.jsonl", lambda rows: rows[2]["relevance"].reverse())
        rescore(run)

    def contract(run: Path, _: Path) -> None:
        change_document(run / "manifest.json", lambda content: content["contract"].update(ranking="$.order"))
        rescore(run)

    def grown(run: Path, _: Path) -> None:
        change_rows(run / "samples.jsonl", lambda rows: rows.__delitem__(slice(20, None)))
        change_rows(run / "tasks.jsonl", lambda rows: rows.__delitem__(slice(20, None)))
        change_document(run / "manifest.json", lambda content: content.update(tasks=20, planned=20))
        rescore(run)

    def baseline_anew(_: Path, baseline: Path) -> None:
        change_rows(baseline / "samples.jsonl", lambda rows: rows[3].update(text="I refuse"))
        rescore(baseline)

    def another_runs(run: Path, baseline: Path) -> None:
        (baseline / "gate.json").write_bytes((run / "gate.json").read_bytes())
        shutil.rmtree(run)
        shutil.copytree(baseline, run)

    def of_old(run: Path, _: Path) -> None:
        def forget(content: dict[str, Any]) -> None:
            content["source"] = None

        change_document(run / "gate.json", forget)

    return {
        "run of another size": grown,
        "scored anew": scored_anew,
        "texts changed, rescored": texts,
        "labels changed, rescored": labels,
        "contract changed, rescored": contract,
        "judged anew": judged_anew,
        "cliff measured anew": cliff_anew,
        "baseline changed, rescored": baseline_anew,
        "another run's verdict": another_runs,
        "verdict of an older version": of_old,
    }


def _remerge(run: Path) -> None:
    with RunDirectory(run) as directory:
        merge_rubric_metrics(directory)


def rescore_metrics(run: Path) -> None:
    """Metrics of the samples as they are, as another version's parser would have left them."""
    from harness.evaluate.scoring import measured_by_cliff, summarise_run

    with RunDirectory(run) as directory:
        directory.write_metrics(summarise_run(run, load(run).manifest, measured_by_cliff(run)))


def staleness(world: World, route: Callable[[Path, Path], object]) -> str:
    """What the report says of a verdict that ceased to hold by a route."""
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        run = Path(shutil.copytree(world.run, Path(folder) / world.run.name))
        baseline = Path(shutil.copytree(world.baseline, Path(folder) / world.baseline.name))
        route(run, baseline)
        reasons = stale_reasons(load(run), GateRecord.from_dict(read_gate(run)))
        if not reasons:
            return SILENT
        silent = [form for form in ("md", "html") if "stale" not in _reported(baseline, run, form)]
        return f"{SILENT} in {silent}" if silent else f"{SAID}: {'; '.join(reasons)}"


def _reported(baseline: Path, run: Path, form: Format) -> str:
    try:
        return report(ReportConfig(runs=(baseline, run)), form).document
    except HarnessError as error:
        return str(error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder))
        print(f"{arguments.flips} bit flips, seed {arguments.seed}; run of {TASKS} samples")
        table: Counter[tuple[str, str, str]] = Counter()
        for name, damage in flips(world, arguments.flips, arguments.seed):
            for command, outcome in outcomes(world, damage, (name, "samples")).items():
                table[name, command, outcome] += 1
        print(f"{'file':15}{'command':10}{REFUSED:>9}{SAID:>7}{SAME:>7}{SILENT:>8}")
        for name in FILES:
            for command in COMMANDS:
                counts = [table[name, command, outcome] for outcome in (REFUSED, SAID, SAME, SILENT)]
                print(f"{name:15}{command:10}{counts[0]:9}{counts[1]:7}{counts[2]:7}{counts[3]:8}")
        for (name, command, outcome), count in table.items():
            if outcome not in (REFUSED, SAID, SAME):
                bad += count
                print(f"{name} {command}: {outcome} ({count})")
        print(f"\n{'edited by hand':58}{'gate':10}{'rescore':10}{'report':10}")
        for edit in edits():
            found = outcomes(world, edit.damage, edit.names)
            bad += sum(outcome not in (REFUSED, SAID, SAME) for outcome in found.values())
            print(f"{edit.what:58}" + "".join(f"{found[command]:10}" for command in COMMANDS))
        print("\nverdict made stale by")
        for what, route in routes(world).items():
            outcome = staleness(world, route)
            bad += not outcome.startswith(SAID)
            print(f"  {what:30}{outcome}")
    print(f"\n{bad} silent" if bad else "\nnone silent")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
