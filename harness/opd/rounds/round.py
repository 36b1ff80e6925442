"""A round: rollouts, what the frozen policies say about them, and the minibatches they are trained in."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import files
from harness.cliff import ClassMass, MassBounds, PositionRecords
from harness.contract import Contract
from harness.errors import DataError, words_of
from harness.opd.rounds.scoring import Layout, Scores
from harness.rollouts import Positions, Rollout, Walker, read_rollouts, write_rollouts

ROLLOUTS = "rollouts.jsonl"
SCORES = "scores.npz"
ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over all rollouts of a round, on all processes.

    Attributes:
        rollouts: how many.
        strict: those that keep the contract.
        truncated: those that met the token limit.
    """

    rollouts: int
    strict: int
    truncated: int

    @classmethod
    def of(cls, rollouts: Sequence[Rollout]) -> Tally:
        """Count."""
        return cls(
            rollouts=len(rollouts),
            strict=sum(one.strict for one in rollouts),
            truncated=sum(one.finish_reason == "length" for one in rollouts),
        )


@dataclass(frozen=True, slots=True)
class About:
    """What stored rollouts and scores are of.

    Attributes:
        number: of the round, from 0.
        behaviour_sha256: checkpoint that drew them; None where it was a student in training.
        teacher_sha256: checkpoint of the teacher's scores.
        base_sha256: of the base's.
        layout: how forward passes were cut and computed; other cuts round differently.
        tally: over all processes.
    """

    number: int
    behaviour_sha256: str | None
    teacher_sha256: str
    base_sha256: str
    layout: str
    tally: Tally


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """This process's share of a round.

    Attributes:
        about: where it comes from.
        rollouts: minibatch after minibatch.
        layout: their forward passes.
        positions: their structural positions.
        teacher: scores under π_T.
        base: scores under π_B.
        behaviour: [N] logprobs under the policy that drew them; None where the ratio doesn't need them, or
            that policy is the student at the very step that uses them.
    """

    about: About
    rollouts: tuple[Rollout, ...]
    layout: Layout
    positions: Positions
    teacher: Scores
    base: Scores
    behaviour: torch.Tensor | None

    @property
    def records(self) -> PositionRecords:
        """Decisions with both models' masses."""
        return self.positions.records(
            MassBounds.exact(self.teacher.masses), MassBounds.exact(self.base.masses)
        )

    def save(self, folder: Path) -> None:
        """Write rollouts and scores into an existing folder."""
        write_rollouts(folder / ROLLOUTS, self.rollouts)
        more = {"behaviour": self.behaviour, "teacher_likeliest": self.teacher.likeliest}
        with files.replacing(folder / SCORES) as stream:
            np.savez(
                stream,
                teacher=self.teacher.logprobs.numpy(),
                teacher_mass=self.teacher.masses.log_mass,
                teacher_tail=self.teacher.masses.log_tail,
                base=self.base.logprobs.numpy(),
                base_mass=self.base.masses.log_mass,
                base_tail=self.base.masses.log_tail,
                **{name: values.numpy() for name, values in more.items() if values is not None},
            )
        text = json.dumps(asdict(self.about), indent=1) + "\n"
        files.write_text(folder / ABOUT, text)

    @classmethod
    def load(cls, folder: Path, size: int, share_prompts: bool, walker: Walker, contract: Contract) -> Round:
        """Read what `save` wrote.

        Args:
            folder: of the round.
            size: rollouts a forward pass.
            share_prompts: see `pack`.
            walker: of the student's vocabulary.
            contract: of the run.

        Raises:
            DataError: files that are missing or damaged.
        """
        rollouts = tuple(read_rollouts(folder / ROLLOUTS, contract))
        about = read_about(folder)
        try:
            with np.load(folder / SCORES) as stored:
                arrays = {name: stored[name] for name in stored.files}
            behaviour = torch.from_numpy(arrays["behaviour"]) if "behaviour" in arrays else None
            teacher, base = (_scores(arrays, name) for name in ("teacher", "base"))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{folder / SCORES} can't be read as stored scores ({error}); draw the rollouts again"
            ) from error
        layout, positions = Layout(rollouts, size, share_prompts), Positions.find(rollouts, walker)
        counts = {len(one.logprobs) for one in (teacher, base)} | (
            {len(behaviour)} if behaviour is not None else set()
        )
        if counts != {int(layout.starts[-1])} or len(teacher.masses.log_mass) != len(positions.role):
            raise DataError(f"{folder / SCORES} holds scores of other rollouts; draw the rollouts again")
        return cls(about, rollouts, layout, positions, teacher, base, behaviour)


def read_about(folder: Path) -> About:
    """What a folder of stored rollouts is of.

    Raises:
        DataError: it is none.
    """
    try:
        fields: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        return About(**{**fields, "tally": Tally(**fields["tally"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{folder} is no folder of stored rollouts ({words_of(error, 200)}); "
            "give RUN/rollouts of a run with fixed rollouts"
        ) from error


def rollouts_sha256(folder: Path) -> str | None:
    """Hash of stored rollouts, without their scores; None where there are none."""
    if not (folder / ROLLOUTS).is_file():
        return None
    with (folder / ROLLOUTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _scores(arrays: dict[str, Any], name: str) -> Scores:
    masses = ClassMass(arrays[f"{name}_mass"], arrays[f"{name}_tail"])
    likeliest = arrays.get(f"{name}_likeliest")
    return Scores(
        torch.from_numpy(arrays[name]), masses, None if likeliest is None else torch.from_numpy(likeliest)
    )
