"""YAML of somebody else's: what is beyond the bounds is one line, everything else is what PyYAML reads."""

import json
import math
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import cli
from harness.errors import DataError, HarnessError
from harness.gate.policy import load_policy
from harness.judge.rubric_file import check_rubric
from harness.measure.clip_source import read_clip
from harness.sweep.plan import read_plan
from harness.yaml_files import UnreadableYamlError, read_document, read_yaml

CASES = json.loads((Path(__file__).parent / "cases" / "yaml_files.json").read_text())


def text_of(case: dict) -> str:
    piece, times = case.get("repeat", ("", 0))
    return case.get("text", "") + piece * times


@pytest.fixture(params=CASES, ids=lambda case: case["why"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict, Path]:
    path = tmp_path / "file.yaml"
    path.write_text(text_of(request.param))
    return request.param, path


def test_what_isnt_read_is_one_line_with_its_place(case: tuple[dict, Path]) -> None:
    wanted, path = case
    with pytest.raises(UnreadableYamlError, match=wanted["problem"]) as caught:
        read_yaml(path)
    assert caught.value.line == wanted["line"]
    assert len(str(caught.value).splitlines()) == 1


def test_every_file_of_ours_is_read_that_way(case: tuple[dict, Path]) -> None:
    wanted, path = case
    for read in (load_policy, read_plan):
        with pytest.raises(HarnessError, match=wanted["problem"]) as caught:
            read(path)
        assert caught.value.exit_code == 2
        assert len(str(caught.value).splitlines()) == 1
    problems = check_rubric(path)[1]
    assert problems
    if wanted["why"] != "a key twice":  # of which a rubric names the place beside its other problems
        assert len(problems) == 1
        assert wanted["problem"] in str(problems[0])


@pytest.mark.parametrize("name", ["aliases of aliases", "a list in itself", "lists 5000 deep"])
def test_a_training_configuration_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text_of(next(case for case in CASES if case["why"] == name)))
    with pytest.raises(DataError, match="can't be read as YAML"):
        read_clip(path)


@pytest.mark.parametrize("command", ["judge --lint {}", "judge {run} --rubric {}", "gate {run} --policy {}"])
@pytest.mark.parametrize(
    "name", ["aliases of aliases", "a list in itself", "a list as a key", "lists 5000 deep"]
)
def test_commands_end_in_one_line(command: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text_of(next(case for case in CASES if case["why"] == name)))
    words = command.format(path, run=tmp_path / "run").split()
    error = CliRunner().invoke(cli, words).exception
    assert isinstance(error, HarnessError)
    assert error.exit_code == 2
    assert len(str(error).splitlines()) == 1


keys = st.text(max_size=5).filter(str.isprintable) | st.integers(0, 9)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_the_rest_is_what_pyyaml_reads(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("yaml") / "file.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    assert read_document(path).data == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "grid: &g [1, 2]\none: {l: *g}\nother: {l: *g}\n",
            {"grid": [1, 2], "one": {"l": [1, 2]}, "other": {"l": [1, 2]}},
        ),
        ("base: &b {x: 1}\none: {<<: *b, y: 2}\n", {"base": {"x": 1}, "one": {"x": 1, "y": 2}}),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("", None),
        ("# nothing\n", None),
        ("a: 1\n...\n", {"a": 1}),
    ],
)
def test_aliases_merges_and_marks_in_bounds_are_read(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode("utf-8"))
    assert read_yaml(path) == value


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(UnreadableYamlError, match="more than 65536 bytes"):
        read_yaml(Path("/dev/zero"))


def test_latin_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes("x: é".encode("latin-1"))
    with pytest.raises(UnreadableYamlError, match="UTF-8"):
        read_yaml(path)


def test_infinite_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("x: .inf\n")
    assert math.isinf(read_yaml(path)["x"])
