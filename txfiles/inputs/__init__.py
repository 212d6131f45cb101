"""Data as users hold it: inputs become a `Source`, outputs a DataFrame.

`source` does not read yet: the id of a batch is looked up before its input is touched, so a load that ran before can be
repeated even if its files are gone. Everything is read at the first `read`.

Data is accepted by protocol (``__arrow_c_stream__``, ``__arrow_c_array__``), and by type only if the protocol would
lose something or hide what goes wrong. pandas and polars are optional: each is imported by one module here, and only
when it is needed.

A call closes whatever it opens or consumes (a reader, a stream, a generator) as soon as it has been read or has failed:
a database connection is released even if somebody keeps the error with its traceback.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from functools import partial
from inspect import isgenerator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from txfiles.errors import InputError, OptionError
from txfiles.inputs.declared import declared_types
from txfiles.inputs.paths import PathSource
from txfiles.inputs.remote import RemoteSource, is_remote
from txfiles.inputs.spool import Labelled, OnePass, index_notes
from txfiles.rows.dialect import dialect
from txfiles.rows.inference import declare
from txfiles.rows.schema import check_batch_schema
from txfiles.rows.source import NO_RULES, Batch, Source, TextRules
from txfiles.spark.frames import SparkSource

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["are_remote", "as_table", "source", "to_pandas", "to_polars"]

ACCEPTED = (
    "a pandas, polars or Spark DataFrame, a polars LazyFrame, a pyarrow Table, RecordBatch, RecordBatchReader or "
    "Dataset, an object with __arrow_c_stream__ or __arrow_c_array__, an iterator or list of such chunks, or a path "
    "(or a list of paths) to Parquet and CSV files (.parquet, .pq, .csv, .tsv, .csv.gz) or to folders of them"
)

_Table = Callable[[], pa.Table]
Chunks = Generator[Labelled]


def source(
    data: Any, *, schema: Any = None, csv: Any = None, storage_options: Mapping[str, Any] | None = None
) -> Source:
    """Data that can be read more than once.

    Args:
        data: see `ACCEPTED`; a list or tuple of paths is read in order.
        schema: types of some or all columns, see `declared.declared_types`. They decide how CSV is
            parsed; other inputs are cast if that loses nothing.
        csv: how CSV files are written: a mapping, see `dialect.Dialect`.
        storage_options: for paths that are URLs.
    Raises:
        InputError: `data` is none of these.
        OptionError: `schema` or `csv` is not understood, or `csv` is given and `data` is not paths.
    Cost: nothing is read yet. One-pass inputs and files are spooled to a temporary file at the first read; frames
        and tables stay where they are.
    """
    types, told = declared_types(schema), dialect(csv)
    declared = frozenset(types.names if types is not None else ())
    paths = _paths(data)
    if are_remote(data):
        return RemoteSource(paths, types, told, storage_options)
    if paths:
        return PathSource(paths, types, told)
    if csv is not None:
        raise OptionError(f"csv= describes CSV files, but a {_kind(data)} is not a path", hint="leave it out")
    if engine(data) == "spark":
        return SparkSource(data, partial(declare, types=types))
    table = _frame(data) or _one_batch(data)
    if table is not None:
        return _Memory(lambda: declare(table(), types), _index(data), declared)
    chunks = _chunks(data)
    if chunks is None:
        raise InputError(f"a {_kind(data)} cannot be written", hint=f"pass {ACCEPTED}")
    index: dict[str, None] = {}
    return OnePass(lambda: _declared(chunks(index), types), index, declared)


def engine(data: Any) -> str:
    """Where the rows of data are: `local`, in this process, or `spark`."""
    return (
        "spark"
        if any(c.__module__.startswith("pyspark.sql.") and c.__name__ == "DataFrame" for c in type(data).__mro__)
        else "local"
    )


def are_remote(data: Any) -> bool:
    """Whether data is at a URL, or a list of paths of which one is."""
    return any(map(is_remote, _paths(data)))


def _paths(data: Any) -> list[str]:
    """The paths that data is; none if it is something else."""
    if isinstance(data, str | os.PathLike):
        return [_path(data)]
    if isinstance(data, list | tuple) and all(isinstance(item, str | os.PathLike) for item in data):
        return [_path(item) for item in data]
    return []


def as_table(data: Any) -> pa.Table | None:
    """The rows of a frame or table that is in memory; None for anything else."""
    table = _frame(data)
    return None if table is None else table()


def to_pandas(table: pa.Table, dtype_backend: str | None = None) -> pd.DataFrame:
    """A pandas DataFrame with the values of the table; see `inputs.pandas.to_pandas`.

    Raises:
        InputError: pandas is not installed.
        OptionError: `dtype_backend` is not one that pandas knows.
    """
    try:
        from txfiles.inputs import pandas
    except ModuleNotFoundError as error:
        raise _not_installed("pandas", error) from error
    return pandas.to_pandas(table, dtype_backend)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """A polars DataFrame with the values of the table.

    Raises:
        InputError: polars is not installed.
    """
    try:
        from txfiles.inputs import polars
    except ModuleNotFoundError as error:
        raise _not_installed("polars", error) from error
    return polars.to_polars(table)


class _Memory:
    """Rows that are in memory already; converted once, at the first read."""

    def __init__(self, table: _Table, index: tuple[str, ...], declared: frozenset[str]) -> None:
        self._table = table
        self._index = index
        self._declared = declared
        self._batch: Batch | None = None

    def read(self, known: pa.Schema | None, rules: TextRules = NO_RULES) -> Batch:
        del known, rules  # the types are the data's own
        if self._batch is None:
            self._batch = Batch(
                self._table(), notes=index_notes(self._index), index=self._index, declared=self._declared
            )
        return self._batch

    def close(self) -> None:
        self._batch = None


def _frame(data: Any) -> _Table | None:
    """How to convert an in-memory frame to a table; None for anything else."""
    if isinstance(data, pa.Table):
        return lambda: data
    if isinstance(data, pa.RecordBatch):
        return lambda: pa.Table.from_batches([data])
    if _is_a(data, "pandas", "DataFrame"):
        from txfiles.inputs import pandas

        return lambda: pandas.from_pandas(data)
    if _is_a(data, "polars", "DataFrame", "LazyFrame"):
        from txfiles.inputs import polars

        return lambda: polars.from_polars(data)
    return None


def _one_batch(data: Any) -> _Table | None:
    """How to convert another library's record batch to a table; None for anything else."""
    if hasattr(data, "__arrow_c_array__") and not hasattr(data, "__arrow_c_stream__"):
        return lambda: _batch(data)
    return None


