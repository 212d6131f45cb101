"""A snapshot's files as one Arrow table, so that a million of them prune in milliseconds.

Columns: `path`, `rows`, `bytes`, `sha256`, `footer_bytes`, `footer_sha256`, `partition` (list of text),
`added_version`, `key_min`, `key_max` (canonical key bytes; null is unbounded or unknown), `columns` (ids of the file's
own columns in its order; null: the table's), `vector` (the rows that are marked; null: none), and for each table column
with id n: `nulls.n`, `min.n`, `max.n`, the bounds in the column's own type. Null bounds mean "may hold anything". Row
order is commit order, but for files that take the place of another; it is the order in which rows are read.

Source: specs/3-manifest.md, "Checkpoints".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from txfiles.core import names
from txfiles.core.manifest import PARTITION_VALUE_LIMIT, Add, TableMetadata, Vector
from txfiles.core.messages import one_line
from txfiles.core.replay import same_key_codes
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError
from txfiles.rows import types
from txfiles.rows.text import from_text

_VECTOR = pa.struct(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("rows", pa.int64()),
    ]
)
"""`core.manifest.Vector`."""

_FIXED = pa.schema(
    [
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("footer_bytes", pa.int64()),
        ("footer_sha256", pa.string()),
        ("partition", pa.list_(pa.string())),
        ("added_version", pa.int64()),
        ("key_min", pa.binary()),
        ("key_max", pa.binary()),
        ("columns", pa.list_(pa.int32())),
        ("vector", _VECTOR),
    ]
)

_REQUIRED = _FIXED.names[: _FIXED.names.index("key_min")]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One live file, as reading it needs it. Attributes as in `core.manifest.Add`."""

    path: str
    rows: int
    bytes: int
    sha256: str
    footer_bytes: int
    footer_sha256: str
    partition: tuple[str | None, ...]
    columns: tuple[int, ...] | None = None
    vector: Vector | None = None

    @property
    def live_rows(self) -> int:
        """How many of its rows are in the table."""
        return self.rows - (self.vector.rows if self.vector else 0)


def schema(columns: Sequence[Column]) -> pa.Schema:
    """The file list's schema for a table of these columns."""
    fields = list(_FIXED)
    for column in columns:
        bound = _bound_type(column)
        fields += [
            pa.field(f"nulls.{column.id}", pa.int64()),
            pa.field(f"min.{column.id}", bound),
            pa.field(f"max.{column.id}", bound),
        ]
    return pa.schema(fields)


def empty(columns: Sequence[Column]) -> pa.Table:
    """The file list of a table without files."""
    return schema(columns).empty_table()


def from_adds(adds: Sequence[tuple[Add, int]], columns: Sequence[Column], keys: Sequence[str]) -> pa.Table:
    """Turn actions into rows.

    Args:
        adds: n actions, each with the version that added it, in commit order.
        columns: the table's columns.
        keys: the table's keys; a key range recorded under others is unknown.
    Raises:
        CorruptTableError: a bound is not a value of its column's type.
    Cost: O(n × columns), vectorised by type.
    """
    files = [add for add, _ in adds]
    by_name = {column.name: column.id for column in columns}
    key_ids = tuple(by_name[name] for name in keys)
    ranges = [
        add.key_range if add.key_range is not None and add.key_range.columns == key_ids else None for add in files
    ]
    arrays: dict[str, pa.Array] = {
        "path": [add.path for add in files],
        "rows": [add.rows for add in files],
        "bytes": [add.bytes for add in files],
        "sha256": [add.sha256 for add in files],
        "footer_bytes": [add.footer_bytes for add in files],
        "footer_sha256": [add.footer_sha256 for add in files],
        "partition": [list(add.partition) for add in files],
        "added_version": [version if add.added_version is None else add.added_version for add, version in adds],
        "columns": [add.columns for add in files],
        "vector": [None if add.vector is None else structs.asdict(add.vector) for add in files],
        "key_min": [None if found is None else bytes.fromhex(found.min) for found in ranges],
        "key_max": [None if found is None or found.max is None else bytes.fromhex(found.max) for found in ranges],
    }
    target = schema(columns)
    texts: dict[str, list[str | None]] = {}
    for column in columns:
        found_stats = [add.stats.get(str(column.id)) for add in files]
        arrays[f"nulls.{column.id}"] = [None if stats is None else stats.nulls for stats in found_stats]
        texts[f"min.{column.id}"] = [None if stats is None else stats.min for stats in found_stats]
        texts[f"max.{column.id}"] = [None if stats is None else stats.max for stats in found_stats]
    arrays |= _typed(texts, target, len(files))
    return pa.table(
        [
            value if isinstance(value, pa.Array) else pa.array(value, field.type)
            for field, value in ((field, arrays[field.name]) for field in target)
        ],
        schema=target,
    )


