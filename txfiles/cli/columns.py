"""`txfiles rename`, `txfiles drop`, `txfiles reorder` and `txfiles widen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from txfiles.cli import output
from txfiles.cli.opening import open_table
from txfiles.cli.params import Storage, example, json_option, lock_option, storage_option

if TYPE_CHECKING:
    import txfiles as tx


@click.command(
    short_help="Rename a column.",
    epilog=example("txfiles rename lake/customers mail email"),
)
@click.argument("path")
@click.argument("old")
@click.argument("new")
@lock_option
@storage_option
@json_option
def rename(path: str, old: str, new: str, lock: str | None, storage_options: Storage, as_json: bool) -> None:
    """Rename a column, in one commit that touches no file. Keys and other roles stay with the column."""
    table = open_table(path, storage_options=storage_options, lock=lock)
    table.rename_column(old, new)
    _emit(table, f"{old} is {new}", as_json=as_json)


@click.command(
    short_help="Drop a column.",
    epilog=example("txfiles drop lake/customers fax"),
)
@click.argument("path")
@click.argument("column")
@lock_option
@storage_option
@json_option
def drop(path: str, column: str, lock: str | None, storage_options: Storage, as_json: bool) -> None:
    """Drop a column, in one commit that touches no file.

    Earlier versions still have it, and the files hold its values until they are written anew ('txfiles compact PATH
    --plain') and a vacuum deletes the old ones.
    """
    table = open_table(path, storage_options=storage_options, lock=lock)
    table.drop_column(column)
    _emit(table, f"{column} is dropped", as_json=as_json)


@click.command(
    short_help="Change the order of the columns.",
    epilog=example("txfiles reorder lake/customers id email name"),
)
@click.argument("path")
@click.argument("columns", nargs=-1, required=True, metavar="COLUMN...")
@lock_option
@storage_option
@json_option
def reorder(path: str, columns: tuple[str, ...], lock: str | None, storage_options: Storage, as_json: bool) -> None:
    """Change the order of the columns, in one commit that touches no file. All columns are given, each once."""
    table = open_table(path, storage_options=storage_options, lock=lock)
    table.reorder_columns(columns)
    _emit(table, ", ".join(table.schema.names), as_json=as_json)


@click.command(
    short_help="Give a column a wider type.",
    epilog=example("txfiles widen lake/customers visits int64"),
)
@click.argument("path")
@click.argument("column")
@click.argument("type_name", metavar="TYPE")
@lock_option
@storage_option
@json_option
def widen(path: str, column: str, type_name: str, lock: str | None, storage_options: Storage, as_json: bool) -> None:
    """Give a column a type that holds every value of its present one, in one commit that touches no file."""
    table = open_table(path, storage_options=storage_options, lock=lock)
    table.widen_column(column, type_name)
    _emit(table, f"{column} is {output.type_text(output.type_spec(table.schema.field(column).type))}", as_json=as_json)


def _emit(table: tx.Table, told: str, *, as_json: bool) -> None:
    columns = [{"name": field.name, "type": output.type_spec(field.type)} for field in table.schema]
    document = {"version": table.version, "columns": columns}
    output.emit(as_json, document, output.one_line(f"version {table.version}: {told}"))
