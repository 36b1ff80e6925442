from __future__ import annotations

import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engines import EngineConfig, Generation, SamplingParams, open_engine
from harness.engines.merging import MergeConfig, merge
from harness.engines.vllm_engine import VllmEngine, root_cause
from harness.engines.vllm_replica import Replica
from harness.engines.vllm_session import session_members
from harness.errors import DataError, EngineUnavailableError, HarnessError, IncompleteError
from tests.engines.engine_requests import (
    GREEDY,
    NUCLEUS,
    SAMPLED,
    by_key,
    contents,
    make_requests,
    ranking_schema,
    scored_requests,
)

pytest.importorskip("vllm")
pytestmark = pytest.mark.vllm
# More than can be finished between the first answer and a signal.
MANY = 2000
HERE = Path(__file__).parent
ON_LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")


def open_vllm(folder: Path, **settings: Any) -> VllmEngine:
    config = EngineConfig(engine="vllm", ckpt=str(folder), enforce_eager=True, **settings)
    engine = open_engine(config)
    assert isinstance(engine, VllmEngine)
    return engine


def test_greedy_texts_and_ids_are_those_of_transformers(
    vllm: VllmEngine, hf_greedy: dict[str, Generation]
) -> None:
    assert contents(by_key(vllm.generate(make_requests(vllm), GREEDY))) == contents(hf_greedy)


@pytest.mark.parametrize("sampling", [SAMPLED, NUCLEUS], ids=["sampled", "nucleus"])
def test_seeds_decide_what_is_sampled_not_the_batch(vllm: VllmEngine, sampling: SamplingParams) -> None:
    requests = make_requests(vllm)
    together = contents(by_key(vllm.generate(requests, sampling)))
    few = contents(by_key(vllm.generate(list(reversed(requests[:3])), sampling)))
    assert few == {key: together[key] for key in few}
    reseeded = [dataclasses.replace(one, seed=one.seed + 1) for one in requests[:3]]
    other = contents(by_key(vllm.generate(reseeded, sampling)))
    assert all(other[key] != together[key] for key in other)


def test_done_samples_are_not_drawn_again(vllm: VllmEngine) -> None:
    requests = make_requests(vllm, count=5)
    done = {requests[1].key, requests[4].key}
    answers = by_key(vllm.generate(requests, GREEDY, done=done))
    assert set(answers) == {one.key for one in requests} - done
    assert list(vllm.generate(requests, GREEDY, done={one.key for one in requests})) == []


def test_a_call_that_is_given_up_does_not_leak_into_the_next(
    vllm: VllmEngine, hf_greedy: dict[str, Generation]
) -> None:
    requests = make_requests(vllm)
    iterator = vllm.generate(requests, SamplingParams(max_tokens=900, temperature=1.0))
    next(iterator)
    iterator.close()
    assert contents(by_key(vllm.generate(requests, GREEDY))) == contents(hf_greedy)


def test_constrained_answers_fit_the_schema(vllm: VllmEngine) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = ranking_schema(4)
    requests = make_requests(vllm, count=10, schema=schema)
    sampling = SamplingParams(max_tokens=400, temperature=1.0, constrained=True)
    answers = by_key(vllm.generate(requests, sampling))
    finished = [one for one in answers.values() if one.finish_reason == "stop"]
    assert finished
    for one in finished:
        jsonschema.validate(json.loads(one.text), schema)


def test_a_schema_vllm_refuses_is_one_line_and_the_engine_goes_on(vllm: VllmEngine) -> None:
    schema = ranking_schema(4)
    schema["properties"]["ranking"]["uniqueItems"] = True
    with pytest.raises(HarnessError, match="vLLM refuses a request") as caught:
        list(vllm.generate(make_requests(vllm, count=3, schema=schema), GREEDY))
    assert "\n" not in str(caught.value)
    assert len(list(vllm.generate(make_requests(vllm, count=3), GREEDY))) == 3


@pytest.mark.model
def test_scores_agree_with_transformers(vllm: VllmEngine, tiny_qwen3: Path) -> None:
    reference = open_engine(EngineConfig(engine="hf", ckpt=str(tiny_qwen3), device="cpu"))
    reference.start()
    requests = scored_requests(vllm)
    expected = {one.key: one for one in reference.score(requests, top_k=30)}
    reference.close()
    found = {one.key: one for one in vllm.score(requests, top_k=30)}
    assert found.keys() == expected.keys()
    for key, one in found.items():
        assert np.abs(one.logprobs - expected[key].logprobs).max() < 1e-4
        assert one.top_ids.shape == expected[key].top_ids.shape
        assert np.abs(one.top_logprobs - expected[key].top_logprobs).max() < 1e-4


def test_a_prompt_longer_than_the_context_is_named(vllm: VllmEngine) -> None:
    requests = make_requests(vllm, count=2)
    long = dataclasses.replace(requests[1], task_id="the-long-one", prompt_ids=(5,) * 1024)
    with pytest.raises(DataError, match="task the-long-one is too long"):
        vllm.generate([requests[0], long], GREEDY)


