"""`ORG/NAME@REVISION` and `revision=`: which of several versions of a repository is meant, and for whom."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.train import at_revision
from harness.engines import EngineConfig
from harness.engines.checkpoint import find_checkpoint, find_tokenizer, hub_name
from harness.engines.local_model import LocalModel, for_role, only_taken
from harness.engines.zoo import resolved
from harness.errors import EngineUnavailableError, HarnessError
from harness.evaluate.config import EvalConfig
from harness.measure.config import CliffConfig

pytest.importorskip("huggingface_hub")
VERSIONS = {"main": "1" * 40, "v2": "2" * 40}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> Path:
    """A cache as huggingface_hub keeps it, of one repository in two versions, and no hub."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    repository = cache / "models--org--name"
    for name, commit in VERSIONS.items():
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / name).write_text(commit)
        snapshot = Path(shutil.copytree(resolved("zoo:base"), repository / "snapshots" / commit))
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").write_text(json.dumps(config | {"version": name}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.parametrize(
    ("name", "revision", "version"),
    [
        ("org/name", None, "main"),
        ("org/name", "v2", "v2"),
        ("org/name@v2", None, "v2"),
        ("org/name@v2", "v2", "v2"),
        ("org/name@" + VERSIONS["v2"], None, "v2"),
    ],
)
def test_the_named_version_is_loaded_and_recorded(name: str, revision: str | None, version: str) -> None:
    found = find_checkpoint(name, revision)
    assert found.config["version"] == version
    assert found.revision == VERSIONS[version]
    assert find_tokenizer(name if revision is None else f"org/name@{revision}") == found.path


def test_two_revisions_or_an_unknown_one_are_refused() -> None:
    with pytest.raises(HarnessError, match="give one"):
        find_checkpoint("org/name@v2", "main")
    with pytest.raises(EngineUnavailableError):
        find_checkpoint("org/name@v3")
    with pytest.raises(EngineUnavailableError, match="does not exist"):
        find_checkpoint("org/name/more@v2")


def test_an_at_in_a_folders_name_is_no_revision(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(resolved("zoo:base"), tmp_path / "name@v2"))
    assert hub_name(str(folder)) is None
    assert find_checkpoint(str(folder)).revision is None


@pytest.mark.model
def test_the_manifest_says_the_commit() -> None:
    pytest.importorskip("transformers")
    local = LocalModel(EngineConfig(ckpt="org/name", revision="v2"))
    assert local.info("hf", "1", None, {}).options["revision"] == VERSIONS["v2"]


def test_of_several_checkpoints_those_on_the_hub_get_the_revision() -> None:
    shared = EngineConfig(revision="v2")
    assert for_role(shared, "org/name").revision == "v2"
    for other in ("zoo:base", "org/name@main"):
        assert for_role(shared, other).revision is None
    assert only_taken(shared, ["zoo:base", "org/name"]).revision == "v2"
    config = CliffConfig(
        evaluation=EvalConfig(engine=shared),
        teacher="org/name",
        base="zoo:base",
        student="org/name@main",
        lam=1.0,
    )
    assert {role: one.revision for role, one in config.models().items()} == {
        "teacher": "v2",
        "base": None,
        "student": None,
    }
    nobody = config.changed(teacher="zoo:teacher")
    with pytest.raises(HarnessError, match="`revision=v2`"):
        nobody.models()


def test_training_gets_names_with_the_revision_in_them() -> None:
    options = {"revision": "v2", "teacher": "org/name", "base": "zoo:base", "student": None}
    assert at_revision(options, ("teacher", "base", "student")) == {
        "teacher": "org/name@v2",
        "base": "zoo:base",
    }
    with pytest.raises(HarnessError, match="`revision=v2` is for a hub id"):
        at_revision(options | {"teacher": "org/name@main"}, ("teacher", "base", "student"))


@pytest.mark.model
@pytest.mark.parametrize(
    "command",
    [
        ["eval", "--ckpt", "zoo:base", "--engine", "hf"],
        ["gate", "--ckpt", "zoo:base", "--engine", "hf"],
        ["cliff", "--teacher", "zoo:teacher", "--base", "zoo:base", "--lambda", "1.1", "--clip", "5"],
        ["forecast", "--teacher", "zoo:teacher", "--base", "zoo:base", "--lambdas", "1"],
        ["train", "sft", "--ckpt", "zoo:base", "--steps", "1", "--lr", "1e-4"],
        ["sweep", "--teacher", "zoo:teacher", "--base", "zoo:base", "--lambda", "1", "--lambda", "2"],
        ["merge", "zoo:base"],
    ],
    ids=lambda command: command[0],
)
def test_a_revision_that_nothing_takes_is_refused_by_every_command_that_loads(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    assert main([*command, "--out", str(tmp_path / "out"), "--revision", "v2"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--revision" in said
    assert "zoo:base" in said


@pytest.mark.model
def test_a_checkpoint_that_needs_code_names_the_flag_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    folder = Path(shutil.copytree(resolved("zoo:base"), tmp_path / "coded"))
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "ours.OurConfig", "AutoModelForCausalLM": "ours.OurModel"}
    told = {"model_type": "ours", "architectures": ["OurModel"], "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config | told))
    code = (
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        "class OurConfig(Qwen3Config):\n    model_type = 'ours'\n"
        "class OurModel(Qwen3ForCausalLM):\n    config_class = OurConfig\n"
    )
    (folder / "ours.py").write_text(code)
    command = [
        "eval",
        "--ckpt",
        str(folder),
        "--engine",
        "hf",
        "--limit",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    assert "--trust-remote-code" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "ran").exists()
    assert main([*command, "--trust-remote-code", "--max-tokens", "4"]) == 0
    assert (tmp_path / "ran").exists()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["engine"]["options"]["trust_remote_code"] is True
    # The code decides what the checkpoint says.
    before = find_checkpoint(str(folder)).sha256
    (folder / "ours.py").write_text(code + "# changed\n")
    assert find_checkpoint(str(folder)).sha256 != before