def conform(files: pa.Table, columns: Sequence[Column], *, same_keys: bool) -> pa.Table:
    """A file list in the columns of a table: new columns unknown, dropped ones gone, widened ones widened.

    Args:
        files: a file list made for earlier columns.
        columns: the table's columns now.
        same_keys: whether the key ranges in `files` were recorded for today's keys.
    """
    target = schema(columns)
    if files.schema.equals(target) and same_keys:
        return files
    arrays = []
    for field in target:
        known = files.schema.get_field_index(field.name) >= 0
        if not known or (field.name in ("key_min", "key_max") and not same_keys):
            arrays.append(pa.nulls(files.num_rows, field.type))
        elif files.schema.field(field.name).type == field.type:
            arrays.append(files[field.name])
        else:
            arrays.append(_widened(files[field.name], field.type))
    return pa.table(arrays, schema=target)


def follow(files: pa.Table, before: TableMetadata, after: TableMetadata) -> pa.Table:
    """A file list as a later table action sees it: `conform`, and files keep the columns they were written with.

    Cost: O(files) if columns change, vectorised.
    """
    listed = conform(files, after.columns, same_keys=same_key_codes(before, after))
    if before.stored_ids == after.stored_ids:
        return listed
    at = listed.schema.get_field_index("columns")
    own = pa.scalar(before.stored_ids, listed.schema.field(at).type)
    return listed.set_column(at, listed.schema.field(at), pc.coalesce(listed["columns"], own))


def in_place(files: pa.Table, places: Sequence[str | None], before: pa.ChunkedArray) -> pa.Table:
    """A list in row order: files that were added come last, but for those that take the place of another.

    Args:
        files: n files; the last ones, of which `places` says the places, were added.
        places: of each file that was added, the path whose place it takes; None: it stays where it is.
        before: paths of the list before, in row order, with all places among them.
    Cost: O(1) if no file takes a place, otherwise O(n), vectorised.
    """
    if not any(places):
        return files
    kept = files["path"].slice(0, files.num_rows - len(places))
    own = pa.chunked_array([*kept.chunks, pa.array(places, pa.string())], pa.string())
    at = pc.fill_null(pc.index_in(own, value_set=before), len(before))
    return files.take(pc.sort_indices(at))


def data_files(files: pa.Table, positions: Sequence[int] | np.ndarray | None = None) -> list[DataFile]:
    """Rows of the list as values, for those few that are about to be opened; without positions, all."""
    few = files.select(list(DataFile.__dataclass_fields__))
    if positions is not None:
        few = _taken(few, np.asarray(positions, np.int64))
    return [
        DataFile(
            path, rows, size, digest, footer, footer_digest, tuple(partition or ()), _tuple(columns), _vector(vector)
        )
        for path, rows, size, digest, footer, footer_digest, partition, columns, vector in zip(
            *(column.to_pylist() for column in few.columns), strict=True
        )
    ]


def of_paths(files: pa.Table, paths: Sequence[str]) -> list[DataFile]:
    """Those files of the list that have these paths, in the order of the list. Cost: O(files), vectorised."""
    here = pc.is_in(files["path"], value_set=pa.array(paths, pa.string()))
    return data_files(files, np.flatnonzero(here.to_numpy()))


def _taken(files: pa.Table, positions: np.ndarray) -> pa.Table:
    """Rows in the order of their positions. Arrow would first put all pieces of the list together."""
    pieces = files.to_batches()
    starts = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    if len(pieces) <= 1 or (np.diff(positions) < 0).any():
        return files.take(pa.array(positions))
    cuts = np.searchsorted(positions, starts)
    found = [
        piece.take(pa.array(positions[low:high] - start))
        for piece, start, low, high in zip(pieces, starts, cuts, cuts[1:], strict=False)
        if low < high
    ]
    return pa.Table.from_batches(found, files.schema)


