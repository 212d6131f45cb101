"""Partitions: their folders, and those of live files by value, since widening may change how a value is spelled.

Source: specs/4-semantics.md, "Modes"; specs/2-layout.md, "Partition folders".
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core import names
from txfiles.core.manifest import ADOPTED_FILES, TableMetadata
from txfiles.core.plan import Partition
from txfiles.errors import InputError
from txfiles.rows import checks, types
from txfiles.rows.text import from_text, to_text


def check(table: TableMetadata, rows: pa.Table) -> None:
    """Refuse rows whose partition values cannot be folders.

    Raises:
        LossyCastError: an invalid value, or a time whose text not every reader accepts.
        InputError: a value makes a folder name longer than file systems allow.
    Cost: O(n), and O(partitions).
    """
    for name in table.partition_by:
        checks.check_column(rows[name], name, 0)
        checks.check_years(rows[name], name, 0, "a folder's name", "partition by another column")
        for value in to_text(pc.unique(rows[name])).to_pylist():
            folder(name, value)


def folders(table: TableMetadata, partition: Partition) -> list[str]:
    """The Hive folders of a partition. Raises `InputError` as `check`."""
    return [folder(*pair) for pair in zip(table.partition_by, partition, strict=True)]


def folder(column: str, value: str | None) -> str:
    """The Hive folder of one partition value. Raises `InputError` as `check`."""
    found = names.partition_folder(column, value)
    size = len(found.encode())
    if size > names.SEGMENT_LIMIT_BYTES:
        raise InputError(
            f"partition column {column!r} has a value whose folder name would be {size} bytes long "
            f"(at most {names.SEGMENT_LIMIT_BYTES})",
            hint="partition by a column with shorter values",
            column=column,
        )
    return found


def of_files(table: TableMetadata, files: pa.Table) -> list[Partition]:
    """The partition of each file of a list, as the table's current types spell it: 1.0 may be 1.00 by now."""
    schema = types.arrow_schema(table.columns)
    texts = [
        to_text(from_text(pc.list_element(files["partition"], number), schema.field(name).type))
        for number, name in enumerate(table.partition_by)
    ]
    return list(zip(*(text.to_pylist() for text in texts), strict=True))


def spellings(table: TableMetadata, files: pa.Table) -> dict[Partition, str]:
    """The folders of adopted files that spell a partition otherwise than txfiles would, such as `month=01` for 1.

    Only those that txfiles' own files may be in: spelt in Hive's escapes.

    Cost: O(files), in Python for each folder.
    """
    if ADOPTED_FILES not in table.required_features or not table.partition_by:
        return {}
    paths = files["path"].combine_chunks()
    parts = pc.split_pattern(paths, "/", max_splits=1, reverse=True)
    inner = pc.if_else(pc.greater(pc.list_value_length(parts), 1), pc.list_element(parts, 0), "")
    first = np.unique(np.asarray(inner.dictionary_encode().indices), return_index=True)[1]
    few = files.take(pa.array(np.sort(first)))
    found: dict[Partition, str] = {}
    for path, partition in zip(few["path"].to_pylist(), of_files(table, few), strict=True):
        segments = (names.decode_path(path) or "").split("/")[: len(table.partition_by)]
        columns = tuple(pair[0] if (pair := names.foreign_partition_of(segment)) else None for segment in segments)
        if columns == table.partition_by and all(map(names.is_partition_folder, segments)):
            found.setdefault(partition, "/".join(segments))
    return {partition: folder for partition, folder in found.items() if folder != "/".join(folders(table, partition))}


def among(table: TableMetadata, files: pa.Table, partitions: Collection[Partition]) -> np.ndarray:
    """Which files of a list belong to some partitions. Cost: O(files)."""
    if not table.partition_by:
        return np.full(files.num_rows, () in partitions)
    return np.array([partition in partitions for partition in of_files(table, files)], bool)
