"""One call on a Delta table whose rows are in Spark: counted on a version, committed by a statement of Spark's own.

What the table is, and what its log says of calls, is read with deltalake, by the code that serves data of this process.
The rows never leave the executors: `spark_rows` makes them fit, `spark_statements` says what becomes of them.

A statement commits on whatever version it finds. So it decides again there, and whatever it relied on is in Delta's own
check for conflicts; a conflict is planned anew. If it read another version than that on which rows were counted, they
are counted again there. After an error the log is asked for the call's commit before anything else.

Source: specs/9-targets.md, "Delta from Spark".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.batch import Prepared
from txfiles.errors import EngineError, SchemaMismatchError, TxFilesError
from txfiles.options import Request
from txfiles.reading import scan
from txfiles.results import Plan, WriteResult
from txfiles.rows import filters, types
from txfiles.rows.uniqueness import refuse_nulls, refuse_repeats, refuse_standing
from txfiles.spark import jobs
from txfiles.spark.frames import SparkSource
from txfiles.spark.refusals import refuse_positions
from txfiles.spark.types import quoted
from txfiles.targets.delta import recorded
from txfiles.targets.delta.client import BATCHES, META, Marker
from txfiles.targets.delta.commit import Attempt, Result, Tried
from txfiles.targets.delta.features import require_writable
from txfiles.targets.delta.files import refuse_foreign
from txfiles.targets.delta.operations import (
    Change,
    fitting,
    refuse_empty_texts,
    refuse_missing_values,
    require_partitions,
)
from txfiles.targets.delta.recall import find_commit, version_of
from txfiles.targets.delta.snapshot import Snapshot
from txfiles.targets.delta.spark_needs import require_delta
from txfiles.targets.delta.spark_rows import Rows, asked, rows_of
from txfiles.targets.delta.spark_statements import CHANGED, Statements
from txfiles.targets.delta.spark_text import condition

_NOT_IN_NAMES = re.compile(r"[ ,;{}()\n\t=]")
"""Characters that Delta in Spark takes in a column's name only if the table has it already."""

_CONFLICT = re.compile(
    r"DELTA_CONCURRENT_|DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|DELTA_PATH_EXISTS"
    r"|Concurrent\w+Exception|MetadataChangedException|ProtocolChangedException|" + re.escape(CHANGED)
)
"""What Spark says of a commit that others excluded."""

_SCHEMES = {"s3": "s3a"}
"""Spark's word for a scheme, where it is another one."""


@dataclass(frozen=True)
class Asked:
    """What a write asks Spark for.

    Attributes:
        action: commits it.
        recount: the number of rows with each fate, had it been decided on a version.
    """

    action: Callable[[], object]
    recount: Callable[[int], dict[str, int]]


