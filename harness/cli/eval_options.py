"""The options of an evaluation, shared by every command that runs one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import HarnessError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.evaluate import EvalConfig

Command = TypeVar("Command", bound=Callable[..., Any])

_ENGINES = ("auto", "vllm", "hf", "openai", "replay")

_OPTIONS = (
    click.option(
        "--ckpt",
        help="Checkpoint folder, hub id, or zoo:NAME of the tiny ones shipped; for openai, the tokenizer.",
    ),
    click.option(
        "--data", default="fashion-mini", show_default=True, help="Bundled dataset, .jsonl file or folder."
    ),
    click.option("--split", help="Split of a dataset or folder; test where there is one."),
    click.option("--engine", type=click.Choice(_ENGINES), default="auto", show_default=True),
    click.option(
        "--replay", type=click.Path(path_type=Path), help="Score recorded outputs: JSONL of task_id, text."
    ),
    click.option(
        "--out", type=click.Path(path_type=Path), help="Run directory; the same one goes on where it stopped."
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N tasks."),
    click.option(
        "--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Completions per task."
    ),
    click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True),
    click.option(
        "--top-p", type=click.FloatRange(min=0, min_open=True, max=1), default=1.0, show_default=True
    ),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Completion budget; 64 + 8 K by default."),
    click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True),
    click.option(
        "--constrained", is_flag=True, help="Hold the output to the schema by the engine; recorded."
    ),
    click.option(
        "--k", type=click.IntRange(min=2, max=64), help="Refuse tasks with another number of candidates."
    ),
    click.option("--key", default="ranking", show_default=True, help="Name of the contract's list."),
    click.option(
        "--id-style", type=click.Choice(["integer", "string"]), default="integer", show_default=True
    ),
    click.option("--extra-keys", is_flag=True, help="Let the object hold other keys beside the list."),
    click.option(
        "--skip-bad-rows", is_flag=True, help="Leave bad dataset rows out, counted, instead of refusing."
    ),
    click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto"),
    click.option(
        "--base-url", "base_urls", multiple=True, help="Server for --engine openai; repeat for a fleet."
    ),
    click.option("--tokenizer", help="Folder or hub id whose tokenizer replaces the checkpoint's."),
    click.option("--served-model", help="Name the server knows the model by; left out where it serves one."),
    click.option("--device", help="torch device such as cpu or cuda:1; auto by default."),
    click.option(
        "--max-model-len", type=click.IntRange(min=1), help="Longest prompt + completion in tokens."
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        help="Requests in flight, all servers together; 64 by default.",
    ),
    click.option(
        "--retry-seconds", type=click.FloatRange(min=0), help="How long servers may stay silent; 120 s."
    ),
    click.option("--batch-size", type=click.IntRange(min=1), help="Rows a batch for --engine hf."),
    click.option("--tensor-parallel", type=click.IntRange(min=1), default=1, show_default=True),
    click.option("--pipeline-parallel", type=click.IntRange(min=1), default=1, show_default=True),
    click.option("--data-parallel", type=click.IntRange(min=1), default=1, show_default=True),
    click.option(
        "--engine-arg", "engine_args", multiple=True, metavar="NAME=VALUE", help="Passed to the engine as is."
    ),
)


def eval_options(command: Command) -> Command:
    """Give a command all options of an evaluation, in the order of `harness eval --help`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


EVAL_OPTION_NAMES = tuple(
    parameter.name or "" for parameter in click.command()(eval_options(lambda: None)).params
)
"""Names under which a command gets them."""


def eval_config(options: dict[str, Any]) -> EvalConfig:
    """The job's configuration from the command line's options.

    Raises:
        HarnessError: options that don't go together; the message names the first.
    """
    from pydantic import ValidationError

    from harness.cli.problems import first_problem
    from harness.contract import Contract
    from harness.engines.config import EngineConfig
    from harness.evaluate import EvalConfig

    given = {name: value for name, value in options.items() if value is not None}
    given["engine_args"] = _engine_args(given["engine_args"])
    for name in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
        given[f"{name}_size"] = given.pop(name)
    contract = {
        "key": given.pop("key"),
        "id_style": given.pop("id_style"),
        "extra_keys": given.pop("extra_keys"),
    }
    engine = {name: given.pop(name) for name in EngineConfig.model_fields if name in given}
    try:
        return EvalConfig(engine=EngineConfig(**engine), contract=Contract(**contract), **given)
    except ValidationError as error:
        raise first_problem(error) from error


def settle_engine(config: EvalConfig, console: Console) -> EvalConfig:
    """Choose the engine for `auto`, say which and why, and record the choice."""
    from harness.engines import choose_engine

    name, reason = choose_engine(config.engine)
    console.print(f"engine: {reason}", highlight=False)
    return config.model_copy(update={"engine": config.engine.model_copy(update={"engine": name})})


def _engine_args(pairs: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value that reads as JSON is taken as such."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise HarnessError(f"--engine-arg {pair}: write NAME=VALUE")
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments
