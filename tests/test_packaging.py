"""The wheel carries its data files and works outside the repository."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the built wheel's content, as pip installs it."""
    work = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(work), str(ROOT)], check=True)
    (wheel,) = work.glob("*.whl")
    site = work / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


def run_outside(site: Path, *arguments: str) -> str:
    # -P keeps the repository off the path; PYTHONPATH comes before an editable install of this checkout.
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_wheel_runs_outside_the_repository(installed: Path) -> None:
    where = run_outside(installed, "-c", "import harness; print(harness.__file__)")
    assert where.startswith(str(installed))
    assert "fashion-mini" in run_outside(installed, "-m", "harness", "data", "list")


def test_wheel_reads_its_own_dataset(installed: Path) -> None:
    load = "from harness.data.loading import load_tasks; data = load_tasks('fashion-mini')"
    code = f"{load}; print(data.path, len(data.tasks))"
    path, count = run_outside(installed, "-c", code).split()
    assert path.startswith(str(installed))
    assert int(count) > 0


def test_wheel_carries_the_zoo(installed: Path) -> None:
    code = (
        "from harness.engines.checkpoint import find_checkpoint as find; "
        "from harness.engines.zoo import zoo_names as names; "
        "print(*(find('zoo:' + name).path for name in names()))"
    )
    folders = run_outside(installed, "-c", code).split()
    assert {"base", "large", "listopd", "teacher"} <= {Path(folder).name for folder in folders}
    assert all(folder.startswith(str(installed)) for folder in folders)


def test_what_ci_installs_is_pinned() -> None:
    """Names and versions alone; `vllm` itself is for GPUs, where CI doesn't run."""
    pins = [line for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "vllm"}
    wanted = [one for group in (project["dependencies"], *extras.values()) for one in group]
    names = {re.split(r"[^\w-]", one.lower())[0] for one in wanted}
    assert len(names) > 20
    assert names <= {line.split("==")[0] for line in pins}
