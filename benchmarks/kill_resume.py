"""SIGKILL commands that keep something, run them again, and compare with one that was never stopped.

A command runs in a child of this process, which has the libraries loaded. It is killed at random times, and
just before a file appears, takes another's place or goes: there what is on disk doesn't fit together yet.
Then the same command runs to its end. Its results must be those of the undisturbed run, to the byte where
they can be, nothing lost and nothing doubled; samples and tokens of its sessions must add up.

Example: python benchmarks/kill_resume.py --rows rescore gate --kills 20
"""

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SEAMS = ("os.rename", "os.remove", "os.rmdir")
CHAIN = 3
"""Kills of one folder before the command may end."""
TASKS = 400
CLOCK = {"seconds", "tokens_per_second", "decided", "started", "finished", "command", "out", "seal", "path"}
DRAFTS = (".draft-", ".unfinished")
Result = dict[str, object]


@dataclass
class Row:
    """A command of the table.

    Attributes:
        name: in the table.
        kills: how often it is killed.
        words: of the command, run in its folder.
        result: what must be equal, by name; read from the folder.
        before: makes what the command starts from, in the folder.
        ends: exit codes of a run to the end.
        again: the command that finishes what it left open with exit code 3, None where it leaves nothing.
    """

    name: str
    kills: int
    words: str
    result: Callable[[Path], Result]
    before: Callable[[Path], None] = lambda folder: None
    ends: tuple[int, ...] = (0,)
    again: str | None = None
    seams: int = 0
    seconds: float = 0.0
    at_seams: int = 0
    at_times: int = 0
    doubts: int = 0
    left: set[str] = field(default_factory=set)
    unequal: list[str] = field(default_factory=list)


# Children.


def shown_by(folder: Path) -> Path:
    """What the commands run in a folder show; beside it, as it is no part of what they keep."""
    return folder.with_name(f"{folder.name}.shown")


def child(folder: Path, words: str, seam: int | None = None) -> tuple[int, int]:
    """Start a command in a child; returns its process id and a pipe that at its end tells its seams."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 5
    try:
        os.close(reader)
        os.setsid()
        os.chdir(folder)
        shown = os.open(shown_by(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(shown, stream)
        seen = 0

        def count(event: str, arguments: object) -> None:
            nonlocal seen
            if event in SEAMS:
                if seen == seam:
                    os.killpg(0, signal.SIGKILL)
                seen += 1

        sys.addaudithook(count)
        from harness.cli import main

        code = main(words.split())
        os.write(writer, str(seen).encode())
    finally:
        os._exit(code)


def end(pid: int, reader: int) -> tuple[int, int]:
    """Wait; exit code (negative: the signal) and seams."""
    _, status = os.waitpid(pid, 0)
    told = os.read(reader, 20)
    os.close(reader)
    return os.waitstatus_to_exitcode(status), int(told or 0)


def whole(row: Row, folder: Path) -> int:
    """Run the command to its end; its seams."""
    code, seams = end(*child(folder, row.words))
    if code == 3 and row.again is not None:
        row.doubts += 1
        code, _ = end(*child(folder, row.again))
    if code not in row.ends:
        shown = shown_by(folder).read_text().splitlines()[-3:]
        raise SystemExit(f"{row.name} ended with {code}: {' | '.join(shown)}")
    return seams


def killed(row: Row, folder: Path, rng: random.Random) -> bool:
    """Run the command and kill it at a seam or a time; False where it ended before."""
    if row.seams and row.at_seams <= row.at_times:
        code, _ = end(*child(folder, row.words, rng.randrange(row.seams)))
        row.at_seams += code == -signal.SIGKILL
        return code == -signal.SIGKILL
    pid, reader = child(folder, row.words)
    time.sleep(rng.uniform(0.0, row.seconds))
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # not yet a group of its own, or at its end
    else:
        code, _ = end(pid, reader)
        row.at_times += code == -signal.SIGKILL
        return code == -signal.SIGKILL
    os.kill(pid, signal.SIGKILL)
    code, _ = end(pid, reader)
    row.at_times += code == -signal.SIGKILL
    return code == -signal.SIGKILL


def try_row(row: Row, kills: int, folder: Path, rng: random.Random) -> Iterator[None]:
    """All kills of a row; what wasn't equal stands in it."""
    start, calm = folder / "start", folder / "calm"
    start.mkdir()
    row.before(start)
    shutil.copytree(start, calm)
    began = time.monotonic()
    row.seams = whole(row, calm)
    row.seconds = time.monotonic() - began
    expected = row.result(calm)
    tries = 0
    while row.at_seams + row.at_times < kills:
        trial = folder / "trial"
        shutil.copytree(start, trial)
        said = []
        for _ in range(CHAIN):
            tries += 1
            if row.at_seams + row.at_times < kills and killed(row, trial, rng):
                said.append(f"{row.at_seams}+{row.at_times}")
        if tries > 20 * kills:
            raise SystemExit(f"{row.name}: most kills come after its end")
        whole(row, trial)
        found = row.result(trial)
        row.unequal += [
            f"{', '.join(said)}: {name}" for name in expected if found.get(name) != expected[name]
        ]
        row.left |= {
            one.name.split("-")[0] for one in trial.rglob("*") if any(mark in one.name for mark in DRAFTS)
        }
        shutil.rmtree(trial)
        yield


