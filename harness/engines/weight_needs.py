"""What a model needs of stored tensors, asked of transformers: its own class and loader, without data."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines.architectures import require_causal, require_one_way
from harness.engines.checkpoint import needs_code
from harness.engines.weights import FROM_TORCH, StoredTensor
from harness.errors import EngineUnavailableError, words_of

CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText")
QUANTISED = "quantization_config"
# Buffers that transformers once saved and models now compute: leaving them out changes nothing.
OLD_BUFFERS = re.compile(r"(^|\.)(inv_freq|position_ids|masked_bias|(attn|attention)\.bias)$")


class NotAskedError(Exception):
    """transformers can't say what this model needs; the text says why."""


def quantisation(config: Mapping[str, Any]) -> str | None:
    """How a config.json says that weights are packed, None where they are plain."""
    for one in (config, config.get("text_config") or {}):
        if how := one.get(QUANTISED):
            return str(how.get("quant_method", "an unnamed method")) if isinstance(how, dict) else str(how)
    return None


@dataclass(frozen=True, slots=True)
class Fit:
    """How stored tensors and a model fit.

    Attributes:
        missing: parameter → whether it holds floating-point numbers, where nothing is stored for it.
        unexpected: stored names the model has no place for, as transformers renames them.
        misshapen: parameter → (stored shape, needed shape).
        trouble: what the loader couldn't convert, empty where it could.
    """

    missing: Mapping[str, bool]
    unexpected: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    trouble: str = ""


class Needs:
    """The model that a folder's config describes, without data.

    Attributes:
        model: name of transformers' class.
        names: its parameters and stored buffers.
        tied: parameter → the one it shares its numbers with.
        embeddings: token ids it has embeddings for, None where it doesn't say.
        prefix: what names of the inner model begin with in the whole one, empty where there is none.
        skeleton: the model itself, on torch's meta device.
    """

    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        """Make it on torch's meta device.

        Raises:
            NotAskedError: transformers doesn't know the architecture, or can't make it here.
            EngineUnavailableError: a config that transformers refuses.
        """
        import torch
        import transformers

        config = _config(folder, trust_remote_code)
        _without_quantisation(config)
        with quietly(), torch.device("meta"):
            skeleton = _skeleton(transformers, config, trust_remote_code)
        require_one_way(skeleton, folder)
        self.skeleton: Any = skeleton
        self._class = type(skeleton)
        self._config = skeleton.config
        self.model = self._class.__name__
        self._floats = {name: bool(one.is_floating_point()) for name, one in skeleton.state_dict().items()}
        self.names = frozenset(self._floats)
        self.tied: dict[str, str] = dict(getattr(skeleton, "all_tied_weights_keys", None) or {})
        self.embeddings = _embeddings(skeleton)
        inner = str(getattr(skeleton, "base_model_prefix", ""))
        self.prefix = f"{inner}." if inner else ""

    def fit(self, stored: Mapping[str, StoredTensor]) -> Fit:
        """Hand the stored names and shapes to transformers' loader.

        Raises:
            NotAskedError: it can't load from names and shapes.
        """
        import torch

        dtypes = {name: getattr(torch, of, None) for of, name in FROM_TORCH.items()}
        state = {
            # Of a dtype torch doesn't have only the shape is asked about.
            name: torch.empty(one.shape, dtype=dtypes.get(one.dtype) or torch.float32, device="meta")
            for name, one in stored.items()
        }
        try:
            with quietly():
                _, told = self._class.from_pretrained(
                    None,
                    config=copy.deepcopy(self._config),
                    state_dict=state,
                    device_map={"": "meta"},
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
        except RuntimeError as error:
            if "conver" in str(error):
                return Fit({}, (), {}, words_of(error))
            raise NotAskedError(words_of(error, 200)) from error
        except Exception as error:
            raise NotAskedError(words_of(error, 200)) from error
        return Fit(
            {name: self._floats.get(name, True) for name in sorted(told["missing_keys"])},
            without_place(told["unexpected_keys"]),
            {name: (tuple(has), tuple(needs)) for name, has, needs in sorted(told["mismatched_keys"])},
            "; ".join(told.get("error_msgs") or ()),
        )


def _embeddings(model: Any) -> int | None:
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError):
        # Classes that embed in their own way.
        return None


def without_place(unexpected: Iterable[str]) -> tuple[str, ...]:
    """The names a loader found no place for, less buffers of old that it rightly leaves out."""
    return tuple(sorted(name for name in unexpected if not OLD_BUFFERS.search(name)))


def _config(folder: Path, trust_remote_code: bool) -> Any:
    import transformers

    known = transformers.AutoConfig
    try:
        with quietly():
            config = known.from_pretrained(
                str(folder), trust_remote_code=trust_remote_code, local_files_only=True
            )
    except Exception as error:
        if (refused := needs_code(folder, error)) is not None:
            raise refused from error
        kind = _model_type(folder)
        if kind in transformers.CONFIG_MAPPING:
            raise EngineUnavailableError(
                f"{folder}/config.json isn't one of a {kind} model: {words_of(error, 200)}"
            ) from error
        raise NotAskedError(f"transformers {transformers.__version__} doesn't know {kind!r}") from error
    _require_one_architecture(transformers, config, folder)
    require_causal(config, folder)
    return config


def _model_type(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_bytes()).get("model_type"))


def _require_one_architecture(transformers: Any, config: Any, folder: Path) -> None:
    """transformers goes by `model_type`, vLLM by `architectures`: they must mean one model.

    Raises:
        EngineUnavailableError: they don't.
    """
    for name in config.architectures or ():
        try:
            wanted = getattr(getattr(transformers, name, None), "config_class", None)
        except ImportError:
            # A class whose own libraries aren't installed.
            continue
        inner = [getattr(config, key, None) for key in getattr(config, "sub_configs", {})]
        # A checkpoint's own code brings a config class of its own, for the same type of model.
        if wanted is not None and not any(
            isinstance(one, wanted) or getattr(one, "model_type", None) == wanted.model_type
            for one in (config, *inner)
        ):
            raise EngineUnavailableError(
                f"{folder}/config.json names two models: `model_type` {config.model_type}, which "
                f"transformers loads, and `architectures` {name}, which vLLM does; correct one of them"
            )


def _skeleton(transformers: Any, config: Any, trust_remote_code: bool) -> Any:
    failures = []
    for name in CLASSES:
        kind = getattr(transformers, name, None)
        if kind is None:
            continue
        try:
            return kind.from_config(config, trust_remote_code=trust_remote_code)
        except Exception as error:
            # Constructors of models fail with anything.
            if (refused := needs_code(Path(config.name_or_path), error)) is not None:
                raise refused from error
            failures.append(words_of(error, 200))
    raise NotAskedError(f"transformers can't make a {config.model_type} model here: {failures[0]}")


def _without_quantisation(config: Any) -> None:
    for one in (config, getattr(config, "text_config", None)):
        if one is not None and getattr(one, QUANTISED, None) is not None:
            delattr(one, QUANTISED)


@contextmanager
def quietly() -> Iterator[None]:
    """transformers without its reports and bars, which are put back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
