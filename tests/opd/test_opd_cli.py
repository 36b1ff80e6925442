"""`harness train`: what it prints, writes, and refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main

pytestmark = pytest.mark.model


def opd(family: dict[str, Path], out: Path, *more: str) -> list[str]:
    made = ["train", "opd", "--teacher", str(family["teacher"]), "--base", str(family["base"])]
    made += ["--data", str(family["rows"]), "--lambda", "1.1", "--out", str(out), "--steps", "2"]
    return [*made, "--batch-size", "8", "--lr", "1e-4", "--max-tokens", "12", *more]


def test_opd_prints_where_the_checkpoint_is(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(opd(family, tmp_path / "run", "--clip", "5", "--json", "--lora-rank", "2")) == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert said["step"] == 2
    assert (Path(said["checkpoint"]) / "adapter_config.json").is_file()
    assert "c never binds" in said["warnings"][0]
    assert "warning: rollouts are fresh" in captured.err
    assert "distilling: 2/2" in captured.err
    options = json.loads((tmp_path / "run" / "manifest.json").read_text())["options"]
    assert options["lora"]["rank"] == 2
    assert options["optimisation"]["weight_decay"] == 0.0


def test_sft_trains_a_checkpoint(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "sft", "--ckpt", str(family["untrained"]), "--data", str(family["rows"])]
    assert (
        main([*command, "--steps", "2", "--lr", "1e-3", "--batch-size", "4", "--out", str(tmp_path / "s")])
        == 0
    )
    assert str(tmp_path / "s") in capsys.readouterr().out
    assert (tmp_path / "s" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--lambda", "0"), "Invalid value for '--lambda': 0.0 is not in the range x>0"),
        (("--clip", "1"), "Invalid value for '--clip': 1.0 is not in the range x>1"),
        (("--teacher", "nowhere/at-all"), "nowhere/at-all"),
        (("--guard", "warn"), "--guard warn needs a clip strength"),
        (("--guard", "forecast", "--forecast", "."), "--forecast the folder of a harness forecast"),
        (("--rollouts", "somewhere", "--staleness", "fixed"), "no folder of stored rollouts"),
        (("--data", "no-such-data"), "no-such-data"),
        (("--lr", "nan"), "--learning-rate nan should be"),
        (("--lora-alpha", "32"), "goes with --lora-rank"),
        (("--contract", "{ranking: order}"), "the contract: `ranking=`: a path begins with $"),
        (("--device", "gpu"), "torch knows no device 'gpu'"),
        (("--device", "cuda:99"), "CUDA devices here, so not cuda:99"),
        (("--rollouts", ".", "--staleness", "fixed"), "no folder of stored rollouts"),
    ],
)
def test_bad_input_is_one_line(
    family: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert main(opd(family, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("harness: error: ")
    assert message in error


def test_a_place_that_is_no_folder_is_one_line(
    family: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_text('{"kind": ')
    sft = ["train", "sft", "--ckpt", str(family["base"]), "--data", str(family["rows"]), "--steps", "1"]
    for command, said in (
        (opd(family, file / "run"), "choose another --out"),
        (opd(family, file, "--resume"), "holds no training run"),
        (opd(family, torn, "--resume"), "can't be read as JSON"),
        ([*sft, "--lr", "1e-3", "--out", str(file / "s")], "choose another --out"),
        (
            [*sft, "--lr", "inf", "--out", str(tmp_path / "s")],
            "--learning-rate inf should be a finite number",
        ),
    ):
        assert main(command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("harness: error: ")
        assert said in error
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "doesn't run under DeepSpeed"),
        ({"WORLD_SIZE": "2"}, "train sft runs on one device"),
    ],
)
def test_launchers_it_does_not_run_under_are_refused(
    family: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sft = ["train", "sft", "--ckpt", str(family["base"]), "--data", str(family["rows"]), "--steps", "1"]
    sft += ["--lr", "1e-3", "--out", str(tmp_path / "s")]
    assert main(sft if "WORLD_SIZE" in variables else opd(family, tmp_path / "run")) == 2
    assert message in capsys.readouterr().err
