"""`txfiles read`: a table's rows as CSV, JSON lines, or a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from txfiles.cli import output
from txfiles.cli.opening import open_table
from txfiles.cli.params import (
    Condition,
    Storage,
    example,
    format_option,
    json_option,
    snapshot_options,
    storage_option,
    where_option,
)
from txfiles.core.messages import redact
from txfiles.errors import InputError, OptionError

if TYPE_CHECKING:
    import pyarrow as pa

JSON_ROWS = 8_192
"""How many rows are turned into Python objects at a time."""


@click.command(
    short_help="Read rows as CSV, JSON lines or a file.",
    epilog=example(
        "txfiles read lake/customers --column id --column name --where city = Bonn",
        "txfiles read lake/customers --at 2026-11-01T00:00:00Z --to customers.parquet",
    ),
)
@click.argument("path")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="C",
    help="Only this column; repeat it for several, in the order wanted.",
)
@where_option("Only rows that match.")
@snapshot_options
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N rows.")
@click.option("--to", metavar="FILE", help="Write to FILE (.parquet or .csv) instead of stdout.")
@format_option
@storage_option
@json_option
def read(
    path: str,
    columns: tuple[str, ...],
    where: list[Condition],
    version: int | None,
    at: str | None,
    limit: int | None,
    to: str | None,
    format_name: str | None,
    storage_options: Storage,
    as_json: bool,
) -> None:
    """Print the rows of a table as CSV.

    With --json: one JSON object per line, in which decimals, times and binary values (base64) are strings, so that
    no digits are lost.
    """
    target = None if to is None else _target(to)
    table = open_table(path, format_name, storage_options, version=version, at=at)
    with table.to_batches(list(columns) or None, where or None) as reader:
        pieces = _at_most(reader, limit)
        if target is not None:
            with _replacing(target) as file:
                written = _write(reader.schema, pieces, target.suffix.lower().removeprefix("."), file.write)
            output.emit(
                as_json, {"path": to, "rows": written}, f"{written:,} rows written to {output.one_line(str(to))}"
            )
        else:
            _print(reader.schema, pieces, as_json=as_json)


def print_batches(reader: pa.RecordBatchReader, *, as_json: bool) -> None:
    """Print rows as CSV, or as one JSON object per line."""
    _print(reader.schema, _at_most(reader, None), as_json=as_json)


def _print(schema: pa.Schema, pieces: Iterable[pa.Table], *, as_json: bool) -> None:
    if as_json:
        _to_json_lines(pieces)
    else:
        _write(schema, pieces, "csv", output.write_bytes)


def _at_most(reader: pa.RecordBatchReader, limit: int | None) -> Iterator[pa.Table]:
    """The first rows, in pieces; reads only the batches that they need."""
    import pyarrow as pa

    left = limit
    while left != 0:
        batch = next(reader, None)
        if batch is None:
            return
        rows = pa.Table.from_batches([batch.slice(0, left)])
        if left is not None:
            left -= rows.num_rows
        yield rows


def _target(to: str) -> Path:
    path = Path(to)
    if redact(to) != to:
        raise OptionError(f"--to must be a local file, not {redact(to)!r}", hint="write it locally, then copy it")
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise OptionError(f"--to must end in .parquet or .csv, not {to!r}", hint="the ending chooses the format")
    return path


def _to_json_lines(pieces: Iterable[pa.Table]) -> None:
    from txfiles.rows.text import to_json

    for rows in pieces:
        for batch in rows.to_batches(max_chunksize=JSON_ROWS):
            for values in zip(*map(to_json, batch.columns), strict=True):
                output.write_json(dict(zip(batch.schema.names, values, strict=True)))


class _Sink:
    """Where the library's writers put their bytes: any function that takes them."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append bytes."""
        taken = bytes(data)
        self._write(taken)
        return len(taken)

    def close(self) -> None:
        """The owner of the stream closes it."""

    def abort(self) -> None:
        """The owner of the stream drops it."""


def _write(schema: pa.Schema, pieces: Iterable[pa.Table], format_name: str, write: Callable[[bytes], object]) -> int:
    """Write rows as they come; returns how many."""
    from txfiles import formats
    from txfiles.formats.common import WriteOptions

    found = formats.get(format_name)
    found.check_types(schema)
    writer = found.writer(_Sink(write), schema, WriteOptions())
    for rows in pieces:
        writer.write(rows)
    return writer.close().rows


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` once it is complete; if anything goes wrong, `path` stays as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {str(path)!r}: {error.strerror or error}",
            hint="choose a file in a folder that you can write to",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