def fault(files: pa.Table, table_id: str, partitions: int, version: int, *, adopted: bool = False) -> str | None:
    """What is wrong with a list that may be hostile; None if a table's log could have led to it.

    Args:
        files: n files, in the columns of `schema`.
        table_id: the table's.
        partitions: how many partition columns the table has.
        version: the version that the list is of.
        adopted: whether the table has files that other tools have named.
    Cost: O(n), vectorised; the grammar of paths is asked once for each partition.
    """
    try:
        files.validate(full=True)
    except pa.ArrowInvalid as error:
        return f"a value of it is none: {one_line(error)}"
    if any(files[name].null_count for name in _REQUIRED):
        return "a file lacks its path, size or hash"
    if any(pc.any(pc.less(files[name], 0)).as_py() for name in ("rows", "bytes", "footer_bytes", "added_version")):
        return "a size of a file is negative"
    if pc.any(pc.greater(files["added_version"], version)).as_py():
        return "a file was added later"
    own = pc.list_flatten(files["columns"])
    if own.null_count or (pc.min(own).as_py() or 1) < 1:
        return "a column of a file has no id"
    if pc.any(pc.not_equal(pc.list_value_length(files["partition"]), partitions)).as_py():
        return "a file has more or fewer partition values than the table has partition columns"
    if (pc.max(pc.utf8_length(pc.list_flatten(files["partition"]))).as_py() or 0) > PARTITION_VALUE_LIMIT:
        return "a partition value is too long for the name of a folder"
    if len(pc.unique(files["path"])) < files.num_rows:
        return "it names a path twice"
    if not _vectors_fit(files.select(["rows", "vector"]).filter(pc.is_valid(files["vector"])), table_id):
        return "a deletion vector is not one of this table's, or does not fit its file"
    return _path_fault(_not_adopted(files["path"]) if adopted else files["path"], table_id)


_PLAIN_PATH = r"\A[A-Za-z0-9._~=-]+(?:/[A-Za-z0-9._~=-]+)*\z"
_ODD_SEGMENT = rf"(?:\A|/)(?:\.|\.\.|{names.LOG_FOLDER}|[^/]{{{names.SEGMENT_LIMIT_BYTES + 1},}})(?:/|\z)"


