"""`txfiles write`, `txfiles plan` and `txfiles delete`: plan has the arguments of write, and says what it would do."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from txfiles.cli import advice, output, progress
from txfiles.cli.opening import open_table
from txfiles.cli.params import (
    CONFIG_OPTION,
    UNLESS_CONFIG,
    Condition,
    Storage,
    arguments,
    example,
    format_option,
    json_option,
    options_of_write,
    storage_option,
    where_option,
    write_options,
)

if TYPE_CHECKING:
    import txfiles as tx

Function = TypeVar("Function", bound=Callable[..., Any])

FATES = ("inserted", "updated", "unchanged", "skipped", "stale", "deduplicated")


def _words(function: Function) -> Function:
    """Inputs, the table and the options: the same for both verbs."""
    inputs = click.argument("inputs", nargs=-1, required=True, metavar="IN...")
    path = click.option("--to", "path", metavar="PATH", help=f"The table's folder or URL. {UNLESS_CONFIG}")
    config = click.option(
        CONFIG_OPTION,
        "config",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="A YAML file with the table and the options; options of the command line replace its own.",
    )
    return inputs(path(config(write_options(json_option(function)))))


def _run(verb: str, inputs: Sequence[str], path: str | None, config: str | None, as_json: bool, given: Any) -> Any:
    """Call `write` or `plan`, with the options of a configuration file if there is one."""
    import txfiles as tx

    context = click.get_current_context()
    for param in context.command.params:
        if config is None and context.params.get(param.name or "") is None and param.name in ("path", "mode"):
            raise click.MissingParameter(ctx=context, param=param)
    loaded = None if config is None else tx.load_config(config)
    if loaded is not None:  # what is only a default of the command line does not replace the file's
        said = ParameterSource.COMMANDLINE
        given = {name: value for name, value in given.items() if context.get_parameter_source(name) is said}
    with _readable(inputs) as data, progress.bar(as_json=as_json) as report:
        options = {**arguments(given), "path": path, "progress": report}
        return getattr(tx if loaded is None else loaded, verb)(_one_or_all(data), **options)


@click.command(
    short_help="Write files into a table, in one commit.",
    epilog=example(
        "txfiles write customers.csv --to lake/customers --mode upsert --key id",
        "txfiles write day1.parquet day2.parquet --to lake/events --mode append --batch-id 2026-11-24",
        "txfiles write customers.csv --config pipeline.yaml",
        "export-rows | txfiles write - --to lake/events --mode append --schema id=string",
    ),
)
@_words
def write(inputs: tuple[str, ...], path: str | None, config: str | None, as_json: bool, **options: Any) -> None:
    """Write Parquet or CSV files into a table. The first write creates it.

    Several inputs are one transaction, in the order given; - reads CSV from stdin. With upsert or
    append_once, and in any mode with --batch-id, it is safe to run the same command again.
    """
    _emit(_run("write", inputs, path, config, as_json, options), path, as_json)


@click.command(
    short_help="Say what a write would do, without writing.",
    epilog=example("txfiles plan customers.csv --to lake/customers --mode upsert --key id"),
)
@_words
def plan(inputs: tuple[str, ...], path: str | None, config: str | None, as_json: bool, **options: Any) -> None:
    """Say what 'txfiles write' with the same arguments would do, without writing.

    Shows what would become of the rows, which files would be rewritten, and estimates of the files
    and bytes written; and whether a compaction is worth it.
    """
    _emit(_run("plan", inputs, path, config, as_json, options), path, as_json)


@click.command(
    short_help="Delete rows, by a filter or by keys.",
    epilog=example(
        "txfiles delete lake/customers --where country = DE --where last_seen '<' 2020-01-01",
        "txfiles delete lake/customers --keys gone.csv --batch-id erasure-17 --dry-run",
        "export-keys | txfiles delete lake/customers --keys -",
    ),
)
@click.argument("path")
@where_option("Delete the rows that match.")
@click.option("--keys", metavar="FILE", help="Delete the rows whose keys are in FILE, Parquet or CSV; - is stdin.")
@options_of_write("batch_id", "user_metadata", "timeout")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@format_option
@options_of_write("lock")
@storage_option
@json_option
def delete(
    path: str,
    where: list[Condition],
    keys: str | None,
    format_name: str | None,
    lock: str | None,
    storage_options: Storage,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Delete the rows that match all conditions, or that have one of the keys in a file.

    The file, which may be at a URL, has the table's key columns, perhaps among others; - reads CSV from
    stdin. Nothing is committed if no row is found. To delete every row, write a file without rows with
    --mode overwrite.
    """
    from txfiles import inputs

    if bool(where) == (keys is not None):
        raise click.UsageError("give either --where or --keys: they say which rows", click.get_current_context())
    for_keys_only = keys is not None and inputs.are_remote(keys) and not inputs.are_remote(path)
    table = open_table(path, format_name, None if for_keys_only else storage_options, lock=lock)
    with _readable([keys or ""]) as (name,), progress.bar(as_json=as_json) as report:
        rows = {"where": where} if keys is None else {"keys": _Name(name), "storage_options": storage_options}
        result = table.delete(**rows, dry_run=dry_run, progress=report, **arguments(options))
    _emit(result, path, as_json)


