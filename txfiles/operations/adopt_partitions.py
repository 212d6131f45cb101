"""The partition columns of a folder that is to become a table: which there are, their types and values.

Source: specs/14-adopt.md, "Partitions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from txfiles.core.messages import few, listed, nearest
from txfiles.errors import OptionError, SchemaMismatchError
from txfiles.operations.adopt_listing import Found
from txfiles.rows import partition_types, types
from txfiles.rows.typenames import type_text
from txfiles.verbs import AdoptOptions


def check_partition_by(options: AdoptOptions, found: Found, root: str) -> None:
    """Refuse partition columns that the folders do not have; a list of names has to have all of them.

    Raises:
        OptionError: names what the folders have.
    """
    given, columns = options.partition_by or (), found.partition_by
    unknown = [name for name in given if name not in columns]
    if unknown or (given != columns and not options.partition_types):
        what = f"by {few(columns)}" if columns else "by no column"
        raise OptionError(
            f"partition_by names {listed(unknown or given)}{nearest(unknown[0], columns) if unknown else ''}, and the "
            f"folders of {root} partition {what}",
            hint="name the columns of the folders, outermost first, or leave partition_by out",
        )


def refuse_partition_columns(found: Found, stored: Sequence[str]) -> None:
    """Refuse CSV files that have a column which their folders tell, too: nobody has compared the two."""
    both = [name for name in found.partition_by if name in stored]
    if both:
        raise SchemaMismatchError(
            f"the files and their folders both have the column {listed(both)}; nothing was written",
            hint="rename the folders, or take the column out of the files",
            columns=tuple(both),
        )


def partition_type(
    found: Found, at: int, declared: Mapping[str, pa.DataType], schemas: Iterable[pa.Schema]
) -> pa.DataType:
    """The type of partition column `at`: as declared, else that of such a column in the files, else by its texts.

    Raises:
        OptionError: the type that is declared cannot be in a path.
        SchemaMismatchError: a folder's text is no value of it.
    """
    name = found.partition_by[at]
    texts = [*dict.fromkeys(values[at] for values in found.partitions)]
    column = pa.array(texts, pa.string())
    kind = declared.get(name)
    if kind is None:
        within = dict.fromkeys(schema.field(name).type for schema in schemas if name in schema.names)
        kind = next((one for one in within if types.is_partition_type(one)), None)
        if kind is None or partition_types.canonical(column, kind) is None:
            return partition_types.infer(texts)
        return kind
    if not types.is_partition_type(kind):
        raise OptionError(
            f"partition_by= gives column {name!r} the type {type_text(kind)}, which cannot be in a path",
            hint="integer, string, boolean, date, timestamp and decimal columns can",
        )
    if partition_types.canonical(column, kind) is None:
        bad = next(text for text in texts if partition_types.canonical(pa.array([text], pa.string()), kind) is None)
        raise SchemaMismatchError(
            f"partition folder {f'{name}={bad}'!r} is not a value of the type {type_text(kind)}; nothing was written",
            hint=f"declare another type, such as partition_by={{{name!r}: 'string'}}",
            column=name,
            value=bad,
        )
    return kind


def canonical(found: Found, schema: pa.Schema) -> list[tuple[str | None, ...]]:
    """The partition values of each file, as the log writes them."""
    if not found.partition_by:
        return [()] * len(found.files)
    columns = []
    for at, name in enumerate(found.partition_by):
        texts = pa.array([values[at] for values in found.partitions], pa.string())
        values = partition_types.canonical(texts, schema.field(name).type)
        assert values is not None
        columns.append(values.to_pylist())
    return list(zip(*columns, strict=True))
