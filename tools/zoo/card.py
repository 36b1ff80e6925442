"""What is known of a zoo member: measured, kept in `train.json`, shown in its model card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.engines.checkpoint import find_checkpoint
from harness.engines.config import EngineConfig, installed_version
from harness.errors import DataError
from harness.evaluate import EvalConfig, evaluate
from harness.opd.config import OPDConfig
from harness.progress import OnProgress, ignore
from harness.stats import Estimate
from tools.zoo.members import MEMBERS

RECORD = "train.json"
CARD = "README.md"
WEIGHTS = "model.safetensors"
COMMAND = "python benchmarks/zoo.py {name}"
SAMPLED_SEED = 0
KEPT = (
    "parse_validity.strict",
    "ndcg_at_1.parsed",
    "ndcg_at_1.all",
    "ndcg_at_1.chance",
    "ndcg_at_k.parsed",
)
COMPARED = ("parse_validity.strict", "ndcg_at_1.parsed")
"""What the seed's noise is measured on, and a rebuilt member is compared by."""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """How a member was made and what was measured on fashion-mini's test split.

    Attributes:
        name: of the member.
        command: what makes it again.
        recipe: everything that decided its weights.
        weights_sha256: of `model.safetensors`.
        parameters: number of weights.
        seconds: that training took, on `machine`.
        machine: processor architecture, operating system.
        packages: versions of the libraries that computed.
        greedy: metric → estimate, greedy decoding.
        sampled: metric → estimate, at temperature 1.
        other_seeds: seed offset → metric → value, greedy: the same recipe with other seeds.
    """

    name: str
    command: str
    recipe: dict[str, Any]
    weights_sha256: str
    parameters: int
    seconds: float
    machine: str
    packages: dict[str, str]
    greedy: dict[str, Estimate]
    sampled: dict[str, Estimate]
    other_seeds: dict[str, dict[str, float | None]] = field(default_factory=dict)


def measure_member(name: str, folder: Path, seconds: float, on_progress: OnProgress = ignore) -> MemberRecord:
    """Evaluate a member's folder and put down all that its card says.

    Raises:
        HarnessError: the folder can't be evaluated.
    """
    parameters = find_checkpoint(str(folder)).parameters
    assert parameters is not None
    return MemberRecord(
        name=name,
        command=COMMAND.format(name=name),
        recipe=described_recipe(name),
        weights_sha256=weights_sha256(folder),
        parameters=parameters,
        seconds=round(seconds, 1),
        machine=f"{platform.machine()}, {platform.system()}",
        packages={
            library: version
            for library in ("torch", "transformers", "tokenizers", "numpy")
            if (version := installed_version(library))
        },
        greedy=evaluate_member(folder, 0.0, on_progress),
        sampled=evaluate_member(folder, 1.0, on_progress),
    )


_YOUNGER = ("keep_every", "plausible", "forecast", "prompting")


def described_recipe(name: str) -> dict[str, Any]:
    """All that decides a member's weights, as JSON has it."""
    member = MEMBERS[name]
    fields = member.recipe.model_dump(mode="json")
    if isinstance(member.recipe, OPDConfig):
        # As the shipped records have it, which were written when a contract had three fields.
        said = json.loads(member.recipe.contract.said_before())
        fields["contract"] = " ".join(f"{name}={value!r}" for name, value in said.items())
        # Settings that are younger than the records, and off.
        for setting in _YOUNGER:
            if getattr(member.recipe, setting) == OPDConfig.model_fields[setting].default:
                del fields[setting]
    if member.fresh_tasks:
        fields |= {"data": "generated training tasks of fashion-mini, each seen once", "split": None}
    return fields


def evaluate_member(
    folder: Path, temperature: float, on_progress: OnProgress = ignore, limit: int | None = None
) -> dict[str, Estimate]:
    """The metrics a card shows, by the hf engine on the CPU, on fashion-mini's test split."""
    with tempfile.TemporaryDirectory() as scratch:
        run = evaluate(
            EvalConfig(
                engine=EngineConfig(engine="hf", ckpt=str(folder), device="cpu"),
                out=Path(scratch) / "run",
                temperature=temperature,
                seed=SAMPLED_SEED,
                limit=limit,
            ),
            on_progress,
        )
    failures = {
        metric: value
        for metric, value in run.metrics.items()
        if metric.startswith("failure_rate.") and value.estimate
    }
    return {metric: run.metrics[metric] for metric in KEPT} | failures


