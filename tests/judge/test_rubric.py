"""Rubric files: what ships is right, and what is wrong is explained with its line."""

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import DataError
from harness.judge.rubric import Rubric
from harness.judge.rubric_file import check_rubric, find_rubric, load_rubric, rubrics_root

CASES = json.loads((Path(__file__).parents[1] / "cases" / "rubric_problems.json").read_text())
SHIPPED = ["listwise-relevance", "listwise-diversity"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_rubrics_are_sound(name: str) -> None:
    rubric, problems = check_rubric(find_rubric(name))
    assert problems == []
    assert rubric is not None
    assert rubric.name == name
    assert rubric.pairwise_template is not None


def test_shipped_rubrics_can_be_sent_by_either_library() -> None:
    assert not any(load_rubric(name).model.sets_thinking for name in SHIPPED)


@pytest.mark.parametrize("case", CASES["problems"], ids=lambda case: case["name"])
def test_a_problem_is_explained_with_its_place(case: dict, tmp_path: Path) -> None:
    text = CASES["base"]
    for old, new in case["replace"]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "rubric.yaml"
    path.write_text(text)
    rubric, problems = check_rubric(path)
    assert rubric is None
    shown = [(problem.line, problem.where) for problem in problems]
    assert (case["line"], case["where"]) in shown
    assert any(case["message"] in problem.message for problem in problems)
    with pytest.raises(DataError, match="--lint"):
        load_rubric(path)


def test_the_base_of_the_cases_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "rubric.yaml"
    path.write_text(CASES["base"])
    assert check_rubric(path)[1] == []


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rubric.yaml"
    path.write_text("name: A b\nversion: 0\ncriteria: []\n")
    problems = check_rubric(path)[1]
    assert {problem.where for problem in problems} >= {"name", "version", "criteria", "summary", "model"}


def test_comments_and_layout_dont_change_the_digest_but_any_word_does(tmp_path: Path) -> None:
    source = find_rubric("listwise-relevance").read_text()
    digests = []
    for text in (
        source,
        f"# another comment\n{source}\n\n",
        source.replace("a right choice", "the right choice"),
    ):
        path = tmp_path / "rubric.yaml"
        path.write_text(text)
        digests.append(load_rubric(path).digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_survives_storage() -> None:
    rubric = load_rubric("listwise-relevance")
    again = Rubric.model_validate_json(json.dumps(rubric.model_dump(mode="json")))
    assert again == rubric
    assert again.digest == rubric.digest


def test_another_judge_is_another_rubric() -> None:
    rubric = load_rubric("listwise-relevance")
    other = rubric.with_model("gemini-3.8-flash")
    assert other.model.name == "gemini-3.8-flash"
    assert other.digest != rubric.digest


def test_the_score_is_the_weighted_mean_on_the_unit_interval() -> None:
    """By hand: weights 2, 1, 1; grades 5, 3, 1 of 1…5 are 1, ½ and 0: (2 + ½ + 0) / 4."""
    rubric = load_rubric("listwise-relevance")
    assert rubric.score({"top_choice": 5, "order": 3, "near_misses": 1}) == pytest.approx(2.5 / 4)
    assert rubric.score({"top_choice": 1, "order": 1, "near_misses": 1}) == 0.0
    assert rubric.score({"top_choice": 5, "order": 5, "near_misses": 5}) == 1.0


def test_linting_what_isn_t_there_names_no_other_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", "--lint", str(tmp_path / "none.yaml")]) == 2
    said = capsys.readouterr().err
    assert "give the path of a rubric file" in said
    assert "--rubric" not in said


def test_a_file_wins_over_a_bundled_name_and_unknown_names_list_what_there_is(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    shutil.copy(rubrics_root() / "listwise-relevance.yaml", copy)
    assert find_rubric(copy) == copy
    with pytest.raises(DataError, match="listwise-diversity, listwise-relevance"):
        find_rubric("nonsense")
