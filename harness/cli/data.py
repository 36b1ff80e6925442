"""`harness data`: list, check, prepare and generate datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import output
from harness.cli.options import Command, json_option, options_of, settings_from

if TYPE_CHECKING:
    from harness.data.amazon_report import PreparationReport
    from harness.data.amazon_rows import Progress

_CHANGED = {
    "flattened": "hold line ends, control characters or runs of white space, which the usual prompt makes "
    "single blanks",
    "defused": "hold what looks like a special token of some checkpoint: a blank breaks it where it is one "
    "of the checkpoint's own, or where no tokenizer is known",
}
_SPLITS = ("train", "validation", "test", "variable-k")
_file = click.Path(path_type=Path)


@click.group(epilog="Example: harness data list")
def data() -> None:
    """List, check, prepare and generate datasets of ranking tasks."""


@data.command("list", epilog="Example: harness data list --json")
@json_option
def list_datasets(as_machine: bool) -> None:
    """List the bundled datasets with their splits."""
    from harness.data.locate import known_datasets

    known = known_datasets().values()
    if as_machine:
        rows = [{"name": one.name, "splits": one.splits, "path": str(one.path)} for one in known]
        output.document(rows)
        return
    _print_table(
        ("name", "splits", "path"), [(one.name, " ".join(one.splits), str(one.path)) for one in known]
    )


@data.command(epilog="Example: harness data check fashion-mini --split test")
@click.argument("path")
@click.option("--split", help="Split of a dataset or folder; test where there is one.")
@json_option
def check(path: str, split: str | None, as_machine: bool) -> None:
    """Check every row of PATH, a .jsonl file, a folder of splits or a bundled dataset.

    Each bad row is printed with its line and field; exit code 2 if there is any.
    """
    from harness.data.loading import check_tasks

    checked = check_tasks(path, split)
    if as_machine:
        output.document(asdict(checked) | {"path": str(checked.path)})
    else:
        for bad_row in checked.bad_rows:
            output.result(str(bad_row))
        for name, said in _CHANGED.items():
            if count := checked.titles.get(name):
                output.result(f"{count:,} titles {said}")
    checked.refuse()
    if not as_machine:
        output.result(f"{checked.path}: {checked.rows_read:,} rows, all good")


def _show_options() -> list[click.Option]:
    from harness.rollouts.showing import ShowConfig

    return options_of(ShowConfig)


@data.command(
    cls=Command,
    settings=_show_options,
    epilog="\b\nExample: harness data show --data fashion-mini --split test --task 3 --ckpt zoo:base",
)
@json_option
def show(as_machine: bool, **options: Any) -> None:
    """Show one task as it is put to a model: its messages and, with a checkpoint, text and tokens.

    The messages are those of eval, cliff, forecast and train with the same --contract, --prompt and --system.
    """
    from harness.contract.mention import speaks_of
    from harness.data.tasks import as_text
    from harness.rollouts.showing import ShowConfig, show_prompt

    config = settings_from(ShowConfig, options)
    shown = show_prompt(config)
    if as_machine:
        output.document(
            {
                "task_id": shown.task_id,
                "messages": [turn.model_dump() for turn in shown.messages],
                "read": None if shown.read is None else asdict(shown.read),
            }
        )
        return
    for turn in shown.messages:
        output.result(f"[{turn.role}]")
        output.lines(turn.content.rstrip("\n") + "\n\n")
    if not speaks_of(as_text(shown.messages), shown.terms):
        output.remark("note: no turn says a word of the contract, neither JSON nor the name of a member")
    if (read := shown.read) is not None:
        output.result(f"[what {config.ckpt} reads]")
        output.lines(read.text.rstrip("\n") + "\n\n")
        output.result(f"{len(read.token_ids):,} tokens, {len(read.special)} of them special")
        for place, token, piece in read.special:
            output.result(f"  token {place + 1}: {token} {piece}")
        if read.defused:
            output.remark(
                "note: special tokens of the checkpoint stand in the messages; a space keeps them apart"
            )
        if read.reasoning_end is not None:
            output.remark(f"note: what an answer says up to {read.reasoning_end} is kept apart as reasoning")


@data.group(epilog="Example: harness data prepare amazon-fashion --help")
def prepare() -> None:
    """Turn other people's data files into tasks."""


def _amazon_options() -> list[click.Option]:
    from harness.data.amazon_tasks import AmazonSettings

    return options_of(AmazonSettings)


