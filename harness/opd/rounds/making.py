"""Where rounds come from: drawn fresh, drawn once, or stored by another run; then read under all policies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object

from harness.cliff import ClassMass, PositionRecords
from harness.cliff.line_sums import LineSums
from harness.cliff.reached import Reached, lambda_reached
from harness.contract import DEFAULT, Terms
from harness.data.loading import LoadedDataset, load_tasks
from harness.engines import IN_MEMORY
from harness.engines.finite import NotNumbersError
from harness.errors import DataError, words_of
from harness.files import new_folder
from harness.opd.config import OPDConfig
from harness.opd.loop.log import Floats
from harness.opd.models.loading import Checkpoints, Policies
from harness.opd.models.policy import Policy, shares_prompts
from harness.opd.rounds.behaviour import draw_with_engine
from harness.opd.rounds.drawing import open_drawer, round_orders
from harness.opd.rounds.packing import Packed, pack
from harness.opd.rounds.placing import MOST_PLACED, Side, line_sums_of
from harness.opd.rounds.round import ROLLOUTS, About, Round, Tally, read_about
from harness.opd.rounds.scoring import Layout, Scores, score
from harness.progress import OnProgress, Progress
from harness.rollouts import Positions, Rollout, Walker, classes_of, read_rollouts, require_classes

PROBE_TOKENS = 8


def load_dataset(config: OPDConfig) -> LoadedDataset:
    """The tasks whose prompts are used.

    Raises:
        DataError: they can't be read.
    """
    return load_tasks(config.data, config.split, limit=config.limit)


class Rounds:
    """Makes the rounds of a run, this process's share of each."""

    def __init__(
        self,
        config: OPDConfig,
        checkpoints: Checkpoints,
        dataset: LoadedDataset,
        folder: Path,
        on_progress: OnProgress,
    ) -> None:
        """Load the student and encode the prompts.

        Args:
            config: of the run.
            checkpoints: of its policies.
            dataset: its tasks.
            folder: where fixed rollouts are kept.
            on_progress: told what is being done.

        Raises:
            DataError: prompts that don't fit a model, or batches that don't go round among the processes.
            EngineUnavailableError: a checkpoint can't be loaded.
        """
        on_progress(Progress("loading the student"))
        self._config = config
        self._checkpoints = checkpoints
        self._folder = folder
        self._on_progress = on_progress
        self._drawer = open_drawer(
            checkpoints.student,
            (checkpoints.teacher, checkpoints.base),
            dataset.tasks,
            config.contract,
            config.prompting.record(),
            max_tokens=config.max_tokens,
            trust_remote_code=config.placement.trust_remote_code,
        )
        self.policies = Policies(config, checkpoints)
        self._accelerator = self.policies.accelerator
        world = self._accelerator.num_processes
        if config.optimisation.batch_size % world:
            raise DataError(
                f"batches of {config.optimisation.batch_size} don't go round among {world} processes; "
                "choose a multiple"
            )
        self._share = config.optimisation.batch_size // world
        self._size = min(config.optimisation.micro_batch_size or self._share, self._share)
        vocabulary = checkpoints.vocabulary
        require_classes(vocabulary, config.contract)
        self._walker = Walker(classes_of(vocabulary, config.contract))
        self._shares: dict[str, bool] = {}
        self._share_prompts = config.samples > 1 and self._can_share_prompts()
        self._current: Round | None = None

    @property
    def layout(self) -> str:
        """How forward passes are cut and computed, in words that are equal only if all of it is."""
        config, accelerator = self._config, self._accelerator
        return (
            f"{config.optimisation.batch_size} rollouts a step, {self._size} a pass, process "
            f"{accelerator.process_index} of {accelerator.num_processes}, prompts "
            f"{'shared' if self._share_prompts else 'apart'}, {self.policies.numerics}"
        )

    def draw(self, number: int) -> Round:
        """Round `number`, from the student as it is now."""
        config = self._config
        self._on_progress(Progress(f"drawing round {number + 1}"))
        orders = round_orders(
            len(self._drawer.prompts), config.pool // config.samples, config.samples, number, config.seed
        )
        with self.policies.whole_student() as student:
            if config.behaviour_engine == IN_MEMORY:
                rollouts = self._drawer.with_model(student.model, self._mine(orders))
            else:
                every: list[Any] = [None]
                if self._accelerator.is_main_process:
                    start = self._checkpoints.student
                    every = [draw_with_engine(config.behaviour_engine, student, start, self._drawer, orders)]
                rollouts = self._mine(broadcast_object_list(every)[0])
        sha256 = self._checkpoints.student.sha256 if number == 0 else None
        return self._read(number, rollouts, sha256)

    def fixed(self) -> Round:
        """The only round of a run with fixed rollouts: stored, or drawn from the student's start."""
        if self._current is None:
            stored = self._config.rollouts or self._own_folder()
            if self._config.rollouts is not None:
                self._current = self._stored(stored)
            elif stored.is_dir():
                self._current = self.take_up(stored)
            else:
                self._current = self.draw(0)
                with new_folder(stored) as draft:
                    self._current.save(draft)
            self.policies.release()
        return self._current

    def take_up(self, folder: Path) -> Round:
        """A round this run has saved."""
        self._current = Round.load(
            folder, self._size, self._share_prompts, self._walker, self._config.contract
        )
        return self._current

    def minibatch(self, step: int) -> tuple[int, int]:
        """First and one past the last of this process's rollouts of a step, from seed and step alone."""
        config = self._config
        number, within = divmod(step, config.steps_per_round)
        count = config.pool // config.optimisation.batch_size
        epoch, place = divmod(within, count)
        order = np.random.default_rng([config.optimisation.seed, number, epoch]).permutation(count)
        first = int(order[place]) * self._share
        return first, first + self._share

    def step_size(self, first: int, last: int) -> tuple[int, int]:
        """Completion tokens and rollouts of a step, on all processes."""
        assert self._current is not None
        starts = self._current.layout.starts
        own = (int(starts[last] - starts[first]), last - first)
        every = gather_object([own])
        return sum(one[0] for one in every), sum(one[1] for one in every)

    def records(self, first: int, last: int) -> PositionRecords:
        """Decisions of some of this process's rollouts."""
        assert self._current is not None
        own, positions = self._current.layout.tokens(slice(first, last)), self._current.positions
        return self._current.records[positions.among(own)[positions.opening]]

    def outcomes(self, drawn: Round) -> tuple[list[int], list[bool]]:
        """Task of each rollout of a round, and whether it keeps the contract, on all processes."""
        every = gather_object([(one.task, one.strict) for one in drawn.rollouts])
        return [task for task, _ in every], [strict for _, strict in every]

    def place(self) -> Reached | str:
        """Where the student stands, by the round it has just drawn; else why that isn't known.

        Nothing that training reads is touched. Every process must ask.
        """
        assert self._current is not None
        config, drawn = self._config, self._current
        most = max(1, MOST_PLACED // self._accelerator.num_processes)
        # Spread over the round: those of one prompt stand together, and say less than those of many.
        rollouts = drawn.rollouts[:: -(-len(drawn.rollouts) // most)]
        layout = Layout(rollouts, self._size, self._share_prompts)
        own: list[LineSums] | str
        with self.policies.whole_student() as student, self.policies.teacher() as teacher:
            with self.policies.base() if config.lora is None else nullcontext(student) as base:
                sides = (
                    Side(student, layout),
                    Side(teacher, self._layout_for(teacher, "teacher", layout)),
                    Side(base, self._layout_for(base, "base", layout), below=config.lora is not None),
                )
            try:
                own = line_sums_of(sides, rollouts, config.plausible)
            except (NotNumbersError, torch.cuda.OutOfMemoryError) as error:
                # The run goes on as it would without.
                own = words_of(error, 200)
        every = gather_object([([one.task for one in rollouts], own)])
        if (why := next((sums for _, sums in every if isinstance(sums, str)), None)) is not None:
            return why
        tasks, sums = ([one for part in parts for one in part] for parts in zip(*every, strict=True))
        return lambda_reached(tasks, sums, seed=config.seed, masked=config.plausible > 0.0)

    def gathered(self, records: PositionRecords) -> PositionRecords:
        """Those of all processes."""
        alone = self._accelerator.num_processes == 1
        return records if alone else PositionRecords.concat(gather_object([records]))

    def gathered_masses(self, masses: Sequence[ClassMass]) -> ClassMass:
        """Masses of all forward passes of all processes."""
        every = [one for parts in gather_object([list(masses)]) for one in parts]
        return ClassMass.concat(every)

    def gathered_columns(self, columns: dict[str, Floats]) -> dict[str, Floats]:
        """Columns of all processes, one after the other."""
        if self._accelerator.num_processes == 1:
            return columns
        every = gather_object([columns])
        return {name: np.concatenate([one[name] for one in every]) for name in columns}

    def save_student(self, folder: Path) -> None:
        """Write the student as a checkpoint; every process calls it."""
        self.policies.save_student(self._checkpoints.student, folder)

    def _mine(self, every: Sequence[Any]) -> list[Any]:
        """This process's share of each minibatch."""
        batch, rank = self._config.optimisation.batch_size, self._accelerator.process_index
        return [
            one
            for start in range(rank * self._share, len(every), batch)
            for one in every[start : start + self._share]
        ]

    def _own_folder(self) -> Path:
        world, rank = self._accelerator.num_processes, self._accelerator.process_index
        return self._folder if world == 1 else self._folder / f"process-{rank}-of-{world}"

    def _stored(self, folder: Path) -> Round:
        """Rollouts of another run; scored again unless they were scored exactly so."""
        about, rollouts = read_about(folder), read_rollouts(folder / ROLLOUTS, self._config.contract)
        self._check_stored(folder, rollouts)
        checkpoints = self._checkpoints
        wanted = (checkpoints.teacher.sha256, checkpoints.base.sha256, self.layout)
        if (about.teacher_sha256, about.base_sha256, about.layout) == wanted:
            found = Round.load(folder, self._size, self._share_prompts, self._walker, self._config.contract)
            if found.behaviour is None:
                self._require_behaviour(folder, about.behaviour_sha256)
            if found.teacher.likeliest is not None or self._config.plausible == 0.0:
                return found
        self._require_behaviour(folder, about.behaviour_sha256)
        return self._read(about.number, self._mine(rollouts), about.behaviour_sha256)

    def _require_behaviour(self, folder: Path, sha256: str | None) -> None:
        known = {self._checkpoints.base.sha256, self._checkpoints.student.sha256}
        if self._config.ratio == "student/behaviour" and sha256 not in known:
            raise DataError(
                f"the rollouts in {folder} were drawn by neither this run's base nor its student, so there "
                "is no behaviour policy for the ratio; choose another `ratio=`"
            )

    def _check_stored(self, folder: Path, rollouts: Sequence[Rollout]) -> None:
        prompts = self._drawer.prompts
        if len(rollouts) != self._config.pool:
            raise DataError(
                f"{folder} holds {len(rollouts)} rollouts and the run wants {self._config.pool}; "
                "set `rollout_batch=` to that"
            )
        for one in rollouts:
            if one.task >= len(prompts) or prompts[one.task].ids != one.prompt_ids:
                raise DataError(
                    f"{folder}: its rollouts are of other prompts than this run's; use the same data, limit, "
                    "contract and tokenizer"
                )

    def _read(self, number: int, rollouts: Sequence[Rollout], behaviour_sha256: str | None) -> Round:
        """Score rollouts under teacher, base and the policy that drew them."""
        layout = Layout(rollouts, self._size, self._share_prompts)
        passes = layout.passes(0, len(rollouts))
        positions = Positions.find(rollouts, self._walker)
        self._on_progress(Progress("reading under the teacher"))
        with self.policies.teacher() as policy:
            teacher = score(policy, self._layout_for(policy, "teacher", layout), passes, positions)
        self._on_progress(Progress("reading under the base"))
        with self.policies.base() as policy:
            base = score(policy, self._layout_for(policy, "base", layout), passes, positions)
        tallies: list[Tally] = gather_object([Tally.of(rollouts)])
        about = About(
            number=number,
            behaviour_sha256=behaviour_sha256,
            teacher_sha256=self._checkpoints.teacher.sha256,
            base_sha256=self._checkpoints.base.sha256,
            layout=self.layout,
            tally=Tally(
                rollouts=sum(one.rollouts for one in tallies),
                strict=sum(one.strict for one in tallies),
                truncated=sum(one.truncated for one in tallies),
            ),
        )
        behaviour = self._behaviour(layout, passes, base, behaviour_sha256)
        self._current = Round(about, tuple(rollouts), layout, positions, teacher, base, behaviour)
        return self._current

    def _behaviour(
        self, layout: Layout, passes: list[slice], base: Scores, sha256: str | None
    ) -> torch.Tensor | None:
        config = self._config
        fresh = config.staleness == "fresh"
        if fresh and (config.ratio != "student/behaviour" or config.steps_per_round == 1):
            return None
        # Fixed rollouts are read all the same: they may be shared with runs of another ratio.
        if not fresh and sha256 not in (self._checkpoints.base.sha256, self._checkpoints.student.sha256):
            return None
        if sha256 == self._checkpoints.base.sha256:
            return base.logprobs
        if sha256 is None:
            with self.policies.whole_student() as student:
                return score(student, layout, passes, None).logprobs
        with self.policies.start() as policy:
            return score(policy, layout, passes, None).logprobs

    def _layout_for(self, policy: Policy, role: str, layout: Layout) -> Layout:
        """The student's layout, or one in rows apart for a model that can't read shared prompts."""
        if not self._share_prompts:
            return layout
        if role not in self._shares:
            self._shares[role] = shares_prompts(policy, *self._probe())
        return layout if self._shares[role] else layout.apart()

    def _probe(self) -> tuple[Packed, Packed]:
        """Two rollouts in rows apart, and sharing their prompt."""
        prompt = max((one.ids for one in self._drawer.prompts), key=len)
        any_terms = Terms(DEFAULT, 2)
        pair = [
            Rollout(0, draw, any_terms, prompt, tuple(completion), "length", False)
            for draw, completion in enumerate((prompt[:PROBE_TOKENS], prompt[-PROBE_TOKENS:]))
        ]
        apart, shared = (pack(pair, share).to(self.policies.device) for share in (False, True))
        return apart, shared

    def _can_share_prompts(self) -> bool:
        with self.policies.whole_student() as student:
            return shares_prompts(student, *self._probe())
