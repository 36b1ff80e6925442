"""`evaluate(config)`: the whole flow from dataset rows to a finished run directory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.data.loading import LoadedDataset, load_tasks
from harness.engines import Engine, Generation, GenerationRequest, UnansweredError, open_engine
from harness.errors import IncompleteError, Interrupted, RefusedError, RunMismatchError
from harness.evaluate.answered import Answered, require_same_served
from harness.evaluate.config import EvalConfig
from harness.evaluate.early_stop import EarlyStop, generate_all, generate_in_waves, in_order
from harness.evaluate.missing import missing_of, require_allowed
from harness.evaluate.plan import default_out, planned_manifest, require_k, sampling_of
from harness.evaluate.reasoning import Parts, Thoughts, with_mark
from harness.evaluate.scoring import TaskScorer, measured_by_cliff, summarise_run
from harness.evaluate.session import SessionClock, Tally, settled
from harness.progress import OnProgress, Progress, ignore
from harness.rollouts import Prompt, make_prompts, plan_requests
from harness.runs import Manifest, Run, RunDirectory, Sample, load, read_samples
from harness.runs.comparability import compare_prompts, prompt_mark
from harness.runs.directory import SAMPLES, TASKS
from harness.runs.integrity import require_sound
from harness.runs.manifest import EngineRecord, Missing, Session, Status, Stopped


def evaluate(
    config: EvalConfig,
    on_progress: OnProgress = ignore,
    *,
    early_stop: EarlyStop | None = None,
    engine: Engine | None = None,
) -> Run:
    """Evaluate a checkpoint, or go on where a killed evaluation stopped.

    Args:
        config: what to evaluate and how.
        on_progress: told where the job stands, from this thread.
        early_stop: draws tasks in its own order and may end the evaluation before all are drawn.
        engine: the caller's engine for `config.engine`, which stays open; None opens and closes one.

    Returns:
        The finished run; with `early_stop` an incomplete one where not everything was drawn.

    Raises:
        HarnessError: nothing was run, and the message says why (exit code 2).
        IncompleteError: it stopped half-way; the same call goes on (exit code 3).
    """
    dataset = load_tasks(config.data, config.split, limit=config.limit, skip_bad_rows=config.skip_bad_rows)
    require_k(dataset, config.k)
    folder = config.out or default_out(config, dataset)
    opened = closing(open_engine(config.engine)) if engine is None else nullcontext(engine)
    with opened as answering, RunDirectory(folder) as directory:
        return _Evaluation(config, dataset, answering, directory, on_progress, early_stop).run()


@dataclass
class _Evaluation:
    config: EvalConfig
    dataset: LoadedDataset
    engine: Engine
    directory: RunDirectory
    on_progress: OnProgress
    early_stop: EarlyStop | None = None

    def __post_init__(self) -> None:
        self.prompt = self.config.prompting.record()
        self.sampling = sampling_of(self.config, self.dataset, self.prompt)
        self.stopped = False
        self.missing: tuple[Missing, ...] = ()

    def run(self) -> Run:
        earlier = self.directory.read_manifest()
        if earlier is None:
            # Nothing to compare with: prompts are encoded and the checkpoint is hashed while it loads.
            prompts, seconds = self._start_and_encode()
        else:
            prompts, seconds = self._encode(), None
        info = self.engine.info()
        self.prompt = with_mark(self.prompt, self.config.prompting, info, earlier)
        self.parts = Parts.of(self.prompt.reasoning_end, self.engine, prompts)
        manifest = planned_manifest(self.config, self.dataset, info, self.sampling, self.prompt, earlier)
        before = None if earlier is None else earlier.engine
        _require_same(self.directory.path, manifest, earlier)
        require_same_served(self.directory.path, manifest.engine, before)
        self.answered = Answered(self.directory.path, before)
        requests = plan_requests(prompts, info, self.sampling, self.config.samples, self.config.contract)
        drawn = self.directory.open_samples()
        done = drawn.keys
        planned = {request.key for request in requests}
        if foreign := len(done - planned):
            self._require_same_prompts(manifest, earlier, prompts)
            raise RunMismatchError(
                f"{self.directory.path} holds {foreign} samples that this command doesn't ask for "
                "(a smaller limit, or rows that moved?); choose another `out=`"
            )
        finished = self._is_finished(earlier, planned - done)
        missing = earlier.missing if earlier and finished else ()
        requests = self._planned(manifest, requests, prompts, missing)
        if earlier is None or earlier.tasks < manifest.tasks or not (self.directory.path / TASKS).exists():
            self.directory.write_tasks(self.dataset.tasks)
        if finished:
            run = load(self.directory.path)
            require_sound(run)
            self.on_progress(Progress("complete already", len(done), len(planned), len(done)))
            return run
        if self._wants_more(requests, done):
            self.directory.drop_metrics()
        held = Tally(len(done), drawn.prompt_tokens, drawn.completion_tokens)
        sessions = settled(manifest.sessions, held, manifest.started)
        self._generate(manifest.model_copy(update={"sessions": sessions}), prompts, requests, done, seconds)
        return load(self.directory.path)

    def _require_same_prompts(
        self, manifest: Manifest, earlier: Manifest | None, prompts: Sequence[Prompt]
    ) -> None:
        """Say so where what is there answers other prompts than this command would ask."""
        asked = {prompt.task.task_id: prompt_mark(prompt.sha256) for prompt in prompts}
        before = {
            sample.task_id: prompt_mark(sample.prompt_sha256)
            for sample in read_samples(self.directory.path / SAMPLES)
        }
        found = compare_prompts(manifest, earlier or manifest, asked, before)
        if found.said is not None:
            raise RunMismatchError(
                f"{self.directory.path} can't be gone on with: {found.said}; choose another `out=`"
            )

    def _generate(
        self,
        manifest: Manifest,
        prompts: Sequence[Prompt],
        requests: Sequence[GenerationRequest],
        done: set[str],
        load_seconds: float | None,
    ) -> None:
        def note(session: Session) -> None:
            entries = (*manifest.sessions, session)
            learnt = self.answered.kept_in(manifest.engine, None, len(done) + session.generated)
            self.directory.write_manifest(manifest.model_copy(update={"sessions": entries, "engine": learnt}))

        session = SessionClock(load_seconds, note)
        try:
            if self._wants_more(requests, done):
                if load_seconds is None:
                    self.on_progress(Progress("loading the model"))
                    session.loaded(self._timed_start())
                self._draw(prompts, requests, done, session)
            complete = len(done) + session.generated + len(self.missing) == manifest.planned
            if complete:
                self.on_progress(Progress("computing metrics", len(requests), len(requests), len(done)))
                kept = measured_by_cliff(self.directory.path)
                whole = manifest.model_copy(update={"stopped": None})
                self.directory.write_metrics(summarise_run(self.directory.path, whole, kept))
        except KeyboardInterrupt:
            self._finish(manifest, session, "incomplete")
            raise Interrupted(
                f"interrupted after {len(done) + session.generated} of {manifest.planned} samples; "
                "run the same command to go on"
            ) from None
        except IncompleteError:
            self._finish(manifest, session, "incomplete")
            raise
        except RefusedError as error:
            begun = bool(done) or session.generated > 0
            self._finish(manifest, session, "incomplete" if begun else "failed")
            if not begun:
                raise
            raise IncompleteError(f"{error}; see to it and run the same command again to go on") from error
        except Exception:
            self._finish(manifest, session, "failed")
            raise
        self._finish(manifest, session, "complete" if complete else "incomplete")

    def _wants_more(self, requests: Sequence[GenerationRequest], done: set[str]) -> bool:
        return not self.stopped and any(request.key not in done for request in requests)

    def _is_finished(self, earlier: Manifest | None, lacking: set[str]) -> bool:
        """Whether everything is there but for what the run could do without, and still may."""
        if earlier is None or earlier.status != "complete":
            return False
        return len(lacking) <= min(len(earlier.missing), self.config.engine.allow_missing)

    def _planned(
        self,
        manifest: Manifest,
        requests: list[GenerationRequest],
        prompts: Sequence[Prompt],
        missing: Sequence[Missing],
    ) -> list[GenerationRequest]:
        """What this session is to draw: everything, or what `early_stop` plans and still wants."""
        if self.early_stop is None:
            return requests
        order = self.early_stop.plan(
            manifest,
            self.dataset.tasks,
            self.directory.path,
            {prompt.task.task_id: prompt.sha256 for prompt in prompts},
        )
        earlier = read_samples(self.directory.path / SAMPLES)
        self.stopped = any(self.early_stop.enough(sample) for sample in earlier) or any(
            self.early_stop.enough_without(one.task_id) for one in missing
        )
        return in_order(requests, order)

    def _draw(
        self,
        prompts: Sequence[Prompt],
        requests: Sequence[GenerationRequest],
        done: set[str],
        session: SessionClock,
    ) -> None:
        scorers = {
            prompt.task.task_id: (prompt.sha256, TaskScorer(prompt.task, self.config.contract))
            for prompt in prompts
        }
        by_key = {request.key: request for request in requests}
        resumed = len(done & by_key.keys())
        self.on_progress(Progress("generating", resumed, len(requests), resumed))
        draw = generate_all if self.early_stop is None else generate_in_waves
        # Closed at once when it is left early: the engine must not go on drawing for nobody.
        try:
            with closing(draw(self.engine, requests, self.sampling, frozenset(done))) as generations:
                for generation in generations:
                    self.answered.count(generation)
                    request = by_key[generation.key]
                    prompt_sha256, scorer = scorers[request.task_id]
                    sample = _to_sample(
                        request, prompt_sha256, generation, self.parts.of_answer(generation), scorer
                    )
                    self.directory.append(sample)
                    session.count(generation)
                    self.on_progress(
                        Progress("generating", resumed + session.generated, len(requests), resumed)
                    )
                    if self.early_stop is not None and self.early_stop.enough(sample):
                        self.stopped = True
                        return
        except UnansweredError as error:
            self._do_without(error, by_key, len(done) + session.generated)
        missing = len(requests) - resumed - session.generated - len(self.missing)
        if missing and not self.stopped:
            raise IncompleteError(
                f"the engine ended without {missing} of {len(requests)} samples; "
                "run the same command to go on"
            )

    def _do_without(
        self, error: UnansweredError, by_key: Mapping[str, GenerationRequest], there: int
    ) -> None:
        self.missing = missing_of(error, by_key)
        require_allowed(self.missing, there, self.config.engine.allow_missing, error)
        if self.early_stop is not None:
            self.stopped = any(self.early_stop.enough_without(one.task_id) for one in self.missing)

    def _encode(self) -> list[Prompt]:
        engine = self.engine
        return make_prompts(
            self.dataset.tasks,
            self.config.contract,
            engine.encode,
            self.prompt,
            guarded=not engine.capabilities.defuses,
        )

    def _timed_start(self) -> float:
        started = time.monotonic()
        self.engine.start()
        return time.monotonic() - started

    def _start_and_encode(self) -> tuple[list[Prompt], float]:
        self.on_progress(Progress("loading the model"))
        if not self.engine.capabilities.own_process:
            # The model loads in this process: two threads that import its libraries trip over each other.
            prompts = self._encode()
            return prompts, self._timed_start()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-start") as pool:
            starting = pool.submit(self._timed_start)
            try:
                return self._encode(), starting.result()
            except BaseException:
                self.engine.close()  # else the thread would wait for the model to load
                raise

    def _finish(self, manifest: Manifest, clock: SessionClock, status: Status) -> None:
        session = clock.entry(status)
        self.directory.write_manifest(
            manifest.model_copy(
                update={
                    "status": status,
                    "finished": session.finished if status == "complete" else None,
                    "stopped": self._stopped(manifest, status),
                    "missing": self.missing,
                    "engine": self._with_remarks(manifest, clock.generated),
                    "sessions": (*manifest.sessions, session),
                }
            )
        )

    def _with_remarks(self, manifest: Manifest, generated: int) -> EngineRecord:
        """The engine as it was begun with, and what it and its replies tell since."""
        there = generated + sum(session.generated for session in manifest.sessions)
        return self.answered.kept_in(manifest.engine, self.engine.info(), there)

    def _stopped(self, manifest: Manifest, status: Status) -> Stopped | None:
        """A run that was stopped by its samples stays one until everything is drawn."""
        if status == "complete":
            return None
        if self.early_stop is not None and self.stopped:
            return self.early_stop.stopped()
        return manifest.stopped


def _to_sample(
    request: GenerationRequest,
    prompt_sha256: str,
    generation: Generation,
    thoughts: Thoughts,
    scorer: TaskScorer,
) -> Sample:
    parse, scores = scorer(thoughts.answer, generation.finish_reason, thoughts.reasoning)
    return Sample(
        key=request.key,
        task_id=request.task_id,
        sample_index=request.sample_index,
        prompt_sha256=prompt_sha256,
        text=thoughts.answer,
        token_ids=generation.token_ids,
        finish_reason=generation.finish_reason,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        parse=parse,
        scores=scores,
        reasoning=thoughts.reasoning,
        reasoning_tokens=thoughts.tokens,
    )


def _require_same(folder: Path, manifest: Manifest, earlier: Manifest | None) -> None:
    if earlier and (differences := earlier.differences(manifest)):
        raise RunMismatchError(
            f"{folder} holds another run ({'; '.join(differences)}); choose another `out=`"
        )
