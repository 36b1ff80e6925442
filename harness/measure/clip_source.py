"""Where c comes from: given, read from a training configuration, or estimated from logged ratios."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.cliff import ClipEstimate, estimate_clip, known_clip
from harness.errors import DataError, HarnessError, words_of
from harness.yaml_files import read_yaml

if TYPE_CHECKING:
    from harness.measure.config import CliffConfig

MANIFEST = "manifest.json"
OPD_KIND = "opd"
# The ratio itself: the OPD loop's manifest, verl's dual clip.
RATIO_KEYS = ("clip", "clip_strength", "clip_ratio_c")
# Half-widths of a band [1 − low, 1 + high], as (both, low, high): TRL's GRPOConfig, verl's actor.
BAND_KEYS = (("epsilon", "epsilon_low", "epsilon_high"), ("clip_ratio", "clip_ratio_low", "clip_ratio_high"))
# TRL's upper bound of two-sided clipping; too plain a word to be taken without its neighbour.
DELTA, DELTA_NEIGHBOUR = "delta", "epsilon"
# The cap on an importance weight between trainer and sampler, detached and on one side. verl's is in force
# where its neighbour says how weights are made; G-OPD's is the clip c of its objective.
WEIGHT_CAP, WEIGHT_CAP_NEIGHBOUR = "rollout_is_threshold", "rollout_is"
WEIGHT_CAPS = ("vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap")
LAMBDA_KEY = "policy_loss.lambda_vals"
"""Where G-OPD's verl says λ."""
RATIO_COLUMNS = ("ratio", "ratios", "importance_ratio", "log_ratio", "log_ratios")
SHOWN_COLUMNS = 8
_LARGEST_CONFIG = 1_000_000
"""Most bytes, and values with aliases written out, of a training configuration: longer than our files."""


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip strength in a configuration, its key, and whether it comes before the others."""

    key: str
    c: float
    first: bool = False


def find_clip(config: CliffConfig) -> tuple[ClipEstimate, str]:
    """The clip strength and, in words, its source.

    Raises:
        HarnessError: not exactly one source.
        DataError: a file that can't be used, or c ≤ 1.
    """
    if sum(one is not None for one in (config.clip, config.clip_from, config.ratios)) != 1:
        raise HarnessError("give the clip strength by exactly one of `clip=`, `clip_from=` and `ratios=`")
    if config.clip is not None:
        return known_clip(config.clip), "given"
    if config.clip_from is not None:
        found, others = read_clip(config.clip_from, config.clip_key)
        beside = ", ".join(f"{one.key} gives {one.c:g}" for one in others)
        chosen = "the objective's weight" if found.first else "the smallest"
        also = f" ({chosen}; {beside})" if others else ""
        return known_clip(found.c, source="config"), f"{found.key} in {config.clip_from}{also}"
    assert config.ratios is not None
    values, column = read_ratios(config.ratios, config.ratio_column)
    estimate = estimate_clip(values, log=column.startswith("log"))
    kind = "they pile up there" if estimate.saturated else "their largest, which is a lower bound only"
    return estimate, f"{values.size} ratios of column {column} in {config.ratios}: {kind}"


def read_clip(path: Path, key: str | None = None) -> tuple[FoundClip, tuple[FoundClip, ...]]:
    """The clip strength in a training configuration, and what else in it could be one.

    Args:
        path: a YAML or JSON file, or a folder with `manifest.json`.
        key: dotted key, or its end, of the number to take as c; None takes `clip` of a manifest of this
            package's OPD loop, and looks for the names of TRL and of verl in anything else, of which it takes
            the cap of verl's importance weight where that is in force, else the smallest c.

    Raises:
        DataError: the file can't be read, doesn't say, or says that nothing was clipped.
    """
    content = read_config(path)
    if key is None and is_opd(content):
        return _own_clip(path, content), ()
    leaves = dict(_leaves(content))
    if key is not None:
        named = {name: x for name, x in leaves.items() if name == key or name.endswith(f".{key}")}
        if len(named) != 1:
            what = f"{len(named)} keys" if named else "no number"
            raise DataError(f"{path} has {what} named {key}; give the whole dotted key as `clip_key=`")
        [(name, value)] = named.items()
        return FoundClip(name, value), ()
    found = sorted(_known(leaves, _words(content)), key=lambda one: (not one.first, one.c))
    if not found:
        names = ", ".join((*RATIO_KEYS, *(keys[0] for keys in BAND_KEYS), WEIGHT_CAP))
        raise DataError(f"{path} names no clip (looked for {names}); give `clip_key=` or `clip=`")
    return found[0], tuple(found[1:])


def read_lambda(path: Path) -> float | None:
    """λ of an OPD run's manifest, or of a configuration of G-OPD; None where the file is something else.

    Raises:
        DataError: the file can't be read.
    """
    content = read_config(path)
    if is_opd(content):
        value = content.get("lambda")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    named = [x for name, x in _leaves(content) if f".{name}".endswith(f".{LAMBDA_KEY}")]
    return named[0] if len(named) == 1 else None


def read_plausible(path: Path) -> float:
    """Where an OPD run extrapolated, its `plausible`; 0, everywhere, for anything else.

    Raises:
        DataError: the file can't be read.
    """
    content = read_config(path)
    options = content.get("options") if is_opd(content) else None
    value = options.get("plausible") if isinstance(options, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def read_ratios(path: Path, column: str | None = None) -> tuple[npt.NDArray[np.floating[Any]], str]:
    """Logged ratios, and the column they come from.

    Args:
        path: a `.parquet` or `.jsonl` file, one number or one list of numbers a row.
        column: None takes the only one with a known name.

    Raises:
        DataError: the file can't be read, has no such column, or holds something else than numbers.
    """
    try:
        columns = _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(
            f"{path} can't be read ({str(error).splitlines()[0]}); give .parquet or .jsonl"
        ) from error
    known = [name for name in RATIO_COLUMNS if name in columns] if column is None else [column]
    if len(known) != 1 or known[0] not in columns:
        there = ", ".join(sorted(columns)[:SHOWN_COLUMNS]) or "none"
        wanted = f"no column {column}" if column else f"not one of the columns {', '.join(RATIO_COLUMNS)}"
        if column is None and len(known) > 1:
            wanted = f"several of the columns {', '.join(known)}"
        raise DataError(f"{path} has {wanted} (columns: {there}); give `ratio_column=`")
    values = _numbers(path, known[0], columns[known[0]])
    if bad := int(np.sum(~np.isfinite(values))):
        raise DataError(
            f"{path}: {bad} of {values.size} values of column {known[0]} are NaN or infinite; "
            "drop masked tokens first"
        )
    return values, known[0]


def is_opd(content: Any) -> bool:
    """Whether a configuration is the manifest of a run of this package's OPD loop."""
    return isinstance(content, dict) and content.get("kind") == OPD_KIND