@pytest.mark.parametrize("temperature", [0.001, 2.5])
def test_a_temperature_vllm_would_change_is_refused(vllm: VllmEngine, temperature: float) -> None:
    with pytest.raises(HarnessError, match="temperature"):
        vllm.generate(make_requests(vllm, count=1), SamplingParams(temperature=temperature))


def test_info_before_and_after_the_start(vllm: VllmEngine, tiny_qwen3: Path) -> None:
    before, after = open_vllm(tiny_qwen3, prefix_caching=False).info(), vllm.info()
    assert before.weights_sha256 == after.weights_sha256 is not None
    assert (before.context_length, after.context_length) == (1024, 1024)
    assert (before.options["prefix_caching"], after.options["prefix_caching"]) == (False, True)
    assert after.options["dtype"] == "float32"
    json.dumps([before.options, after.options])


def test_a_checkpoint_vllm_does_not_know_is_one_line(tiny_qwen3: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_qwen3, tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "no-such-model"}))
    engine = open_vllm(folder)
    with pytest.raises(EngineUnavailableError, match=r"vLLM can't load .*no-such-model") as caught:
        engine.start()
    message = str(caught.value)
    assert "\n" not in message
    Path(message.rsplit("its log: ", 1)[1].rstrip(")")).unlink()


def test_a_device_vllm_was_not_built_for_is_refused(tiny_qwen3: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="not on tpu"):
        open_vllm(tiny_qwen3, device="tpu").start()


def test_the_cause_is_found_in_a_log() -> None:
    log = (
        "INFO all is well\n"
        "(Worker) ERROR   ValueError: the real cause: no memory\n"
        "(EngineCore) ERROR RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert root_cause(log) == "ValueError: the real cause: no memory"
    assert root_cause("nothing here") is None


@ON_LINUX
def test_a_killed_engine_process_is_incomplete_and_keeps_what_was_yielded(
    doomed_vllm: VllmEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    requests = make_requests(doomed_vllm, count=MANY)
    worker = doomed_vllm._replicas[0].process.pid
    core = next(pid for pid in session_members(worker) if b"EngineCore" in command(pid))
    kept = []
    iterator = doomed_vllm.generate(requests, SamplingParams(max_tokens=900, temperature=1.0))
    kept.append(next(iterator))
    os.kill(core, signal.SIGKILL)
    with pytest.raises(IncompleteError, match="run the same command again") as caught:
        kept.extend(iterator)
    assert "\n" not in str(caught.value)
    assert len(kept) < MANY
    wait_for_end_of_session(worker)
    # vLLM logs all of this; none of it belongs on the user's terminal.
    assert capfd.readouterr() == ("", "")


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@ON_LINUX
def test_closing_while_another_thread_loads(tiny_qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_vllm(tiny_qwen3)
    waiting = threading.Event()
    receive = Replica.receive

    def watched(replica: Replica) -> Any:
        waiting.set()
        return receive(replica)

    monkeypatch.setattr(Replica, "receive", watched)
    errors: list[BaseException] = []

    def start() -> None:
        try:
            engine.start()
        except EngineUnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    waiting.wait()
    leader = engine._replicas[0].process.pid
    engine.close()
    thread.join()
    assert len(errors) == 1
    wait_for_end_of_session(leader)


@ON_LINUX
def test_two_replicas_with_an_adapter_and_a_killed_parent(
    tiny_qwen3: Path, hf_greedy: dict[str, Generation], tmp_path: Path
) -> None:
    """The program prints answers, scores and the ids of its replicas, then waits to be killed.

    With the adapter, vLLM says what transformers says of the checkpoint that it was merged into.
    """
    adapter = make_adapter(tiny_qwen3, tmp_path / "adapter")
    merge(MergeConfig(source=str(adapter), out=tmp_path / "merged"))
    reference = open_engine(EngineConfig(engine="hf", ckpt=str(tmp_path / "merged"), device="cpu"))
    reference.start()
    expected = contents(by_key(reference.generate(make_requests(reference), GREEDY)))
    scores = {one.key: one.logprobs for one in reference.score(scored_requests(reference), top_k=5)}
    reference.close()
    assert expected != contents(hf_greedy)
    program = subprocess.Popen(
        [sys.executable, str(HERE / "replicas_program.py"), str(adapter)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert program.stdout is not None
    line = program.stdout.readline()
    program.kill()
    program.wait()
    printed = json.loads(line)
    answers = {key: (text, tuple(ids), reason) for key, (text, ids, reason) in printed["answers"].items()}
    assert answers == expected
    assert printed["scores"].keys() == scores.keys()
    for key, found in printed["scores"].items():
        assert np.abs(np.array(found) - scores[key]).max() < 1e-4
    assert len(printed["replicas"]) == 2
    for pid in printed["replicas"]:
        wait_for_end_of_session(pid)


def make_adapter(base: Path, folder: Path) -> Path:
    """A LoRA adapter that changes what the base says."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), settings)
    model.save_pretrained(folder)
    return folder


def wait_for_end_of_session(leader: int) -> None:
    """Return once no process of the session is left; the suite's timeout is the limit."""
    while members := [pid for pid in session_members(leader) if not is_zombie(pid)]:
        for pid in members:
            try:
                watched = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            # A pidfd becomes readable when its process ends.
            select.select([watched], [], [])
            os.close(watched)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
