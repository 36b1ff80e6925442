"""Libraries name settings; the command line says the flags that the called command has for them."""

from pathlib import Path

import pytest

from harness.cli import cli, main
from harness.cli.problems import in_flags


@pytest.mark.parametrize(
    ("arguments", "said", "heard"),
    [
        (["eval"], "give `base_urls=http://HOST:PORT/v1`", "give --base-url http://HOST:PORT/v1"),
        (["eval", "--limit", "3"], "choose another `out=`", "choose another --out"),
        (
            ["eval"],
            "use `engine=hf` or vllm, or `served_model=`",
            "use --engine hf or vllm, or --served-model",
        ),
        (["judge", "run"], "choose another `store=`; `rubric=`", "choose another --cache; --rubric"),
        (["report", "run"], "choose another `out=`", "choose another --out"),
        (["cliff"], "give `teacher_urls=` or `lam=`", "give --teacher-url or --lambda"),
        (["data", "prepare", "amazon-fashion"], "or `overwrite=True`", "or --overwrite"),
        (["gate", "run"], "gate with `no_record=True`", "gate with --no-record"),
        # No such option, no such command, a command that is a group still.
        (["eval"], "name that one as `api_key_env=`", "name that one as `api_key_env=`"),
        (["nonsense"], "choose another `out=`", "choose another `out=`"),
        (["data"], "choose another `out=`", "choose another `out=`"),
        ([], "choose another `out=`", "choose another `out=`"),
        # In backticks, but no setting.
        (["gate"], "after `baseline` comes + or -", "after `baseline` comes + or -"),
        (["gate"], "rule `x <= baseline + 1`", "rule `x <= baseline + 1`"),
        (["eval"], "`harness judge --lint FILE` lists all", "`harness judge --lint FILE` lists all"),
    ],
)
def test_settings_become_flags(arguments: list[str], said: str, heard: str) -> None:
    assert in_flags(said, cli, arguments) == heard


def test_an_error_of_a_library_is_printed_with_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--engine", "replay", "--limit", "1", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("give --replay FILE")
    assert main(["eval", "--engine", "hf", "--limit", "1", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("give --ckpt")
