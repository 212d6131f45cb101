"""`txfiles write` and `txfiles plan`: the same words, one of them only says what the other would do."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from txfiles.cli import output, progress
from txfiles.cli.params import CONDITION_HELP, Word, conditions, example, json_option, lock_option, mapping, pair

if TYPE_CHECKING:
    import txfiles as tx

Function = TypeVar("Function", bound=Callable[..., Any])

MODES = ("overwrite", "append", "append_once", "upsert")
FATES = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated")


def typed(given: str) -> tuple[str, str]:
    """``NAME=TYPE``, cut at the last equals sign, since a name may hold one and a type never does (a type of click)."""
    name, equals, kind = given.rpartition("=")
    if not equals or not name:
        raise click.BadParameter(f"{given!r} is not of the form NAME=TYPE")
    return name, kind


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("inputs", nargs=-1, required=True, metavar="IN..."),
    click.option("--to", "path", required=True, metavar="PATH", help="The table's folder."),
    click.option(
        "--mode",
        required=True,
        type=Word(MODES),
        help="overwrite: replace the table; append: add the rows; append_once: add those whose key is new; "
        "upsert: replace rows by key, add the others.",
    ),
    click.option("--format", type=Word(("parquet", "csv")), help="Of a new table's files; parquet unless said."),
    click.option("--key", "keys", multiple=True, metavar="COL", help="A key column; repeat it for a composite key."),
    click.option(
        "--dedup-strategy",
        type=Word(("error", "newest_wins", "first_wins", "last_wins")),
        default="error",
        show_default=True,
        help="Which row of the input stays where a key has several.",
    ),
    click.option("--timestamp-col", metavar="COL", help="The column that says which of two rows is newer."),
    click.option(
        "--stale",
        type=Word(("skip", "apply")),
        default="skip",
        show_default=True,
        help="What becomes of rows older than the table's row of that key.",
    ),
    click.option(
        "--batch-id", metavar="ID", help="A name for this input; it is applied once, however often it is run."
    ),
    click.option(
        "--schema-mode",
        type=Word(("strict", "merge", "overwrite")),
        default="strict",
        show_default=True,
        help="Whether columns may be added and widened, or all replaced.",
    ),
    click.option(
        "--schema",
        multiple=True,
        type=typed,
        metavar="NAME=TYPE",
        callback=mapping,
        help="The type of a CSV column, such as id=int64; others are inferred where a table is new. Repeatable.",
    ),
    click.option(
        "--partition-by", multiple=True, metavar="COL", help="A partition column of a new table; repeatable, in order."
    ),
    click.option("--overwrite-partitions", is_flag=True, help="Replace just the partitions that the input has."),
    click.option(
        "--replace-where",
        nargs=3,
        multiple=True,
        metavar="COLUMN OP VALUE",
        callback=conditions,
        help=f"Replace just the rows that match. {CONDITION_HELP}",
    ),
    click.option("--rekey", is_flag=True, help="Record other keys, or another timestamp column, than before."),
    click.option(
        "--property",
        "properties",
        multiple=True,
        type=pair,
        metavar="NAME=VALUE",
        callback=mapping,
        help="A property of the table, such as compression=zstd.",
    ),
    click.option(
        "--metadata",
        "user_metadata",
        multiple=True,
        type=pair,
        metavar="NAME=VALUE",
        callback=mapping,
        help="A fact to record with the commit. Repeatable.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="S",
        help="Seconds to keep trying while other writers win.",
    ),
    lock_option,
    json_option,
)


def _write_options(function: Function) -> Function:
    return reduce(lambda done, option: option(done), reversed(OPTIONS), function)


@click.command(
    short_help="Write files into a table, in one commit.",
    epilog=example(
        "txfiles write customers.csv --to lake/customers --mode upsert --key id",
        "txfiles write day1.parquet day2.parquet --to lake/events --mode append --batch-id 2026-11-24",
        "export-rows | txfiles write - --to lake/events --mode append --schema id=string",
    ),
)
@_write_options
def write(inputs: tuple[str, ...], path: str, as_json: bool, **options: Any) -> None:
    """Write Parquet or CSV files into a table, which is created where there is none.

    Several inputs are one transaction, in their order; - is CSV on stdin. Running the same write
    again does no harm with upsert and append_once, and in any mode with --batch-id.
    """
    import txfiles as tx

    with _readable(inputs) as data, progress.bar(as_json=as_json) as report:
        result = tx.write(data, path, progress=report, **_arguments(options))
    _emit(result, _headline(result), as_json)


@click.command(
    short_help="Say what a write would do, and do nothing.",
    epilog=example("txfiles plan customers.csv --to lake/customers --mode upsert --key id"),
)
@_write_options
def plan(inputs: tuple[str, ...], path: str, as_json: bool, **options: Any) -> None:
    """Say what `write` with the same words would do, and write nothing.

    Rows by fate, files touched, and estimates of the files and bytes written.
    """
    import txfiles as tx

    with _readable(inputs) as data, progress.bar(as_json=as_json) as report:
        result = tx.plan(data, path, progress=report, **_arguments(options))
    _emit(result, _headline_of_plan(result), as_json)


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The library tells "not given" by None."""
    return {name: None if value in ((), [], {}) else value for name, value in options.items()}


