"""Commands that keep something, on a disk that fills up under it: how it ends, and how it goes on.

A command runs on a disk in memory with room for only a part of what it writes. It must end with one line and
exit code 2 or 3, leave no file of 0 bytes where there was none, and once there is room the same command must
end like one that never met the limit. Needs the right to mount.

Example: python benchmarks/full_disk.py --rows judge "train opd"
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kill_resume import Row, child, end, rows_of, shown_by, whole

PAGE = 4096
LATER = "remount,size=512m"


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def room(folder: Path) -> int:
    """Bytes that a tmpfs needs for what lies in a folder."""
    return sum(-(-one.stat().st_size // PAGE) * PAGE for one in folder.rglob("*") if one.is_file())


def empty(folder: Path) -> set[str]:
    """Files without a byte, but for what is one by its nature."""
    files = (one for one in folder.rglob("*") if one.is_file() and one.stat().st_size == 0)
    by_nature = (".lock", ".jsonl", ".sqlite-wal")
    return {str(one.relative_to(folder)) for one in files if not one.name.endswith(by_nature)}


def try_row(row: Row, folder: Path, tries: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """Exit codes on the small disk, and everything that was wrong."""
    start, calm = folder / "start", folder / "calm"
    start.mkdir()
    row.before(start)
    shutil.copytree(start, calm)
    whole(row, calm)
    expected, none_before = row.result(calm), empty(start)
    begins, ends = room(start), room(calm)
    codes: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(tries):
        spare = int((ends - begins) * (number + rng.random()) / tries) // PAGE * PAGE
        with disk(folder / "disk", begins + spare + 2 * PAGE) as trial:
            shutil.copytree(start, trial, dirs_exist_ok=True)
            code, _ = end(*child(trial, row.words))
            shown = [line for line in shown_by(trial).read_text().splitlines() if line]
            codes[f"{code} {shown[-1] if shown and code not in row.ends else ''}".strip()] += 1
            shown_by(trial).unlink()
            subprocess.run(["mount", "-o", LATER, str(trial)], check=True)
            at = f"with {spare:,} bytes spare"
            if code not in (2, 3, *row.ends):
                wrong.append(f"{at} it ends with {code}: {shown[-1] if shown else 'without a word'}")
            if any("Traceback" in line for line in shown):
                wrong.append(f"{at}: a traceback: {shown[-1]}")
            if found := empty(trial) - none_before:
                wrong.append(f"{at}: left empty: {', '.join(sorted(found))}")
            try:
                whole(row, trial)
            except SystemExit as error:
                wrong.append(f"{at}, then: {error}")
                continue
            found_result = row.result(trial)
            wrong += [f"{at}: {name} differs" for name in expected if found_result[name] != expected[name]]
    return codes, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", help="names of rows, or what they begin with; all by default")
    parser.add_argument("--tries", type=int, default=5, help="disks of each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bad = 0
    with rows_of(arguments.rows) as chosen:
        for row in chosen:
            with tempfile.TemporaryDirectory() as folder:
                rng = random.Random(f"{arguments.seed} {row.name}")
                codes, wrong = try_row(row, Path(folder), arguments.tries, rng)
            print(f"{row.name}: {'; '.join(wrong) if wrong else 'right'}")
            for said, count in sorted(codes.items()):
                print(f"  {count} times {said}", flush=True)
            bad += bool(wrong)
    print(f"{len(chosen)} commands on full disks: {f'{bad} wrong' if bad else 'all right'}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
