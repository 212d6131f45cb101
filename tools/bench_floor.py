"""The floor of `tools/bench peers`: bare pyarrow and numpy, with neither isolation nor fsync."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench_base import Columns, System, Within, extent
from bench_rows import TINY, mixed


class Floor(System):
    """Bare pyarrow: the key columns of row groups whose range meets the batch, and the files touched written anew.

    Neither isolation nor fsync. A file `list` has of each data file its number and its least and greatest id.
    """

    floor = True
    _numbers = count()

    def append(self, rows: pa.Table) -> None:
        import pyarrow.parquet as pq

        Path(self.place).mkdir(parents=True, exist_ok=True)
        number = os.getpid() << 32 | next(self._numbers)
        pq.write_table(rows, self._file(number), **self.writing(rows))
        self._note(number, rows)
        with open(self._path("list"), "ab") as listed:
            listed.write(np.array([number, *extent(rows)]).tobytes())

    def append_once(self, rows: pa.Table) -> int | None:
        import fcntl

        Path(self.place).mkdir(parents=True, exist_ok=True)
        with open(self._path("lock"), "w") as lock:  # for W11: it costs microseconds
            fcntl.flock(lock, fcntl.LOCK_EX)
            digests = digested(rows[self.key])
            order = np.argsort(digests)
            needles, known = digests[order], np.zeros(len(order), bool)
            for number in self._meeting(rows):
                known |= self._known(number, needles)
            new = np.ones(len(order), bool)
            new[order] = ~known
            if new.any():
                self.append(rows.filter(pa.array(new)) if known.any() else rows)
        return int(new.sum())

    def upsert(self, rows: pa.Table) -> int | None:
        """Sorted by id: the rows of each file touched are replaced, one row group in memory at a time."""
        import pyarrow.parquet as pq

        replaced = 0
        for number in self._meeting(rows):
            file = pq.ParquetFile(self._file(number))
            settings = self.writing(rows)
            settings.pop("row_group_size", None)
            with pq.ParquetWriter(self._path("new"), file.schema_arrow, **settings) as writer:
                for at in range(file.num_row_groups):
                    group = file.read_row_group(at)
                    mask, where = found_in(group["id"], rows["id"])
                    if mask.any():
                        news = rows.take(where[mask])
                        columns = [
                            pc.replace_with_mask(group[n].combine_chunks(), pa.array(mask), news[n].combine_chunks())
                            for n in group.column_names
                        ]
                        group = pa.table(columns, schema=group.schema)
                        replaced += int(mask.sum())
                    writer.write_table(group)
            os.rename(self._path("new"), self._file(number))
        assert replaced == rows.num_rows, "this floor adds no rows"
        return replaced

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        import pyarrow.dataset as ds

        where = None if within is None else (ds.field("id") >= within[0]) & (ds.field("id") < within[1])
        files = [self._file(number) for number in self._listed(within)]
        return ds.dataset(files).to_table(columns, filter=where)

    def plan(self, within: Within) -> int:
        return len(self._listed(within))

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        Path(self.place).mkdir(parents=True)
        np.column_stack([np.arange(len(ranges)), ranges]).tofile(self._path("list"))

    def _meeting(self, rows: pa.Table) -> list[int]:
        """The files that may have keys of a batch."""
        if self.key != "id":
            return self._listed(None)
        low, high = extent(rows)
        return self._listed((low, high + 1))

    def _listed(self, within: Within | None) -> list[int]:
        if not os.path.exists(self._path("list")):
            return []
        files = np.memmap(self._path("list"), np.int64, "r").reshape(-1, 3)
        if within is not None:
            files = files[(files[:, 1] < within[1]) & (files[:, 2] >= within[0])]
        return [int(number) for number in files[:, 0]]

    def _known(self, number: int, needles: np.ndarray) -> np.ndarray:
        """Which of the sorted digests a file has."""
        import pyarrow.parquet as pq

        keys = pq.read_table(self._file(number), columns=[self.key], memory_map=True)[self.key]
        have = digested(keys)
        at = np.minimum(np.searchsorted(needles, have), len(needles) - 1)
        known = np.zeros(len(needles), bool)
        known[at[needles[at] == have]] = True
        return known

    def _note(self, number: int, rows: pa.Table) -> None:
        """What else is kept of a file."""

    def _path(self, name: str) -> str:
        return os.path.join(self.place, name)

    def _file(self, number: int) -> str:
        return self._path(f"{number}.parquet")


class FloorHash(Floor):
    """One sorted array of digests for each file, memory-mapped: no data file is read to find a key."""

    by_key = True
    only = ("W1", "W2", "W3", "W11")

    def _known(self, number: int, needles: np.ndarray) -> np.ndarray:
        have = np.load(self._path(f"{number}.npy"), mmap_mode="r")
        found: np.ndarray = have[np.minimum(np.searchsorted(have, needles), len(have) - 1)] == needles
        return found

    def _note(self, number: int, rows: pa.Table) -> None:
        np.save(self._path(f"{number}.npy"), np.sort(digested(rows[self.key])))


class FloorMor(Floor):
    """A file of the new rows, and of each file touched the positions that count no more."""

    style = "merge-on-read"
    only = ("W4", "W5", "W6")

    def upsert(self, rows: pa.Table) -> int | None:
        import pyarrow.parquet as pq

        replaced = 0
        low, high = extent(rows)
        for number in self._meeting(rows):
            file = pq.ParquetFile(self._file(number), memory_map=True)
            marked, first = [], 0
            for at in range(file.num_row_groups):
                group = file.metadata.row_group(at)
                known = group.column(0).statistics
                if known.min <= high and known.max >= low:
                    mask, _ = found_in(file.read_row_group(at, columns=["id"])["id"], rows["id"])
                    marked.append(np.flatnonzero(mask) + first)
                first += group.num_rows
            positions = np.concatenate(marked) if marked else np.empty(0, np.int64)
            if len(positions):
                np.save(self._path(f"{number}.marked.npy"), positions)
                replaced += len(positions)
        self.append(rows)
        return replaced

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        import pyarrow.parquet as pq

        assert within is None, "this floor reads all"
        found = []
        for number in self._listed(None):
            rows = pq.read_table(self._file(number), columns=columns)
            if os.path.exists(self._path(f"{number}.marked.npy")):
                kept = np.ones(rows.num_rows, bool)
                kept[np.load(self._path(f"{number}.marked.npy"))] = False
                rows = rows.filter(pa.array(kept))
            found.append(rows)
        return pa.concat_tables(found)


class Wrong(Floor):
    """Loses the last row of a batch, but not of a tiny one: for the test that this is seen."""

    def append_once(self, rows: pa.Table) -> int | None:
        super().append_once(rows.slice(0, rows.num_rows - (rows.num_rows > TINY.batch)))
        return int(rows.num_rows)


def digested(values: pa.ChunkedArray) -> np.ndarray:
    """64 bits of each key: of an integer, or of the text of a UUID."""
    if not pa.types.is_string(values.type):
        return mixed(values.to_numpy(), 3)
    text = values.combine_chunks()
    text = text.chunk(0) if isinstance(text, pa.ChunkedArray) else text
    raw = np.frombuffer(text.buffers()[2], np.uint8)[36 * text.offset : 36 * (text.offset + len(text))]
    words = np.ascontiguousarray(raw.reshape(-1, 36)).view(np.uint32).astype(np.uint64)
    found = np.zeros(len(words), np.uint64)
    for column in range(9):
        found = (found ^ words[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(29)
    return found


def found_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Which integers are among sorted ones, and where. `pc.is_in` takes ten times as long."""
    ours, theirs = values.to_numpy(), among.to_numpy()
    at = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
    return theirs[at] == ours, at