@prepare.command(
    "amazon-fashion",
    cls=Command,
    settings=_amazon_options,
    # \b keeps click from wrapping it: a wrapped line can't be copied into a shell.
    epilog="\b\nExample: harness data prepare amazon-fashion --reviews Amazon_Fashion.jsonl.gz \\\n"
    "    --meta meta_Amazon_Fashion.jsonl.gz --out amazon-fashion",
)
@click.option(
    "--reviews", type=_file, required=True, help="Reviews, 2018 or 2023: JSON lines or csv, may be .gz."
)
@click.option("--meta", type=_file, required=True, help="Metadata of the same release, may be .gz.")
@click.option("--out", type=_file, required=True, help="Folder for the splits and the data card.")
@click.option("--overwrite", is_flag=True, help="Replace splits that are in the folder already.")
@json_option
def amazon_fashion(
    reviews: Path, meta: Path, out: Path, overwrite: bool, as_machine: bool, **settings: Any
) -> None:
    """Leave-last-out ranking tasks from the official Amazon Reviews files (2018 or 2023).

    Files are streamed; memory doesn't grow with them, disk beside OUT does. Rows and users that can't be used
    are counted by reason; data that can't support ranking are refused with the numbers, exit code 2.
    """
    from harness.data.amazon import prepare_amazon_fashion
    from harness.data.amazon_report import UnfitDataError
    from harness.data.amazon_tasks import AmazonSettings

    tasks = settings_from(AmazonSettings, settings)
    try:
        with _progress() as progress:
            report = prepare_amazon_fashion(reviews, meta, out, tasks, overwrite=overwrite, progress=progress)
    except UnfitDataError as error:
        _print_report(error.report, as_machine)
        raise
    _print_report(report, as_machine)


def _trec_options() -> list[click.Option]:
    from harness.data.trec import TrecSettings

    return options_of(TrecSettings)


@prepare.command(
    "trec",
    cls=Command,
    settings=_trec_options,
    epilog="\b\nExample: harness data prepare trec --run bm25.trec --qrels qrels.txt \\\n"
    "    --corpus corpus.jsonl.gz --queries queries.tsv --out reranking",
)
@click.option("--run", type=_file, required=True, help="TREC run: query Q0 document rank score tag.")
@click.option("--qrels", type=_file, required=True, help="Labels, of TREC or BEIR.")
@click.option("--corpus", type=_file, required=True, help="JSON lines of _id, title, text; may be .gz.")
@click.option("--queries", type=_file, help="Their texts: id, tab, text; or JSON lines of _id, text.")
@click.option("--out", type=_file, required=True, help="Folder for the splits and the data card.")
@click.option("--overwrite", is_flag=True, help="Replace splits that are in the folder already.")
@json_option
def trec(
    run: Path,
    qrels: Path,
    corpus: Path,
    queries: Path | None,
    out: Path,
    overwrite: bool,
    as_machine: bool,
    **settings: Any,
) -> None:
    """Listwise reranking tasks: windows of a retrieval run, labelled by its qrels.

    The query's text is in `meta.query`, for a prompt of your own; histories are empty. Documents that the
    corpus lacks are named, exit code 2.
    """
    from harness.data.trec import TrecSettings, prepare_trec

    tasks = settings_from(TrecSettings, settings)
    with _progress() as progress:
        report = prepare_trec(
            run, qrels, corpus, out, tasks, queries=queries, overwrite=overwrite, progress=progress
        )
    if as_machine:
        output.document(report.as_document())
    else:
        _print_tables(report.tables())


@data.group(epilog="Example: harness data generate fashion-mini --out my-tasks")
def generate() -> None:
    """Make synthetic tasks."""


@generate.command(
    "fashion-mini",
    epilog="\b\nExample: harness data generate fashion-mini --split train --n 5000 --seed 7 --out my-tasks",
)
@click.option(
    "--split", type=click.Choice(_SPLITS), help="Only this one; by default all, with the data card."
)
@click.option(
    "--n", type=click.IntRange(min=1), help="Tasks of the split; as many as are bundled by default."
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of the tasks; that of the bundled files by default."
)
@click.option("--out", type=_file, required=True, help="Folder; files of the same names are replaced.")
@json_option
def fashion_mini(split: Any, n: int | None, seed: int | None, out: Path, as_machine: bool) -> None:
    """Make fashion-mini tasks; without --split, --n and --seed exactly the bundled files."""
    from harness.data.fashion_mini import DEFAULT_SEED
    from harness.data.fashion_mini_files import write_fashion_mini

    written = write_fashion_mini(out, split, n, DEFAULT_SEED if seed is None else seed)
    rows = [(str(path), tasks, path.stat().st_size) for path, tasks in written.items()]
    if as_machine:
        names = ("path", "tasks", "bytes")
        output.document([dict(zip(names, row, strict=True)) for row in rows])
    else:
        _print_table(
            ("file", "tasks", "bytes"), [(path, f"{tasks:,}", f"{size:,}") for path, tasks, size in rows]
        )


@contextmanager
def _progress() -> Iterator[Progress]:
    from harness.cli import consoles
    from harness.cli.listening import listening
    from harness.progress import Progress as Report

    with listening(consoles.errors()) as on_progress:
        yield lambda stage, done, total: on_progress(Report(stage, done, total))


def _print_report(report: PreparationReport, as_machine: bool) -> None:
    from harness.data.amazon_report import report_tables

    if as_machine:
        output.document(asdict(report))
        return
    memory = report.peak_memory_mib
    beside = {} if memory is None else {"Peak memory": [("", f"{memory:.0f} MiB")]}
    _print_tables(report_tables(report) | beside)


def _print_tables(tables: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    rows = [
        (heading if first else "", name, count)
        for heading, table in tables.items()
        for first, (name, count) in zip([True, *[False] * len(table)], table, strict=False)
    ]
    _print_table(("", "what", "count"), rows)


def _print_table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    from harness.cli import consoles

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in _NUMBERS else "left")
    for row in rows:
        table.add_row(*map(consoles.line, row))
    consoles.unwrapped().print(table)


_NUMBERS = ("count", "tasks", "bytes")
