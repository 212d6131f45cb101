"""`txfiles write` and `txfiles plan`: the same arguments; plan only says what write would do."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from txfiles.cli import output, progress
from txfiles.cli.params import arguments, example, json_option, write_options

if TYPE_CHECKING:
    import txfiles as tx

Function = TypeVar("Function", bound=Callable[..., Any])

FATES = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated")


def _words(function: Function) -> Function:
    """Inputs, the table and the options: the same for both verbs."""
    inputs = click.argument("inputs", nargs=-1, required=True, metavar="IN...")
    path = click.option("--to", "path", required=True, metavar="PATH", help="The table's folder or URL.")
    return inputs(path(write_options(json_option(function))))


@click.command(
    short_help="Write files into a table, in one commit.",
    epilog=example(
        "txfiles write customers.csv --to lake/customers --mode upsert --key id",
        "txfiles write day1.parquet day2.parquet --to lake/events --mode append --batch-id 2026-11-24",
        "export-rows | txfiles write - --to lake/events --mode append --schema id=string",
    ),
)
@_words
def write(inputs: tuple[str, ...], path: str, as_json: bool, **options: Any) -> None:
    """Write Parquet or CSV files into a table. The first write creates it.

    Several inputs are one transaction, in the order given; - reads CSV from stdin. With upsert or
    append_once, and in any mode with --batch-id, it is safe to run the same command again.
    """
    import txfiles as tx

    with _readable(inputs) as data, progress.bar(as_json=as_json) as report:
        result = tx.write(data, path, progress=report, **arguments(options))
    _emit(result, _headline(result), as_json)


@click.command(
    short_help="Say what a write would do, without writing.",
    epilog=example("txfiles plan customers.csv --to lake/customers --mode upsert --key id"),
)
@_words
def plan(inputs: tuple[str, ...], path: str, as_json: bool, **options: Any) -> None:
    """Say what 'txfiles write' with the same arguments would do, without writing.

    Shows what would become of the rows, which files would be rewritten, and estimates of the files
    and bytes written.
    """
    import txfiles as tx

    with _readable(inputs) as data, progress.bar(as_json=as_json) as report:
        result = tx.plan(data, path, progress=report, **arguments(options))
    _emit(result, _headline_of_plan(result), as_json)


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
            output.note(f"types inferred from the CSV input: {told}; override them with --schema NAME=TYPE")
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
