"""A checkpoint folder: found, checked, identified by hash; no model library needed."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.engines.field_types import FIELDS, require_types
from harness.engines.folder_kinds import (
    UNFINISHED,
    explain_config,
    explain_file,
    explain_folder,
    is_unfinished,
    visible,
)
from harness.engines.weight_scan import FiniteScan
from harness.engines.weight_sets import find_weights
from harness.engines.weights import stored_tensors, tied_twice
from harness.engines.zoo import resolved
from harness.errors import EngineUnavailableError, HarnessError, words_of

HASH_CHUNK_BYTES = 1 << 22
HASH_THREADS = 4
LFS_POINTER = b"version https://git-lfs"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")
# A whole model's, in a folder that holds an adapter too.
WHOLE = ("model.safetensors", "model-*.safetensors", "pytorch_model*.bin")
DESCRIPTIONS = (
    "config.json",
    "generation_config.json",
    ADAPTER_CONFIG,
    "*.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template.*",
)
CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_target_positions",
)
# Some tokenizers write 10^30 for "no limit".
NO_LIMIT = 10**9


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file.

    Raises:
        EngineUnavailableError: it can't be read, holds something else, or a field of a wrong type.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailableError(f"{path} can't be read as JSON: {words_of(error)}") from error
    if not isinstance(value, dict):
        raise EngineUnavailableError(f"{path} doesn't hold a JSON object")
    require_types(path, value)
    return value


def is_adapter(ckpt: str | None) -> bool:
    """Whether `ckpt` is a local folder that holds a peft adapter rather than a whole model."""
    return ckpt is not None and (resolved(ckpt) / ADAPTER_CONFIG).is_file()


class Checkpoint:
    """One checkpoint on the local disk.

    Attributes:
        name: as the user named it.
        path: its folder.
        revision: commit on the hub, None for a local folder.
        base: the model an adapter sits on, None for a whole model.
    """

    def __init__(
        self, name: str, path: Path, revision: str | None = None, adapter_base: str | None = None
    ) -> None:
        """Check the folder `path`.

        Args:
            name: as the user named it.
            path: its folder.
            revision: commit on the hub.
            adapter_base: what an adapter sits on, in place of what its config names.

        Raises:
            EngineUnavailableError: not a checkpoint, or an incomplete one.
        """
        self.name = name
        self.path = path
        self.revision = revision
        self._sha256: Future[str] | None = None
        self.base: Checkpoint | None = None
        self.config: dict[str, Any]
        if (path / ADAPTER_CONFIG).is_file():
            if not visible(path, "adapter_model.*") and (kind := explain_folder(path)):
                raise EngineUnavailableError(f"{path} is {kind}")
            self.base = _base_of(path, adapter_base)
        self.config = self.base.config if self.base else read_json(path / "config.json")
        for described in FIELDS:
            # Some are read only once the model is there.
            read_json(path / described)
        self._check()

    def _check(self) -> None:
        weights = self.weight_files()
        if kind := explain_config(self.path, self.config):
            raise EngineUnavailableError(f"{self.path} is {kind}")
        if not self.config or not weights:
            if kind := explain_folder(self.path):
                raise EngineUnavailableError(f"{self.path} is {kind}")
            lacks = "it has no config.json"
            if self.base is not None:
                lacks = f"{ADAPTER_CONFIG} without adapter_model.safetensors"
            elif self.config:
                lacks = f"no weights ({', '.join(WEIGHTS)}) beside config.json"
            raise EngineUnavailableError(f"{self.path} is not a checkpoint: {lacks}")
        for file in weights:
            with file.open("rb") as stream:
                start = stream.read(len(LFS_POINTER))
            if start == LFS_POINTER:
                raise EngineUnavailableError(
                    f"{file} is a Git LFS pointer, not weights; run: git lfs pull (in {self.path})"
                )
            if not start:
                raise EngineUnavailableError(f"{file} is empty; fetch the checkpoint again")
        if self.base is None:
            find_weights(self.path)
        elif whole := [file.name for pattern in WHOLE for file in visible(self.path, pattern)]:
            raise EngineUnavailableError(
                f"{self.path} holds a whole model ({whole[0]}) and an adapter ({ADAPTER_CONFIG}); "
                "move one of them away"
            )

    def weight_files(self) -> list[Path]:
        """The files that hold the weights; safetensors where both kinds are present."""
        for pattern in WEIGHTS:
            # A link to nothing, as in a cache that was cleared, is no file.
            if files := [file for file in visible(self.path, pattern) if file.is_file()]:
                return files
        return []

    def identity_files(self) -> list[Path]:
        """The files that decide what the checkpoint says: weights, configs, tokenizer, chat template."""
        described = {one for pattern in DESCRIPTIONS for one in visible(self.path, pattern) if one.is_file()}
        # Where config.json names code in the folder, that decides what it says too.
        own_code = read_json(self.path / "config.json").get("auto_map")
        code = visible(self.path, "*.py") if own_code else []
        return sorted(described.union(code, self.weight_files()))

    def start_hashing(self) -> None:
        """Begin to hash in threads, so that it overlaps with loading the model."""
        if self._sha256 is None:
            with_base = self.base
            if with_base is not None:
                with_base.start_hashing()
            pool = ThreadPoolExecutor(HASH_THREADS + 1, thread_name_prefix="checkpoint-hash")
            files = [(file.name, pool.submit(_sha256_of, file)) for file in self.identity_files()]
            self._sha256 = pool.submit(_combine, files, with_base)
            pool.shutdown(wait=False)

    @property
    def sha256(self) -> str:
        """Hash over (name, sha256) of the identity files and, for an adapter, the base's hash.

        Raises:
            EngineUnavailableError: the files that are read for it hold weights that are NaN or infinite.
        """
        self.start_hashing()
        assert self._sha256 is not None
        return self._sha256.result()

    @property
    def parameters(self) -> int | None:
        """Number of stored weights, a tied head counted once; packed formats count packed words.

        None where they aren't safetensors.
        """
        files = self.weight_files() if self.base else find_weights(self.path).files
        if any(file.suffix != ".safetensors" for file in files):
            return None
        stored = stored_tensors(files)
        own = sum(tensor.elements for tensor in stored.values())
        if self.base is not None:
            return None if (inherited := self.base.parameters) is None else own + inherited
        text = self.config.get("text_config") or {}
        if self.config.get("tie_word_embeddings", text.get("tie_word_embeddings")) is False:
            return own
        return own - sum(stored[name].elements for name in tied_twice(stored))

    @property
    def context_length(self) -> int | None:
        """Longest prompt + completion that config and tokenizer allow, None when neither says."""
        text = self.config.get("text_config") or self.config
        limits = [text[key] for key in CONTEXT_KEYS if isinstance(text.get(key), int)]
        longest = min(limits) if limits else None
        scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
        original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
        if longest is not None and original and factor and scaling.get("rope_type") == "yarn":
            longest = max(longest, int(original * factor))
        for folder in (self.path, self.base.path if self.base else self.path):
            limit = read_json(folder / "tokenizer_config.json").get("model_max_length")
            if isinstance(limit, int | float) and 0 < limit < NO_LIMIT:
                return min(longest, int(limit)) if longest else int(limit)
        return longest

    @property
    def vocabulary(self) -> int | None:
        """How many token ids config.json says that the model has, None where it doesn't."""
        text = self.config.get("text_config") or {}
        found = text.get("vocab_size", self.config.get("vocab_size"))
        return found if isinstance(found, int) else None

    @property
    def dtype(self) -> str | None:
        """The dtype the weights were saved in, as config.json says it."""
        text = self.config.get("text_config") or {}
        for config in (self.config, text):
            if name := config.get("dtype") or config.get("torch_dtype"):
                return str(name).removeprefix("torch.")
        return None

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Ids that end an answer, from generation_config.json or else config.json."""
        return generation_stop_ids(self.base.path if self.base else self.path)


def generation_stop_ids(folder: Path) -> tuple[int, ...]:
    """Ids that end an answer, as the files in `folder` say; none where they don't."""
    eos = read_json(folder / "generation_config.json").get("eos_token_id")
    if eos is None:
        config = read_json(folder / "config.json")
        eos = config.get("eos_token_id", (config.get("text_config") or {}).get("eos_token_id"))
    if eos is None:
        return ()
    return tuple(eos) if isinstance(eos, list) else (int(eos),)


