"""Settings: one line that names field and value, flat names, and changes that are checked."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator

from harness.errors import DataError, HarnessError
from harness.settings import Count, Group, Level, Settings


class Lamp(Settings, title="Lamp"):
    """A lamp."""

    watts: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 40.0
    """Power."""
    colour: Literal["warm", "cold"] = "warm"
    """Of the light."""


class Shade(Settings, title="Shade"):
    """What stands before a lamp."""

    folds: Count = 8
    """In its paper."""


class Desk(Settings, title="Desk"):
    """A desk."""

    wood: Annotated[str, Field(min_length=1)]
    """What it is made of."""
    lamp: Lamp = Lamp(watts=60.0)
    shade: Shade | None = None
    drawers: Annotated[Count, Group("Drawers")] = 2
    """How many."""
    keys: tuple[Shade, ...] = ()
    tilt: Level | None = None

    @field_validator("wood")
    @classmethod
    def _no_secret(cls, wood: str) -> str:
        if wood == "secret":
            raise ValueError("must not be told")
        return wood


class Report(Settings):
    """Refuses in a way of its own."""

    refusal = DataError

    rows: Count


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "`wood=` is missing"),
        ({"wood": ""}, "`wood=` should have at least 1 character"),
        ({"wood": "oak", "drawers": 0}, "`drawers=0` should be greater than or equal to 1"),
        ({"wood": "oak", "drawers": "many"}, "`drawers=many` should be a valid integer"),
        ({"wood": "oak", "tilt": float("nan")}, "`tilt=nan` should be less than 1"),
        ({"wood": "oak", "lamp": {"watts": float("inf")}}, "`lamp.watts=inf` should be a finite number"),
        ({"wood": "oak", "lamp": {"colour": "blue"}}, "`lamp.colour=blue` should be 'warm' or 'cold'"),
        ({"wood": "oak", "keys": [{}, {"folds": -1}]}, "`keys.1.folds=-1` should be greater"),
        ({"wood": "oak", "drawer": 3}, "there is no setting `drawer`; did you mean drawers?"),
        ({"wood": "oak", "lamp": {"watt": 3}}, "there is no setting `lamp.watt`"),
        ({"wood": "oak", "zzz": 3}, "there is no setting `zzz`"),
        # What a check of our own refuses may be a password, and isn't shown.
        ({"wood": "secret"}, "`wood=`: must not be told"),
        ({"wood": "oak", "drawers": "`" + "9\n" * 200}, "`drawers='9 9 9"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(values: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError) as caught:
        Desk(**values)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(HarnessError) as read:
        Desk.read(values, "desk.yaml")
    assert str(read.value) == f"desk.yaml: {caught.value}"


def test_settings_may_refuse_with_an_error_of_their_own() -> None:
    for make in (lambda: Report(rows=0), lambda: Report.flat({"rows": 0}), lambda: Report.read({}, "x")):
        with pytest.raises(DataError, match="rows"):
            make()


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"^desk\.yaml: "):
        Desk.read(["oak"], "desk.yaml")


def test_a_change_is_checked_and_leaves_the_rest() -> None:
    desk = Desk(wood="oak", drawers=5)
    assert desk.changed(tilt=0.5) == Desk(wood="oak", drawers=5, tilt=0.5)
    with pytest.raises(HarnessError, match="`tilt=2`"):
        desk.changed(tilt=2)
    with pytest.raises(HarnessError, match="no setting `leg`"):
        desk.changed(leg=4)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(Exception, match="frozen"):
        Desk(wood="oak").drawers = 3  # type: ignore[misc]


def test_every_setting_has_one_flat_name() -> None:
    found = {one.name: one for one in Desk.settings()}
    assert list(found) == ["wood", "watts", "colour", "shade_folds", "drawers", "keys", "tilt"]
    assert [one.required for one in found.values()] == [True] + 6 * [False]
    # The desk's own lamp, not any lamp; a shade that needn't be there has no default to show.
    assert (found["watts"].default, found["shade_folds"].default) == (60.0, None)
    assert [found[name].group for name in ("wood", "watts", "shade_folds", "drawers")] == [
        "Desk",
        "Lamp",
        "Shade",
        "Drawers",
    ]
    assert found["colour"].field.description == "Of the light."


@pytest.mark.parametrize(
    ("values", "means"),
    [
        ({"wood": "oak"}, Desk(wood="oak")),
        ({"wood": "oak", "colour": "cold"}, Desk(wood="oak", lamp=Lamp(watts=60.0, colour="cold"))),
        ({"wood": "oak", "shade_folds": 3}, Desk(wood="oak", shade=Shade(folds=3))),
        ({"wood": "oak", "shade": None}, Desk(wood="oak")),
        ({"wood": "oak", "lamp": Lamp(watts=5.0)}, Desk(wood="oak", lamp=Lamp(watts=5.0))),
    ],
)
def test_flat_values_find_their_places(values: dict[str, Any], means: Desk) -> None:
    assert Desk.flat(values) == means


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"wood": "oak", "watts": 0}, "`watts=0` should be greater than 0"),
        ({"wood": "oak", "wats": 3}, "no setting `wats`; did you mean watts"),
        ({"watts": 3}, "`wood=` is missing"),
    ],
)
def test_flat_values_are_checked(values: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError, match=says):
        Desk.flat(values)


def test_a_name_that_two_of_them_have_means_both() -> None:
    from harness.opd.config import OPDConfig

    config = OPDConfig.flat(
        {
            "teacher": "t",
            "base": "b",
            "out": Path("o"),
            "lam": 1.0,
            "seed": 7,
            "steps": 3,
            "precision": "mixed",
        }
    )
    assert (config.seed, config.optimisation.seed) == (7, 7)
    # What isn't said stays as distillation wants it, not as supervised training does.
    assert (config.optimisation.steps, config.optimisation.weight_decay) == (3, 0.0)
    assert config.placement.precision == "mixed"
