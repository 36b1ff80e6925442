"""A prediction that is locked before a sweep: windows of λ, and everything that must not change after it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import DataError
from harness.settings import first_problem
from harness.sweep.onsets import Rules
from harness.sweep.plan import SweepPlan
from harness.sweep.provenance import from_file_hashes

TestName = Literal[
    "fine_grid", "fine_grid_binding", "budget_extension", "small_clip", "small_clip_shift", "rival", "onset"
]


class _Locked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Locked):
    """A closed interval; no `high` means no upper end."""

    low: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    high: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class RolePrediction(_Locked):
    """λ* of one role at one clip strength, from teacher and base.

    Attributes:
        role: kind of structural position.
        positions: number measured.
        p: teacher's class mass.
        b: base's.
        lambda_star: None where it has no finite value; `status` says why.
        low: lower end of its interval, None without one.
        high: upper end.
        status: see `harness.cliff.LambdaStarEstimate`.
        teacher_tail_share: the role's share of the teacher's tail mass.
    """

    role: str
    positions: int
    p: float | None
    b: float | None
    lambda_star: float | None
    low: float | None
    high: float | None
    status: str
    teacher_tail_share: float


class ClipPrediction(_Locked):
    """λ* at one clip strength.

    Attributes:
        clip: c.
        roles: every role that was reached.
        binding: the role with the smallest λ*.
        binding_window: interval of its λ*.
        band: from the lowest to the highest end of the intervals of all roles that hold at least `band_share`
            of the teacher's tail mass; without an upper end where one of them has none.
        unmet: preconditions of the theory that these checkpoints don't meet, in words.
    """

    clip: float
    roles: tuple[RolePrediction, ...]
    binding: str
    binding_window: Window
    band: Window
    unmet: tuple[str, ...]


class PreregTest(_Locked):
    """A question with the answers that count as a hit.

    Attributes:
        name: which of the paper's tests (`fine_grid`, `budget_extension`, `small_clip`), or `rival`: whether
            something moves the onset that λ* doesn't know of.
        arm: whose onset.
        against: None: the onset itself is compared with the window. Else the ratio (onset of `arm` − 1) /
            (onset of `against` − 1) is.
        window: hit where the whole interval lies in it, miss where none of it does, open otherwise.
        question: in words.
    """

    name: TestName
    arm: str
    against: str | None
    window: Window
    question: str


class PreregLock(_Locked):
    """The locked prediction.

    Attributes:
        version: of this format; in the first, code was known by the hash of every file, by its path; since
            the third, tests are judged by rules 2 (`harness.sweep.onsets.Rules`).
        locked: when, ISO 8601, UTC.
        plan: the sweep: grid, seeds, collapse definition, everything.
        checkpoints: `teacher` and `base`, hash of each.
        analysis_code: modules that turn results into hits and misses, meaning of each.
        training_code: modules that decide results.
        prediction_code: of the first format: files that made the windows, hash of each.
        harness: version and commit of this package.
        base_strict: strict validity of the base on the evaluation set.
        base_tasks: its size.
        teacher_strict: the teacher's, for comparison.
        threshold: strict validity below which a run will count as collapsed.
        rollouts: base rollouts behind p and b.
        band_share: see `ClipPrediction.band`.
        ratio_factor: windows of ratios reach from the prediction divided by it to the prediction times it.
        predictions: one a clip strength.
        tests: what will be asked.
        note: what was known before, in the words of who locked: pilot runs, other seeds.
        git: commit and dirty flag of the working directory.
        packages: versions.
        host: machine.
    """

    version: Literal[1, 2, 3] = 1
    locked: str
    plan: SweepPlan
    checkpoints: dict[str, str]
    analysis_code: dict[str, str]
    training_code: dict[str, str]
    prediction_code: dict[str, str] = {}
    harness: dict[str, Any] | None = None
    base_strict: float
    base_tasks: int
    teacher_strict: float
    threshold: float
    rollouts: int
    band_share: float
    ratio_factor: float
    predictions: tuple[ClipPrediction, ...]
    tests: tuple[PreregTest, ...]
    note: str
    git: dict[str, Any] | None
    packages: dict[str, str]
    host: dict[str, Any]

    @property
    def rules(self) -> Rules:
        """Those in force when it was made, by which its tests are judged for good."""
        return 1 if self.version < 3 else 2

    def analysis_meanings(self) -> dict[str, str]:
        """`analysis_code`, also of a lock of the first format."""
        return from_file_hashes(self.analysis_code) if self.version == 1 else self.analysis_code

    def training_meanings(self) -> dict[str, str]:
        """`training_code` likewise."""
        return from_file_hashes(self.training_code) if self.version == 1 else self.training_code

    def prediction(self, clip: float | None) -> ClipPrediction | None:
        """The prediction at one clip strength, None where there is none."""
        return next((one for one in self.predictions if one.clip == clip), None)


def read_lock(path: Path) -> PreregLock:
    """The lock in a `prereg.json`.

    Raises:
        DataError: there is none, or it can't be read.
    """
    try:
        return PreregLock.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} doesn't exist: nothing was locked; see harness prereg lock") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} can't be read as a lock: {first_problem(error)}") from error
