"""A batch's columns against a table's: the columns after a write, and the batch in their form.

Columns go by their exact names, in any order. `reconcile` looks at types alone; `conform` moves values.

Source: specs/4-semantics.md, "Schema".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from msgspec.structs import replace

from txfiles.core.messages import listed, nearest
from txfiles.core.schema import Column, Inferred
from txfiles.errors import InputError, SchemaMismatchError, UnsupportedTypeError
from txfiles.rows.casts import as_decimals, cast_lossless, check_castable, fill_null_types, is_castable, widen
from txfiles.rows.typenames import type_text
from txfiles.rows.types import decode, from_spec, normalise, to_spec
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


@dataclass(frozen=True)
class Texts:
    """What a batch says about its types besides the types themselves.

    Attributes:
        rules: how its columns were inferred from CSV text, by name.
        declared: columns whose type the caller declares; a declared column no longer counts as inferred.
        fixed: columns that never become text.
    """

    rules: Mapping[str, Inferred] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()


NO_TEXTS = Texts()


def check_batch_schema(schema: pa.Schema) -> None:
    """Check that a table could have these columns at all.

    Raises:
        InputError: no column, or a name that is empty or occurs twice.
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
    for one in schema:
        _spec_of(one)


def reconcile(
    columns: Sequence[Column],
    batch: pa.Schema,
    mode: Mode,
    *,
    last_id: int,
    index: Sequence[str] = (),
    texts: Texts = NO_TEXTS,
) -> Reconciled:
    """The table's columns after a batch of this schema is written.

    Args:
        columns: the table's; empty for a new one (then every mode takes the batch's).
        batch: the batch's, checked by `check_batch_schema`.
        mode: what may change. ``strict``: nothing but a type null, which takes the batch's type. ``merge``:
            columns are added, types are widened, structs get the fields of both. ``overwrite``: the batch's columns
            replace the table's; an id is kept where name and type are.
        last_id: the greatest id that the table ever gave; new ids follow it.
        index: names in the index of a DataFrame, which is not written, for messages.
        texts: what the batch says beside: under ``merge``, a column that was inferred by exact text and is now
            declared as string becomes one.
    Raises:
        SchemaMismatchError: columns missing or too many under ``strict``, types that never mix.
        UnsupportedTypeError: a column whose type no table can hold.
    """
    known = {column.name: column for column in columns}
    given = {field.name: field for field in batch}
    fields_missing: list[FieldPath] = []
    missing = tuple(name for name in known if name not in given)
    added = tuple(name for name in given if name not in known)
    if mode == "overwrite" or not columns:
        after = _replaced(known, batch, last_id, texts)
    else:
        fields_missing, fields_added = _field_differences(columns, given)
        if mode == "strict":
            _refuse_other_columns(
                [*missing, *map(path_text, fields_missing)], [*added, *map(path_text, fields_added)], index
            )
        kept = [_joined(column, given.get(column.name), mode, texts) for column in columns]
        new = [
            Column(id=last_id + i, name=name, type=_spec_of(given[name]), inferred=texts.rules.get(name))
            for i, name in enumerate(added, 1)
        ]
        after = (*kept, *new)
    return Reconciled(
        columns=after,
        changed=after != tuple(columns),
        missing=missing,
        added=added,
        missing_fields=tuple(fields_missing),
    )


def without_types(table: pa.Table, columns: Sequence[Column], mode: Mode) -> pa.Table:
    """The batch with type null for columns that have rows but no value, if their type would not fit the table's.

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


def conform(
    table: pa.Table,
    columns: Sequence[Column],
    *,
    fill_missing: bool = True,
    rules: Mapping[str, Inferred] = NO_TEXTS.rules,
) -> pa.Table:
    """The rows in the table's columns: their order, their types, no metadata.

    Args:
        table: n rows, columns in any order, of any encoding.
        columns: the columns wanted.
        fill_missing: whether a column that is not there becomes nulls; else it is an error.
        rules: how columns were inferred, by name: one of decimals takes floats whose shortest text it holds.
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
            given = table.column(column.name)
            if column.name in rules and pa.types.is_decimal(t) and pa.types.is_floating(normalise(given.type)):
                given = as_decimals(given, t, name=column.name)
            arrays.append(cast_lossless(given, t, name=column.name))
        else:
            arrays.append(pa.chunked_array([pa.nulls(len(table), t)]))
        fields.append(pa.field(column.name, t))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _spec_of(field: pa.Field) -> Any:
    try:
        return to_spec(field.type)
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(
            f"column {field.name!r}: {error.message}", hint=error.hint, column=field.name, type=type_text(field.type)
        ) from error


