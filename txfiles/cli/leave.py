"""`txfiles detach`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from txfiles.cli import output, progress
from txfiles.cli.opening import told
from txfiles.cli.params import (
    Storage,
    example,
    format_option,
    json_option,
    lock_option,
    options_of_write,
    storage_option,
)

if TYPE_CHECKING:
    import txfiles as tx


@click.command(
    short_help="Leave a plain folder.",
    epilog=example("txfiles detach lake/customers --dry-run", "txfiles detach lake/customers"),
)
@click.argument("path")
@click.option(
    "--purge",
    is_flag=True,
    help="In a bucket, delete the names of the log, too. Say it once no writer of the table runs any more.",
)
@options_of_write("timeout")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--force", is_flag=True, help="Go on even if readers will take an empty text in a folder's name for null."
)
@format_option
@lock_option
@storage_option
@json_option
def detach(
    path: str,
    purge: bool,
    timeout: float,
    dry_run: bool,
    force: bool,
    format_name: str | None,
    lock: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Leave a table: its folder holds exactly the current rows, in plain files, and no log.

    Files in which rows are deleted, or that are older than a change of columns, are written anew first. From then on
    no version can follow; history and older versions are gone. If the command dies, run it again: it finishes.
    """
    import txfiles as tx

    with progress.bar(as_json=as_json) as report:
        done = tx.detach(
            path,
            dry_run=dry_run,
            purge=purge,
            force=force,
            timeout=timeout,
            format=format_name or told(path),
            storage_options=storage_options,
            lock=lock,
            progress=report,
        )
    output.emit(as_json, done, _text(done))


def _text(done: tx.DetachResult) -> str:
    lines = []
    if done.rows is None or done.files is None:
        lines.append("the log was taken away before")
    else:
        left = "would leave" if done.dry_run else "left"
        lines.append(f"{left} {output.counted(done.rows, 'row')} in {output.counted(done.files, 'plain file')}")
    if done.files_rewritten:
        anew = "would write" if done.dry_run else "wrote"
        lines.append(f"{anew} {output.counted(done.files_rewritten, 'file')} anew")
    deleted = "would delete" if done.dry_run else "deleted"
    lines.append(f"{deleted} {output.counted(done.files_deleted, 'file')}, {done.bytes_deleted:,} bytes")
    return "\n".join([*lines, *(f"note: {output.one_line(note)}" for note in done.notes)])