def has_weights(folder: Path) -> bool:
    """Whether `folder` holds a whole model's weights."""
    return (folder / "config.json").is_file() and any(visible(folder, pattern) for pattern in WEIGHTS)


def _sha256_of(path: Path) -> str:
    """Hash of a file; of a safetensors one the numbers that pass by are looked at too.

    Raises:
        EngineUnavailableError: a weight that is NaN or infinite.
    """
    digest = hashlib.sha256()
    scan = FiniteScan(path) if path.suffix == ".safetensors" else None
    with path.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            if scan is not None:
                scan.look(chunk)
    return digest.hexdigest()


def _combine(files: list[tuple[str, Future[str]]], base: Checkpoint | None) -> str:
    digest = hashlib.sha256()
    for name, value in files:
        digest.update(f"{name}\0{value.result()}\n".encode())
    if base is not None:
        digest.update(f"base\0{base.sha256}\n".encode())
    return digest.hexdigest()


def _base_of(adapter: Path, given: str | None) -> Checkpoint:
    """The model that the adapter in the folder `adapter` sits on: the one given, else the one it names.

    Raises:
        EngineUnavailableError: none is named, or it can't be used here.
    """
    config = read_json(adapter / ADAPTER_CONFIG)
    named = config.get("base_model_name_or_path")
    if given is None and not named:
        raise EngineUnavailableError(
            f"{adapter}/{ADAPTER_CONFIG} names no base model (base_model_name_or_path); "
            "give it as `adapter_base=CKPT`"
        )
    wanted = given or str(named)
    try:
        path, revision = _find_folder(wanted, None if given else config.get("revision"))
        # Before it is opened: a base that is an adapter has a base in turn, at worst this one.
        if (path / ADAPTER_CONFIG).is_file():
            raise EngineUnavailableError(
                f"{wanted} is an adapter itself, the same one; give a whole model"
                if given is None and path.resolve() == adapter.resolve()
                else f"{wanted} is an adapter itself; merge it first: `harness merge {wanted} --out DIR`"
            )
        return Checkpoint(wanted, path, revision)
    except EngineUnavailableError as error:
        if given is not None:
            raise EngineUnavailableError(f"`adapter_base={given}` can't be used: {error}") from error
        raise EngineUnavailableError(
            f"{adapter}/{ADAPTER_CONFIG} names the base {named}, which can't be used here ({error}); "
            "give the base as `adapter_base=CKPT`"
        ) from error


