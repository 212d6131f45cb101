"""The rows of a Spark frame, ready for statements: computed once, of the table's types, each key once.

The frame is checkpointed on the executors before anything looks at it: computed anew, `uuid()` or a changed source
would give other rows. A checkpoint that is lost ends the call; it is never computed again.

Statements run in a session of their own, beside the caller's: what a commit says of itself is a setting of the session.

Source: specs/9-targets.md, "Delta from Spark"; specs/4-semantics.md, "Keys" and "Duplicates".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from txfiles import environment
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import LISTED
from txfiles.core.schema import Column
from txfiles.options import Request
from txfiles.rows import dedup, types
from txfiles.rows import schema as schemas
from txfiles.spark import jobs
from txfiles.spark.frames import Fit, SparkSource, chunks
from txfiles.spark.refusals import refuse_nulls, several_rows
from txfiles.spark.types import quoted
from txfiles.targets.delta.spark_text import as_text, columns, comparable, from_text, time

CHUNK_BYTES = 64 * 1024 * 1024
"""Rows of one of Spark's partitions in a Python worker at a time."""

_SETTINGS = {
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.databricks.delta.schema.autoMerge.enabled": "false",
    "spark.sql.sources.partitionOverwriteMode": "static",
}
"""What the text of statements relies on, whatever the caller has set."""


@dataclass(frozen=True)
class Rows:
    """The batch of a write.

    Attributes:
        session: in which statements run.
        view: its rows, by the name that statements use.
        count: how many there are.
        given: how many there were before duplicates were dropped.
        ranges: for each key column the literals of its least and its greatest value.
    """

    session: Any
    view: str
    count: int
    given: int
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def numbers(self, statement: str) -> dict[str, int]:
        """The one row of a statement that counts; what has no rows to add up is 0."""
        return {name: int(value or 0) for name, value in self.one(statement).items()}

    def one(self, statement: str) -> dict[str, Any]:
        """The one row of a statement."""
        return dict(asked(self.session, statement)[0])

    def within(self, alias: str) -> str:
        """A condition that holds for all rows with a key of the batch: files without one need not be read."""
        found = [
            f"{alias}.{quoted(name)} >= {low} AND {alias}.{quoted(name)} <= {high}"
            for name, (low, high) in self.ranges.items()
        ]
        return " AND ".join(found) or "true"


def asked(session: Any, statement: str) -> list[dict[str, Any]]:
    """The rows that answer a statement.

    Raises:
        EngineError: Spark failed.
    """
    try:
        return [row.asDict(recursive=True) for row in session.sql(statement).collect()]
    except Exception as error:
        raise jobs.failure(error) from error


def rows_of(request: Request, table: TableMetadata) -> Rows:
    """The frame's rows as the table wants them, computed by the first pass that asks for them.

    Raises:
        InputError: one of its kinds, by what does not fit: nulls or duplicates in the keys, a lossy cast.
        EngineError: Spark failed.
    """
    source = request.source
    assert isinstance(source, SparkSource)
    memory = source.memory
    what = [(column.name, column.type) for column in table.columns], table.keys, table.timestamp_col
    if memory.get("what") != what:
        memory.update(what=what, rows=_rows(request, source, table))
    found: Rows = memory["rows"]
    return found


def _rows(request: Request, source: SparkSource, table: TableMetadata) -> Rows:
    session = _session(source)
    keys = table.keys if request.checks_keys else ()
    view = _viewed(source, _fitting(source, table, keys))
    known = {column.name: types.from_spec(column.type) for column in table.columns}
    facts = dict(asked(session, f"SELECT {', '.join(_facts(keys, known))} FROM {view}")[0])
    for number, name in enumerate(keys):
        refuse_nulls(name, facts[f"nulls{number}"])
    given = int(facts["rows"])
    ranges = {
        name: (from_text(facts[f"low{number}"], known[name]), from_text(facts[f"high{number}"], known[name]))
        for number, name in enumerate(keys)
        if given
    }
    surplus = _surplus(session, view, keys, known, request.dedup_strategy) if keys and given else 0
    if surplus:
        view = _viewed(source, _kept(session.sql(_unique(view, keys, known, table.timestamp_col))))
    return Rows(session, view, given - surplus, given, ranges)


def _session(source: SparkSource) -> Any:
    """A session with the caller's settings; its own are not the caller's."""
    if "session" not in source.memory:
        mine = source.frame.sparkSession
        session = mine.newSession()
        for name, value in {**mine.conf.getAll, **_SETTINGS}.items():
            if session.conf.isModifiable(name) or name in _SETTINGS:
                session.conf.set(name, value)
        source.memory["session"] = session
    return source.memory["session"]


