"""The callback in real trainers: transformers' own, and TRL's distillation where it is installed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EngineUnavailableError, HarnessError, RunMismatchError
from harness.integrations.trl import cliff_callback
from tests.checkpoints.opd_family import write_forecast

pytestmark = pytest.mark.model

Family = dict[str, Path]


def settings(family: Family, **changes: Any) -> dict[str, Any]:
    return {
        "teacher": str(family["teacher"]),
        "base": str(family["base"]),
        "lam": 1.05,
        "clip": 5.0,
        "every": 2,
        "data": str(family["rows"]),
        "split": None,
        "limit": 12,
        "max_tokens": 16,
        **changes,
    }


def trainer(
    family: Family,
    out: Path,
    callback: Any,
    steps: int = 4,
    start: str = "base",
    learning_rate: float = 1e-4,
    **changes: Any,
) -> Any:
    """A language-model trainer on a handful of token sequences: any trainer has the same callbacks."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    tokens = torch.arange(40) % 100
    return Trainer(
        model=AutoModelForCausalLM.from_pretrained(family[start], dtype=torch.float32),
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=2,
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=[{"input_ids": tokens, "labels": tokens}] * 8,
        callbacks=[callback],
        **({"processing_class": AutoTokenizer.from_pretrained(family["base"])} | changes),
    )


