"""`txfiles set`, `txfiles compact`, `txfiles index`, `txfiles vacuum` and `txfiles resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from txfiles.cli import output, progress
from txfiles.cli.opening import open_table, told
from txfiles.cli.params import (
    Condition,
    Storage,
    example,
    format_option,
    json_option,
    lock_option,
    mapping,
    options_of_write,
    pair,
    storage_option,
    where_option,
)

if TYPE_CHECKING:
    import txfiles as tx


@click.command(
    "set",
    short_help="Change properties of a table.",
    epilog=example("txfiles set lake/customers compression=zstd vacuum_retain=30d"),
)
@click.argument("path")
@click.argument("pairs", nargs=-1, required=True, type=pair, callback=mapping, metavar="NAME=VALUE...")
@lock_option
@storage_option
@json_option
def set_(path: str, pairs: dict[str, str], lock: str | None, storage_options: Storage, as_json: bool) -> None:
    """Change properties of a table, in one commit. 'txfiles show PATH' lists them all."""
    table = open_table(path, storage_options=storage_options, lock=lock)
    table.set(pairs)
    changed = {name: table.properties[name] for name in pairs}
    told = ", ".join(f"{name}={output.property_text(value)}" for name, value in changed.items())
    output.emit(
        as_json, {"version": table.version, "properties": changed}, output.one_line(f"version {table.version}: {told}")
    )


@click.command(
    short_help="Join small files.",
    epilog=example("txfiles compact lake/customers --dry-run", "txfiles compact lake/events --where day = 2026-11-24"),
)
@click.argument("path")
@click.option(
    "--target-file-bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="How large files are to become; the table's property target_file_bytes by default.",
)
@click.option("--sort", is_flag=True, help="Sort the rows of each new file by the table's keys.")
@where_option("Only files that may hold a matching row.")
@click.option("--plain", is_flag=True, help="Also write anew all files that other tools would see otherwise.")
@options_of_write("timeout")
@click.option("--dry-run", is_flag=True, help="Say what would be joined, and join nothing.")
@lock_option
@storage_option
@json_option
def compact(
    path: str,
    target_file_bytes: int | None,
    sort: bool,
    where: list[Condition],
    plain: bool,
    timeout: float,
    dry_run: bool,
    lock: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Join small files that follow each other, in one commit that changes no row.

    A file is small below half the target size. One of which a quarter of the rows is deleted is written anew. The files
    that were joined stay until a vacuum. It is safe beside running writers: what another one has changed meanwhile is
    left as it is. With --plain, all files with deleted rows, or of before a change of the columns, are written anew:
    then 'txfiles files' lists them for any tool again.
    """
    table = open_table(path, storage_options=storage_options, lock=lock)
    with progress.bar(as_json=as_json) as report:
        done = table.compact(
            target_file_bytes,
            sort=sort,
            where=where or None,
            plain=plain,
            timeout=timeout,
            dry_run=dry_run,
            progress=report,
        )
    about = "about " if done.dry_run else ""
    verb = "would join" if done.dry_run else "joined"
    lines = [
        f"{verb} {output.counted(done.files_before, 'file')} into {about}{done.files_after:,}: "
        f"{done.rows:,} rows, {done.bytes_before:,} bytes, now {about}{done.bytes_after:,}"
        if done.groups
        else "there is nothing to join",
        *([f"dropping {done.rows_dropped:,} rows that were deleted"] if done.rows_dropped else []),
        *(
            [f"left out {output.counted(done.groups_skipped, 'group')} that others have changed"]
            if done.groups_skipped
            else []
        ),
    ]
    output.emit(as_json, done, "\n".join(lines))


