"""The noun that every story works on: a table at one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from txfiles.core.manifest import Add
from txfiles.core.replay import State
from txfiles.rows import filelist

PENDING = 32
"""More adds than this are listed at once: as values they take more memory than in the list."""


@dataclass(frozen=True)
class Snapshot:
    """The table at one version.

    Attributes:
        state: all but its files.
        listed: its files, or the first of them, in the columns of its table.
        added: those that follow, each with the version that added it.
    """

    state: State
    listed: pa.Table
    added: tuple[tuple[Add, int], ...] = ()

    @cached_property
    def files(self) -> pa.Table:
        """Its files as one Arrow table (`rows.filelist`).

        Raises:
            CorruptTableError: what the log says of a file is no value of a column's type.
        Cost: made when first asked for, since a blind append never does.
        """
        table = self.state.table
        return filelist.joined(self.listed, filelist.from_adds(self.added, table.columns, table.keys))

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return int(self.listed.num_rows) + len(self.added)

    def plus(self, state: State, added: Sequence[tuple[Add, int]]) -> Snapshot:
        """A later version of the same table that has more files, and lacks none."""
        assert state.table is self.state.table
        is_made = "files" in vars(self)
        listed, before = (self.files, ()) if is_made else (self.listed, self.added)
        found = Snapshot(state, listed, (*before, *added))
        return found if len(found.added) <= PENDING else Snapshot(state, found.files)
