"""What `tools/bench peers` asks of a system, and this project's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench_rows import FEW_VALUES

Within = tuple[int, int]
"""Ids from the first, to before the second."""
Columns = list[str] | None

GROUP_ROWS = 32_768
"""Rows of a row group, where the settings are the same for all."""


class NotOfferedError(Exception):
    """The system has no such call; why."""


class NotYetError(NotOfferedError):
    """This release of txfiles does not have it yet."""


class System:
    """A table format at a place.

    Args:
        place: a folder, or a URL; every run has the same, since some formats record it.
        key: the column that identifies rows.
        codec: of Parquet pages; None: everything as it comes, settings and call, as the system documents it.
        s3: the endpoint of a server, and the account's key and secret.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    """From PyPI, the system's own first; none: it runs in the project's environment."""
    python: ClassVar[tuple[int, int]] = (3, 11)
    """The least that it needs."""
    module = "pyarrow"
    """What a user imports."""
    floor = False
    style = "copy-on-write"
    by_key = False
    """Whether the key changes what is stored, so that there is a table for each."""
    only: ClassVar[tuple[str, ...]] = ()
    """The workloads that it takes part in; none: all."""
    s3_ready = False
    same = "codec, row groups and dictionaries are those of all"
    """What can be the same for all."""

    def __init__(self, place: str, key: str = "id", codec: str | None = "snappy", s3: Any = None) -> None:
        self.place, self.key, self.codec, self.s3 = place, key, codec, s3

    def create(self, parts: Iterable[pa.Table]) -> None:
        """Make the table, with a file for each part."""
        for number, part in enumerate(parts):
            if number == 0:
                self.begin(part)
            self.append(part)

    def begin(self, rows: pa.Table) -> None:
        """Make the empty table, with the columns of these rows, where an append does not do that."""

    def append(self, rows: pa.Table) -> None:
        """Add rows."""
        raise NotImplementedError

    def append_once(self, rows: pa.Table) -> int | None:
        """Add the rows of unknown keys. Returns how many; None: the system does not tell."""
        raise NotImplementedError

    def upsert(self, rows: pa.Table) -> int | None:
        """Replace the rows of known keys, add the others. Returns how many were replaced; None: it does not tell."""
        raise NotImplementedError

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        """The rows, perhaps only those of some ids, as an Arrow table or what becomes one."""
        raise NotImplementedError

    def plan(self, within: Within) -> int:
        """How many files a read of some ids needs."""
        raise NotOfferedError("it plans only while it reads")

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        """Make a table that lists a file for each pair of a least and a greatest id, most of which do not exist."""
        raise NotOfferedError("its list cannot be made without the files")

    def bounds(self, rows: pa.Table) -> Within | None:
        """The least and greatest id of a batch, which users who know their system pass; None: as it comes, or text."""
        if self.codec is None or self.key != "id":
            return None
        return extent(rows)

    def condition(self, rows: pa.Table) -> str:
        """The condition of a merge in SQL, with the bounds."""
        within = self.bounds(rows)
        equal = f"t.{self.key} = s.{self.key}"
        return equal if within is None else f"{equal} AND t.id >= {within[0]} AND t.id <= {within[1]}"

    def writing(self, rows: pa.Table) -> dict[str, Any]:
        """What pyarrow is told where everything is the same for all."""
        if self.codec is None:
            return {}
        few = [name for name in rows.column_names if name in FEW_VALUES]
        return {"compression": self.codec, "row_group_size": GROUP_ROWS, "use_dictionary": few}


def extent(rows: pa.Table) -> Within:
    """The least and the greatest id."""
    found = pc.min_max(rows["id"]).as_py()
    return found["min"], found["max"]


