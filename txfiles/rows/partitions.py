"""The partitions of live files, compared by value: a widened column may spell its values in another way.

Source: specs/4-semantics.md, "Modes"; specs/2-layout.md, "Partition folders".
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import TableMetadata
from txfiles.core.plan import Partition
from txfiles.rows import types


def of_files(table: TableMetadata, files: pa.Table) -> list[Partition]:
    """The partition of each file of a list, spelled as the table's types of today spell it: 1.0 may be 1.00 by now."""
    schema = types.arrow_schema(table.columns)
    texts = [
        types.to_text(types.from_text(pc.list_element(files["partition"], number), schema.field(name).type))
        for number, name in enumerate(table.partition_by)
    ]
    return list(zip(*(text.to_pylist() for text in texts), strict=True))


def among(table: TableMetadata, files: pa.Table, partitions: Collection[Partition]) -> np.ndarray:
    """Which files of a list belong to some partitions. Cost: O(files)."""
    return np.array([partition in partitions for partition in of_files(table, files)], bool)