def _viewed(source: SparkSource, frame: Any) -> str:
    """The name of a view of a frame."""
    name = f"txfiles_{environment.real().new_id()}"
    frame.createGlobalTempView(name)
    source.at_end(partial(source.frame.sparkSession.catalog.dropGlobalTempView, name))
    return f"global_temp.{quoted(name)}"


def _kept(frame: Any) -> Any:
    """The frame's rows as they are now, whatever becomes of what they were made of."""
    try:
        return frame.localCheckpoint(eager=True)
    except Exception as error:
        raise jobs.failure(error) from error


def _fitting(source: SparkSource, table: TableMetadata, keys: Sequence[str]) -> Any:
    """The frame with the table's columns and types; missing ones are null.

    Values are cast by txfiles' own rules, which lose nothing: a first job looks whether they can be.

    Raises:
        NullKeyError, LossyCastError: they cannot, or a float is no key of another type: NaN, or beyond its digits.
    """
    wanted = types.arrow_schema(table.columns)
    fitted = source.fit(source.schema.empty_table()).schema
    if "given" not in source.memory:
        source.memory["given"] = _kept(source.frame)
    given = source.memory["given"]
    if source.schema == fitted and set(wanted) == set(fitted):
        return given.select(*(given[quoted(name)] for name in wanted.names))
    told = (source.schema, source.fit, tuple(table.columns))
    nulls = jobs.over_rows(given, partial(_check, *told, keys))
    for key in keys:
        refuse_nulls(key, sum(one[key] for one in nulls))
    return _kept(given.mapInArrow(partial(_conformed, *told), columns(wanted)))


def _check(
    source: pa.Schema, fit: Fit, wanted: tuple[Column, ...], keys: Sequence[str], batches: Iterator[pa.RecordBatch]
) -> dict[str, int]:
    """Refuse values that do not fit. Returns the number of rows without a value in each key column."""
    to = {column.name: types.from_spec(column.type) for column in wanted}
    nulls = dict.fromkeys(keys, 0)
    for chunk in chunks(batches, source, fit, CHUNK_BYTES):
        for key in keys:
            nulls[key] += int(dedup.nulls(chunk[key]).sum())
        if not any(nulls.values()):
            for key in keys:
                dedup.refuse_ambiguous(chunk[key], to[key], key)
            schemas.conform(chunk, wanted)
    return nulls


def _conformed(
    source: pa.Schema, fit: Fit, wanted: tuple[Column, ...], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for chunk in chunks(batches, source, fit, CHUNK_BYTES):
        yield from schemas.conform(chunk, wanted).to_batches()


def _facts(keys: Sequence[str], known: Mapping[str, pa.DataType]) -> list[str]:
    """What is asked of all rows at once."""
    found = ["count(*) AS rows"]
    for number, name in enumerate(keys):
        column, t = quoted(name), known[name]
        found.append(f"count_if({column} IS NULL) AS nulls{number}")
        found += [f"{as_text(f'min({column})', t)} AS low{number}", f"{as_text(f'max({column})', t)} AS high{number}"]
    return found


def _surplus(session: Any, view: str, keys: Sequence[str], known: Mapping[str, pa.DataType], strategy: str) -> int:
    """How many rows are dropped because others have their keys.

    Raises:
        DuplicateKeyError: they differ, and nothing says which one wins.
    """
    listed = ", ".join(map(quoted, keys))
    whole = f"struct({', '.join(comparable(quoted(name), t) for name, t in known.items())})"
    groups = (
        f"SELECT {listed}, count(*) AS `\0n`, NOT (min({whole}) <=> max({whole})) AS `\0d` "
        f"FROM {view} GROUP BY {listed} HAVING count(*) > 1"
    )
    sums = asked(session, f"SELECT sum(`\0n` - 1) AS surplus, count_if(`\0d`) AS differ FROM ({groups})")[0]
    if sums["differ"] and strategy == "error":
        some = asked(session, f"SELECT {listed} FROM ({groups}) WHERE `\0d` ORDER BY {listed} LIMIT {LISTED}")
        values = [row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys) for row in some]
        raise several_rows(values, int(sums["differ"]), at_least=False)
    return int(sums["surplus"] or 0)


def _unique(view: str, keys: Sequence[str], known: Mapping[str, pa.DataType], timestamp_col: str | None) -> str:
    """One row of each key: the newest; of equally new ones the greatest by its columns, nulls above all values."""
    order = [f"{comparable(quoted(name), t)} DESC NULLS FIRST" for name, t in known.items()]
    if timestamp_col is not None:
        order.insert(0, f"{time(quoted(timestamp_col), known[timestamp_col])} DESC NULLS LAST")
    ranked = (
        f"SELECT *, row_number() OVER (PARTITION BY {', '.join(map(quoted, keys))} ORDER BY {', '.join(order)}) "
        f"AS `\0place` FROM {view}"
    )
    return f"SELECT {', '.join(map(quoted, known))} FROM ({ranked}) WHERE `\0place` = 1"