class TxFiles(System):
    """This project."""

    module = "txfiles"
    by_key = s3_ready = True
    properties: ClassVar[dict[str, Any]] = {}

    def begin(self, rows: pa.Table) -> None:
        self._write(rows.slice(0, 0), "append_once")

    def append(self, rows: pa.Table) -> None:
        self._write(rows, "append")

    def append_once(self, rows: pa.Table) -> int | None:
        return int(self._write(rows, "append_once").rows_inserted)

    def upsert(self, rows: pa.Table) -> int | None:
        return int(self._write(rows, "upsert").rows_updated)

    def read(self, columns: Columns = None, within: Within | None = None) -> Any:
        return self._opened().to_arrow(columns, self._where(within))

    def plan(self, within: Within) -> int:
        from txfiles.reading import scan

        snapshot = self._opened()._opened.snapshot  # noqa: SLF001 - nothing public plans a read without reading
        return int(scan._scan(snapshot, ["id"], self._where(within)).files.num_rows)  # noqa: SLF001 - likewise

    def list_files(self, ranges: np.ndarray, rows: pa.Table) -> None:
        """A checkpoint of what the first commit has not written, before the second."""
        from txfiles.api import place
        from txfiles.core import names
        from txfiles.log import versions
        from txfiles.log.snapshot import Listed, Snapshot
        from txfiles.rows import filelist
        from txfiles.rows.segments import FileList
        from txfiles.targets.files.target import open_session

        self._write(rows.slice(0, 0), "append_once", checkpoint_interval=1)
        self.append(rows)
        session = open_session(place(self.place))
        snapshot = versions.require_head(session)
        assert session.cache is not None
        table, state, number = snapshot.state.table, snapshot.state, len(ranges)
        one = snapshot.files.slice(0, 1)
        ids = {column.name: column.id for column in table.columns}
        files = one.take(pa.array([0] * number))
        paths = [names.data_file(state.table_id, f"{n:032x}", 0, "parquet") for n in range(number)]
        values = {"path": pa.array(paths), f"min.{ids['id']}": ranges[:, 0], f"max.{ids['id']}": ranges[:, 1]}
        values |= dict.fromkeys(("key_min", "key_max"), pa.nulls(number, pa.binary()))
        for name, column in values.items():
            files = files.set_column(files.schema.get_field_index(name), files.schema.field(name), pa.array(column))
        assert files.schema.equals(filelist.schema(table.columns))
        session.cache.keep(session.store.root, Snapshot(state, Listed.of(table, FileList.of(files))))
        self._write(rows, "append")

    def _write(self, rows: pa.Table, mode: str, **properties: Any) -> Any:
        import txfiles as tx

        made: dict[str, Any] = {}
        if not tx.exists(self.place, storage_options=self._options()):
            settings = {} if self.codec is None else {"compression": self.codec, "row_group_rows": GROUP_ROWS}
            made = {"properties": settings | self.properties | properties, "format": "parquet"}
        keys = None if mode == "append" else [self.key]
        return tx.write(rows, self.place, mode=mode, keys=keys, storage_options=self._options(), **made)

    def _opened(self) -> Any:
        import txfiles as tx

        return tx.Table(self.place, storage_options=self._options())

    @staticmethod
    def _where(within: Within | None) -> Any:
        return within and [("id", ">=", within[0]), ("id", "<", within[1])]

    def _options(self) -> dict[str, Any] | None:
        if self.s3 is None:
            return None
        url, key, secret = self.s3
        return {"endpoint_url": url, "key": key, "secret": secret, "client_kwargs": {"region_name": "us-east-1"}}


class TxFilesExpression(TxFiles):
    """This project, with a filter that is an Arrow expression."""

    only = ("W9b",)

    @staticmethod
    def _where(within: Within | None) -> Any:
        return within and (pc.field("id") >= within[0]) & (pc.field("id") < within[1])


class TxFilesMor(TxFiles):
    """This project with deletion vectors, and the key index that comes with them."""

    style = "merge-on-read"
    only = ("W1", "W2", "W3", "W4", "W5", "W6", "W7")
    properties: ClassVar[dict[str, Any]] = {"update_strategy": "merge_on_read"}

    def __init__(self, place: str, key: str = "id", codec: str | None = "snappy", s3: Any = None) -> None:
        from txfiles.core.properties import PROPERTIES

        super().__init__(place, key, codec, s3)
        if "update_strategy" not in PROPERTIES:
            raise NotYetError("merge-on-read")


class TxFilesIndex(TxFiles):
    """This project with a key index."""

    only = ("W1", "W2", "W3", "W4", "W5", "W6", "W7")
    properties: ClassVar[dict[str, Any]] = {"key_index": "on"}