def _own_clip(path: Path, content: dict[str, Any]) -> FoundClip:
    value = content.get("clip")
    if value is None:
        raise DataError(
            f"{path} was trained without a clip, and without one there is no λ*; where its checkpoint lies "
            "on the line is told by `harness eval --ckpt CHECKPOINT --teacher TEACHER --base BASE`"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{path} holds clip = {value!r}, which is no number")
    return FoundClip("clip", float(value))


def _known(leaves: dict[str, float], words: Collection[str]) -> Iterator[FoundClip]:
    for name, value in leaves.items():
        leaf = name.rpartition(".")[2]
        if leaf == WEIGHT_CAP and _beside(name, WEIGHT_CAP_NEIGHBOUR) in words:
            yield FoundClip(name, value, first=True)
        if (
            leaf in WEIGHT_CAPS
            or leaf in RATIO_KEYS
            or (leaf == DELTA and _beside(name, DELTA_NEIGHBOUR) in leaves)
        ):
            yield FoundClip(name, value)
    for both, low, high in BAND_KEYS:
        folders = {name.rpartition(".")[0] for name in leaves if name.rpartition(".")[2] in (both, low, high)}
        for folder in sorted(folders):
            at = f"{folder}." if folder else ""
            widths = [leaves.get(at + side, leaves.get(at + both)) for side in (low, high)]
            edges = [
                None if widths[0] is None or not 0 < widths[0] < 1 else 1 / (1 - widths[0]),
                None if widths[1] is None else 1 + widths[1],
            ]
            if present := [edge for edge in edges if edge is not None]:
                yield FoundClip(at + both, min(present))


def _beside(name: str, leaf: str) -> str:
    folder = name.rpartition(".")[0]
    return f"{folder}.{leaf}" if folder else leaf


def read_config(path: Path) -> Any:
    """A training configuration, YAML or JSON, or a run's manifest.

    Args:
        path: the file, or the run's folder.

    Raises:
        DataError: it can't be read.
    """
    file = path / MANIFEST if path.is_dir() else path
    try:
        # JSON is YAML, but YAML 1.1 reads its `1e-5` as text.
        if file.suffix == ".json":
            return json.loads(file.read_text(encoding="utf-8"))
        return read_yaml(file, max_bytes=_LARGEST_CONFIG, max_nodes=_LARGEST_CONFIG)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} can't be read as YAML or JSON: {words_of(error, 200)}") from error


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Dotted key and value of every number."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)


def _words(value: Any, name: str = "") -> set[str]:
    """Dotted keys whose value is text."""
    if isinstance(value, dict):
        inner = (_words(one, f"{name}.{key}" if name else str(key)) for key, one in value.items())
        return set().union(*inner)
    return {name} if isinstance(value, str) else set()


def _read_parquet(path: Path) -> dict[str, Any]:
    try:
        import pandas as pd

        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow; run: pip install pyarrow, or give .jsonl") from error
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _read_jsonl(path: Path) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise DataError(f'{path}:{number}: a row must be a JSON object such as {{"ratio": 1.02}}')
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return columns


def _numbers(path: Path, column: str, values: Any) -> npt.NDArray[np.floating[Any]]:
    """One flat array; a column of a numeric type keeps its type, which says how ratios were rounded."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values if values.dtype.kind == "f" else values.astype(np.float64)
    flat: list[Any] = []
    for value in values:
        flat.extend(value if isinstance(value, list | np.ndarray) else [value])
    if any(isinstance(value, bool | str | dict) for value in flat):
        raise DataError(f"{path}: column {column} holds something else than numbers; name another column")
    try:
        return np.array([math.nan if value is None else value for value in flat], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: column {column} holds something else than numbers") from error
