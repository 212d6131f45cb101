"""`txfiles adopt`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from txfiles.cli import output, progress
from txfiles.cli.params import Storage, example, format_option, json_option, options_of_write, storage_option

if TYPE_CHECKING:
    import txfiles as tx

IGNORED_SHOWN = 10
"""How many of the files that are left alone a person is told by name; --json has all."""


def _typed(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str | None] | tuple[str, ...]:
    """``COL`` or ``COL=TYPE``, repeated (a callback of click)."""
    if not any("=" in one for one in given):
        return given
    pairs = [one.partition("=") for one in given]
    return {name: kind or None for name, _, kind in pairs}


@click.command(
    short_help="Make a table of the files in a folder.",
    epilog=example(
        "txfiles adopt lake/events --dry-run",
        "txfiles adopt lake/customers --key customer_id --partition-by country --partition-by month=int32",
    ),
)
@click.argument("path")
@options_of_write("keys", "timestamp_col")
@click.option(
    "--partition-by",
    multiple=True,
    metavar="COL[=TYPE]",
    callback=_typed,
    help="A partition column of the folders, and its type if their names do not tell; repeatable.",
)
@options_of_write("schema", "csv", "properties", "timeout")
@format_option
@click.option("--dry-run", is_flag=True, help="Say what the table would be, and write nothing.")
@click.option("--force", is_flag=True, help="Take files that are or were another txfiles table's.")
@options_of_write("lock")
@storage_option
@json_option
def adopt(
    path: str,
    keys: tuple[str, ...],
    timestamp_col: str | None,
    partition_by: Mapping[str, str | None] | tuple[str, ...],
    schema: dict[str, str],
    csv: dict[str, Any],
    properties: dict[str, str],
    timeout: float,
    format_name: str | None,
    dry_run: bool,
    force: bool,
    lock: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Make a table of the Parquet or CSV files in a folder, without copying or changing one of them.

    Of Parquet files only the footers are read, and the columns of the keys, if there are any. A key that is null or
    occurs twice is reported, and so is any file that does not fit; then nothing is written. --dry-run reports, too.
    Files are read as they are from then on, so no other tool may write into the folder.
    """
    import txfiles as tx

    with progress.bar(as_json=as_json) as report:
        done = tx.adopt(
            path,
            keys=keys or None,
            timestamp_col=timestamp_col,
            partition_by=partition_by or None,
            schema=schema or None,
            csv=csv or None,
            properties=properties or None,
            timeout=timeout,
            format=format_name,
            dry_run=dry_run,
            force=force,
            lock=lock,
            storage_options=storage_options,
            progress=report,
        )
    document = {
        **{name: value for name, value in vars(done).items() if name != "schema"},
        "columns": [{"name": field.name, "type": output.type_spec(field.type)} for field in done.schema],
    }
    output.emit(as_json, document, _text(done))


def _text(done: tx.AdoptResult) -> str:
    verb = "would adopt" if done.dry_run else "adopted"
    columns = ", ".join(f"{field.name} {output.type_text(output.type_spec(field.type))}" for field in done.schema)
    lines = [
        f"{verb} {output.counted(done.files, f'{done.format} file')}: {done.rows:,} rows, {done.bytes:,} bytes",
        f"columns: {output.one_line(columns)}",
    ]
    for word, names in (("partitioned by", done.partition_by), ("keys", done.keys)):
        lines += [f"{word}: {output.one_line(', '.join(names))}"] if names else []
    lines += [f"note: {output.one_line(note)}" for note in done.notes]
    if done.ignored:
        lines.append(f"left alone: {output.counted(len(done.ignored), 'file')}")
        lines += [f"  {output.one_line(name)}" for name in done.ignored[:IGNORED_SHOWN]]
    return "\n".join(lines)
