"""The calls of the simulator, each with its meaning on rows: the rows and columns of the conflict matrix.

`CALLS` grows with the library: a test fails while an operation that commits has no call here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

import txfiles as tx
from tests.model import Model, Row, bag

SCHEMA = pa.schema([("k", pa.int64()), ("part", pa.string()), ("n", pa.int64()), ("at", pa.int64())])
COLUMNS = tuple(SCHEMA.names)


@dataclass(frozen=True)
class Content:
    """A version as the model has it.

    Attributes:
        rows: in no order.
        columns: names.
        keys: recorded ones.
        timestamp_col: likewise.
        batch_ids: that were committed.
        detached: whether no version may follow.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    timestamp_col: str | None = None
    batch_ids: frozenset[str] = frozenset()
    detached: bool = False

    def bag(self) -> list[Any]:
        """The rows as a value."""
        return bag([dict(row) for row in self.rows])

    def by_part(self) -> dict[Any, list[Any]]:
        """The keys of each part, in row order."""
        return {part: [row["k"] for row in self.rows if row["part"] == part] for part in {r["part"] for r in self.rows}}

    def same(self, other: Content) -> bool:
        """Whether nobody can tell them apart by their rows."""
        return self.columns == other.columns and self.bag() == other.bag()


EMPTY = Content()
"""No table."""


def row(k: int, part: str = "a", n: int = 0, at: int = 0) -> Row:
    """One row."""
    return {"k": k, "part": part, "n": n, "at": at}


@dataclass(frozen=True)
class Write:
    """A call of `tx.write`.

    Attributes:
        name: as it is called in the matrix.
        mode: of the write.
        rows: for a process's number, what it brings.
        options: further arguments.
        columns: names, where they are not those of `SCHEMA`.
        gives_up: whether it may end in a conflict, for it has no patience.
    """

    name: str
    mode: str
    rows: Callable[[int], Sequence[Row]]
    options: Mapping[str, Any]
    columns: tuple[str, ...] = COLUMNS
    gives_up: bool = False

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        return tx.write(_arrow(self.rows(who), self.columns), path, mode=self.mode, **self.options)

    def refuses(self, state: Content) -> str | None:
        """The kind of error with which a version refuses the batch."""
        if state.detached:
            return "detached"
        schema_mode = self.options.get("schema_mode", "strict")
        missing = set(state.columns) - set(self.columns)
        added = set(self.columns) - set(state.columns)
        if state.columns and schema_mode == "strict" and (missing or added):
            return "schema-mismatch"
        if self.name == "overwrite part with keys" and self._own() & {
            known["k"] for known in state.rows if self._keeps(known)
        }:
            return "duplicate-key"
        return None

    def apply(self, state: Content, who: int) -> Content:
        """The version after it."""
        rows = list(self.rows(who))
        columns = self.columns if self.options.get("schema_mode") == "overwrite" or not state.columns else state.columns
        columns += tuple(name for name in self.columns if name not in columns)
        keys = state.keys or tuple(self.options.get("keys", ()))
        timestamp_col = state.timestamp_col or self.options.get("timestamp_col")
        model = Model(keys=keys, timestamp_col=timestamp_col, rows=[_with(known, columns) for known in state.rows])
        given = [_with(one, columns, self._stored(state, one)) for one in rows]
        if self.mode == "overwrite":
            model.replace(given, lambda known: not self._keeps(known))
        else:
            getattr(model, self.mode)(given)
        ids = state.batch_ids | ({self.options["batch_id"]} if "batch_id" in self.options else set())
        return Content(tuple(model.rows), columns, keys, timestamp_col, ids)

    def _stored(self, state: Content, given: Row) -> Mapping[str, Any]:
        """What an upsert leaves of the stored row: the columns that the batch lacks."""
        if self.mode != "upsert":
            return {}
        return next((known for known in state.rows if known["k"] == given["k"]), {})

    def _own(self) -> set[Any]:
        return {given["k"] for given in self.rows(0)}

    def _keeps(self, known: Mapping[str, Any]) -> bool:
        """Whether an overwrite leaves a row."""
        if self.options.get("overwrite_partitions"):
            return known["part"] not in {given["part"] for given in self.rows(0)}
        if "replace_where" in self.options:
            [(column, _, value)] = self.options["replace_where"]
            return bool(known[column] != value)
        return False


