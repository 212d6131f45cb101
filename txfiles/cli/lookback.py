"""`txfiles restore` and `txfiles diff`: make a table what it was, and tell what has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from txfiles.cli import output
from txfiles.cli.opening import open_table
from txfiles.cli.params import (
    Storage,
    arguments,
    example,
    format_option,
    json_option,
    options_of_write,
    storage_option,
)
from txfiles.cli.read import print_batches

if TYPE_CHECKING:
    import txfiles as tx


@click.command(
    short_help="Make the table what it was at an earlier version.",
    epilog=example(
        "txfiles restore lake/customers --version 41 --dry-run",
        "txfiles restore lake/customers --timestamp 2026-11-01T00:00:00Z",
    ),
)
@click.argument("path")
@click.option("--version", type=click.IntRange(min=0), metavar="N", help="Restore version N.")
@click.option("--timestamp", metavar="TIME", help="Restore the newest version at TIME, such as 2026-11-01T00:00:00Z.")
@options_of_write("user_metadata", "timeout")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@options_of_write("lock")
@storage_option
@json_option
def restore(
    path: str,
    version: int | None,
    timestamp: str | None,
    lock: str | None,
    storage_options: Storage,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a table what it was at an earlier version, in one commit that writes no data file.

    Rows, schema, keys, timestamp column and batch ids are that version's; properties stay. The versions in between stay
    readable until a vacuum, and can be restored in turn.
    """
    if (version is None) == (timestamp is None):
        raise click.UsageError("give either --version or --timestamp", click.get_current_context())
    table = open_table(path, storage_options=storage_options, lock=lock)
    result = table.restore(version=version, timestamp=timestamp, dry_run=dry_run, **arguments(options))
    output.emit(as_json, result, _told(result))


def _told(result: tx.WriteResult) -> str:
    if not result.committed:
        return f"nothing to restore; the table stays at version {result.version}"
    what = f"a plan on version {result.version}" if result.dry_run else f"version {result.version} committed"
    rows = f"{output.number(result.rows_inserted)} back, {output.number(result.rows_deleted)} gone"
    files = f"+{output.number(result.files_added)} -{output.number(result.files_removed)}"
    return f"{what} (restore)\n{output.fields([('rows', rows), ('files', files)], indent=2)}"


@click.command(
    short_help="Tell which rows differ between two versions.",
    epilog=example(
        "txfiles diff lake/customers 41",
        "txfiles diff lake/customers 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z --rows",
    ),
)
@click.argument("path")
@click.argument("old", metavar="A")
@click.argument("new", metavar="B", required=False)
@click.option("--rows", is_flag=True, help="Print the rows instead, with a column that says what happened to each.")
@format_option
@storage_option
@json_option
def diff(
    path: str,
    old: str,
    new: str | None,
    rows: bool,
    format_name: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Count the rows that differ between version A and version B, by default the newest.

    A and B are numbers, or times with a zone. Rows are matched by the table's keys; without keys, whole rows are. With
    --rows, they are printed as CSV, or with --json as one object per line, with a first column _change_type: delete,
    update_preimage, update_postimage or insert.
    """
    table = open_table(path, format_name, storage_options)
    found = table.diff(_point(old), None if new is None else _point(new))
    if rows:
        with found.changes() as reader:
            print_batches(reader, as_json=as_json)
        return
    counts = {name: len(getattr(found, name)) for name in ("inserted", "updated", "deleted")}
    facts = {
        name: getattr(found, name) for name in ("old_version", "new_version", "keys", "files_scanned", "files_same")
    }
    told = ", ".join(f"{output.number(count)} {name}" for name, count in counts.items())
    how = f"by {', '.join(found.keys)}" if found.keys else "as whole rows"
    files = f"{output.number(found.files_scanned)} read, {output.number(found.files_same)} the same in both"
    output.emit(
        as_json,
        counts | facts,
        f"version {found.old_version} to {found.new_version}\n"
        + output.fields([("rows", told), ("matched", how), ("files", files)], indent=2),
    )


def _point(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
