"""What a Delta table can hold, and how values come there: cast without loss before any engine sees them.

Delta has signed integers, times in microseconds, zoned times in UTC and times without a zone. A new column gets the
narrowest of its types that holds every value of the one given; a value that it cannot hold is an error.

Source: specs/9-targets.md, "Types".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from txfiles.errors import SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.casts import cast_lossless
from txfiles.rows.source import NO_RULES, Batch, Source, TextRules
from txfiles.rows.typenames import type_text
from txfiles.rows.types import normalise

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
}
_AS_THEY_ARE = frozenset(
    (
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.string(), pa.binary(), pa.date32()),
    )
)
_MOST_DIGITS = 38


def delta_type(t: pa.DataType, column: str) -> pa.DataType:
    """The type that a new column has in a Delta table.

    Raises:
        UnsupportedTypeError: Delta has none for it.
    """
    t, is_ = normalise(t), pa.types
    if t in _AS_THEY_ARE:
        return t
    if t in _WIDER:
        return _WIDER[t]
    if is_.is_timestamp(t):
        return pa.timestamp("us", None if t.tz is None else "UTC")
    if is_.is_fixed_size_binary(t):
        return pa.binary()
    if is_.is_decimal(t) and t.precision <= _MOST_DIGITS:
        return pa.decimal128(t.precision, t.scale)
    if is_.is_list(t) or is_.is_fixed_size_list(t):
        return pa.list_(delta_type(t.value_type, column))
    if is_.is_struct(t):
        return pa.struct([pa.field(one.name, delta_type(one.type, column)) for one in t])
    if is_.is_map(t):
        return pa.map_(delta_type(t.key_type, column), delta_type(t.item_type, column))
    hint = "cast it to a type that Delta has, or leave it out"
    if is_.is_null(t):
        hint = "give the column a type: cast it, or name it in schema= for a CSV file"
    raise UnsupportedTypeError(
        f"column {column!r} of type {type_text(t)} cannot be stored in a Delta table", hint=hint, column=column
    )


@dataclass(frozen=True)
class DeltaSource:
    """An input whose columns have types that a Delta table can hold.

    Attributes:
        given: the input.
        strict: whether the columns of a known schema keep the type that they came with: a cast to the table's follows.
    """

    given: Source
    strict: bool

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        """See `Source.read`."""
        batch = self.given.read(known, rules)
        table, types = batch.table, {} if known is None else {field.name: field.type for field in known}
        for at, field in enumerate(table.schema):
            if field.name in types and (self.strict or pa.types.is_null(field.type)):
                continue
            if field.name in types and _no_value(table.column(at)):
                table = table.set_column(at, field.name, pa.nulls(table.num_rows))
                continue
            to = delta_type(field.type, field.name)
            if normalise(field.type) != to:
                table = table.set_column(
                    at, pa.field(field.name, to), cast_lossless(table.column(at), to, name=field.name)
                )
        return replace(batch, table=table)

    def close(self) -> None:
        """See `Source.close`."""
        self.given.close()


def _no_value(column: pa.ChunkedArray) -> bool:
    return len(column) > 0 and column.null_count == len(column)


def refuse_changes(before: pa.Schema, after: pa.Schema) -> None:
    """Refuse what only a rewrite of the whole table could do.

    Raises:
        SchemaMismatchError: a column would get another type.
    """
    for field in before:
        wanted = after.field(field.name).type
        if wanted != field.type:
            raise SchemaMismatchError(
                f"column {field.name!r} of the Delta table is {type_text(field.type)} and cannot become "
                f"{type_text(wanted)}: Delta's log says one type for every file",
                hint="cast the batch, or replace the table with mode='overwrite', schema_mode='overwrite'",
                column=field.name,
            )
