"""What the tests of both file formats share: files in memory, tables of every type, exact comparison."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
from hypothesis import strategies as st

from txfiles.errors import CorruptTableError, StoreError
from txfiles.formats.common import FileFacts, Format, WriteOptions
from txfiles.formats.source import FileToRead


class Files:
    """A store's data files, in memory."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def open_input(self, name: str, size: int | None = None) -> pa.NativeFile:
        if name not in self.content:
            raise CorruptTableError(f"{name} is missing", file=name)
        return pa.BufferReader(self.content[name])

    def create(self, name: str, fail_after: int = 2**62) -> Sink:
        return Sink(self, name, fail_after)


class Sink:
    """Publishes at close; refuses to take more than `fail_after` bytes."""

    def __init__(self, files: Files, name: str, fail_after: int) -> None:
        self._files, self._name, self._fail_after = files, name, fail_after
        self._data = bytearray()
        self.aborted = False

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        if len(self._data) + len(memoryview(data)) > self._fail_after:
            raise StoreError("the disk is full")
        self._data += memoryview(data)
        return len(memoryview(data))

    def tell(self) -> int:
        return len(self._data)

    def close(self) -> None:
        self._files.content[self._name] = bytes(self._data)

    def abort(self) -> None:
        self.aborted = True


def write(form: Format, files: Files, tables: list[pa.Table], schema: pa.Schema, **options) -> FileToRead:
    """Write tables one by one into the file "f"; returns it as the log would record it."""
    with form.writer(files.create("f"), schema, WriteOptions(**options)) as writer:
        for table in tables:
            writer.write(table)
        facts = writer.close()
    return to_read(facts)


def to_read(facts: FileFacts, **changed) -> FileToRead:
    known = {name: getattr(facts, name) for name in ("bytes", "rows", "sha256", "footer_bytes", "footer_sha256")}
    return FileToRead(**{"name": "f", "path": "some/f", **known, **changed})


def read(form: Format, files: Files, file: FileToRead, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """The whole file as one table."""
    names = schema.names if columns is None else columns
    with form.open(files, file, schema) as opened:
        tables = [group.read(names) for group in opened.groups()]
    return pa.concat_tables([bare(schema).empty_table().select(names), *tables])


def refused(form: Format, files: Files, file: FileToRead, schema: pa.Schema) -> pa.Table | None:
    """What reading changed bytes gives: rows, or None where the damage was noticed, with an error naming the file."""
    try:
        return read(form, files, file, schema)
    except CorruptTableError as error:
        names_the_file = error.file == "some/f" and "some/f is damaged" in str(error) and bool(error.hint)
        return None if names_the_file else pa.table({"error": [str(error)]})


def bare(schema: pa.Schema) -> pa.Schema:
    """Names and types only."""
    return pa.schema([(field.name, field.type) for field in schema])


def identical(a: pa.Table, b: pa.Table) -> bool:
    """Same columns, types and values to the bit; any NaN is NaN."""
    return a.schema.equals(b.schema) and all(plain(x) == plain(y) for x, y in zip(a.columns, b.columns, strict=True))


def plain(column: pa.Array | pa.ChunkedArray) -> list:
    """Python values of which `==` is identity: floats as bits, times as integers."""
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in plain(chunk)]
    kind = column.type
    if pa.types.is_struct(kind):
        rows = zip(*(plain(child) for child in column.flatten()), strict=True)
        return [row if valid else None for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)]
    if pa.types.is_nested(kind):
        return [plain(value.values) if value.is_valid else None for value in column]
    if pa.types.is_floating(kind):
        return [None if v is None else "nan" if v != v else struct.pack("<d", v) for v in column.to_pylist()]  # noqa: PLR0124
    if pa.types.is_temporal(kind):
        return column.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
    return column.to_pylist()


def cut(table: pa.Table, points: list[int]) -> list[pa.Table]:
    """The table in pieces, some of them empty."""
    edges = [0, *sorted(point % (table.num_rows + 1) for point in points), table.num_rows]
    return [table.slice(start, end - start) for start, end in pairwise(edges)]


# ---------------------------------------------------------------- any table

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ZONES = (None, "UTC", "Europe/Berlin", "America/St_Johns", "+05:30")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text('",\n\r\0 =;aé', max_size=6)


def integers(kind: pa.DataType) -> st.SearchStrategy:
    signed = pa.types.is_signed_integer(kind)
    bits = kind.bit_width
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def timestamps(unit: str) -> st.SearchStrategy:
    per = PER_SECOND[unit]
    low, high = -62_135_596_800 * per, 253_402_300_800 * per - 1
    return st.integers(-9_223_372_036 * per, 2**63 - 1) if unit == "ns" else st.integers(low, high)


def decimals(precision: int, scale: int) -> st.SearchStrategy:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda number: Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale)))


def flat() -> Iterator[tuple[pa.DataType, st.SearchStrategy]]:
    """Every flat type with values that both formats hold."""
    yield pa.null(), st.none()
    yield pa.bool_(), st.booleans()
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        yield kind, integers(kind)
    for kind, width in ((pa.float16(), 16), (pa.float32(), 32), (pa.float64(), 64)):
        yield kind, st.floats(width=width)
    yield pa.string(), TEXT
    yield pa.binary(), st.binary(max_size=8)
    yield pa.binary(3), st.binary(min_size=3, max_size=3)
    yield pa.date32(), st.integers(-719_162, 2_932_896)
    yield pa.date64(), st.integers(-719_162, 2_932_896).map(lambda day: day * 86_400_000)
    for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        yield kind, st.integers(0, 86_400 * PER_SECOND[kind.unit] - 1)
    for unit in PER_SECOND:
        yield pa.duration(unit), st.integers(-(2**63), 2**63 - 1)
        for zone in ZONES:
            yield pa.timestamp(unit, zone), timestamps(unit)
    for kind in (pa.decimal128(1, 0), pa.decimal128(9, 9), pa.decimal128(38, 20), pa.decimal256(60, 10)):
        yield kind, decimals(kind.precision, kind.scale)


FLAT = list(flat())
flat_types = st.sampled_from(FLAT)


def nullable(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


@st.composite
def nested_types(draw, depth: int = 2) -> tuple[pa.DataType, st.SearchStrategy]:
    if depth == 0:
        return draw(flat_types)
    shape = draw(st.sampled_from(["list", "fixed", "struct", "map"]))
    kind, values = draw(nested_types(depth - 1))
    some = st.lists(nullable(values), max_size=3)
    if shape == "list":
        return pa.list_(kind), some
    if shape == "fixed":
        return pa.list_(kind, 2), st.lists(nullable(values), min_size=2, max_size=2)
    if shape == "struct":
        other, others = draw(flat_types)
        both = st.tuples(nullable(values), nullable(others)).map(lambda pair: {"x": pair[0], "y": pair[1]})
        return pa.struct([("x", kind), ("y", other)]), both
    return pa.map_(pa.string(), kind), st.lists(st.tuples(TEXT, nullable(values)), max_size=2)


@st.composite
def tables(draw, types: st.SearchStrategy, max_columns: int = 4) -> pa.Table:
    names = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=max_columns, unique=True))
    rows = draw(st.integers(0, 12))
    columns = []
    for _ in names:
        kind, values = draw(types)
        column = draw(st.lists(nullable(values), min_size=rows, max_size=rows))
        columns.append(pa.array(column, kind))
    return pa.table(columns, names=names)
