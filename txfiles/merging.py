"""What an upsert changes in the files that hold its keys: the same for txfiles' own files and for Delta's.

Source: specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared
from txfiles.core.manifest import TableMetadata
from txfiles.core.plan import Partition
from txfiles.rows.merge import Fates, decide
from txfiles.rows.text import to_text


class Hits(Protocol):
    """Where a batch's keys are in one file. Attributes as in `reading.key_finder.Hits`."""

    @property
    def positions(self) -> np.ndarray:
        """Rows of the file, ascending."""

    @property
    def batch_rows(self) -> np.ndarray:
        """Rows of the batch with the same keys."""

    @property
    def stored(self) -> pa.Table:
        """The stored rows, in some columns."""

    @property
    def differs(self) -> np.ndarray:
        """Whether the batch's row has another value in one of the other columns."""


@dataclass(frozen=True)
class Share:
    """What an upsert changes in one file.

    Attributes:
        number: of the file, among those that were hit.
        without: where the rows are that are removed, ascending.
        at: where the rows are that are replaced, ascending.
        rows: what replaces them.
    """

    number: int
    without: np.ndarray
    at: np.ndarray
    rows: pa.Table


def fates_of(batch: Prepared, hits: Sequence[Hits], *, stale: str) -> Fates:
    """What becomes of the batch's rows and of those that they hit, in the order of the files."""
    return decide(
        batch.rows,
        np.concatenate([hit.batch_rows for hit in hits]) if hits else np.empty(0, np.int64),
        pa.concat_tables([hit.stored for hit in hits]) if hits else batch.rows.slice(0, 0),
        np.concatenate([hit.differs for hit in hits]) if hits else np.empty(0, bool),
        missing=batch.missing,
        missing_fields=batch.missing_fields,
        timestamp_col=batch.table.timestamp_col,
        skip_stale=stale == "skip",
    )


def shares(
    table: TableMetadata, fates: Fates, hits: Sequence[Hits], partitions: Sequence[Partition]
) -> tuple[list[Share], pa.Table]:
    """The changes file by file, and the rows that leave their file because their partition value changed.

    Args:
        table: the table after the upsert.
        fates: of the rows.
        hits: file by file.
        partitions: of each of these files, as the table's types spell it.
    Cost: O(h log h) for h rows that were hit, however many files they are in.
    """
    file_of = np.repeat(np.arange(len(hits)), [len(hit.positions) for hit in hits])
    position_of = np.concatenate([hit.positions for hit in hits]) if hits else np.empty(0, np.int64)
    moves = _moves(table, fates.merged, partitions, file_of[fates.replaces])
    # `hits` are in file order and their positions ascend, so the number of a hit row orders it by file and place.
    stay = np.flatnonzero(~moves)
    stay = stay[np.argsort(fates.replaces[stay], kind="stable")]
    leaving = np.sort(np.concatenate([fates.deletes, fates.replaces[moves]]))
    bounds = np.arange(len(hits) + 1)
    starts = np.searchsorted(file_of[fates.replaces[stay]], bounds)
    ends = np.searchsorted(file_of[leaving], bounds)
    rows = fates.merged.take(pa.array(stay))
    found = []
    for number in np.flatnonzero((np.diff(starts) > 0) | (np.diff(ends) > 0)).tolist():
        first, last = starts[number], starts[number + 1]
        at = position_of[fates.replaces[stay[first:last]]]
        without = position_of[leaving[ends[number] : ends[number + 1]]]
        found.append(Share(number, without, at, rows.slice(first, last - first)))
    return found, fates.merged.filter(pa.array(moves))


def _moves(table: TableMetadata, merged: pa.Table, partitions: Sequence[Partition], file_of: np.ndarray) -> np.ndarray:
    """Which replaced rows belong in another partition than their file's."""
    moves = np.zeros(merged.num_rows, bool)
    for number, name in enumerate(table.partition_by if partitions else ()):
        stands = np.array([partition[number] for partition in partitions], object)[file_of]
        moves |= to_text(merged[name]).to_numpy(zero_copy_only=False) != stands
    return moves