def _replaced(known: Mapping[str, Column], batch: pa.Schema, last_id: int, texts: Texts) -> tuple[Column, ...]:
    columns = []
    for given in batch:
        spec, old = _spec_of(given), known.get(given.name)
        if old is not None and old.type == spec:
            columns.append(replace(old, inferred=texts.rules.get(old.name)))
        else:
            last_id += 1
            columns.append(Column(id=last_id, name=given.name, type=spec, inferred=texts.rules.get(given.name)))
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


def _joined(column: Column, given: pa.Field | None, mode: Mode, texts: Texts) -> Column:
    """The column with its type joined with that of the batch's field of this name, where there is one."""
    if given is None:
        return column
    _spec_of(given)
    before, declared = from_spec(column.type), column.name in texts.declared
    if column.inferred is not None and declared and pa.types.is_string(given.type) and mode == "merge":
        _refuse_text(column, column.inferred, fixed=column.name in texts.fixed)
        return Column(id=column.id, name=column.name, type="string")
    t = fill_null_types(before, given.type) if mode == "strict" else _widened(before, given.type)
    _check_castable(column, given.type, t)
    rule = texts.rules.get(column.name) if pa.types.is_null(before) else column.inferred
    keeps_rule = not declared and (t == before or pa.types.is_null(before))
    return Column(id=column.id, name=column.name, type=to_spec(t), inferred=rule if keeps_rule else None)


def _refuse_text(column: Column, inferred: Inferred, *, fixed: bool) -> None:
    """Refuse to turn a column into text if its values' texts are not known, or its values are also used elsewhere."""
    if inferred.how == "exact" and not inferred.nulls and not fixed:
        return
    why = (
        "it is the timestamp_col or a partition column"
        if fixed
        else f"{listed(inferred.nulls)} in it became null"
        if inferred.nulls
        else "the texts of its values are not known"
    )
    raise SchemaMismatchError(
        f"column {column.name!r} was inferred as {column.type}, and cannot become string: {why}",
        hint=f"rewrite the table from all its files with mode='overwrite', schema_mode='overwrite', "
        f"schema={{{column.name!r}: 'string'}}",
        column=column.name,
    )


def _check_castable(column: Column, given: pa.DataType, to: pa.DataType) -> None:
    if column.inferred is not None and _mixes(given, to):
        return
    try:
        check_castable(given, to, name=column.name)
    except SchemaMismatchError as error:
        if column.inferred is None or not pa.types.is_string(normalise(given)):
            raise
        raise SchemaMismatchError(
            error.message,
            hint=f"the table's type was inferred from CSV text: schema={{{column.name!r}: 'string'}} with "
            "schema_mode='merge' makes the column text",
            column=column.name,
        ) from error


def _mixes(given: pa.DataType, to: pa.DataType) -> bool:
    """Whether floats may go into a decimal column: only if it was inferred from text that others read as floats."""
    return bool(pa.types.is_floating(normalise(given)) and pa.types.is_decimal(to))


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
    folded = {name.casefold(): name for name in missing}
    other_case = [(name, folded[name.casefold()]) for name in extra if name.casefold() in folded]
    raise SchemaMismatchError(
        "; ".join(parts),
        hint=f"names are exact: rename {' and '.join(f'{name!r} to {meant!r}' for name, meant in other_case[:5])}"
        if other_case
        else "give the table's columns, or write with schema_mode='merge' to add columns and leave others out",
        missing=tuple(missing),
        extra=tuple(extra),
    )