def weights_sha256(folder: Path) -> str:
    """Hash of the file that holds the weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def write_record(folder: Path, record: MemberRecord) -> None:
    """Write `train.json` and the model card beside the weights."""
    content = json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(content + "\n", encoding="utf-8")
    (folder / CARD).write_text(render_card(record), encoding="utf-8")


def read_record(folder: Path) -> MemberRecord:
    """Read `train.json` of a member.

    Raises:
        DataError: missing, or not of this kind.
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        for temperature in ("greedy", "sampled"):
            content[temperature] = {
                metric: Estimate(**value) for metric, value in content[temperature].items()
            }
        return MemberRecord(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / RECORD} is not a zoo member's record ({error})") from error


def render_card(record: MemberRecord) -> str:
    """The model card, in Markdown; a pure function of the record."""
    member = MEMBERS[record.name]
    packages = ", ".join(f"{library} {version}" for library, version in record.packages.items())
    lines = [
        f"# zoo:{record.name}",
        "",
        member.purpose,
        "",
        f"Qwen3 architecture, {record.parameters:,} parameters, float32; a byte-level BPE tokenizer",
        "and a chat template that all members share. transformers and vLLM load the folder like any other.",
        "",
        "## How it was made",
        "",
        f"    {record.command}",
        "",
        f"Seed {record.recipe['seed']}, one thread, {record.seconds:.0f} s ({record.machine}; {packages}).",
        "The whole recipe is in `train.json`. The same machine and libraries give the same weights; others",
        "round otherwise, and metrics agree within the seed's noise (`python benchmarks/zoo.py --check`).",
        "",
        f"sha256 of `{WEIGHTS}`: `{record.weights_sha256}`",
        "",
        "## Measured on fashion-mini, test split, K = 8",
        "",
        "| metric | greedy | 95 % interval | n | temperature 1 | 95 % interval | n |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {metric} | {_cells(record.greedy.get(metric))} | {_cells(record.sampled.get(metric))} |"
        for metric in dict.fromkeys((*record.greedy, *record.sampled))
    ]
    if record.other_seeds:
        lines += [
            "",
            "The same recipe with other seeds, greedy:",
            "",
            "| seed + | " + " | ".join(COMPARED) + " |",
        ]
        lines += ["|---|" + "---|" * len(COMPARED)]
        lines += [
            f"| {offset} | " + " | ".join(_number(values[metric]) for metric in COMPARED) + " |"
            for offset, values in record.other_seeds.items()
        ]
    lines += [
        "",
        "## Limits",
        "",
        "It knows fashion-mini's catalogue and the prompt of this package, K = 8, and nothing else: other",
        "titles, other wording or another number of candidates give noise. It is here so that evaluation,",
        "gating and distillation can be tried within seconds, and says nothing about real shoppers.",
        "",
    ]
    return "\n".join(lines)


def _cells(value: Estimate | None) -> str:
    if value is None:
        return "0 | | "
    if value.low is None or value.high is None:
        return f"{_number(value.estimate)} | | {value.n}"
    return f"{_number(value.estimate)} | {value.low:.3f} … {value.high:.3f} | {value.n}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def differences(shipped: MemberRecord, rebuilt: MemberRecord) -> list[str]:
    """What a rebuilt member's metrics leave the seed's noise by, a line each; empty when it is reproduced.

    The noise is the range over the shipped seed and the other ones, widened on both sides by the half-width
    of the shipped estimate's interval, for another CPU's rounding acts like another seed.
    """
    found = []
    for metric in COMPARED:
        here, there = shipped.greedy[metric], rebuilt.greedy[metric].estimate
        seen = [
            value
            for value in (here.estimate, *(values[metric] for values in shipped.other_seeds.values()))
            if value is not None
        ]
        margin = ((here.high or 0.0) - (here.low or 0.0)) / 2
        low, high = min(seen) - margin, max(seen) + margin
        if there is None or not low <= there <= high:
            found.append(f"{metric} {_number(there)} outside {low:.3f} … {high:.3f}")
    return found
