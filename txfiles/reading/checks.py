"""Looking at what others have done since a plan was made: do its checks hold for new files, are its rows still live?

Source: specs/5-commit.md, "Conflicts".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from txfiles.core.manifest import RunRef, TableMetadata
from txfiles.core.plan import Check, KeysAbsent
from txfiles.log.session import Session
from txfiles.reading import scan
from txfiles.reading.find import find
from txfiles.reading.marked import MarkedRows
from txfiles.rows import filelist, filters, partitions
from txfiles.rows.filelist import DataFile


def holds(session: Session, table: TableMetadata, check: Check, fresh: pa.Table, runs: Sequence[RunRef]) -> bool:
    """Whether a check holds for files that were added since.

    Args:
        session: where the files are.
        table: the table that the plan leads to.
        check: what must hold.
        fresh: the list of the files.
        runs: of the key index, that others added since.
    Cost: as a probe for the keys, or a filtered read of the filter's columns; nothing for files that their bounds
        rule out.
    """
    if check.outside:
        fresh = fresh.filter(pa.array(~partitions.among(table, fresh, check.outside), pa.bool_()))
    if isinstance(check, KeysAbsent):
        return not find(session, check.keys, fresh, runs=runs).hits
    if check.where is None:
        return not len(fresh)
    may = fresh.filter(pa.array(scan.may_match(fresh, table, check.where), pa.bool_()))
    files = filelist.data_files(may)
    marked = MarkedRows(session, files)
    return not any(session.each(lambda file: _has_match(session, table, file, check.where, marked), files))


def still_live(session: Session, found: Sequence[tuple[DataFile, np.ndarray]]) -> bool:
    """Whether rows that were found are not marked now.

    Args:
        session: where the files are.
        found: some files as they are now, each with the positions of rows in it.
    Cost: their vectors.
    """
    marked = MarkedRows(session, [file for file, _ in found])

    def is_live(of_file: tuple[DataFile, np.ndarray]) -> bool:
        file, positions = of_file
        return not np.isin(positions, marked.of(file)).any()

    return all(session.each(is_live, found))


def _has_match(
    session: Session, table: TableMetadata, file: DataFile, where: filters.Filter, marked: MarkedRows
) -> bool:
    same = scan.same_for_all_rows(table, file, where)
    if same is not None:
        return same
    return any(mask.any() for _, mask in scan.matches(session, table, file, where, marked))
