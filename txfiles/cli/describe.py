"""`txfiles log`, `show` and `files`: they describe a table and change nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from txfiles.cli import advice, output
from txfiles.cli.graph import graph
from txfiles.cli.opening import open_table
from txfiles.cli.params import Storage, example, format_option, json_option, snapshot_options, storage_option
from txfiles.errors import UnsupportedVerbError

if TYPE_CHECKING:
    import txfiles as tx


@click.command(short_help="List the commits, newest first.", epilog=example("txfiles log lake/customers -n 5"))
@click.argument("path")
@click.option("-n", "limit", type=click.IntRange(min=1), metavar="N", help="Show only the newest N commits.")
@click.option("--graph", "as_graph", is_flag=True, help="Draw them, with those beside that a restore has undone.")
@format_option
@storage_option
@json_option
def log(
    path: str, limit: int | None, as_graph: bool, format_name: str | None, storage_options: Storage, as_json: bool
) -> None:
    """List the commits of a table, newest first.

    Rows are counted as +inserted ~updated -deleted, files as +added -removed. With --json: one array of objects. With
    --graph, * is a version of which the newest one is made, o one that a restore has undone, and a bar shows how many
    rows changed, by the most of any commit shown.
    """
    commits = open_table(path, format_name, storage_options).history(limit)
    if as_graph:
        output.emit(as_json, commits, graph(commits))
        return
    header = ("version", "time", "operation", "rows", "files", "batch id")
    rows = [
        (
            str(commit.version),
            output.jsonable(commit.time),
            commit.operation,
            f"+{commit.rows_inserted:,} ~{commit.rows_updated:,} -{commit.rows_deleted:,}",
            f"+{commit.files_added:,} -{commit.files_removed:,}",
            commit.batch_id or "",
        )
        for commit in commits
    ]
    output.emit(as_json, commits, output.table(header, rows, right=(0,)))


@click.command(
    short_help="Describe a table.",
    epilog=example("txfiles show lake/customers", "txfiles show lake/customers --at 2026-11-01T00:00:00Z"),
)
@click.argument("path")
@snapshot_options
@format_option
@storage_option
@json_option
def show(
    path: str,
    version: int | None,
    at: str | None,
    format_name: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Describe a table: version, size, keys, partitioning, columns and properties.

    It says if a compaction is worth it: many small files, or a file of which a quarter of the rows are deleted.
    """
    table = open_table(path, format_name, storage_options, version=version, at=at)
    found = _facts(table)
    if version is not None or at is not None:  # what is true of an older version may not be of the newest
        found["compaction"] = None
    worth = found["compaction"]
    told = [] if worth is None else [("compaction", advice.compaction(path, worth))]
    output.emit(as_json, found, _told(found, told))


def _facts(table: tx.Table) -> dict[str, Any]:
    files, size, index, worth = _counted(table)
    return {
        "path": table.path,
        "backend": table.backend,
        "backend_reason": table.backend_reason,
        "format": table.format,
        "version": table.version,
        "rows": table.row_count,
        "files": files,
        "bytes": size,
        "compaction": worth,
        "keys": list(table.keys),
        "timestamp_col": table.timestamp_col,
        "partition_by": list(table.partition_by),
        "columns": [{"name": field.name, "type": output.type_spec(field.type)} for field in table.schema],
        "index": index and {name: getattr(index, name) for name in INDEX_FACTS},
        "properties": dict(table.properties),
    }


INDEX_FACTS = ("runs", "keys", "bytes", "files_covered", "files_not_covered", "problems")


def _counted(table: tx.Table) -> tuple[int | None, int | None, Any, Any]:
    """How many files and bytes a table has, its key index and what a compaction is worth, as far as it says."""
    with suppress(UnsupportedVerbError):
        listed = table.file_table(physical=True)
        return listed.num_rows, sum(listed["bytes"].to_pylist()), table.index(), table.worth_compacting()
    with suppress(UnsupportedVerbError):
        return len(table.files(physical=True)), None, None, None
    return None, None, None, None


def _through(found: dict[str, Any]) -> str:
    reason = found["backend_reason"]
    return f"{found['backend']} ({reason})" if reason else str(found["backend"])


def _told(found: dict[str, Any], advised: list[tuple[str, str]]) -> str:
    index = found["index"]
    main = [
        ("path", found["path"]),
        *([("through", _through(found))] if found["backend"] else []),
        ("format", found["format"]),
        *((name, f"{found[name]:,}") for name in ("version", "rows", "files", "bytes") if found[name] is not None),
        *advised,
        ("keys", ", ".join(found["keys"]) or "-"),
        ("timestamp column", found["timestamp_col"] or "-"),
        ("partitioned by", ", ".join(found["partition_by"]) or "-"),
        *([("key index", output.index_text(index))] if index and index["runs"] else []),
    ]
    columns = [(column["name"], output.type_text(column["type"])) for column in found["columns"]]
    properties = [(name, output.property_text(value)) for name, value in found["properties"].items()]
    return "\n".join(
        (
            output.fields(main),
            "columns",
            output.fields(columns, indent=2),
            "properties",
            output.fields(properties, indent=2),
        )
    )


@click.command(
    short_help="List the data files.",
    epilog=example("txfiles files lake/customers", "txfiles files lake/customers --long --version 3"),
)
@click.argument("path")
@click.option("--long", "long_", is_flag=True, help="Show rows, bytes and partition values, too.")
@click.option("--physical", is_flag=True, help="List the files even if some have other columns than the table.")
@snapshot_options
@format_option
@storage_option
@json_option
def files(
    path: str,
    long_: bool,
    physical: bool,
    version: int | None,
    at: str | None,
    format_name: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """List the paths of a table's data files, one per line, for any tool that reads Parquet or CSV.

    With --json: one array of objects, with everything that --long shows.
    """
    table = open_table(path, format_name, storage_options, version=version, at=at)
    if not as_json and not long_:
        for name in table.files(physical=physical):
            output.write_text(name)
        return
    listed = _listed(table, physical=physical)
    header = ("rows", "bytes", *table.partition_by, "path")
    lines = [
        (f"{one['rows']:,}", f"{one['bytes']:,}", *map(_partition_text, one["partition"].values()), one["path"])
        for one in listed
    ]
    output.emit(as_json, listed, output.table(header, lines, right=(0, 1)))


def _listed(table: tx.Table, *, physical: bool) -> list[dict[str, Any]]:
    found = table.file_table(physical=physical).select(["path", "rows", "bytes", "partition"]).to_pylist()
    return [one | {"partition": dict(zip(table.partition_by, one["partition"] or (), strict=True))} for one in found]


def _partition_text(value: str | None) -> str:
    return "(null)" if value is None else value
