"""`harness judge` as it is typed; and that the key is nowhere afterwards."""

import json
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.judge.rubric_file import rubrics_root
from tests.judge.fake_gemini import FakeGemini, Faults
from tests.judge.gemini_judges import Seen, fair
from tests.judge.judge_runs import KEY, make_run, make_tasks

NAME = "listwise-relevance"
Start = Callable[..., subprocess.Popen[str]]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def test_scores_come_with_their_exposure(client_name: str, harness_judge: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(40))
    with FakeGemini() as fake:
        code, output, errors = finish(
            harness_judge(str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", client_name)
        )
    assert code == 0, errors
    for shown in ("Score, 0 to 1", "near_misses", "self_agreement", "position_bias", "relevance_correlation"):
        assert shown in output
    assert "72 requests, " in output
    assert " out, $0.0" in output
    assert "judging: " in errors


def test_json_is_for_machines(any_client: str, harness_judge: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(10))
    with FakeGemini() as fake:
        arguments = (str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client, "--json")
        code, output, errors = finish(harness_judge(*arguments))
        assert code == 0, errors
        document = json.loads(output)
        assert document["spent"]["requests"] == len(fake.arrivals)
        assert document["metrics"][f"rubric.{NAME}"]["n"] > 0
        code, output, _ = finish(harness_judge(*arguments, "--dry-run"))
    assert code == 0
    assert json.loads(output)["requests"] == 0


def test_a_cap_ends_with_what_there_is_and_exit_code_3(
    any_client: str, harness_judge: Start, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(20), failures=0.0)
    with FakeGemini() as fake:
        code, output, errors = finish(
            harness_judge(
                *(str(run), "--rubric", NAME, "--endpoint", fake.url, "--client", any_client),
                *("--max-requests", "10"),
            )
        )
        assert len(fake.arrivals) == 10
    assert code == 3
    assert "Score, 0 to 1" in output
    assert errors.strip().splitlines()[-1].startswith("harness: error: 10 of 40 judgements; --max-requests")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rubric", NAME], "give a run"),
        (["RUN"], "--rubric"),
        (["RUN", "--rubric", "nonsense"], "neither a file nor a bundled rubric"),
        (["nowhere", "--rubric", NAME], "isn't a run"),
        (["RUN", "--rubric", NAME, "--endpoint", "ftp://x"], "endpoint"),
        (["RUN", "--rubric", NAME, "--endpoint", "https://user:pass@x"], "endpoint"),
        (["RUN", "--rubric", NAME, "--price", "-1", "2"], "price"),
        (["RUN", "--rubric", NAME, "--model", "No Such"], "model"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, harness_judge: Start, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", make_tasks(2))
    code, output, errors = finish(
        harness_judge(*[str(run) if argument == "RUN" else argument for argument in arguments])
    )
    assert code == 2
    assert output == ""
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("harness: error: ")
    assert message in errors.strip().splitlines()[-1]


def test_without_a_key_the_error_says_which_variable(harness_judge: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tasks(2), failures=0.0)
    code, _, errors = finish(harness_judge(str(run), "--rubric", NAME, GEMINI_API_KEY=""))
    assert code == 2
    assert "set GEMINI_API_KEY or GOOGLE_API_KEY" in errors
    code, output, _ = finish(harness_judge(str(run), "--rubric", NAME, "--dry-run", GEMINI_API_KEY=""))
    assert code == 0
    assert "by a rule of thumb" in output


def test_lint_explains(harness_judge: Start, tmp_path: Path) -> None:
    good = rubrics_root() / f"{NAME}.yaml"
    assert finish(harness_judge("--lint", str(good)))[0] == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        good.read_text().replace("      2: Weak.", "      7: Weak.").replace("$ranking", "$rankings")
    )
    code, output, errors = finish(harness_judge("--lint", str(bad)))
    assert code == 2
    assert "line 19: criteria[0].scale runs from 1 to 7 but doesn't say what 2 means" in output
    assert "asks for $rankings" in output
    assert "2 problems" in errors


def echoing(seen: Seen, rng: object) -> dict[str, object]:
    """A judge behind a proxy that repeats what it was sent."""
    return fair(seen, rng) | {"reason": f"your key is {KEY}"}  # type: ignore[arg-type]


def test_the_key_appears_nowhere(client_name: str, harness_judge: Start, tmp_path: Path) -> None:
    """Not in a file, the output, a log at its most talkative, or a traceback; whatever the service echoes."""
    run = make_run(tmp_path / "run", make_tasks(15), failures=0.0)
    faults = Faults(refused=0.05, broken=0.2, hanging=0.03, malformed=0.05, blocked=0.05)
    shown = []
    arguments = [str(run), "--rubric", NAME, "--client", client_name, "--timeout", "0.5", "--debug"]
    arguments += ["--cache", str(tmp_path / "judge.sqlite")]
    logged = {"GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google", "PYTHONDEVMODE": "1"}
    with FakeGemini(echoing, faults, message=f"quota of {KEY}") as fake:
        shown.append(finish(harness_judge(*arguments, "--endpoint", fake.url, "--dry-run", **logged)))
        shown.append(
            finish(harness_judge(*arguments, "--endpoint", fake.url, "--max-requests", "9", **logged))
        )
        shown.append(finish(harness_judge(*arguments, "--endpoint", fake.url, "--json", **logged)))
        assert any(arrival.headers for arrival in fake.arrivals)
    with FakeGemini(statuses=[403] * 99, message=f"{KEY} isn't allowed") as fake:
        limits = ["--seed", "1", "--endpoint", fake.url]
        shown.append(finish(harness_judge(*arguments, *limits, **logged)))
    assert [code for code, _, _ in shown] == [0, 3, 0, 2]
    assert "Traceback" in shown[3][2]
    assert "***" in shown[3][2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"judge.jsonl", "metrics.json", "manifest.json", "judge.sqlite"} <= {path.name for path in files}
    assert b"***" in (run / "judge.jsonl").read_bytes()
    contents = [path.read_bytes() for path in files] + [
        text.encode() for _, *texts in shown for text in texts
    ]
    for form in (KEY.encode(), b64encode(KEY.encode()), KEY[8:24].encode()):
        assert not any(form in content for content in contents)