@contextmanager
def _readable(inputs: Sequence[str]) -> Iterator[str | list[str]]:
    """The inputs as paths; stdin is spooled to a file, since a rebase may have to read it again."""
    if "-" not in inputs:
        yield _one_or_all(inputs)
        return
    if inputs.count("-") > 1:
        raise click.UsageError("stdin (-) can be read only once", click.get_current_context())
    with tempfile.TemporaryDirectory(prefix="txfiles-") as folder:
        spool = Path(folder) / "stdin.csv"
        with spool.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield _one_or_all([str(spool) if name == "-" else name for name in inputs])


def _one_or_all(inputs: Sequence[str]) -> str | list[str]:
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _emit(result: tx.WriteResult, headline: str, as_json: bool) -> None:
    inferred = None
    if result.schema_inferred is not None:
        inferred = {field.name: output.type_spec(field.type) for field in result.schema_inferred}
        if not as_json:
            told = ", ".join(f"{name} {output.type_text(spec)}" for name, spec in inferred.items())
            output.note(f"types inferred from the CSV input: {told}; --schema NAME=TYPE says otherwise")
    for said in () if as_json else result.notes:
        output.note(said)
    document = output.jsonable(result) | {"schema_inferred": inferred}
    details = "" if result.already_committed else f"\n{_details(result)}"
    output.emit(as_json, document, f"{output.one_line(headline)}{details}")


def _headline(result: tx.WriteResult) -> str:
    if result.already_committed:
        return f"this batch id was already committed as version {result.version}; nothing was written"
    if result.committed:
        return f"version {result.version} committed ({result.mode}, {result.elapsed:.2f} s)"
    return f"nothing to commit; the table stays at version {result.version}"


def _headline_of_plan(result: tx.Plan) -> str:
    if result.already_committed:
        return f"this batch id was already committed as version {result.version}; a write would do nothing"
    where = "for a new table" if result.version is None else f"on version {result.version}"
    return f"a plan {where} ({result.mode}); nothing was written"


def _details(result: tx.WriteResult) -> str:
    return output.fields((("rows", _rows(result)), ("files", _files(result))), indent=2)


def _rows(result: tx.WriteResult) -> str:
    counts = [(fate, getattr(result, f"rows_{fate}")) for fate in FATES]
    fates = ", ".join(f"{output.number(count)} {fate}" for fate, count in counts if count != 0)
    deleted = "" if result.rows_deleted == 0 else f"; {output.number(result.rows_deleted)} deleted"
    return f"{output.number(result.rows_in)} in{': ' if fates else ''}{fates}{deleted}"


def _files(result: tx.WriteResult) -> str:
    number = output.number
    rewrite = f"{number(result.files_to_rewrite)} to rewrite, " if hasattr(result, "files_to_rewrite") else ""
    looked = f"{rewrite}{number(result.files_scanned)} scanned, {number(result.files_pruned)} pruned"
    size = f"{number(result.bytes_written)} bytes"
    return f"+{number(result.files_added)} -{number(result.files_removed)}, {looked}; {size}"
