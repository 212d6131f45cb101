"""How the file list of one version becomes that of an earlier one, row order included.

Files that are the same in both lists stay where they are. The others come back: at the end, or in the place of a file
that goes. If nothing goes where a file belongs, its neighbour is removed and added again, and lends it its place.

Source: specs/4-semantics.md, "Restore"; specs/decisions/0090-restore-says-what-replay-cannot-know.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core.manifest import Add, ColumnStats, KeyRange, TableMetadata
from txfiles.rows import filelist
from txfiles.rows.text import to_text

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PutBack:
    """What turns one list into another.

    Attributes:
        remove: which files of the first list go, ascending.
        add: which files of the second one are added, ascending.
        places: for each of them, the file of the first list whose place it takes; -1: it comes last.
        moved: how many of them only lend their place: the first list has them with the same vector.
    """

    remove: Positions
    add: Positions
    places: Positions
    moved: int


def put_back(head: pa.Table, wanted: pa.Table) -> PutBack:
    """Find what to remove and add.

    Args:
        head: a list of n files.
        wanted: the m files that it is to become, in their order.
    Cost: O(n + m log m), vectorised; vectors are compared one by one where both lists have marked rows.
    """
    at, same = compared(wanted, head)
    held = np.where(same, at, -1)
    highest = np.maximum.accumulate(np.concatenate([[-1], held]))[:-1]
    stays = held > highest  # in the order of both lists
    moved = 0
    free = np.ones(head.num_rows, np.bool_)
    free[at[stays]] = False
    gone, kept = np.flatnonzero(free), np.flatnonzero(stays)
    bounds = np.concatenate([[-1], at[kept], [head.num_rows]])
    new = np.flatnonzero(~stays)
    gap = np.searchsorted(kept, new)  # between which two files that stay
    first = np.searchsorted(gone, bounds[gap], "right")  # what goes there
    candidates = np.concatenate([gone, [head.num_rows]])[first]
    last = gap == len(kept)
    lends = np.unique(gap[(candidates > bounds[gap + 1]) & ~last])
    moved = len(lends)
    places = np.where(last, -1, np.minimum(candidates, bounds[gap + 1]))
    again = kept[lends]
    order = np.argsort(np.concatenate([new, again]), kind="stable")
    return PutBack(
        remove=np.sort(np.concatenate([gone, at[again]])),
        add=np.concatenate([new, again])[order],
        places=np.concatenate([places, at[again]])[order],
        moved=moved,
    )


def compared(files: pa.Table, others: pa.Table) -> tuple[Positions, npt.NDArray[np.bool_]]:
    """Where each file of a list is in another one (-1: nowhere), and whether it has the same marked rows there."""
    at = pc.fill_null(pc.index_in(files["path"], value_set=others["path"].combine_chunks()), -1)
    places: Positions = at.to_numpy().astype(np.int64)
    same = places >= 0
    both = np.flatnonzero(same)
    theirs = others["vector"].take(pa.array(places[both]))
    mine = files["vector"].take(pa.array(both))
    for number in np.flatnonzero(pc.or_(pc.is_valid(mine), pc.is_valid(theirs)).to_numpy()):
        same[both[number]] = mine[int(number)].as_py() == theirs[int(number)].as_py()
    return places, same


def adds(files: pa.Table, table: TableMetadata, places: Sequence[str | None]) -> tuple[Add, ...]:
    """Files of a list as a later manifest adds them again.

    The list does not say whether a bound was cut, so none is called exact.

    Args:
        files: n files of a version.
        table: what the table was then, and is from that manifest on.
        places: for each file the path of the one whose place it takes; None: it comes last.
    Cost: O(n × columns), the texts of bounds vectorised.
    """
    key_ids = table.ids(table.keys)
    known = {
        str(column.id): (
            files[f"nulls.{column.id}"].to_pylist(),
            *(to_text(bound).to_pylist() for bound in filelist.bounds(files, column)),
        )
        for column in table.columns
    }
    versions = files["added_version"].to_pylist()
    ranges = zip(files["key_min"].to_pylist(), files["key_max"].to_pylist(), strict=True)
    found = []
    for row, (file, (low, high)) in enumerate(zip(filelist.data_files(files), ranges, strict=True)):
        stats = {
            column: ColumnStats(
                nulls=nulls[row], min=least[row], max=most[row], exact=least[row] is None and most[row] is None
            )
            for column, (nulls, least, most) in known.items()
            if nulls[row] is not None
        }
        found.append(
            Add(
                path=file.path,
                rows=file.rows,
                bytes=file.bytes,
                sha256=file.sha256,
                footer_bytes=file.footer_bytes,
                footer_sha256=file.footer_sha256,
                partition=file.partition,
                stats=stats,
                key_range=None
                if low is None
                else KeyRange(columns=key_ids, min=low.hex(), max=None if high is None else high.hex(), exact=False),
                columns=file.columns,
                place=places[row],
                vector=file.vector,
                added_version=versions[row],
            )
        )
    return tuple(found)
