"""`txfiles verify` and `txfiles doctor`: is a table as its log says, and can a store keep one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from txfiles.cli import output, progress
from txfiles.cli.opening import told
from txfiles.cli.params import Storage, example, format_option, json_option, storage_option

if TYPE_CHECKING:
    import txfiles as tx

DAMAGED, UNREADABLE = 13, 14


@click.command(
    short_help="Check a table and its log.",
    epilog=example("txfiles verify lake/customers", "txfiles verify lake/customers --deep"),
)
@click.argument("path")
@click.option("--deep", is_flag=True, help="Read the data files, too, and compare their rows with the log.")
@format_option
@storage_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    path: str,
    deep: bool,
    format_name: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Check the log of a table and that its files are there; with --deep, what is in them, too.

    Nothing is written. The exit code is 13 if rows or versions are lost or wrong, and 14 if something could not be
    read; warnings, which cost time and no row, leave it at 0.
    """
    import txfiles as tx

    with progress.bar(as_json=as_json) as report:
        found = tx.verify(
            path, deep=deep, format=format_name or told(path), storage_options=storage_options, progress=report
        )
    output.emit(as_json, found, _verified(found))
    if not found.ok:
        output.flush()
        damaged = any(one.severity == "damage" for one in found.problems)
        context.exit(DAMAGED if damaged else UNREADABLE)


def _verified(found: tx.VerifyResult) -> str:
    lines = []
    for one in found.problems:
        lines.append(output.one_line(f"{one.severity}: {one.message}"))
        lines += [output.one_line(f"  hint: {one.hint}")] if one.hint else []
    lines += [f"and {found.omitted:,} more problems like these"] if found.omitted else []
    state = "the table is as its log says" if found.ok else "the table is not as its log says"
    checked = f"{output.counted(found.versions, 'manifest')}, {output.counted(found.files, 'data file')}"
    depth = f"{found.rows:,} rows in them" if found.deep else "not what is in them (--deep)"
    lines.append(f"{state}: version {output.number(found.version)}, checked {checked}, {depth}")
    return "\n".join(lines)


@click.command(
    short_help="Check whether a store can keep tables.",
    epilog=example("txfiles doctor s3://bucket/lake", "txfiles doctor /mnt/share/lake"),
)
@click.argument("url")
@storage_option
@json_option
@click.pass_context
def doctor(context: click.Context, url: str, storage_options: Storage, as_json: bool) -> None:
    """Try whether tables can be kept in a folder or below a URL: permissions, atomic creates, listings, clock.

    It creates a few small objects of its own there, and deletes them again. The exit code is 14 if something failed or
    is not permitted.
    """
    import txfiles as tx

    found = tx.doctor(url, storage_options=storage_options)
    output.emit(as_json, found, _examined(found))
    if not found.ok:
        output.flush()
        context.exit(UNREADABLE)


def _examined(found: tx.DoctorResult) -> str:
    rows = [(check.name, check.status, check.found) for check in found.checks]
    lines = [output.table(("CHECK", "STATUS", "FOUND"), rows)]
    lines += [output.one_line(f"hint ({check.name}): {check.hint}") for check in found.checks if check.hint]
    lines.append(f"{'tables can be kept' if found.ok else 'tables cannot be kept'} at {output.one_line(found.url)}")
    return "\n".join(lines)