@click.command(
    short_help="Build, drop or check the key index.",
    epilog=example(
        "txfiles index lake/customers --build", "txfiles index lake/customers", "txfiles index lake/customers --check"
    ),
)
@click.argument("path")
@click.option("--build", is_flag=True, help="Cover every data file, and have later commits keep the index.")
@click.option("--drop", is_flag=True, help="Remove the index, and have no later commit begin one.")
@click.option("--check", is_flag=True, help="Compare the index with the data files; exit code 1 if it is not right.")
@lock_option
@storage_option
@json_option
@click.pass_context
def index(
    context: click.Context,
    path: str,
    build: bool,
    drop: bool,
    check: bool,
    lock: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Say what the key index consists of and how many files it covers; or build, drop or check it.

    With an index, upserts, append_once, deletes by keys and lookups find rows without searching the data files. It
    changes no answer, and is built and dropped in one commit, safely beside running writers.
    """
    actions = [name for name, wanted in (("build", build), ("drop", drop), ("check", check)) if wanted]
    if len(actions) > 1:
        raise click.UsageError(f"--{actions[0]} and --{actions[1]} cannot be used together", context)
    table = open_table(path, storage_options=storage_options, lock=lock)
    with progress.bar(as_json=as_json) as report:
        found = table.index(actions[0] if actions else "show", progress=report)
    output.emit(as_json, found, _index_text(found))
    if check and found.problems:
        output.flush()
        context.exit(1)


def _index_text(found: tx.IndexResult) -> str:
    lines = [output.index_text(vars(found)) if found.runs else f"no key index (key_index={found.key_index})"]
    if found.action in ("build", "drop"):
        lines.insert(0, f"version {found.version} committed" if found.committed else "there is nothing to do")
    lines += [f"not used: {output.one_line(problem)}" for problem in found.problems]
    if found.problems:
        lines.append("rows are found without these; --drop and then --build make the index anew")
    elif found.action == "check":
        lines.append("the index is right")
    if found.runs and found.key_index == "off":
        lines.append("nobody asks it or adds to it (key_index=off); --build turns it on")
    elif found.runs and found.files_not_covered and not found.problems and found.action != "check":
        lines.append("--build covers the other files, too; until then they are searched")
    return "\n".join(lines)


@click.command(
    short_help="Delete files that no version needs.",
    epilog=example(
        "txfiles vacuum lake/customers --retain 7d --dry-run", "txfiles vacuum lake/customers --keep-versions 5"
    ),
)
@click.argument("path")
@click.option("--retain", metavar="TIME", help="How long to keep superseded files: 7d, 12h, 30m, 45s or 0.")
@click.option("--keep-versions", type=click.IntRange(min=1), metavar="N", help="Keep the newest N versions readable.")
@options_of_write("timeout")
@click.option("--dry-run", is_flag=True, help="List what would be deleted, and delete nothing.")
@click.option(
    "--force", is_flag=True, help="Go on even if most files belong to no version, as they do if the log was lost."
)
@format_option
@lock_option
@storage_option
@json_option
def vacuum(
    path: str,
    retain: str | None,
    keep_versions: int | None,
    timeout: float,
    dry_run: bool,
    force: bool,
    format_name: str | None,
    lock: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Delete files that only expired versions need, and leftovers of writes that never committed.

    It is safe beside running writers. A file is kept if --retain or --keep-versions keeps it; without
    --retain, the table's property vacuum_retain applies.
    """
    table = open_table(path, format_name, storage_options, lock=lock)
    with progress.bar(as_json=as_json) as report:
        done = table.vacuum(
            retain, keep_versions=keep_versions, timeout=timeout, dry_run=dry_run, force=force, progress=report
        )
    verb = "would delete" if done.dry_run else "deleted"
    lines = [
        f"{verb} {output.counted(len(done.deleted), 'file')}, {done.bytes:,} bytes",
        *(f"  {output.one_line(name)}" for name in done.deleted if done.dry_run),
    ]
    output.emit(as_json, done, "\n".join(lines))


@click.command(
    short_help="Find out whether a write was committed.",
    epilog=example("txfiles resolve lake/customers 0f5c1e8e7a3b4c2d9e6f1a2b3c4d5e6f"),
)
@click.argument("path")
@click.argument("commit_id")
@format_option
@storage_option
@json_option
def resolve(path: str, commit_id: str, format_name: str | None, storage_options: Storage, as_json: bool) -> None:
    """Say whether a write that ended with exit code 12 was committed, by the commit id that it printed."""
    import txfiles as tx

    found = tx.resolve(path, commit_id, format=format_name or told(path), storage_options=storage_options)
    text = f"committed as version {found.version}" if found.committed else "not committed"
    output.emit(as_json, found, text)