def _index(data: Any) -> tuple[str, ...]:
    """The names in the index of a pandas DataFrame, which is not written; none of anything else."""
    if not _is_a(data, "pandas", "DataFrame"):
        return ()
    from txfiles.inputs import pandas

    return pandas.index_names(data)


def _chunks(data: Any) -> Callable[[dict[str, None]], Chunks] | None:
    """How to read a stream once, collecting the index names of its frames; None if it is not a stream."""
    if isinstance(data, pa.RecordBatchReader):
        return lambda _: _stream(data)
    if _is_a(data, "pandas", "Series"):  # before pandas 3 it is iterable, and not a stream
        raise _one_column(data)
    if _is_a(data, "pyarrow", "Dataset"):
        return lambda _: _stream(data.scanner().to_reader())
    if hasattr(data, "__arrow_c_stream__"):
        return lambda _: _stream(_reader(data))
    if isgenerator(data) and data.gi_frame is None:
        raise InputError(
            "the generator was exhausted before the write, so its chunks are gone",
            hint="create the generator again and repeat the write",
        )
    if isinstance(data, Iterable) and not isinstance(data, bytes | bytearray | memoryview | Mapping | AbstractSet):
        return lambda index: _numbered(data, index)
    return None


def _declared(chunks: Chunks, types: pa.Schema | None) -> Chunks:
    with closing(chunks):
        for label, chunk in chunks:
            yield label, declare(chunk, types)


def _reader(data: Any) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(data)
    except pa.ArrowInvalid as error:
        raise _one_column(data) from error


def _batch(data: Any) -> pa.Table:
    try:
        return pa.Table.from_batches([pa.record_batch(data)])
    except pa.ArrowInvalid as error:
        raise _one_column(data) from error


def _one_column(data: Any) -> InputError:
    return InputError(f"a {_kind(data)} is a single unnamed column, not a table", hint=f"pass {ACCEPTED}")


def _stream(reader: pa.RecordBatchReader) -> Chunks:
    with closing(reader):
        check_batch_schema(reader.schema)  # Arrow itself makes no empty table of each type
        # Even a reader without batches has a schema.
        yield "the schema", reader.schema.empty_table()
        for number, batch in enumerate(reader):
            yield f"chunk {number}", pa.Table.from_batches([batch])


def _numbered(chunks: Iterable[Any], index: dict[str, None]) -> Chunks:
    iterator = iter(chunks)
    try:
        for number, chunk in enumerate(iterator):
            index |= dict.fromkeys(_index(chunk))
            yield f"chunk {number}", _chunk(chunk, number)
    finally:
        # A generator, or a reader of some library that is its own iterator.
        close = getattr(iterator, "close", None)
        if callable(close):
            close()


def _chunk(chunk: Any, number: int) -> pa.Table:
    table = _frame(chunk) or _one_batch(chunk)
    if table is not None:
        return table()
    if hasattr(chunk, "__arrow_c_stream__") and not isinstance(chunk, pa.RecordBatchReader):
        with closing(_reader(chunk)) as reader:
            return reader.read_all()
    raise InputError(f"chunk {number} is a {_kind(chunk)}, which is not a table", hint=f"pass {ACCEPTED}", chunk=number)


def _is_a(data: Any, package: str, *names: str) -> bool:
    """Whether a class of an optional package is among an object's classes, without importing the package."""
    return any(c.__module__.split(".")[0] == package and c.__name__ in names for c in type(data).__mro__)


def _kind(data: Any) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")


def _path(path: str | os.PathLike[Any]) -> str:
    return os.fsdecode(os.fspath(path))


def _not_installed(package: str, error: ModuleNotFoundError) -> InputError:
    if error.name != package:
        raise error
    return InputError(f"{package} is not installed", hint=f"pip install 'txfiles[{package}]'", package=package)