# What must be equal.


def lines_of(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def without_clock(content: object) -> object:
    if isinstance(content, dict):
        return {name: without_clock(value) for name, value in content.items() if name not in CLOCK}
    return [without_clock(one) for one in content] if isinstance(content, list) else content


def digests(folder: Path, *names: str) -> Result:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def run_result(folder: Path) -> Result:
    """A run: its metrics to the byte, its samples as a set, and what its sessions add up to."""
    run = folder / "run"
    manifest = json.loads((run / "manifest.json").read_text())
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    totals = {
        name: sum(session[name] for session in manifest["sessions"])
        for name in ("generated", "prompt_tokens", "completion_tokens")
    }
    known = {
        "generated": len(samples),
        "prompt_tokens": sum(row["prompt_tokens"] or 0 for row in samples),
        "completion_tokens": sum(row["completion_tokens"] or 0 for row in samples),
    }
    return {
        **digests(run, "metrics.json", "tasks.jsonl"),
        "samples": lines_of(run / "samples.jsonl"),
        "keys": len({row["key"] for row in samples}) == len(samples),
        "sessions": totals if totals == known else f"{totals} of {known}",
        "status": manifest["status"],
    }


def gate_result(folder: Path) -> Result:
    """A verdict: all of it but the hour, and the JUnit."""
    record = json.loads((folder / "run" / "gate.json").read_text())
    return {"verdict": without_clock(record), **digests(folder, "junit.xml", "summary.md")}


def live_result(folder: Path) -> Result:
    record = json.loads((folder / "run" / "gate.json").read_text())
    told = ("verdict", "rules", "alpha", "live", "looks", "source")
    return {"verdict": without_clock({name: record[name] for name in told}), **digests(folder, "junit.xml")}


def judge_result(folder: Path) -> Result:
    """Scores and exposure; what was asked is in the store, so doubled questions would show in the log."""
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    rows = [json.loads(line) for line in (folder / "run" / "judge.jsonl").read_text().splitlines()]
    scored = [row for row in rows if row.get("scores")]
    places = [(row["sample"], row["repeat"]) for row in scored]
    judged = {name: value for name, value in metrics.items() if name.startswith(("rubric.", "judge."))}
    return {"metrics": judged, "once": len(set(places)) == len(places), "judged": len(places)}


def training(folder: Path) -> Result:
    log = [without_clock(json.loads(line)) for line in (folder / "out/train.jsonl").read_text().splitlines()]
    return {**digests(folder / "out" / "checkpoint", "model.safetensors"), "log": log}


def forecast_result(folder: Path) -> Result:
    content = json.loads((folder / "out" / "forecast.json").read_text())
    return {"forecast": without_clock({name: content[name] for name in ("points", "largest_lambda")})}


# What commands start from.


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recorded(folder: Path) -> None:
    """Tasks, and answers to them of which some don't parse, are cut off or were withheld."""
    draw = random.Random(1)
    tasks, answers = [], []
    for number in range(TASKS):
        candidates = [{"item_id": f"{number}-{place}", "title": f"Thing {place}"} for place in range(4)]
        labels = [3.0, 1.0, 0.0, 0.0]
        tasks.append({"task_id": f"t{number}", "history": [], "candidates": candidates, "relevance": labels})
        text = json.dumps({"ranking": draw.sample((1, 2, 3, 4), 4)})
        answer: dict[str, object] = {"task_id": f"t{number}", "text": text}
        if draw.random() < 0.02:
            answer |= draw.choice(
                ({"text": f"Sure! {text}"}, {"text": text[:9], "finish_reason": "MAX_TOKENS"}),
            )
        answers.append(answer | ({"text": None, "finish_reason": "SAFETY"} if number % 150 == 3 else {}))
    write_lines(folder / "tasks.jsonl", tasks)
    write_lines(folder / "answers.jsonl", answers)


REPLAY = "eval --replay answers.jsonl --data tasks.jsonl --out run"


def run_of_answers(folder: Path) -> None:
    recorded(folder)
    code, _ = end(*child(folder, REPLAY))
    assert code == 0, shown_by(folder).read_text()


def older_run(folder: Path) -> None:
    """One whose stored scores are none of today's code."""
    run_of_answers(folder)
    sys.path.insert(0, str(ROOT))
    from tests.resealing import change_rows

    def worse(rows: list[dict[str, Any]]) -> None:
        for row in rows[:100]:
            if row["parse"]:
                row["parse"] |= {"tier": "none", "code": "not_json", "ranking": None}
                row["scores"] = dict.fromkeys(row["scores"])

    change_rows(folder / "run" / "samples.jsonl", worse)


def few_answers(folder: Path) -> None:
    """A small run to judge: each question takes a request."""
    run_of_answers(folder)
    shutil.rmtree(folder / "run")
    code, _ = end(*child(folder, f"{REPLAY} --limit 40"))
    assert code == 0, shown_by(folder).read_text()


def reviews(folder: Path) -> None:
    """An Amazon release of a few hundred users."""
    sys.path.insert(0, str(ROOT))
    from tests.data.synthetic_reviews import items, random_reviews, write_rows

    write_rows(folder / "reviews.jsonl.gz", random_reviews(1500, 400, 9))
    write_rows(folder / "meta.jsonl.gz", items(400))
    assert gzip.decompress((folder / "meta.jsonl.gz").read_bytes())


def prepared(folder: Path) -> Result:
    out = folder / "out"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    cards = {name: without_paths(out / name) for name in names if name.endswith(".md")}
    return {"names": names, **cards, **digests(out, *(name for name in names if not name.endswith(".md")))}


def without_paths(path: Path) -> list[str]:
    """A data card without the figures that depend on the machine's hour and load."""
    return [line for line in path.read_text().splitlines() if "memory" not in line.lower()]


# The judge's service.


def serve(urls: Any) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.judge.fake_gemini import FakeGemini

    with FakeGemini(latency=0.02) as fake:
        urls.put(fake.url)
        time.sleep(1e6)


@contextmanager
def gemini() -> Iterator[str]:
    """A fake service in a process of its own: children are forked off this one."""
    urls: Any = multiprocessing.Queue()
    service = multiprocessing.Process(target=serve, args=(urls,), daemon=True)
    service.start()
    try:
        yield urls.get(timeout=120)
    finally:
        service.kill()


def table(url: str) -> list[Row]:
    judging = f"judge run --rubric listwise-relevance --client google-genai --endpoint {url}"
    judging += " --cache cache.sqlite --concurrency 4 --repeats 2"
    policy = "--policy policy.yaml --junit junit.xml --summary summary.md"
    models = "--teacher zoo:teacher --base zoo:base"
    train = f"train opd --resume --out out {models} --lambda 1.2 --clip 1.5 --steps 6 --batch-size 8"
    train += " --lr 5e-4 --samples 2 --limit 32 --max-tokens 24 --checkpoint-every 2"
    tune = "train sft --ckpt zoo:base --out out --steps 4 --lr 1e-3 --limit 32 --batch-size 8"
    drawn = "eval --ckpt zoo:base --engine hf --data fashion-mini --limit 32 --max-tokens 24"
    drawn += " --batch-size 8 --temperature 1 --out run"
    foresee = f"forecast {models} --lambdas 1,1.4 --limit 12 --batch-size 8 --max-tokens 24 --out out"
    prepare = (
        "data prepare amazon-fashion --reviews reviews.jsonl.gz --meta meta.jsonl.gz --out out --overwrite"
    )
    live = f"gate {REPLAY.removeprefix('eval ')} --junit junit.xml --until rules"

    def with_policy(folder: Path) -> None:
        run_of_answers(folder)
        (folder / "policy.yaml").write_text(
            "rules: ['parse_validity.strict >= 0.9', 'ndcg_at_1.all >= 0.2', 'withheld_rate <= 0.05']\n"
        )

    def page(folder: Path) -> Result:
        return digests(folder, "page.html")

    def tuned(folder: Path) -> Result:
        return digests(folder / "out", "model.safetensors", "config.json")

    return [
        Row("eval, replay", 60, REPLAY, run_result, recorded),
        Row("eval, hf", 30, drawn, run_result),
        Row("rescore", 40, "rescore run", run_result, older_run),
        Row("gate", 35, f"gate run {policy}", gate_result, with_policy),
        Row("gate, live", 35, live, live_result, recorded, ends=(0, 1, 4)),
        Row("judge", 30, judging, judge_result, few_answers, again=f"{judging} --ask-again"),
        Row("report", 20, "report run -o page.html", page, run_of_answers),
        Row("data prepare", 15, prepare, prepared, reviews),
        # Killed once its folder stands under its name it has nothing left to do, and refuses to do it again.
        Row("train sft", 12, tune, tuned, ends=(0, 2)),
        Row("train opd", 15, train, training),
        Row("forecast", 8, foresee, forecast_result),
    ]


@contextmanager
def rows_of(names: Sequence[str] | None) -> Iterator[list[Row]]:
    """The rows that begin so, all without names; with the service and the libraries that they need."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GEMINI_API_KEY": "of-the-fake-service"}
    os.environ |= {"PYTHONPATH": str(ROOT)}
    sys.path.insert(0, str(ROOT))
    with gemini() as url:
        chosen = [row for row in table(url) if not names or any(row.name.startswith(name) for name in names)]
        # Before any child, which then needs no import: threads and forks don't go together otherwise.
        import harness.cli.eval
        import harness.cli.forecast
        import harness.cli.gate
        import harness.cli.judge
        import harness.cli.report
        import harness.cli.rescore
        import harness.cli.train  # noqa: F401

        if any(row.name.startswith(("eval, hf", "train", "forecast")) for row in chosen):
            import peft  # noqa: F401
            import torch  # noqa: F401
            import transformers  # noqa: F401
        yield chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", help="names of rows, or what they begin with; all by default")
    parser.add_argument("--kills", type=int, help="of each row, in place of its own number")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with rows_of(arguments.rows) as chosen:
        print(
            f"{'command':<14} {'kills':>5} {'at seams':>9} {'at times':>9} {'in doubt':>9}  equal", flush=True
        )
        for row in chosen:
            with tempfile.TemporaryDirectory() as folder:
                kills = arguments.kills or row.kills
                for _ in try_row(row, kills, Path(folder), random.Random(f"{arguments.seed} {row.name}")):
                    pass
            verdict = "yes" if not row.unequal else f"NO: {'; '.join(row.unequal[:3])}"
            left = f" (left: {', '.join(sorted(row.left))})" if row.left else ""
            counts = (row.at_seams + row.at_times, row.at_seams, row.at_times, row.doubts)
            shown = f"{counts[0]:>5} {counts[1]:>9} {counts[2]:>9} {counts[3]:>9}"
            print(f"{row.name:<14} {shown}  {verdict}{left}", flush=True)
    total = sum(row.at_seams + row.at_times for row in chosen)
    bad = [row.name for row in chosen if row.unequal]
    print(f"{total} kills: {'unequal: ' + ', '.join(bad) if bad else 'all equal'}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
