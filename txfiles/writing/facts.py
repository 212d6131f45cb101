"""What the log states of a data file's rows: nulls and bounds of each column, and the range of keys.

Source: specs/3-manifest.md, "Statistics".
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pyarrow as pa

from txfiles.core.manifest import ColumnStats, KeyRange, TableMetadata
from txfiles.rows import keys as key_codec
from txfiles.rows.stats import StatsCollector
from txfiles.writing.index_runs import FileKeys

KeyBounds = tuple[bytes, bytes]


class RowFacts:
    """Collected while the rows of a file stream by. Memory: two values per column.

    Args:
        table: the table that the file is for.
        keys: collects the keys for the key index, if a run is to cover the file.

    Attributes:
        columns: of each column, nulls and bounds.
    """

    def __init__(self, table: TableMetadata, keys: FileKeys | None = None) -> None:
        self._table = table
        self._keys = keys
        self._range: KeyBounds | None = None
        self.columns = StatsCollector()

    @property
    def looks_at_keys(self) -> bool:
        """Whether the codes of all keys have to be known: the bounds of a single column are those of its codes."""
        return len(self._table.keys) > 1 or self._keys is not None

    def add(self, rows: pa.Table, bounded: AbstractSet[str] = frozenset()) -> None:
        """Take in rows: all columns of the table, in its types; `bounded` as for `StatsCollector.add`."""
        self.columns.add(rows, bounded)
        self.add_keys(rows)

    def add_keys(self, rows: pa.Table) -> None:
        """Take in the keys of rows whose columns are known from elsewhere."""
        if not self.looks_at_keys:
            return
        codes = key_codec.encode(rows, self._table.keys)
        if len(self._table.keys) > 1:
            self._widen(key_codec.key_range(codes))
        if self._keys is not None:
            self._keys.add(codes)

    def complete(self) -> None:
        """No more rows will come: from now on the key index may count them."""
        if self._keys is not None:
            self._keys.complete()
            self._keys = None

    def stats(self) -> dict[str, ColumnStats]:
        """The statistics by column id, as an `Add` has them."""
        ids = {column.name: str(column.id) for column in self._table.columns}
        return {ids[name]: found for name, found in self.columns.result().items()}

    def key_range(self) -> KeyRange | None:
        """The range of the keys; None if the table has none, or no row has a key."""
        if len(self._table.keys) == 1:  # its codes are ordered as its values are
            bounds = self.columns.extremes(self._table.keys[0])
            self._widen(key_codec.key_range(key_codec.encode(bounds, self._table.keys)))
        if self._range is None:
            return None
        low, high, exact = key_codec.cut_outward(*self._range)
        keys = self._table.ids(self._table.keys)
        return KeyRange(columns=keys, min=low.hex(), max=None if high is None else high.hex(), exact=exact)

    def _widen(self, found: KeyBounds | None) -> None:
        if found is not None:
            known = self._range or found
            self._range = min(known[0], found[0]), max(known[1], found[1])