def test_it_logs_p_b_and_lambda_star(family: Family, tmp_path: Path) -> None:
    callback = cliff_callback(**settings(family))
    run = trainer(family, tmp_path / "run", callback)
    run.train()
    rows = [json.loads(line) for line in (tmp_path / "run" / "cliff.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4] == [one.step for one in callback.readings]
    first = rows[0]
    assert 0 < first["p"] < 1
    assert first["lambda_star"] > 1
    # Nothing is trained yet: the student is the base.
    assert first["q"] == pytest.approx(first["b"], rel=1e-5)
    assert first["lambda_reached"]["estimate"] == pytest.approx(0.0, abs=1e-4)
    assert first["reached"].startswith("it has hardly left its base: λ reached")
    assert rows[2]["off_the_line"]["low"] > 0.0
    history = [row for row in run.state.log_history if "cliff/lambda_star" in row]
    for name, end in (("", "estimate"), ("_low", "low"), ("_high", "high")):
        assert history[2][f"cliff/off_the_line{name}"] == rows[2]["off_the_line"][end]
    assert [row["step"] for row in history] == [0, 2, 4]
    assert run.model.training


def test_it_stops_a_run_above_the_edge_if_asked(family: Family, tmp_path: Path) -> None:
    watching = trainer(family, tmp_path / "watch", cliff_callback(**settings(family, lam=50.0)))
    watching.train()
    assert watching.state.global_step == 4
    callback = cliff_callback(**settings(family, lam=50.0, stop=True))
    stopping = trainer(family, tmp_path / "stop", callback)
    with pytest.warns(UserWarning, match="not where the model falls.* taken to the teacher"):
        stopping.train()
    assert stopping.state.global_step < 4
    assert callback.readings[-1].stopped
    assert "λ = 50 is above" in callback.readings[-1].alarm
    below = trainer(family, tmp_path / "below", cliff_callback(**settings(family, lam=0.5, stop=True)))
    with pytest.warns(UserWarning, match="without a forecast"):
        below.train()
    assert below.state.global_step == 4


@pytest.fixture(scope="module")
def forecast(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_forecast(family, tmp_path_factory.mktemp("forecast") / "f")


def watched(family: Family, forecast: Path, **changes: Any) -> Any:
    """Without c, so without λ*."""
    more = {"clip": None, "forecast": forecast, "stop": True, "every": 1, "limit": 16, "max_tokens": 24}
    return cliff_callback(**settings(family, **more | changes))


def test_lambda_reached_past_the_forecast_ends_training(
    family: Family, forecast: Path, tmp_path: Path
) -> None:
    """The model is its teacher, at λ reached = 1 exactly; the forecast is made to end at 0.9."""
    short = tmp_path / "forecast"
    shutil.copytree(forecast, short)
    told = json.loads((short / "forecast.json").read_text())
    told["points"][0]["lam"] = told["largest_lambda"]["low"] = 0.9
    (short / "forecast.json").write_text(json.dumps(told))
    callback = watched(family, short)
    run = trainer(family, tmp_path / "run", callback, start="teacher", learning_rate=0.0)
    run.train()
    first, second = callback.readings
    assert run.state.global_step == 1
    assert first.lambda_reached.estimate == pytest.approx(1.0, abs=1e-3)
    assert (first.limit, first.exceeded, first.alarm, first.stopped) == (0.9, True, None, False)
    assert (first.role, first.lambda_star) == (None, None)
    assert first.roles["open"].p > 0.0
    assert second.stopped
    assert "lies past the forecast's limit of 0.9, 2 readings in a row" in second.alarm
    rows = [json.loads(line) for line in (tmp_path / "run" / "cliff.jsonl").read_text().splitlines()]
    assert [row["stopped"] for row in rows] == [False, True]
    assert run.state.log_history[-2]["cliff/alarm"] == second.alarm


def test_validity_that_fell_ends_training(family: Family, forecast: Path, tmp_path: Path) -> None:
    """A rate far too high throws the teacher out of the contract; only watched, it trains to its end."""
    for stop in (True, False):
        callback = watched(family, forecast, stop=stop)
        run = trainer(family, tmp_path / str(stop), callback, steps=9, start="teacher", learning_rate=2e-2)
        run.train()
        fell = next(one for one in callback.readings if one.alarm is not None)
        assert "strict validity of its rollouts fell below 0." in fell.alarm
        assert fell.parse_validity < fell.kept
        assert fell.evidence >= math.log(40)
        assert fell.stopped is stop
        assert run.state.global_step == (fell.step if stop else 9)


def test_a_forecast_of_others_is_refused(family: Family, forecast: Path, tmp_path: Path) -> None:
    run = trainer(family, tmp_path / "run", watched(family, forecast, teacher=str(family["base"])))
    with pytest.raises(RunMismatchError, match="of another teacher"):
        run.train()


def test_it_changes_nothing_in_training(family: Family, tmp_path: Path) -> None:
    import torch

    watched = trainer(family, tmp_path / "one", cliff_callback(**settings(family)))
    watched.train()
    calm = trainer(family, tmp_path / "two", cliff_callback(**settings(family, every=100)))
    calm.train()
    pairs = zip(watched.model.parameters(), calm.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_another_tokenizer_is_refused(family: Family, tmp_path: Path, tiny_qwen3: Path) -> None:
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(tiny_qwen3)
    run = trainer(family, tmp_path / "run", cliff_callback(**settings(family)), processing_class=other)
    with pytest.raises(EngineUnavailableError, match="must share one"):
        run.train()


@pytest.mark.parametrize(
    "changes",
    [
        {"lam": 0.0},
        {"lam": float("inf")},
        {"clip": 1.0},
        {"epsilon": 1.0},
        {"confidence": 1.0},
        {"every": 0},
        # Too few for an interval: there would be no limit, and nothing would ever be stopped.
        {"limit": 7},
        # Nothing to stop at.
        {"stop": True, "ratio_to": "student"},
        {"stop": True, "ratio_to": "none"},
        {"stop": True, "clip": None},
        {"stop": True, "plausible": 0.1},
        {"forecast": "forecast", "confidence": 0.5},
    ],
)
def test_what_cannot_be_meant_is_refused(family: Family, changes: dict[str, Any]) -> None:
    with pytest.raises(HarnessError) as caught:
        cliff_callback(**settings(family, **changes))
    assert "\n" not in str(caught.value)


def test_too_few_tasks_are_refused(family: Family, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(family["rows"].read_text().splitlines(keepends=True)[:7]))
    run = trainer(family, tmp_path / "run", cliff_callback(**settings(family, data=str(few))))
    with pytest.raises(HarnessError, match="at least 8 tasks, not 7"):
        run.train()


def test_a_model_shared_out_is_refused(family: Family, tmp_path: Path) -> None:
    import torch
    from torch.distributed.fsdp import fully_shard

    callback = cliff_callback(**settings(family))
    run = trainer(family, tmp_path / "run", callback)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        fully_shard(run.model.model.layers[0], mesh=mesh)
        with pytest.raises(EngineUnavailableError, match="shared out by FSDP"):
            callback.on_train_begin(run.args, run.state, run.control, model=run.model)
    finally:
        torch.distributed.destroy_process_group()


def test_importing_it_loads_no_library() -> None:
    program = (
        "import sys, harness.integrations.trl as _; "
        "print([n for n in ('torch', 'transformers', 'trl') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore")
def test_it_watches_trl_s_distillation(family: Family, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student, teacher = (
        AutoModelForCausalLM.from_pretrained(family[name], dtype=torch.float32)
        for name in ("base", "teacher")
    )
    callback = cliff_callback(**settings(family, every=1))
    rows = [{"prompt": [{"role": "user", "content": f"Rank {number}"}]} for number in range(4)]
    trl.DistillationTrainer(
        model=student,
        teacher_model=teacher,
        args=trl.DistillationConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=2,
            per_device_train_batch_size=2,
            max_completion_length=8,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(family["base"], padding_side="left"),
        callbacks=[callback],
    ).train()
    assert [one.step for one in callback.readings] == [0, 1, 2]
    assert all(one.lambda_star is not None for one in callback.readings)
