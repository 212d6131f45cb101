"""What reading a table costs, counted: files opened and closed, row groups read, columns read."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from unittest import mock

from txfiles.formats.parquet import ParquetFile
from txfiles.store.local import LocalStore


@contextmanager
def counted():
    """A counter of what is done to data files within the block."""
    seen: Counter[str] = Counter()
    read_group, close, open_input = ParquetFile.read_group, ParquetFile.close, LocalStore.open_input

    def counting_read(self, index, columns):
        seen["groups"] += 1
        seen["columns"] += len(columns)
        return read_group(self, index, columns)

    def counting_close(self):
        seen["closed"] += 1
        return close(self)

    def counting_open(self, *args, **options):
        seen["opened"] += 1
        return open_input(self, *args, **options)

    with (
        mock.patch.object(ParquetFile, "read_group", counting_read),
        mock.patch.object(ParquetFile, "close", counting_close),
        mock.patch.object(LocalStore, "open_input", counting_open),
    ):
        yield seen
