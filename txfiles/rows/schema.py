"""A batch's columns against a table's: which columns a write leads to, and the batch in their form.

Columns go by their exact names, in any order. `reconcile` looks at types alone; `conform` moves values.

Source: specs/4-semantics.md, "Schema modes".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from txfiles.core.messages import listed, nearest
from txfiles.core.schema import Column
from txfiles.errors import InputError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.casts import cast_lossless, check_castable, fill_null_types, is_castable, widen
from txfiles.rows.types import decode, from_spec, to_spec
from txfiles.rows.widening import FieldPath, field_differences, path_text

Mode = Literal["strict", "merge", "overwrite"]


@dataclass(frozen=True)
class Reconciled:
    """What a write makes of a table's columns.

    Attributes:
        columns: the columns after the write; ids stay with their columns, new ones follow the last.
        changed: whether they differ from the table's (then the write commits, rows or not).
        missing: columns that the table had and the batch lacks, in the table's order.
        added: columns that the table lacked, in the batch's order.
        missing_fields: struct fields that the table had and the batch lacks, in columns that both have.
    """

    columns: tuple[Column, ...]
    changed: bool
    missing: tuple[str, ...]
    added: tuple[str, ...]
    missing_fields: tuple[FieldPath, ...] = ()


def check_batch_schema(schema: pa.Schema) -> None:
    """Whether a table could have these columns at all.

    Raises:
        InputError: no column, a name that is empty or stands twice.
        UnsupportedTypeError: a column whose type no table can hold; names it.
    """
    names = schema.names
    if not names:
        raise InputError("the data has no columns", hint="give at least one column")
    if "" in names:
        position = names.index("")
        raise InputError(f"column {position} (from 0) has no name", hint="name the column", position=position)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"several columns have the same name: {listed(twice)}", hint="rename or drop all but one", columns=twice
        )
    for field in schema:
        _spec_of(field)


def reconcile(
    columns: Sequence[Column], batch: pa.Schema, mode: Mode, *, last_id: int, index: Sequence[str] = ()
) -> Reconciled:
    """The table's columns after a batch of this schema is written.

    Args:
        columns: the table's; none where it is new (then every mode takes the batch's).
        batch: the batch's, checked by `check_batch_schema`.
        mode: what may change. ``strict``: nothing but a type null, which takes the batch's type. ``merge``:
            columns are added, types are widened, structs get the fields of both. ``overwrite``: the batch's columns
            replace the table's; an id is kept where name and type are.
        last_id: the greatest id that the table ever gave; new ids follow it.
        index: names in the index of a DataFrame, which is not written, for messages.
    Raises:
        SchemaMismatchError: columns missing or too many under ``strict``, a name that differs from a missing
            one in case only under ``merge``, types that never mix.
        UnsupportedTypeError: a column whose type no table can hold.
    """
    known = {column.name: column for column in columns}
    given = {field.name: field for field in batch}
    fields_missing: list[FieldPath] = []
    missing = tuple(name for name in known if name not in given)
    added = tuple(name for name in given if name not in known)
    if mode == "overwrite" or not columns:
        after = _replaced(known, batch, last_id)
    else:
        fields_missing, fields_added = _field_differences(columns, given)
        if mode == "strict":
            _refuse_other_columns(
                [*missing, *map(path_text, fields_missing)], [*added, *map(path_text, fields_added)], index
            )
        else:
            _refuse_other_case(missing, added)
        joined = fill_null_types if mode == "strict" else _widened
        kept = [_joined(column, given.get(column.name), joined) for column in columns]
        new = [Column(id=last_id + i, name=name, type=_spec_of(given[name])) for i, name in enumerate(added, 1)]
        after = (*kept, *new)
    return Reconciled(
        columns=after,
        changed=after != tuple(columns),
        missing=missing,
        added=added,
        missing_fields=tuple(fields_missing),
    )


def without_types(table: pa.Table, columns: Sequence[Column], mode: Mode) -> pa.Table:
    """The batch with type null for columns that have rows but no value, where their type would not fit the table's.

    Args:
        table: the batch.
        columns: the table's columns.
        mode: as in `reconcile`.
    Cost: O(columns), O(rows) for encoded columns without a value.
    """
    if mode == "overwrite":
        return table
    for column in columns:
        at = table.schema.get_field_index(column.name)
        if at < 0 or not _has_no_value(table.column(at)):
            continue
        given, to = table.schema.field(at).type, from_spec(column.type)
        joined = fill_null_types(to, given) if mode == "strict" else _widened(to, given)
        if not is_castable(given, joined) or (mode == "strict" and field_differences(joined, given, ()) != ([], [])):
            table = table.set_column(at, column.name, pa.nulls(table.num_rows))
    return table


def _has_no_value(column: pa.ChunkedArray) -> bool:
    if not len(column):
        return False
    if pa.types.is_dictionary(column.type) or pa.types.is_run_end_encoded(column.type):
        return all(decode(chunk).null_count == len(chunk) for chunk in column.chunks)
    return bool(column.null_count == len(column))


def conform(table: pa.Table, columns: Sequence[Column], *, fill_missing: bool = True) -> pa.Table:
    """The rows in the table's columns: their order, their types, no metadata.

    Args:
        table: n rows, columns in any order, of any encoding.
        columns: the columns wanted.
        fill_missing: whether a column that is not there becomes nulls; else it is an error.
    Raises:
        SchemaMismatchError: a column too many or missing, types that never mix.
        LossyCastError: a value that would change; names column, types, value and row.
    Cost: O(bytes) of the columns whose type differs; the others are not copied.
    """
    wanted, present = {column.name for column in columns}, set(table.column_names)
    missing = [column.name for column in columns if column.name not in present]
    extra = [name for name in table.column_names if name not in wanted]
    _refuse_other_columns(() if fill_missing else missing, extra)
    arrays, fields = [], []
    for column in columns:
        t = from_spec(column.type)
        if column.name in present:
            arrays.append(cast_lossless(table.column(column.name), t, name=column.name))
        else:
            arrays.append(pa.chunked_array([pa.nulls(len(table), t)]))
        fields.append(pa.field(column.name, t))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _spec_of(field: pa.Field) -> Any:
    try:
        return to_spec(field.type)
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(
            f"column {field.name!r}: {error.message}", hint=error.hint, column=field.name, type=str(field.type)
        ) from error


def _replaced(known: Mapping[str, Column], batch: pa.Schema, last_id: int) -> tuple[Column, ...]:
    columns = []
    for field in batch:
        spec, old = _spec_of(field), known.get(field.name)
        if old is not None and old.type == spec:
            columns.append(old)
        else:
            last_id += 1
            columns.append(Column(id=last_id, name=field.name, type=spec))
    return tuple(columns)


def _field_differences(
    columns: Sequence[Column], given: Mapping[str, pa.Field]
) -> tuple[list[FieldPath], list[FieldPath]]:
    """Struct fields that the batch lacks, and those that it has too many, in columns that both have."""
    missing, extra = [], []
    for column in columns:
        if column.name in given and not isinstance(column.type, str):
            found = field_differences(from_spec(column.type), given[column.name].type, (column.name,))
            missing += found[0]
            extra += found[1]
    return missing, extra


def _widened(table_type: pa.DataType, batch_type: pa.DataType) -> pa.DataType:
    return widen(table_type, batch_type) or table_type


def _joined(column: Column, field: pa.Field | None, joined: Callable[[Any, Any], pa.DataType]) -> Column:
    """The column with its type joined with that of the batch's field of this name, where there is one."""
    if field is None:
        return column
    _spec_of(field)
    t = joined(from_spec(column.type), field.type)
    check_castable(field.type, t, name=column.name)
    return Column(id=column.id, name=column.name, type=to_spec(t))


