"""`txfiles.detach` and `Table.detach` of plain files: leave a plain folder. Run again, it finishes what it began.

    rewrite what plain readers would see otherwise    a commit, safe beside writers
    commit the last version                           from here on, nobody can write
    delete the table's own files that are not live    from here on, plain readers see its rows
    take the log away                                 from here on, there is no table

Source: specs/17-detach.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as replace_struct

from txfiles.core import names, properties
from txfiles.core.manifest import Operation
from txfiles.core.plan import CommitPlan
from txfiles.errors import CommitConflictError, StoreError, TableDetachedError
from txfiles.log import detached, identity, versions
from txfiles.log.commit import Attempt, Outcome, run
from txfiles.log.detached import Tombstones
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import abandoned, indexing
from txfiles.operations import detach as operation
from txfiles.operations.detach import Folder, NotPlainError
from txfiles.options import Progress
from txfiles.results import DetachResult
from txfiles.rows import filelist
from txfiles.rows.filelist import DataFile
from txfiles.store import port
from txfiles.store.port import Entry
from txfiles.targets.files.attempts import new_attempt
from txfiles.targets.files.strangers import require_table
from txfiles.verbs import DetachOptions
from txfiles.version import LIBRARY
from txfiles.writing.staging import Staging

ROUNDS_MAX = 10
"""How often files are written anew because others have committed such files meanwhile: each time there are few."""

ENDS_IT = "run the same call again: it finishes what this one began"


@dataclass
class _Deleted:
    """What a call has deleted."""

    tell: Callable[[Progress], None]
    files: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def delete(self, session: Session, entries: Sequence[Entry], stage: str) -> None:
        """Delete files, in that order."""
        begun = self.files

        def done(count: int) -> None:
            self.files += count
            self.tell(Progress(stage, self.files - begun, len(entries)))

        detached.delete(session.store, entries, done)
        self.bytes += sum(entry.bytes for entry in entries)


def detach(session: Session, options: DetachOptions) -> DetachResult:
    """Leave the table, or finish leaving it. See `txfiles.detach`."""
    deleted = _Deleted(options.progress)
    moved = detached.moved_logs(session.store)
    if not options.dry_run:
        for moved_to, table_id in moved:
            _remove_moved(session, moved_to, table_id, deleted)
    left = detached.tombstones(session.store) if identity.table_id(session.store) is None else None
    if left is not None:
        return _finish_tombstones(session, left, deleted, options)
    if moved and versions.head(session) is None:
        return _result(None, deleted, options)
    base = require_table(session)
    if options.dry_run:
        return _told(session, base, options)
    rewritten, commit_id = 0, None
    if not base.state.table.is_detached:
        base, rewritten, commit_id = _leave(session, base, options)
    try:
        folder = _clean(session, base, deleted, options)
    except StoreError as error:
        raise StoreError(
            f"version {base.state.version} of {session.store.root} detached the table; after that: {error.message}",
            hint=ENDS_IT,
            committed="no" if commit_id is None else "yes",
            version=base.state.version,
        ) from error
    result = _result(base, deleted, options, folder)
    return replace(result, files_rewritten=rewritten, committed=commit_id is not None, commit_id=commit_id)


def _leave(session: Session, base: Snapshot, options: DetachOptions) -> tuple[Snapshot, int, str | None]:
    """Commit the last version; returns it, how many files were written anew for it, and the commit's id.

    If another process has detached the table meanwhile, its version is the last one.
    """
    rewritten, first = 0, base
    try:
        for _ in range(ROUNDS_MAX):
            if not options.force:
                operation.refuse_ambiguous(base, session.store.root)
            operation.refuse_superseded(session, base, _kept(base))
            base, count = _rewrite(session, base, options)
            rewritten += count
            try:
                after, commit_id = _end(session, base, options)
            except NotPlainError:
                base = versions.advance(session, base)
                continue
            return after, rewritten, commit_id
    except TableDetachedError:
        return versions.advance(session, base), rewritten, None
    raise CommitConflictError(
        f"detach of {session.store.root} was given up: others have committed files that plain readers would see "
        f"otherwise, {ROUNDS_MAX} times in a row since version {first.state.version}",
        hint="stop the writers of the table, then run it again",
        version=base.state.version,
    )


def _kept(base: Snapshot) -> list[DataFile]:
    """Files that are to be written anew, and stay because no vacuum has leave to delete them if they were adopted."""
    return [] if properties.switch(base.state.table.properties, "vacuum_adopted") else operation.unlike(base)


def _rewrite(session: Session, base: Snapshot, options: DetachOptions) -> tuple[Snapshot, int]:
    """Write the files of `operation.unlike` anew, if there are any, and commit that."""
    if not operation.unlike(base):
        return base, 0
    attempt = _attempt(session, "compact", options, scope="plain")

    def plan_on(snapshot: Snapshot | None, stage: Staging) -> CommitPlan:
        on = snapshot or base
        attempt.operation = replace_struct(attempt.operation, read_version=on.state.version)
        stage.keep_index(on.state.runs)
        found = operation.plan_rewrite(
            session, on, stage, lambda done, total: options.progress(Progress("rewriting files", done, total))
        )
        return indexing.with_runs(session, on, stage, found)

    done = run(attempt, plan_on, base=base)
    assert done.plan is not None
    return done.snapshot or versions.advance(session, base), len(done.plan.groups) if done.committed else 0


def _end(session: Session, base: Snapshot, options: DetachOptions) -> tuple[Snapshot, str]:
    """Commit the version that no other follows. Raises `NotPlainError` as `operation.plan_leave`."""
    attempt = _attempt(session, "detach", options)

    def plan_on(snapshot: Snapshot | None, stage: Staging) -> CommitPlan:
        on = snapshot or base
        attempt.operation = replace_struct(attempt.operation, read_version=on.state.version)
        found = operation.plan_leave(on, stage)
        operation.refuse_superseded(session, on)
        return found

    done: Outcome = run(attempt, plan_on, base=base)
    return done.snapshot or versions.advance(session, base), attempt.commit_id


def _attempt(session: Session, name: str, options: DetachOptions, scope: str | None = None) -> Attempt:
    what = Operation(name=name, scope=scope, library=LIBRARY, writer=session.environment.writer)
    return new_attempt(session, what, options.timeout)


def _clean(session: Session, base: Snapshot, deleted: _Deleted, options: DetachOptions) -> Folder:
    """Delete what is not live, and then the log. Every step may have been done before."""
    folder = operation.look(session.store, base)
    deleted.delete(session, folder.surplus, "deleting data files")
    abandoned.abort_uploads(session.store, base.state.table_id, 0)
    # Another call may have taken the log away before, and somebody has made the folder a table again.
    now = identity.table_id(session.store)
    mover = port.moves_folders(session.store)
    if mover is not None:
        to = names.removed_log(base.state.table_id, session.environment.new_id())
        if now == base.state.table_id and mover.move_folder(names.LOG_FOLDER, to):
            if identity.table_id(session.store, folder=to) == base.state.table_id:
                _remove_moved(session, to, base.state.table_id, deleted)
            else:  # that happened since the look: what was moved is the new table's
                mover.move_folder(to, names.LOG_FOLDER)
        return folder
    if now not in (None, base.state.table_id):
        return folder
    log = detached.own_log(session.store, base.state.table_id)
    # First what nobody reads a version with; then the table's identity: from there on, nobody opens it.
    first = [entry for entry in log if not _opens(entry.name)]
    rest = [entry for entry in log if entry.name == names.TABLE_FILE]
    deleted.delete(session, [*first, *rest], "deleting the log")
    _remove_names(session, base.state.table_id, base.state.version, deleted, options)
    return folder


def _opens(name: str) -> bool:
    """Whether a file of the log may be needed to open a table."""
    return (
        name in (names.TABLE_FILE, names.HINT_FILE)
        or names.manifest_version(name) is not None
        or names.checkpoint_version(name) is not None
        or names.sidecar_version(name) is not None
    )


def _remove_moved(session: Session, folder: str, table_id: str, deleted: _Deleted) -> None:
    """Delete a log that was moved to a folder of its own."""
    deleted.delete(session, detached.own_log(session.store, table_id, folder=folder), "deleting the log")
    mover = port.moves_folders(session.store)
    if mover is not None and not mover.remove_folders(folder):
        deleted.notes.append(f"{folder} stays: it holds files that are not the table's")


def _finish_tombstones(session: Session, left: Tombstones, deleted: _Deleted, options: DetachOptions) -> DetachResult:
    if not options.dry_run:
        _remove_names(session, left.last.table_id, left.last.version, deleted, options)
    return replace(_result(None, deleted, options), version=left.last.version)


def _remove_names(session: Session, table_id: str, last: int, deleted: _Deleted, options: DetachOptions) -> None:
    """Delete what is left of a log without `table.json`; its manifests, too, if they are to be purged.

    The newest manifest is the last to go: it tells a later call that the table was detached.
    """
    log = detached.own_log(session.store, table_id)
    manifests = {version: entry for entry in log if (version := names.manifest_version(entry.name)) is not None}
    others = [entry for entry in log if names.manifest_version(entry.name) is None]
    deleted.delete(session, others, "deleting the log")
    if options.purge:
        newest = manifests.pop(last, None)
        deleted.delete(session, list(manifests.values()), "deleting the log's names")
        deleted.delete(session, [] if newest is None else [newest], "deleting the log's names")
    elif manifests:
        deleted.notes.append(
            f"{len(manifests)} names of the log stay, so that no writer that is still under way can create one of them "
            f"again; `txfiles detach --purge` deletes them, once no writer of the table runs any more"
        )


def _told(session: Session, base: Snapshot, options: DetachOptions) -> DetachResult:
    """What a detach would do."""
    if not base.state.table.is_detached and not options.force:
        operation.refuse_ambiguous(base, session.store.root)
    if not base.state.table.is_detached:
        operation.refuse_superseded(session, base)
    folder = operation.look(session.store, base)
    rewritten = [] if base.state.table.is_detached else operation.unlike(base)
    log = detached.own_log(session.store, base.state.table_id)
    keeps = port.moves_folders(session.store) is None and not options.purge
    gone = [entry for entry in log if not (keeps and names.manifest_version(entry.name) is not None)]
    own = [file for file in rewritten if names.is_data_path(file.path, base.state.table_id)]
    deleted = _Deleted(options.progress)
    deleted.files = len(folder.surplus) + len(gone) + len(own)
    deleted.bytes = sum(entry.bytes for entry in (*folder.surplus, *gone)) + sum(file.bytes for file in own)
    adopted = [file.path for file in rewritten if not names.is_data_path(file.path, base.state.table_id)]
    if adopted:
        deleted.notes.append(
            f"{len(adopted)} adopted file(s) will be written anew ({adopted[0]}), and then be in the way, since they "
            "are not the table's to delete: the call will stop there and say how to go on"
        )
    return replace(_result(base, deleted, options, folder), files_rewritten=len(rewritten))


def _result(
    base: Snapshot | None, deleted: _Deleted, options: DetachOptions, folder: Folder | None = None
) -> DetachResult:
    notes = [] if base is None else operation.notes(base)
    if folder is not None and folder.strangers:
        notes.append(
            f"{len(folder.strangers)} data file(s) that are not the table's stay, and readers of the folder will read "
            f"them, too: {folder.strangers[0]}"
        )
    return DetachResult(
        version=None if base is None else base.state.version,
        committed=False,
        rows=None if base is None else filelist.total_rows(base.files),
        files=None if base is None else base.file_count,
        files_rewritten=0,
        files_deleted=deleted.files,
        bytes_deleted=deleted.bytes,
        notes=(*notes, *deleted.notes),
        dry_run=options.dry_run,
    )