@dataclass(frozen=True)
class Delete:
    """A call of `Table.delete`.

    Attributes:
        name: as it is called in the matrix.
        options: its arguments.
        gone: whether it removes a row.
    """

    name: str
    options: Mapping[str, Any]
    gone: Callable[[Mapping[str, Any]], bool]

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        return tx.Table(path).delete(**self.options)

    def refuses(self, state: Content) -> str | None:
        """The kind of error where there is no table, or it has no keys or not the filter's column."""
        if not state.columns:
            return "not-found"
        if state.detached:
            return "detached"
        if "keys" in self.options:
            return None if state.keys else "keys-required"
        return None if {column for column, _, _ in self.options["where"]} <= set(state.columns) else "bad-input"

    def apply(self, state: Content, who: int) -> Content:
        """The version after it."""
        model = Model(rows=[dict(known) for known in state.rows])
        model.delete(self.gone)
        ids = state.batch_ids | ({self.options["batch_id"]} if "batch_id" in self.options else set())
        return replace(state, rows=tuple(model.rows), batch_ids=ids)


@dataclass(frozen=True)
class Transaction:
    """Several calls as one, by `Table.transaction`.

    Attributes:
        name: as it is called in the matrix.
        parts: the calls, none with an option that belongs to the whole.
    """

    name: str
    parts: Sequence[Write | Delete]

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        with tx.Table(path).transaction() as transaction:
            for part in self.parts:
                if isinstance(part, Delete):
                    transaction.delete(**part.options)
                else:
                    transaction.write(_arrow(part.rows(who), part.columns), mode=part.mode, **part.options)
        return transaction.result

    def refuses(self, state: Content) -> str | None:
        """The kind of error of the first part that is refused, on what those before it leave."""
        if not state.columns:
            return "not-found"
        for part in self.parts:
            if kind := part.refuses(state):
                return kind
            state = part.apply(state, 0)
        return None

    def apply(self, state: Content, who: int) -> Content:
        """The version after it."""
        for part in self.parts:
            state = part.apply(state, who)
        return state


@dataclass(frozen=True)
class Other:
    """A call that leaves the rows as they are."""

    name: str
    make: Callable[[str, int], Any]

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        return self.make(path, who)

    def refuses(self, state: Content) -> str | None:
        """What is said where there is no table, or nothing left but names of its log."""
        return "detached" if state.detached else None if state.columns else "not-found"

    def apply(self, state: Content, who: int) -> Content:
        """The same."""
        return state


@dataclass(frozen=True)
class Detach:
    """A call of `txfiles.detach`: its last commit ends the log, those before it change no row."""

    name: str = "detach"

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        done = tx.detach(path)
        return SimpleNamespace(version=done.version, committed=done.committed)

    def refuses(self, state: Content) -> str | None:
        """What is said where there is no table, or where another one is just taking the log away."""
        return "detached" if state.detached else None if state.columns else "not-found"

    def apply(self, state: Content, who: int) -> Content:
        """The same rows, for ever."""
        return replace(state, detached=True)


@dataclass(frozen=True)
class Restore:
    """A call of `Table.restore`, to one of the two versions that all tables begin with.

    Attributes:
        name: as it is called in the matrix.
        rows: of version 0.
        version: to be restored.
    """

    name: str
    rows: Sequence[Row]
    version: int = 0

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        done = tx.Table(path).restore(version=self.version)
        return SimpleNamespace(version=done.version, committed=done.committed)

    def refuses(self, state: Content) -> str | None:
        """What is said where there is no table, or no version may follow."""
        return "detached" if state.detached else None if state.columns else "not-found"

    def apply(self, state: Content, who: int) -> Content:
        """That version."""
        found = EMPTY
        for write in made(self.rows)[: self.version + 1]:
            found = write.apply(found, who)
        return found