@dataclass(frozen=True)
class _Name:
    """The name of a file, as the library tells one from a key; `pathlib` would change that of a URL."""

    name: str

    def __fspath__(self) -> str:
        return self.name


@contextmanager
def _readable(inputs: Sequence[str]) -> Iterator[Sequence[str]]:
    """The inputs as paths; stdin is spooled to a file, since a rebase may have to read it again."""
    if "-" not in inputs:
        yield inputs
        return
    if inputs.count("-") > 1:
        raise click.UsageError("stdin (-) can be read only once", click.get_current_context())
    with tempfile.TemporaryDirectory(prefix="txfiles-") as folder:
        spool = Path(folder) / "stdin.csv"
        with spool.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [str(spool) if name == "-" else name for name in inputs]


def _one_or_all(inputs: Sequence[str]) -> str | list[str]:
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _emit(result: tx.WriteResult, path: str | None, as_json: bool) -> None:
    inferred = None
    if result.schema_inferred is not None:
        inferred = {field.name: output.type_spec(field.type) for field in result.schema_inferred}
        if not as_json:
            told = ", ".join(f"{name} {output.type_text(spec)}" for name, spec in inferred.items())
            output.note(f"types inferred from the CSV input: {told}; override them with --schema NAME=TYPE")
    for said in () if as_json else result.notes:
        output.note(said)
    document = output.jsonable(result) | {"schema_inferred": inferred}
    details = "" if result.already_committed else f"\n{_details(result, path)}"
    output.emit(as_json, document, f"{output.one_line(_headline(result))}{details}")


def _headline(result: tx.WriteResult) -> str:
    if result.dry_run:
        return _headline_of_plan(result)
    if result.already_committed:
        return f"this batch id was already committed as version {result.version}; nothing was written"
    if result.committed:
        return f"version {result.version} committed ({result.mode}, {result.elapsed:.2f} s)"
    return f"nothing to commit; the table stays at version {result.version}"


def _headline_of_plan(result: tx.WriteResult) -> str:
    if result.already_committed:
        return f"this batch id was already committed as version {result.version}; the call would do nothing"
    where = "for a new table" if result.version is None else f"on version {result.version}"
    return f"a plan {where} ({result.mode}); nothing was written"


def _details(result: tx.WriteResult, path: str | None) -> str:
    worth = getattr(result, "compaction", None)
    told = [("compaction", advice.compaction(path or "PATH", worth))] if worth is not None else []
    return output.fields([("rows", _rows(result)), ("files", _files(result)), *told], indent=2)


def _rows(result: tx.WriteResult) -> str:
    if result.mode == "delete":
        return f"{output.number(result.rows_deleted)} deleted"
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
