"""One call on a Delta table, from the newest version to its commit.

Each attempt plans on a version V and commits V + 1, or nothing. Whatever an attempt ends with, the log is asked before
the next one whether this call's marker is in a version after V: so an answer that was lost is found, and is not
applied twice. What is not in our hands is told as `CommitStateUnknownError`: the log could not be read either.

Source: specs/9-targets.md, "Delta"; specs/decisions/0070-delta-by-one-version.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pyarrow as pa

from txfiles import environment
from txfiles.core.environment import Environment
from txfiles.core.manifest import TableMetadata
from txfiles.core.messages import plain
from txfiles.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    SnapshotExpiredError,
    TableNotFoundError,
    TxFilesError,
    UnsupportedTableError,
)
from txfiles.results import Plan, WriteResult
from txfiles.targets.delta import recorded
from txfiles.targets.delta.client import Added, Client, Marker, Removed
from txfiles.targets.delta.features import require_writable
from txfiles.targets.delta.files import Writer, new_files, refuse_foreign
from txfiles.targets.delta.operations import Change, change
from txfiles.targets.delta.recall import Asked, find_commit, keys_of, known_batch, version_of
from txfiles.targets.delta.snapshot import Snapshot
from txfiles.verbs import DeleteOptions
from txfiles.version import LIBRARY

Result = TypeVar("Result", bound=WriteResult)
Written = tuple[list[Added], list[Removed]]
"""The files that a commit adds and removes."""

FAILURES = 3
"""How many attempts may fail though nobody else committed, before the failure is told."""

WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Tried:
    """A commit that was asked for: what it was planned on, what it does, and the files that were written for it."""

    base: Snapshot | None
    found: Change
    written: Written


@dataclass
class Attempt:
    """A call under way.

    Attributes:
        client: where the table is.
        request: what was asked for.
        environment: clock, ids and chance.
        commit_id: in the marker of every commit of this call.
        count: attempts begun.
        failures: those that failed though nobody else committed.
        unsure: the last of these, as long as its commit may still arrive.
        deadline: until when lost races are borne; None before the first.
    """

    client: Client
    request: Asked
    environment: Environment = field(default_factory=environment.real)
    commit_id: str = ""
    count: int = 0
    failures: int = 0
    unsure: Tried | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        self.started = self.environment.monotonic()
        self.commit_id = self.environment.new_id()

    # ---- the whole call

    def run(self) -> WriteResult:
        """Commit; returns what was done."""
        return self._repeated(self._committed)

    def plan(self) -> Plan:
        """Say what the call would do."""
        return self._repeated(self._planned)

    def _repeated(self, once: Callable[[], Result | None]) -> Result:
        """The first result of an attempt. One whose files a vacuum has taken plans anew: a newer version has others."""
        while True:
            self.count += 1
            try:
                found = once()
            except SnapshotExpiredError as error:
                self._wait(error)
            except TxFilesError as error:
                if self.unsure is None or error.committed != "no":
                    raise
                raise self._unknown(error.message, self.unsure.base) from error
            else:
                if found is not None:
                    return found

    def _committed(self) -> WriteResult | None:
        """The result of one attempt; None if another writer was first."""
        base = self.newest()
        arrived = self._arrived(base)
        if arrived is not None:
            return arrived
        known = known_batch(self.request, base)
        if known is not None:
            return self._already(WriteResult, known[0])
        found = self._change(base)
        if not self._commits(found, base):
            assert base is not None
            return self._result(WriteResult, found, base.version, committed=False)
        tried = Tried(base, found, self._write(found, base))
        try:
            version: int | None = self._commit(found, base, tried.written)
        except TxFilesError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever deltalake raises, the log says what happened
            version = self._after(tried, error)
        return None if version is None else self._done(tried, version)

    def _arrived(self, base: Snapshot | None) -> WriteResult | None:
        """The result of an earlier attempt if its commit is there after all. Any other version excludes it."""
        tried = self.unsure
        if tried is None or version_of(base) <= version_of(tried.base):
            return None
        self.unsure = None
        version = find_commit(base, self.commit_id, tried.base)
        return None if version is None else self._done(tried, version)

    def _planned(self) -> Plan:
        base = self.newest()
        known = known_batch(self.request, base)
        if known is not None:
            return self._already(Plan, known[0])
        found = self._change(base)
        commits = self._commits(found, base)
        result = self._result(Plan, found, base.version if base else None, committed=commits)
        return self._estimated(result, found, base)

    def _change(self, base: Snapshot | None) -> Change:
        """What the call does to a version."""
        return change(self.request, base)

    def newest(self) -> Snapshot | None:
        """The newest version; None if there is no table, which only a write may begin."""
        handle = self.client.newest()
        if handle is None and isinstance(self.request, DeleteOptions):
            raise TableNotFoundError(
                f"there is no Delta table at {self.client.url} any more; nothing was deleted", hint="check the path"
            )
        return None if handle is None else Snapshot(self.client, handle)

    # ---- one commit

    def _commits(self, found: Change, base: Snapshot | None) -> bool:
        if base is None:
            return True
        batch = found.batch
        records = batch.rows_in > 0 and _roles(batch.table) != _roles(base.table)
        changed = bool(found.added.num_rows or found.edits) or found.empties or found.elsewhere
        return changed or batch.schema_changed or records or self.request.batch_id is not None

    def _write(self, found: Change, base: Snapshot | None) -> Written:
        """Write the data files; nothing is committed by that."""
        if base is None:
            refuse_foreign(self.client)
        else:
            rewrites, removes = any(edit.rewrites for edit in found.edits), found.replaces and bool(base.files)
            require_writable(base, rewrites=rewrites, removes=removes or bool(found.edits))
        writer = Writer(
            self.environment, self.client.file_system(creates=base is None), found.batch.table, base is None
        )
        with self.client.failures("write files to"):
            return writer.write(found, base)

    def _commit(self, found: Change, base: Snapshot | None, written: Written) -> int | None:
        """Commit as the next version, which is returned; new columns and keys of a table that is there come first."""
        now_ms = self.environment.now_us() // 1_000
        table, (added, removed) = found.batch.table, written
        marker = self._marker(found, base)
        if base is None:
            self.client.create(recorded.described(table, None), table.partition_by, added, marker)
            return 0
        if found.replaces:
            keeps = not isinstance(self.request, DeleteOptions) and self.request.schema_mode != "overwrite"
            after = recorded.described(table, base.described, keeps=keeps)
            self.client.commit(base.handle, added, (), marker, replaces=after, now_ms=now_ms)
            return base.version + 1
        steps = self._steps(found, base)
        ends_with_files = bool(added or removed) or not steps
        handle = self._take(steps, found, base, marker, ends=ends_with_files)
        if ends_with_files:
            self.client.commit(handle, added, removed, marker, now_ms=now_ms)
        return base.version + len(steps) + ends_with_files

    def _take(self, steps: list[str], found: Change, base: Snapshot, marker: Marker, *, ends: bool) -> Any:
        """Commit the steps; returns a handle at the version after them, for the commit with which the call ends."""
        table = found.batch.table
        handle = base.handle
        for step in steps:
            last = step == steps[-1] and not ends
            says = marker if last else Marker({**marker.meta, "step": step}, None)
            if step == "columns":
                fields = [
                    one.remove_metadata()
                    for one in recorded.described(table, None)
                    if one.name not in base.schema.names
                ]
                self.client.add_columns(handle, pa.schema(fields), says)
            else:
                self.client.describe_column(handle, base.carrier, recorded.facts(table), says)
            if ends:
                handle = self.client.load(base.version + 1 + steps.index(step))
        return handle

    def _steps(self, found: Change, base: Snapshot) -> list[str]:
        """What Delta can only commit by itself. Each is harmless alone: columns without values, keys without rows."""
        table = found.batch.table
        adds = any(column.name not in base.schema.names for column in table.columns)
        records = found.batch.rows_in > 0 and _roles(table) != _roles(base.table)
        return (["columns"] if adds else []) + (["keys"] if records else [])

    def _marker(self, found: Change, base: Snapshot | None) -> Marker:
        counts = dict(found.counts) | {
            "rows_in": found.batch.rows_in,
            "rows_deduplicated": found.batch.rows_deduplicated,
        }
        meta = {
            "commit_id": self.commit_id,
            "operation": self.request.mode,
            "scope": self.request.scope,
            "keys": list(keys_of(self.request, base, found.batch.table)),
            "batch_id": self.request.batch_id,
            "read_version": None if base is None else base.version,
            "user_metadata": {plain(name): plain(value) for name, value in self.request.user_metadata.items()},
            "library": LIBRARY,
            "writer": self.environment.writer,
            "counts": counts,
        }
        batch_id = self.request.batch_id
        return Marker(meta, None if batch_id is None else plain(batch_id))

    # ---- afterwards

    def _after(self, tried: Tried, error: Exception) -> int | None:
        """After a failure: the version of this call's commit if it is there after all; else None, to plan anew."""
        base = tried.base
        try:
            handle = self.client.newest()
            head = None if handle is None else Snapshot(self.client, handle)
            found = find_commit(head, self.commit_id, base)
        except TxFilesError as unread:  # out of reach, or damaged
            raise self._unknown(f"it is unknown whether the commit happened: {unread.message}", base) from error
        if found is not None:
            return found
        if version_of(head) > version_of(base):
            self.unsure = None
            self._wait(error, version_of(head))
            return None
        if self.unsure is None and self.client.refuses(error):  # else an earlier commit may still arrive
            raise UnsupportedTableError(
                f"deltalake refuses to commit to {self.client.url}: {self.client.shown(error)}; nothing was committed",
                hint="write this table with deltalake or Spark",
            ) from error
        self.unsure = tried
        self.failures += 1
        if self.failures >= FAILURES:
            told = self.client.shown(error)
            raise self._unknown(f"deltalake failed: {told}; the log does not show the commit", base) from error
        self._pause()
        return None

    def _unknown(self, message: str, base: Snapshot | None) -> CommitStateUnknownError:
        return CommitStateUnknownError(
            f"a commit to {self.client.url} may or may not have been made: {message}",
            hint=f"find out with txfiles.resolve(…, {self.commit_id!r}, format='delta')",
            committed="unknown",
            commit_id=self.commit_id,
            versions=(version_of(base) + 1,),
        )

    def _wait(self, error: Exception, head: int | None = None) -> None:
        """Wait before the next attempt, since others were first.

        Raises:
            CommitConflictError: they have been for too long.
        """
        now = self.environment.monotonic()
        self.deadline = now + self.request.timeout if self.deadline is None else self.deadline
        if now >= self.deadline:
            raise CommitConflictError(
                f"other writers kept committing to {self.client.url} for {self.request.timeout:g} s",
                hint="try again, or allow more time with timeout=…",
                version=head,
                commit_id=self.commit_id,
            ) from error
        self._pause()

    def _pause(self) -> None:
        longest = min(LONGEST_WAIT_SECONDS, WAIT_SECONDS * 2 ** min(self.count, 10))
        self.environment.sleep(longest * self.environment.random())

    # ---- results

    def _already(self, kind: type[Result], version: int | None) -> Result:
        return kind(
            version=version,
            committed=False,
            already_committed=True,
            mode=self.request.mode,
            attempts=max(1, self.count),
            elapsed=self.environment.monotonic() - self.started,
        )

    def _done(self, tried: Tried, version: int) -> WriteResult:
        base, found, (added, removed) = tried.base, tried.found, tried.written
        return replace(
            self._result(WriteResult, found, version, committed=True),
            files_added=len(added),
            files_removed=len(base.files) if base is not None and found.replaces else len(removed),
            files_pruned=(len(base.files) if base is not None else 0) - found.scanned,
            bytes_written=sum(one.bytes for one in added),
        )

    def _result(self, kind: type[Result], found: Change, version: int | None, *, committed: bool) -> Result:
        batch = found.batch
        return kind(
            version=version,
            committed=committed,
            already_committed=False,
            mode=self.request.mode,
            rows_in=batch.rows_in,
            rows_deduplicated=batch.rows_deduplicated,
            files_scanned=found.scanned,
            attempts=self.count,
            elapsed=self.environment.monotonic() - self.started,
            commit_id=self.commit_id if committed and kind is WriteResult else None,
            schema_inferred=batch.inferred,
            notes=batch.notes,
            **found.counts,
        )

    def _estimated(self, plan: Plan, found: Change, base: Snapshot | None) -> Plan:
        rewritten = sum(edit.rewrites for edit in found.edits)
        pieces = sum(1 for _ in new_files(found.batch.table, found.added))
        return replace(
            plan,
            files_added=rewritten + pieces,
            files_removed=len(base.files) if base is not None and found.replaces else len(found.edits),
            files_pruned=(len(base.files) if base is not None else 0) - found.scanned,
            bytes_written=found.added.nbytes,
            files_to_rewrite=rewritten,
        )


def _roles(table: TableMetadata) -> tuple[object, ...]:
    return table.keys, table.timestamp_col