@dataclass
class SparkAttempt(Attempt):
    """A call under way.

    Attributes:
        request: what was asked for; its source is a frame.
        pending: what Spark is to commit, in the attempt under way.
        is_asked: whether Spark has been asked to.
    """

    request: Request = field(kw_only=True)
    pending: Asked | None = None
    is_asked: bool = False

    @property
    def place(self) -> str:
        """The table's folder or URL, as Spark reads it."""
        scheme, found, rest = self.client.url.partition("://")
        return f"{_SCHEMES.get(scheme, scheme)}://{rest}" if found else f"file://{self.client.url}"

    # ---- what a mode does

    def _change(self, base: Snapshot | None) -> Change:
        """What the call does to a version; its rows are counted, and nothing is written."""
        request, source = self.request, self.request.source
        assert isinstance(source, SparkSource)
        refuse_positions(request)
        require_delta(source.frame.sparkSession)
        if base is not None:
            require_writable(base, rewrites=False)
        if request.scope == "partitions":
            require_partitions(fitting(request, base).table)
        batch = fitting(request, base)
        where = None
        if request.scope == "filter":
            schema = types.arrow_schema(batch.table.columns)
            parsed = filters.parse(request.replace_where, schema)
            assert parsed is not None
            where = condition(parsed, schema)
        rows = rows_of(request, batch.table)
        batch = replace(batch, rows_in=rows.given, rows_deduplicated=rows.given - rows.count)
        self._check_values(rows, batch, base, where)
        self.is_asked = False
        stored = base.schema if base is not None else pa.schema([])
        place = f"delta.{quoted(self.place)}"
        told = Statements(place, rows, batch, stored, skip_stale=request.stale == "skip")
        if request.mode == "overwrite":
            return self._overwrite(told, base, where)
        if base is None or request.mode == "append" or not set(batch.table.keys) <= set(stored.names):
            return self._adding(told, base)
        return self._keyed(told, base)

    def _check_values(self, rows: Rows, batch: Prepared, base: Snapshot | None, where: str | None) -> None:
        """Refuse values that the table would not take or not give back."""
        asks: dict[str, Callable[[int], None]] = {}
        if base is not None and self.request.schema_mode != "overwrite":
            for one in base.described:
                if not one.nullable:
                    asks[f"{quoted(one.name)} IS NULL"] = lambda n, name=one.name: refuse_missing_values(name, n)  # type: ignore[misc]
        for name in batch.table.partition_by:
            if pa.types.is_string(batch.rows.schema.field(name).type):
                asks[f"{quoted(name)} = ''"] = lambda n, name=name: refuse_empty_texts(name, n)  # type: ignore[misc]
        if where is not None:
            asks[f"NOT coalesce({where}, false)"] = scan.refuse_outside
        if asks:
            counts = ", ".join(f"count_if({what}) AS n{number}" for number, what in enumerate(asks))
            found = rows.numbers(f"SELECT {counts} FROM {rows.view}")
            for refuse, count in zip(asks.values(), found.values(), strict=True):
                refuse(count)

    def _adding(self, told: Statements, base: Snapshot | None) -> Change:
        counts = {"rows_inserted": told.rows.count}
        frame = told.rows.session.table(told.rows.view)
        self.pending = Asked(lambda: self._save(told, frame, base, mode="append"), lambda _: counts)
        return Change(told.batch, told.batch.rows, counts=counts, elsewhere=told.rows.count > 0)

    def _keyed(self, told: Statements, base: Snapshot) -> Change:
        once = self.request.mode == "append_once"

        def recount(version: int) -> dict[str, int]:
            source = told.at(version)
            if not once:
                return told.rows.numbers(told.counts(source))
            found = told.rows.numbers(told.unknown_rows(source))
            return found | {"rows_skipped": told.rows.count - found["rows_inserted"]}

        counts = recount(base.version)
        statement = told.insert_unknown() if once else told.merge()
        self.pending = Asked(lambda: told.rows.session.sql(statement).collect(), recount)
        changing = counts["rows_inserted"] + counts.get("rows_updated", 0) + counts.get("rows_deleted", 0)
        return Change(told.batch, told.batch.rows, counts=counts, elsewhere=changing > 0)

    def _overwrite(self, told: Statements, base: Snapshot | None, where: str | None) -> Change:
        request, rows = self.request, told.rows
        inserted = {"rows_inserted": rows.count}
        frame = rows.session.table(rows.view)
        if base is None:
            return self._adding(told, None)
        if request.scope == "table":

            def all_rows(version: int) -> dict[str, int]:
                then = base if version == base.version else Snapshot(self.client, self.client.load(version))
                return inserted | {"rows_deleted": then.row_count() if then.files else 0}

            self.pending = Asked(lambda: self._save(told, frame, base, mode="overwrite"), all_rows)
            empties = bool(rows.count or base.files)
            return Change(told.batch, told.batch.rows, counts=all_rows(base.version), replaces=True, empties=empties)

        def recount(version: int) -> dict[str, int]:
            return inserted | rows.numbers(told.replaced(told.at(version), where))

        options = {"partitionOverwriteMode": "dynamic"} if where is None else {"replaceWhere": where}
        whole = base.table.keys != told.batch.table.keys
        guards = bool(request.keys) and set(told.batch.table.keys) <= set(told.stored.names)
        if guards:
            self._refuse_standing(told, base, where, whole=whole)
            frame = rows.session.sql(told.guarded(where, whole=whole))
        self.pending = Asked(lambda: self._save(told, frame, base, mode="overwrite", **options), recount)
        counts = recount(base.version)
        return Change(told.batch, told.batch.rows, counts=counts, elsewhere=bool(rows.count or counts["rows_deleted"]))

    def _refuse_standing(self, told: Statements, base: Snapshot, where: str | None, *, whole: bool) -> None:
        """Check the keys of the resulting table, if an overwrite of a part names them."""
        names, staying = told.batch.table.keys, told.staying(told.at(base.version), where)
        if whole:
            found = told.rows.numbers(told.repeats(staying))
            refuse_nulls(found["nulls"], names, self.client.url)
            refuse_repeats(found["repeats"], names)
        meeting = told.meeting(staying)
        count = told.rows.numbers(f"SELECT count(*) AS n FROM ({meeting})")["n"]
        if count:
            some = asked(told.rows.session, f"SELECT {', '.join(map(quoted, names))} FROM ({meeting}) LIMIT 1")
            first = pa.Table.from_pylist(some, pa.schema([told.schema.field(name) for name in names]))
            refuse_standing(first, names, np.zeros(count, np.int64))

    # ---- one commit

    def _write(self, found: Change, base: Snapshot | None) -> tuple[list[Any], list[Any]]:
        """Check that the table may be written; its files are Spark's."""
        if base is None:
            refuse_foreign(self.client)
            return [], []
        counts, scope = found.counts, self.request.scope
        removes = bool(counts.get("rows_updated") or counts.get("rows_deleted"))
        require_writable(base, rewrites=removes and scope not in ("table", "partitions"), removes=removes)
        return [], []

    def _commit(self, found: Change, base: Snapshot | None, written: object) -> int | None:
        """Commit; returns the version, or None if the statement had nothing to commit."""
        marker = self._marker(found, base)
        steps = [] if base is None or self._replaces_schema else self._steps(found, base)
        is_sparks = base is None or found.elsewhere or found.empties
        ends = is_sparks or not steps
        if base is not None:
            handle = self._take(steps, found, base, marker, ends=ends)
            if ends and not is_sparks:  # just the batch id
                self.client.commit(handle, (), (), marker, now_ms=self.environment.now_us() // 1_000)
                return base.version + len(steps) + 1
            if not ends:
                return base.version + len(steps)
        assert self.pending is not None
        self._ask(marker, self.pending.action)
        try:
            version = find_commit(self.newest(), self.commit_id, base)
        except TxFilesError as unread:
            raise self._unknown(f"Spark has answered; {unread.message}", base) from unread
        if version is None:
            self._wait(EngineError("Spark had nothing to commit"))
        return version

    @property
    def _replaces_schema(self) -> bool:
        return self.request.schema_mode == "overwrite"

    def _ask(self, marker: Marker, action: Callable[[], object]) -> None:
        """Run a statement that commits, with what the commit says of itself."""
        memory = self.request.source.memory  # type: ignore[attr-defined]
        settings = {"spark.databricks.delta.commitInfo.userMetadata": json.dumps({META: marker.meta})}
        if marker.batch_id is not None:
            settings["spark.databricks.delta.write.txnAppId"] = BATCHES + marker.batch_id
            settings["spark.databricks.delta.write.txnVersion"] = "1"
        conf = memory["session"].conf
        for name, value in settings.items():
            conf.set(name, value)
        self.is_asked = True
        run(action)

    def _save(self, told: Statements, frame: Any, base: Snapshot | None, *, mode: str, **options: str) -> None:
        """Write rows with Spark's own writer, which creates the table if there is none."""
        table = told.batch.table
        writer: dict[str, str] = dict(options)
        if base is None or self._replaces_schema:
            odd = [column.name for column in table.columns if _NOT_IN_NAMES.search(column.name)]
            schema = recorded.described(table, base.described if base is not None else None)
            if odd and base is not None:
                raise SchemaMismatchError(
                    f"column {odd[0]!r} has a character that Delta in Spark takes in no new column",
                    hint="rename it: no spaces, and none of , ; { } ( ) =",
                    column=odd[0],
                )
            if odd:
                self.client.create(schema, table.partition_by, (), Marker({"step": "columns"}, None))
            else:
                frame = frame.select(*(_column(frame, one) for one in schema))
                mode = "errorifexists" if base is None else mode
                writer["overwriteSchema"] = "false" if base is None else "true"
        frame.write.format("delta").mode(mode).options(**writer).save(
            self.place, **({"partitionBy": list(table.partition_by)} if table.partition_by else {})
        )

    # ---- afterwards

    def _after(self, tried: Tried, error: Exception) -> int | None:
        """After a failure: the version of this call's commit if it is there after all; None to plan anew."""
        if not self.is_asked:
            return super()._after(tried, error)
        base, told = tried.base, jobs.failure(error)
        try:
            head = self.newest()
            found = find_commit(head, self.commit_id, base)
        except TxFilesError as unread:
            raise self._unknown(f"{told.message}; then {unread.message}", base) from error
        if found is not None:
            return found
        if not _is_over(error):
            raise self._unknown(f"{told.message}; the log does not show the commit yet", base) from error
        steps = 0 if base is None or self._replaces_schema else len(self._steps(tried.found, base))
        if _CONFLICT.search(str(error)) or version_of(head) > version_of(base) + steps:
            self._wait(error, version_of(head))
            return None
        raise told from error

    def _done(self, tried: Tried, version: int) -> WriteResult:
        base, found = tried.base, tried.found
        entry = self.client.log_entry(version)
        assert entry is not None
        read, counts = entry.said.get("readVersion"), dict(found.counts)
        if self.is_asked and base is not None and read is not None and self.pending is not None:
            steps = 0 if self._replaces_schema else len(self._steps(found, base))
            if read != base.version + steps:
                counts = self.pending.recount(int(read))
        added = entry.files("add")
        return replace(
            self._result(WriteResult, replace(found, counts=counts), version, committed=True),
            files_added=len(added),
            files_removed=len(entry.files("remove")),
            files_scanned=None,
            files_pruned=None,
            bytes_written=sum(int(one["size"]) for one in added),
        )

    def _result(self, kind: type[Result], found: Change, version: int | None, *, committed: bool) -> Result:
        result = super()._result(kind, found, version, committed=committed)
        return replace(result, files_scanned=None, files_pruned=None)

    def _estimated(self, plan: Plan, found: Change, base: Snapshot | None) -> Plan:
        return replace(plan, files_added=None, files_removed=None, bytes_written=None, files_to_rewrite=None)


def run(action: Callable[[], object]) -> None:
    """Run a statement that commits. Whatever it raises, its commit may have been made."""
    action()


def _is_over(error: Exception) -> bool:
    """Whether Spark has answered: then the statement does nothing any more. A connection that broke says nothing."""
    kinds = {f"{one.__module__}.{one.__name__}" for one in type(error).__mro__}
    return any(kind.startswith("pyspark.errors.") for kind in kinds) or "py4j.protocol.Py4JJavaError" in kinds


def _column(frame: Any, described: pa.Field) -> Any:
    """A column with what is recorded of it."""
    facts = {name.decode(): value.decode() for name, value in (described.metadata or {}).items()}
    column = frame[quoted(described.name)]
    return column.alias(described.name, metadata=facts) if facts else column
