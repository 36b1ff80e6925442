"""`harness merge`: one whole checkpoint out of an adapter and its base, or out of shards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import Command, json_option, options_of, settings_from

if TYPE_CHECKING:
    from harness.engines.merging import Merged


def _options() -> list[click.Option]:
    from harness.engines.merging import MergeConfig

    return options_of(MergeConfig, leave_out=("source",))


@click.command(
    name="merge",
    cls=Command,
    settings=_options,
    epilog="Example: harness merge runs/opd/checkpoint --out merged --adapter-base zoo:base",
)
@click.argument("source", metavar="ADAPTER")
@json_option
def merge_command(source: str, as_machine: bool, **options: Any) -> None:
    """Merge a peft ADAPTER into its base, or a checkpoint's safetensors shards into one file.

    The new checkpoint keeps the base's dtype, and gets the tokenizer and settings. It is read back and held
    against the adapter on its base before it gets its name: a merge that was killed leaves OUT.unfinished.
    """
    from harness.cli import consoles, output
    from harness.cli.listening import listening
    from harness.engines.merging import MergeConfig, merge

    config = settings_from(MergeConfig, options, {"source": source})
    with listening(consoles.errors()) as on_progress:
        merged = merge(config, on_progress)
    if as_machine:
        output.document(asdict(merged) | {"out": str(merged.out)})
        return
    for note in merged.notes:
        output.remark(f"harness: note: {note}")
    output.result(_sentence(merged))


def _sentence(merged: Merged) -> str:
    size = "" if merged.parameters is None else f", {merged.parameters:,} parameters"
    made_of = f"{merged.kind} adapter {merged.source} and {merged.base}" if merged.kind else merged.source
    return f"merged checkpoint: {merged.out} (of {made_of}{size}, {merged.dtype or 'mixed dtypes'})"
