"""Building a zoo member: the same recipe gives the same weights, and a failed build leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engines.checkpoint import Checkpoint
from harness.engines.zoo import resolved
from harness.errors import HarnessError
from harness.opd.config import OPDConfig, opd_optimisation
from harness.opd.optimisation import Optimisation
from harness.progress import Progress
from tools.zoo.card import weights_sha256
from tools.zoo.members import MEMBERS, SHIPPED, Member, build_member
from tools.zoo.recipe import PLACEMENT, TinyRecipe

pytestmark = pytest.mark.model

SHORT = Optimisation(steps=2, batch_size=2, learning_rate=1e-3)
QUICK = TinyRecipe(size="small", seed=4, matching=SHORT, sft=SHORT, k=(3, 4))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEMBERS, "quick", Member("Two steps of everything.", QUICK))


@pytest.mark.usefixtures("quick")
def test_a_recipe_decides_the_weights(tmp_path: Path) -> None:
    heard: list[Progress] = []
    first = build_member("quick", tmp_path / "a", heard.append)
    again = build_member("quick", tmp_path / "b")
    other = build_member("quick", tmp_path / "c", seed_offset=1)
    assert weights_sha256(first) == weights_sha256(again) != weights_sha256(other)
    assert [(progress.stage, progress.done) for progress in heard] == [
        ("learning to match", 1),
        ("learning to match", 2),
        ("fine-tuning", 1),
        ("fine-tuning", 2),
    ]
    assert {*SHIPPED} <= {file.name for file in first.iterdir()}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["quick"]
    assert Checkpoint("quick", first).stop_token_ids


def test_a_distilled_member_comes_from_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = OPDConfig(
        teacher="zoo:teacher",
        base="zoo:base",
        out=Path("unused"),
        lam=1.1,
        clip=5.0,
        optimisation=opd_optimisation(steps=2, batch_size=4, learning_rate=1e-3),
        placement=PLACEMENT,
    )
    monkeypatch.setitem(MEMBERS, "student", Member("A few steps from the base.", recipe, fresh_tasks=True))
    first = build_member("student", tmp_path / "a")
    again = build_member("student", tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["student"]
    assert {*SHIPPED} <= {file.name for file in first.iterdir()}
    assert weights_sha256(first) == weights_sha256(again) != weights_sha256(resolved("zoo:base"))


@pytest.mark.usefixtures("quick")
def test_a_build_that_stops_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_member("quick", tmp_path, stop)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_member_or_a_taken_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="unknown member nobody; the zoo is made of teacher, base"):
        build_member("nobody", tmp_path)
    (tmp_path / "teacher").mkdir()
    with pytest.raises(HarnessError, match="exists"):
        build_member("teacher", tmp_path)


def test_every_distilled_member_comes_after_what_it_is_made_from() -> None:
    order = list(MEMBERS)
    for name, member in MEMBERS.items():
        if isinstance(member.recipe, TinyRecipe):
            continue
        for source in (member.recipe.teacher, member.recipe.base):
            assert order.index(source.removeprefix("zoo:")) < order.index(name)
        assert member.recipe.student is None
