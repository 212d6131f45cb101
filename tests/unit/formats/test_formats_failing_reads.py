"""A read that fails is the store's failure, whatever it raises; damage is what a size, a checksum or a decoder says."""

from __future__ import annotations

import io

import formats_help as help_
import pyarrow as pa
import pytest

from txfiles.errors import CorruptTableError, StoreError, UnsupportedTableError
from txfiles.formats import csv, parquet

ROWS = pa.table({"a": list(range(100)), "b": [f"text {n}" for n in range(100)]})
FORMATS = {"parquet": parquet.FORMAT, "csv": csv.FORMAT}
FAILURES = [
    TimeoutError(),
    ConnectionResetError(104, "Connection reset by peer"),
    OSError("When reading information for key 'x': AWS Error NETWORK_CONNECTION during GetObject operation"),
    OSError(5, "Input/output error"),
    PermissionError(13, "Permission denied"),
    EOFError(),
    ValueError("I/O operation on closed file"),
    RuntimeError("session is closed"),
    pa.ArrowInvalid("Unexpected HTTP status"),
]


class Flaky(io.BytesIO):
    """A file whose read number `fails` raises."""

    def __init__(self, data, error, fails):
        super().__init__(data)
        self.error, self.fails, self.reads = error, fails, 0

    def read(self, size=-1):
        self.reads += 1
        if self.reads == self.fails:
            raise self.error
        return super().read(size)


class Store:
    """A store with one file, which is not in memory."""

    def __init__(self, data, error=None, fails=0):
        self.file = Flaky(data, error, fails)

    def open_input(self, name, size=None):
        return pa.PythonFile(self.file, mode="r")

    def read_ranges(self, name, ranges, size=None):
        found = []
        for offset, length in ranges:
            self.file.seek(offset)
            found.append(self.file.read(length))
        return found


def read(form, store, file):
    with form.open(store, file, ROWS.schema) as opened:
        return pa.concat_tables([group.read(ROWS.column_names) for group in opened.groups()])


@pytest.fixture(params=FORMATS)
def written(request):
    """A format, a file of it, and the file's bytes."""
    files, form = help_.Files(), FORMATS[request.param]
    return form, help_.write(form, files, [ROWS], ROWS.schema, row_group_rows=40), files.content["f"]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("keep", [0, 2**26])
def test_each_read_may_fail(written, error, keep, monkeypatch):
    """Whichever read fails, and however: `StoreError`, with what failed as its cause, and the file closed."""
    monkeypatch.setattr(csv, "KEEP_BYTES", keep)
    form, file, data = written
    store = Store(data)
    assert read(form, store, file).equals(ROWS)
    reads = store.file.reads
    assert reads >= 1
    for fails in range(1, reads + 1):
        store = Store(data, error, fails)
        with pytest.raises(StoreError, match="some/f could not be read") as found:
            read(form, store, file)
        assert found.value.committed == "no"
        assert type(error).__name__ in str(found.value) or str(error) in str(found.value)
        assert store.file.closed


def test_a_stores_own_error_passes_through(written):
    """What the store itself says of a read is handed on as it is."""
    form, file, data = written
    for error in (StoreError("the bucket is gone"), CorruptTableError("it is missing"), MemoryError("no")):
        with pytest.raises(UnsupportedTableError if isinstance(error, MemoryError) else type(error)) as found:
            read(form, Store(data, error, 1), file)
        assert str(error) in str(found.value)


def test_a_file_deleted_while_it_is_read_is_missing(written):
    """A read that finds no file any more says that it is missing, which is what a vacuum looks like."""
    form, file, data = written
    with pytest.raises(CorruptTableError, match="it is missing"):
        read(form, Store(data, FileNotFoundError(2, "No such file"), 1), file)


def test_wrong_bytes_are_damage(written):
    """Reads that succeed with other bytes are damage or make no difference, also where the file is not in memory."""
    form, file, data = written
    damaged = 0
    for at in range(4, len(data), 47):
        changed = bytearray(data)
        changed[at] ^= 0x55
        try:
            assert read(form, Store(bytes(changed)), file).equals(ROWS)
        except CorruptTableError as error:
            assert "damaged" in str(error)
            damaged += 1
    assert damaged > len(data) // 47 * 0.8


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_opening_may_fail(written, error):
    """A store that cannot open a file has failed; the file is not damaged."""
    form, file, _ = written

    class Broken:
        def open_input(self, name, size=None):
            raise error

    with pytest.raises(StoreError, match="could not be read"):
        form.open(Broken(), file, ROWS.schema)
