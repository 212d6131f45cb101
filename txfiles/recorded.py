"""Reconcile a write's options with what the table has recorded: one function, one table action out.

Source: specs/4-semantics.md, "Keys" and "Creation".
"""

from __future__ import annotations

from msgspec.structs import replace

from txfiles.core.manifest import TableMetadata
from txfiles.core.properties import effective, read_properties
from txfiles.errors import OptionError
from txfiles.options import WriteOptions

REKEY_HINT = "pass rekey=True to change the table's keys"


def settle(current: TableMetadata | None, wish: WriteOptions) -> TableMetadata:
    """The table action that the options lead to, apart from the columns.

    Args:
        current: the table's metadata; None for a new table.
        wish: the caller's options; None and () mean "not given".
    Raises:
        OptionError: an option contradicts what the table has recorded.
    """
    if current is None:
        return TableMetadata(
            format=wish.format or "parquet",
            columns=(),
            last_column_id=0,
            partition_by=wish.partition_by or (),
            keys=wish.keys,
            timestamp_col=wish.timestamp_col,
            properties=read_properties(wish.properties),
        )
    _refuse_other("format", current.format, wish.format)
    if wish.partition_by is not None and wish.partition_by != current.partition_by:
        raise OptionError(
            f"the table is partitioned by {_columns(current.partition_by)}, not by {_columns(wish.partition_by)}",
            hint="leave partition_by out: the table knows it",
        )
    _refuse_other_properties(current, wish)
    return replace(current, keys=_keys(current, wish), timestamp_col=_timestamp_col(current, wish))


def _keys(current: TableMetadata, wish: WriteOptions) -> tuple[str, ...]:
    if not wish.keys or set(wish.keys) == set(current.keys):
        return current.keys  # in the recorded order: key ranges were encoded in it
    if current.keys and not wish.rekey:
        raise OptionError(f"the table's keys are {_columns(current.keys)}, not {_columns(wish.keys)}", hint=REKEY_HINT)
    return wish.keys


def _timestamp_col(current: TableMetadata, wish: WriteOptions) -> str | None:
    if wish.timestamp_col is None or wish.timestamp_col == current.timestamp_col:
        return current.timestamp_col
    if current.timestamp_col is not None and not wish.rekey:
        raise OptionError(
            f"the table's timestamp_col is {current.timestamp_col!r}, not {wish.timestamp_col!r}",
            hint="pass rekey=True to order rows by it from now on",
        )
    return wish.timestamp_col


def _refuse_other(option: str, recorded: str, wished: str | None) -> None:
    if wished is not None and wished != recorded:
        raise OptionError(f"the table's {option} is {recorded!r}, not {wished!r}", hint=f"leave {option} out")


def _refuse_other_properties(current: TableMetadata, wish: WriteOptions) -> None:
    known = effective(current.properties)
    for name, value in read_properties(wish.properties).items():
        if known[name] != value:
            raise OptionError(
                f"property {name!r} is {known[name]!r}, and a write cannot change it to {value!r}",
                hint=f"use Table.set({name}={value!r}) or `txfiles set PATH {name}={value}`",
            )


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