def _refuse_other_columns(missing: Sequence[str], extra: Sequence[str], index: Sequence[str] = ()) -> None:
    if not missing and not extra:
        return
    hidden = [name for name in missing if name in index]
    if hidden:
        raise SchemaMismatchError(
            f"the data lacks {listed(hidden)}: in the DataFrame's index, which is not written",
            hint="make columns of the index: df.reset_index()",
            missing=tuple(missing),
            extra=tuple(extra),
        )
    parts = []
    if missing:
        parts.append(f"the data lacks {listed([*missing])}")
    if extra:
        parts.append(f"the table has no {listed([*extra])}{nearest(extra[0], missing)}")
    raise SchemaMismatchError(
        "; ".join(parts),
        hint="give the table's columns, or write with schema_mode='merge' to add columns and leave others out",
        missing=tuple(missing),
        extra=tuple(extra),
    )


def _refuse_other_case(missing: Sequence[str], added: Sequence[str]) -> None:
    """A column whose name differs in case only from one left out is hardly meant as a second column."""
    folded = {name.casefold(): name for name in missing}
    for name in added:
        if name.casefold() in folded:
            raise SchemaMismatchError(
                f"the data has a column {name!r} where the table has {folded[name.casefold()]!r}",
                hint="names are exact: rename the column, or give both",
                column=name,
            )
