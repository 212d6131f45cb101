"""`df.write.format("txfiles")`, apart from Spark: begin on the driver, write in tasks, commit or abort on the driver.

Spark runs each of the four in a process of its own, and none of them in the user's. So what goes from one to the next
pickles, and each opens the table itself.

Source: specs/13-spark-source.md, "Data Source".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa

from txfiles.errors import CommitConflictError, SnapshotExpiredError
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations.context import PlanContext
from txfiles.options import WriteOptions, requested
from txfiles.results import WriteResult
from txfiles.spark import operations, written
from txfiles.spark.work import Work
from txfiles.spark.written import Written, WrittenSource
from txfiles.targets.files import strangers, writes
from txfiles.targets.files.target import open_session
from txfiles.targets.protocol import Place
from txfiles.writing.staging import Staging


@dataclass(frozen=True)
class Writing:
    """One write between its beginning and its commit; it pickles.

    Attributes:
        place: where the table is.
        options: of the write.
        schema: of the frame, in Arrow's types.
        work: what its tasks are told.
        version: the newest one when it began; None: there was no table.
    """

    place: Place
    options: WriteOptions
    schema: pa.Schema
    work: Work
    version: int | None

    def write(self, batches: Iterator[pa.RecordBatch]) -> Written:
        """The body of a task. What it wrote is deleted if it fails."""
        return written.write(self.work, self.schema, batches)

    def commit(self, found: Sequence[Written]) -> WriteResult:
        """Commit what the tasks have written.

        Raises:
            CommitConflictError: what the tasks wrote does not fit the table any more; run it again.
            InputError, CommitStateUnknownError, CorruptTableError, StoreError: as `txfiles.write`.
        Cost: of `append` and of an overwrite without keys: the manifest. With keys: what the local operation costs,
            in this process, for one range of keys after the other.
        """
        session = open_session(self.place)
        base = versions.head(session)
        if not self.options.checks_keys:
            base = self._base(session, base)
        version = None if base is None else base.state.version
        with closing(WrittenSource(self.schema, self.work, found, version)) as source:
            try:
                return writes.write_on(session, requested(self.options, source), base)
            finally:
                source.discard(session)

    def _base(self, session: Session, newest: Snapshot | None) -> Snapshot | None:
        """The version that the write began on: every vacuum since then is judged by the commit."""
        if newest is None:
            return None
        try:
            return versions.at_version(session, newest.state, self.version or 0)
        except SnapshotExpiredError as error:
            raise CommitConflictError(
                f"a vacuum of {session.store.root} ran while Spark wrote, and may have deleted what it wrote; nothing "
                f"was committed",
                hint="run the same write again",
                version=newest.state.version,
            ) from error

    def abort(self, found: Sequence[Written | None]) -> None:
        """Delete what tasks have written, if one of them failed.

        If all have written, a commit was tried. It has deleted what it could not commit, and if nobody knows whether
        it did, the files must stay.
        """
        if None in found:
            written.delete(open_session(self.place), [one for one in found if one is not None])


def begin(place: Place, options: WriteOptions, schema: pa.Schema) -> Writing:
    """Find out what the table will be, and refuse what cannot be written.

    Args:
        place: where the table is.
        options: of the write.
        schema: of the frame, in Arrow's types.
    Raises:
        InputError: as `txfiles.write`.
    """
    session = open_session(place)
    base = versions.head(session)
    if base is None:
        strangers.refuse_foreign_files(session)
    stage = Staging(
        session, session.environment.new_id(), itertools.count(), None if base is None else base.state.table_id
    )
    request = requested(options, WrittenSource(schema))
    work = operations.work_of(PlanContext(session, request, base, stage))
    located = replace(place, path=session.store.root)
    return Writing(located, options, schema, work, None if base is None else base.state.version)