def hub_name(name: str) -> tuple[str, str | None] | None:
    """Repository and revision of `ORG/NAME` or `ORG/NAME@REVISION`; None for a folder, a file or `zoo:NAME`.

    Raises:
        HarnessError: `zoo:NAME` of which there is none.
    """
    if resolved(name).exists():
        return None
    repository, _, revision = name.partition("@")
    return (repository, revision or None) if HUB_ID.fullmatch(repository) else None


def find_checkpoint(name: str, revision: str | None = None, adapter_base: str | None = None) -> Checkpoint:
    """The checkpoint in the folder `name`, of `zoo:NAME`, or of the hub id `name` (downloaded if need be).

    Args:
        name: a hub id may name a revision itself, as `ORG/NAME@REVISION`.
        revision: of a hub id that names none.
        adapter_base: what the checkpoint sits on if it is an adapter, in place of what its config names.

    Raises:
        HarnessError: `zoo:NAME` of which there is none, or two revisions.
        EngineUnavailableError: missing, not a checkpoint, gated, or a hub id that can't be reached.
    """
    path, commit = _find_folder(name, revision)
    return Checkpoint(name, path, commit, adapter_base)


def _find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """Where a checkpoint is, and its commit on the hub; raises as `find_checkpoint`."""
    path = resolved(name)
    if path.is_dir():
        if is_unfinished(path):
            raise EngineUnavailableError(f"{name} is {UNFINISHED}")
        return path, None
    if path.exists():
        kind = explain_file(path) or "a file; a checkpoint is a folder with config.json and weights"
        raise EngineUnavailableError(f"{name} is {kind}")
    found = hub_name(name)
    if found is None:
        raise EngineUnavailableError(f"checkpoint {name} does not exist; give a folder or a hub id")
    repository, own = found
    if own is not None and revision not in (None, own):
        raise HarnessError(f"{name} names a revision, and `revision={revision}` another; give one")
    folder = download(repository, own or revision)
    return folder, folder.name


def needs_code(folder: Path, error: BaseException) -> EngineUnavailableError | None:
    """What to say where transformers refuses `folder` because it comes with code; None where it doesn't."""
    if "trust_remote_code" not in str(error):
        return None
    return EngineUnavailableError(
        f"{folder} comes with Python code of its own, which isn't run unasked; if you have read it and trust "
        "it, give `trust_remote_code=True`"
    )


def find_tokenizer(name: str) -> Path:
    """The folder of a tokenizer that is named by folder, `zoo:NAME` or hub id, as `find_checkpoint` takes it.

    Raises:
        HarnessError: `zoo:NAME` of which there is none.
        EngineUnavailableError: it can't be found.
    """
    folder = resolved(name)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise EngineUnavailableError(f"tokenizer {name} is a file; give the folder it lies in")
    found = hub_name(name)
    if found is None:
        raise EngineUnavailableError(f"tokenizer {name} does not exist; give a folder or a hub id")
    return download(*found)


def download(name: str, revision: str | None) -> Path:
    """Fetch a hub repository's model files, or find them in the local cache.

    Raises:
        EngineUnavailableError: as `find_checkpoint`.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise EngineUnavailableError(
            f"no folder {name} here, and hub ids need huggingface_hub; "
            "run: pip install 'format-safety-harness[hf]'"
        ) from error
    described = [pattern for pattern in DESCRIPTIONS if not pattern.startswith("*.index")]
    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=[*described, "*.json", "*.safetensors", "*.py"]
            )
        )
        if not visible(folder, "*.safetensors"):
            snapshot_download(name, revision=revision, allow_patterns=["*.bin"])
    except errors.GatedRepoError as error:
        raise EngineUnavailableError(
            f"{name} is gated: accept its licence at https://huggingface.co/{name} and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EngineUnavailableError(
            f"no folder {name} here, and no such public repository on the Hugging Face hub; "
            "check the name, or set HF_TOKEN if it is private"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise EngineUnavailableError(f"{name} has no revision {revision} on the Hugging Face hub") from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise EngineUnavailableError(
            f"no folder {name} here, and {name} is neither in the Hugging Face cache nor can the hub be "
            "reached; give a local folder, or download it first"
        ) from error
    return folder