@dataclass(frozen=True)
class Changing:
    """A rename of the column `n`, or its drop.

    Attributes:
        name: as it is called in the matrix.
        to: its name after that; None: it is dropped.
    """

    name: str
    to: str | None = None

    def do(self, path: str, who: int) -> Any:
        """Call the library."""
        table = tx.Table(path)
        if self.to is None:
            table.drop_column("n")
        else:
            table.rename_column("n", self.to)
        return SimpleNamespace(version=table.version, committed=True)

    def refuses(self, state: Content) -> str | None:
        """The kind of error where there is no table, or no such column."""
        if not state.columns:
            return "not-found"
        return None if "n" in state.columns else "bad-input"

    def apply(self, state: Content, who: int) -> Content:
        """The version after it."""
        names = {name: self.to if name == "n" else name for name in state.columns}
        rows = tuple({new: row[old] for old, new in names.items() if new is not None} for row in state.rows)
        return replace(state, rows=rows, columns=tuple(new for new in names.values() if new is not None))


def _with(given: Mapping[str, Any], columns: Sequence[str], stored: Mapping[str, Any] | None = None) -> Row:
    return {name: given.get(name, (stored or {}).get(name)) for name in columns}


_tables: dict[tuple[Any, ...], pa.Table] = {}


def _arrow(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    key = (tuple(tuple(given.items()) for given in rows), tuple(columns))
    if key not in _tables:
        fields = [SCHEMA.field(name) if name in COLUMNS else pa.field(name, pa.int64()) for name in columns]
        _tables[key] = pa.Table.from_pylist(list(rows), pa.schema(fields))
    return _tables[key]


def _read(path: str, who: int, back: int = 0) -> Any:
    newest = tx.Table(path)
    table = newest.at(version=max(0, newest.version - back)) if back else newest
    return SimpleNamespace(
        version=newest.version, read=table.version, rows=table.to_arrow().to_pylist(), files=_names(table)
    )


def _names(table: tx.Table) -> list[str]:
    return [url.removeprefix("memory://simulation/") for url in table.files(physical=True)]


def _set(path: str, who: int) -> Any:
    table = tx.Table(path)
    table.set(row_group_rows=100 + who)
    return SimpleNamespace(version=table.version, wanted=100 + who)


def _vacuum(path: str, who: int) -> Any:
    return tx.Table(path).vacuum(retain="0", force=True)


def _compact(path: str, who: int) -> Any:
    done = tx.Table(path).compact()
    return SimpleNamespace(version=done.version, committed=done.committed)


def _index(action: str) -> Callable[[str, int], Any]:
    def call(path: str, who: int) -> Any:
        done = tx.Table(path).index(action)
        return SimpleNamespace(version=done.version, committed=done.committed, problems=done.problems)

    return call


KEYED = {"keys": ["k"]}

ROWS = [row(1), row(2), row(3, "b", 3)]

MARKED_ROWS = [*ROWS, row(6), row(8)]
"""Of a table whose rows are marked: four of them in one file, one of which the second call marks."""

CALLS: dict[str, Write | Delete | Restore | Transaction | Other] = {
    call.name: call
    for call in (
        Write("append", "append", lambda who: [row(7, "b", who)], {}),
        Write("append_once", "append_once", lambda who: [row(2, n=who), row(5, "b", who), row(10 + who)], KEYED),
        Write("append_once seven", "append_once", lambda who: [row(7, "b", 70 + who)], KEYED),
        Write(
            "upsert",
            "upsert",
            lambda who: [row(2, n=50 + who, at=5), row(5, "b", who, at=5)],
            {**KEYED, "timestamp_col": "at"},
        ),
        Write("upsert moves", "upsert", lambda who: [row(1, "b", who, at=6)], {**KEYED, "timestamp_col": "at"}),
        Write("overwrite", "overwrite", lambda who: [row(5, n=who), row(20 + who)], {}),
        Write("overwrite part", "overwrite", lambda who: [row(5, "b", who)], {"overwrite_partitions": True}),
        Write(
            "overwrite part with keys",
            "overwrite",
            lambda who: [row(5, "b", who)],
            {**KEYED, "overwrite_partitions": True},
        ),
        Write("overwrite where", "overwrite", lambda who: [row(30 + who, n=8)], {"replace_where": [("n", "==", 8)]}),
        Write("batch id", "append", lambda who: [row(40, n=4)], {"batch_id": "delivery"}),
        Write(
            "batch id of nothing",
            "append_once",
            lambda who: [row(2, n=4)],
            {**KEYED, "batch_id": "delivery of nothing"},
        ),
        Write(
            "new column",
            "upsert",
            lambda who: [{"k": 2, "part": "a", "n": 60 + who, "at": 7, "more": who}],
            {**KEYED, "schema_mode": "merge", "timestamp_col": "at"},
            (*COLUMNS, "more"),
        ),
        Write(
            "other columns",
            "overwrite",
            lambda who: [{"k": 5, "part": "a", "at": who}],
            {"schema_mode": "overwrite"},
            ("k", "part", "at"),
        ),
        Write(
            "upsert without patience",
            "upsert",
            lambda who: [row(2, n=90 + who, at=9)],
            {**KEYED, "timestamp_col": "at", "timeout": 0},
            gives_up=True,
        ),
        Delete("delete", {"keys": [2, 5]}, lambda known: known["k"] in (2, 5)),
        Delete("delete where", {"where": [("k", ">", 3)], "batch_id": "erasure"}, lambda known: known["k"] > 3),
        Transaction(
            "transaction",
            (
                Delete("", {"keys": [2]}, lambda known: known["k"] == 2),
                Write("", "upsert", lambda who: [row(1, n=70 + who, at=9), row(5, "b", who, 9)], KEYED),
            ),
        ),
        Restore("restore", ROWS),
        Other("set", _set),
        Other("compact", _compact),
        Other("vacuum", _vacuum),
        Other("read", _read),
        Other("read old", lambda path, who: _read(path, who, back=1)),
    )
}

MARKING: dict[str, Write | Delete | Restore] = {
    call.name: call
    for call in (
        Delete("delete one", {"keys": [1]}, lambda known: known["k"] == 1),
        Delete("delete six", {"keys": [6]}, lambda known: known["k"] == 6),
        Write("upsert six", "upsert", lambda who: [row(6, n=30 + who, at=8)], {**KEYED, "timestamp_col": "at"}),
        Write("append_once six", "append_once", lambda who: [row(6, n=40 + who)], KEYED),
        Restore("restore marked", MARKED_ROWS),
    )
}
"""More calls for tables whose rows are marked: they meet in one file, on different rows or on the same."""

CHANGING: dict[str, Changing] = {call.name: call for call in (Changing("rename", to="m"), Changing("drop"))}
"""Calls that change the columns and no file."""

INDEXING: dict[str, Other] = {
    call.name: call for call in (Other("build index", _index("build")), Other("drop index", _index("drop")))
}
"""Calls that change the key index alone."""

LEAVING: dict[str, Detach] = {"detach": Detach()}
"""The call after which no other one commits."""

CREATING = ("append", "append_once", "upsert", "overwrite", "batch id", "read")
"""Calls that meet where there is no table yet."""


def made(rows: Sequence[Row], **options: Any) -> list[Write]:
    """The calls that make the table on which the others meet: three files in two partitions, two versions."""
    first = Write("made", "append_once", lambda who: rows, {**KEYED, "partition_by": ["part"], **options})
    second = replace(
        first,
        name="made more",
        mode="upsert",
        rows=lambda who: [row(2, n=8, at=1), row(4, "b", 8, at=1)],
        options={**KEYED, "timestamp_col": "at"},
    )
    return [first, second]
