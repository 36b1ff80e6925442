"""Policy files: the example works, a slip is one line that names it."""

from pathlib import Path

import pytest

from harness.gate import Policy, PolicyError, load_policy
from harness.gate.policy import DEFAULT_RULE, EXAMPLE, check_rules, write_example


def written(folder: Path, text: str) -> Path:
    path = folder / "gate.yaml"
    path.write_text(text)
    return path


def test_the_example_is_a_policy_with_the_defaults(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, EXAMPLE))
    assert policy.model_copy(update={"rules": (DEFAULT_RULE,)}) == Policy()


def test_every_rule_of_the_example_is_one(tmp_path: Path) -> None:
    """Also those in comments: whoever takes the mark away gets a policy that loads."""
    rules = [line.split("- ", 1)[1] for line in EXAMPLE.splitlines() if line.lstrip("# ").startswith("- ")]
    assert len(rules) > 6
    policy = Policy(rules=tuple(rules))
    check_rules(policy.parsed_rules, ["rubric.listwise-relevance"])


def test_the_example_is_not_written_over(tmp_path: Path) -> None:
    path = written(tmp_path, "precious")
    with pytest.raises(PolicyError, match="exists already"):
        write_example(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alfa: 0.05", "no setting `alfa`; did you mean alpha?"),
        ("on_inconclusive: maybe", "on_inconclusive"),
        ("alpha: 0.5", "alpha"),
        ("alpha: 0", "alpha"),
        ("alpha: .nan", "alpha"),
        ("looks: true", "`looks=`: must be a number, not true"),
        ("checkpoints: yes", "`checkpoints=`: must be a number, not true"),
        ("looks: 1001", "less than or equal to 1000"),
        ("checkpoints: 1000001", "less than or equal to 1000000"),
        (f"looks: {'9' * 400}", "more than 64 digits"),
        (f"alpha: 0x{'f' * 9000}", "more than 64 digits"),
        ("power: 0.01", "larger than alpha"),
        ("rules: []", "rules"),
        ("rules: parse_validity.strict >= 0.95", "rules is no list; write each rule on a line of its own"),
        ("rules: {parse_validity.strict: 0.95}", "rules is no list"),
        ("rules:\n  - 0.95", "is no text"),
        ("rules:\n  - parse_validity.strict: 0.95", "is no text"),
        ("rules:\n  - parse_validity.strict > 0.95", "write `>=`"),
        ("rules:\n  - truncation_rate <= 0.1\n  - truncation_rate  <=  0.1", "twice"),
        ("alpha: 0.05\nalpha: 0.01", "line 2: alpha is given twice"),
        ("- parse_validity.strict >= 0.95", "must hold settings"),
        ("", "must hold settings"),
        ("rules: [a", "no YAML"),
        ("\x00", "no YAML"),
        ("!!python/object/apply:os.system [true]", "no YAML"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="--init"):
        load_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("parse_validity.strct >= 0.95", "did you mean parse_validity.strict"),
        ("ndcg_at_1 >= 0.5", "did you mean ndcg_at_1"),
        ("failure_rate.truncate <= 0.1", "failure_rate.truncated"),
        ("rubric.helpful >= 0.5", "harness judge"),
        ("cliff.verdict >= 0.5", "is a word"),
        ("cliff.verdit in [left]", "did you mean cliff.verdict"),
        ("cliff.verdict in [lft]", "did you mean left"),
        ("parse_validity.strict in [left]", "only"),
        ("parse_validity.strict >= 95", "write 95 % as 0.95"),
        ("parse_validity.strict >= -0.1", "between 0 and 1"),
        ("ndcg_at_1.all >= baseline - 1", "between -1 and 1"),
    ],
)
def test_a_metric_that_isnt_there_has_neighbours(rule: str, says: str) -> None:
    with pytest.raises(PolicyError) as error:
        check_rules(Policy(rules=(rule,)).parsed_rules, [])
    assert says in str(error.value)
    assert rule in str(error.value)


def test_the_hash_is_of_what_is_said(tmp_path: Path) -> None:
    plain = load_policy(written(tmp_path, "alpha: 0.05\nrules:\n  - truncation_rate <= 0.1\n"))
    other = load_policy(written(tmp_path, "# why\nrules: ['truncation_rate  <= 0.1']\nalpha: 5.0e-2\n"))
    assert plain.sha256 == other.sha256
    assert plain.sha256 != Policy(rules=("truncation_rate <= 0.2",)).sha256