def _not_adopted(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Those paths that adopted files cannot have. The same rule as `names.is_adopted_path`, for many paths."""
    plain = pc.and_not(pc.match_substring_regex(paths, _PLAIN_PATH), pc.match_substring_regex(paths, _ODD_SEGMENT))
    others = paths.filter(pc.invert(plain))
    odd = pa.array([not names.is_adopted_path(path) for path in others.to_pylist()], pa.bool_())
    return others.filter(odd)


def foreign(files: pa.Table, table_id: str) -> np.ndarray:
    """Which files of a list have names that are not this table's own: it adopted them."""
    return ~np.asarray(pc.match_substring_regex(files["path"], _own_names(table_id)), np.bool_)


def _own_names(table_id: str) -> str:
    return rf"(?:\A|/)part-{table_id}-[0-9a-f]{{32}}-[0-9]{{5,9}}\.(?:parquet|csv)\z"


def _path_fault(paths: pa.ChunkedArray, table_id: str) -> str | None:
    """Whether each path is a data file's of the table. The same rule as `names.is_data_path`, for many paths."""
    pattern = _own_names(table_id)
    parts = pc.split_pattern(paths, "/", max_splits=1, reverse=True)
    folders = pc.list_element(parts.filter(pc.greater(pc.list_value_length(parts), 1)), 0)
    some_file = names.data_file(table_id, "0" * 32, 0, "parquet")
    in_place = all(names.is_data_path(f"{folder}/{some_file}", table_id) for folder in pc.unique(folders).to_pylist())
    if not in_place or not pc.all(pc.match_substring_regex(paths, pattern), min_count=0).as_py():
        return "it names a path that is not a data file of this table"
    return None


def _vectors_fit(marked: pa.Table, table_id: str) -> bool:
    """Whether all vectors are whole, this table's, and mark some rows of their file but not all."""
    if not marked.num_rows:
        return True
    fields = {field.name: pc.struct_field(marked["vector"], field.name) for field in _VECTOR}
    own = pc.match_substring_regex(fields["file"], rf"\A{table_id}-[0-9a-f]{{32}}-[0-9]{{5,9}}\.bin\z")
    hashed = pc.match_substring_regex(fields["sha256"], r"\A[0-9a-f]{64}\z")
    sized = pc.and_(pc.greater_equal(fields["offset"], 0), pc.greater_equal(fields["bytes"], 0))
    some = pc.and_(pc.greater(fields["rows"], 0), pc.less(fields["rows"], marked["rows"]))
    found = pc.and_(pc.and_(own, hashed), pc.and_(sized, some))
    return bool(pc.all(pc.fill_null(found, fill_value=False)).as_py())


def total_rows(files: pa.Table) -> int:
    """How many rows of the files are in the table. Cost: vectorised."""
    return int(pc.sum(files["rows"]).as_py() or 0) - marked_rows(files)


def marked_rows(files: pa.Table) -> int:
    """How many rows of the files are marked. Cost: vectorised."""
    if not has_marks(files):
        return 0
    return int(pc.sum(pc.struct_field(files["vector"], "rows")).as_py() or 0)


def grows(before: pa.Table, after: pa.Table) -> bool:
    """Whether each file of a list has no fewer marked rows than before, and some that are not. Cost: vectorised."""
    old, new = (pc.fill_null(pc.struct_field(files["vector"], "rows"), 0) for files in (before, after))
    fits = pc.or_(pc.equal(new, 0), pc.less(new, after["rows"]))
    return bool(pc.all(pc.and_(pc.greater_equal(new, old), fits), min_count=0).as_py())


def has_marks(files: pa.Table) -> bool:
    """Whether some file of a list has marked rows. Cost: O(1)."""
    return bool(files["vector"].null_count < files.num_rows)


def marked(files: pa.Table) -> pa.Table:
    """Those files of a list that have marked rows."""
    return files.filter(pc.is_valid(files["vector"]))


def unmarked(files: pa.Table) -> pa.Table:
    """A list without its vectors."""
    return with_vectors(files, pa.nulls(files.num_rows, _VECTOR)) if has_marks(files) else files


def saved_without_vectors(files: pa.Table) -> pa.Table:
    """A list as it was saved: with a column of vectors, if it has none."""
    if "vector" in files.column_names:
        return files
    return files.append_column("vector", pa.nulls(files.num_rows, _VECTOR))


def overlay(files: pa.Table) -> pa.Table:
    """The marked files of a list, without their bounds: what a checkpoint says of the files of its parts."""
    few = marked(files).select(_FIXED.names)
    for field in files.schema:
        if field.name not in _FIXED.names:
            few = few.append_column(field, pa.nulls(few.num_rows, field.type))
    return few


def with_vectors(files: pa.Table, vectors: pa.Array) -> pa.Table:
    """A list with these vectors, one for each file; null: none."""
    return files.set_column(files.schema.get_field_index("vector"), files.schema.field("vector"), vectors)


def vectors_of(marks: Sequence[Vector]) -> pa.Array:
    """Vectors as `with_vectors` takes them."""
    return pa.array([structs.asdict(vector) for vector in marks], _VECTOR)


def bounds(files: pa.Table, column: Column) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The lower and upper bounds of one column, one per file, null if unknown."""
    return files[f"min.{column.id}"], files[f"max.{column.id}"]


def _bound_type(column: Column) -> pa.DataType:
    found = types.from_spec(column.type)
    return pa.null() if pa.types.is_nested(found) else found


def _typed(texts: Mapping[str, Sequence[str | None]], target: pa.Schema, count: int) -> dict[str, pa.Array]:
    """Columns of `count` bounds out of their text form; those of one type at once, since it is calls that cost."""
    by_type: dict[pa.DataType, list[str]] = {}
    for name in texts:
        by_type.setdefault(target.field(name).type, []).append(name)
    arrays: dict[str, pa.Array] = {}
    for wanted, group in by_type.items():
        text = pa.array([bound for name in group for bound in texts[name]], pa.string())
        known = text.null_count < len(text)
        values = from_text(text, wanted, error=CorruptTableError) if known else pa.nulls(len(text), wanted)
        arrays |= {name: values.slice(at * count, count) for at, name in enumerate(group)}
    return arrays


def _widened(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_string(wanted):  # text has an order of its own
        return pa.nulls(len(values), wanted)
    try:
        return values.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Drop a bound that the new type cannot hold: the file may then hold anything.
        return pa.nulls(len(values), wanted)


def _vector(fields: dict[str, Any] | None) -> Vector | None:
    return None if fields is None else Vector(**fields)


def _tuple(ids: list[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(ids)
