"""What belongs to a checkpoint besides its weights and config, and goes along when these are made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.engines.checkpoint import Checkpoint
from harness.engines.folder_kinds import visible

# Copied byte for byte, so that the hashes of tokenizer and chat template stay those of the checkpoint they
# come from.
CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "generation_config.json",
)


def carry_over(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy tokenizer, chat template and generation settings beside weights that were made from a checkpoint.

    An adapter's own come in the place of its base's.
    """
    if checkpoint.base is not None:
        carry_over(checkpoint.base, folder)
    for pattern in CARRIED:
        for file in visible(checkpoint.path, pattern):
            shutil.copyfile(file, folder / file.name)


def carry_code(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy the Python code that a whole model comes with, where its config names any."""
    if checkpoint.config.get("auto_map"):
        for file in visible(checkpoint.path, "*.py"):
            shutil.copyfile(file, folder / file.name)
