"""The noun that every operation works on: a table at one version.

Its list of files is built when it is first needed. Opening a table and a blind append never need it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import pyarrow as pa

from txfiles.core import names, replay
from txfiles.core.manifest import Add, CheckpointRef, Manifest, Mark, TableMetadata, Vector
from txfiles.core.replay import State
from txfiles.errors import CorruptTableError, TableNotFoundError
from txfiles.rows import filelist
from txfiles.rows.segments import FileList

PENDING = 32
"""If there are more actions than this, the next version builds the list: they take less memory there."""


@dataclass(frozen=True)
class Loaded:
    """A manifest with its sidecar's actions filled in, and the hash of its own file."""

    manifest: Manifest
    sha256: str


@dataclass(frozen=True)
class Listed:
    """The files of an earlier version, perhaps not read yet.

    Attributes:
        table: what the table was then.
        count: how many files there are.
        load: reads the list. Raises `CorruptTableError`.
        saved: the checkpoint whose parts hold some of the list; None if there is none.
    """

    table: TableMetadata
    count: int
    load: Callable[[], FileList]
    saved: CheckpointRef | None = None

    @classmethod
    def of(cls, table: TableMetadata, files: FileList, saved: CheckpointRef | None = None) -> Listed:
        """A file list that is in memory."""
        return cls(table, files.count, lambda: files, saved)


@dataclass(frozen=True)
class Changes:
    """What some successive commits have done to a list of files, as the last of them sees it.

    Attributes:
        added: path → the action and the version that added it, in row order; a `place` is that of a file in the list.
        removed: paths that were in the list.
        marked: path → the vector that a file of the list has now; those in `added` carry theirs.
    """

    added: Mapping[str, tuple[Add, int]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    marked: Mapping[str, Vector] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.marked)


@dataclass(frozen=True)
class Snapshot:
    """The table at one version.

    Attributes:
        state: everything but its files.
        base: the files of the version that it was opened from.
        changes: what commits have done to them since.
    """

    state: State
    base: Listed
    changes: Changes = field(default_factory=Changes)

    @cached_property
    def listing(self) -> FileList:
        """Its files.

        Raises:
            CorruptTableError: the log removes or marks a file that is not there, marks all rows of one or fewer than
                before, or a bound is not of its column's type.
        Cost: O(files) when first asked for.
        """
        table = self.state.table
        before = self.base.load().followed(self.base.table, table)
        kept = before.without(self.changes.removed)
        if before.count - kept.count != len(self.changes.removed):
            raise _impossible(self.state.version, "a removal of a file that is not there")
        kept = _with_marks(kept, self.changes.marked, self.state.version)
        added = list(self.changes.added.values())
        return kept.placed(
            filelist.from_adds(added, table.columns, table.keys), [add.place for add, _ in added], before
        )

    @property
    def files(self) -> pa.Table:
        """Its files as one Arrow table (`rows.filelist`). Raises and costs as `listing`."""
        return self.listing.files

    def vector_of(self, path: str) -> Vector | None:
        """The vector of a live file; None if no row of it is marked. Cost: as `listing`."""
        found = filelist.of_paths(self.files, [path])
        return found[0].vector if found else None

    @property
    def file_count(self) -> int:
        """The number of its files."""
        return self.base.count + len(self.changes.added) - len(self.changes.removed)


def extend(snapshot: Snapshot | None, manifests: Sequence[Loaded], *, table_id: str | None = None) -> Snapshot:
    """Apply the manifests that follow a snapshot (None: from version 0 on).

    Raises:
        CorruptTableError: the chain is broken, or an action is impossible.
    Cost: O(actions); the list of files is not read.
    """
    state = snapshot.state if snapshot else None
    identity = state.table_id if state else table_id or manifests[0].manifest.table_id
    base, changes = _start(snapshot)
    added, removed, marked = dict(changes.added), list(changes.removed), dict(changes.marked)
    for manifest, sha256 in ((loaded.manifest, loaded.sha256) for loaded in manifests):
        before = state
        state = replay.apply(state, manifest, sha256, table_id=identity)
        if before is not None and manifest.table is not None:
            follow = replay.follower(before.table, manifest.table)
            added = {path: (follow(add), at) for path, (add, at) in added.items()}
        ours = [action.path for action in manifest.remove if action.path in added]
        for path in (action.path for action in manifest.remove if action.path not in added):
            removed.append(path)
            marked.pop(path, None)
        added = _placed(added, manifest, ours)
        _mark(added, marked, manifest)
        for add in manifest.add:
            known = added.setdefault(add.path, (add, manifest.version))
            if known[1] != manifest.version or len(add.partition) != len(state.table.partition_by):
                raise _impossible(manifest.version, f"the add of {add.path}")
    if state is None:
        raise TableNotFoundError("there is no version 0")  # pragma: no cover - callers pass at least one manifest
    if snapshot is not None and snapshot.state is state:
        return snapshot
    base = base or Listed.of(state.table, FileList.of(filelist.empty(state.table.columns)))
    if len(removed) > base.count:
        raise _impossible(state.version, f"the removal of {removed[-1]}")
    return Snapshot(state, base, Changes(added, tuple(removed), marked))


def _start(snapshot: Snapshot | None) -> tuple[Listed | None, Changes]:
    """What the next version builds on: the list of files if it has been built, otherwise its parts."""
    if snapshot is None:
        return None, Changes()
    if "listing" in vars(snapshot) or len(snapshot.changes) > PENDING:
        return Listed.of(snapshot.state.table, snapshot.listing, snapshot.base.saved), Changes()
    return snapshot.base, snapshot.changes


def _placed(added: dict[str, tuple[Add, int]], manifest: Manifest, gone: Collection[str]) -> dict[str, tuple[Add, int]]:
    """Adds in row order, without those that a manifest removes, and with its own that take the place of one of these.

    A file may come back in the manifest that removes it, in another place or with another vector.
    """
    left = frozenset(gone)
    news: dict[str, list[Add]] = {}
    for add in manifest.add:
        if add.place in added and (add.path not in added or add.path in left):
            news.setdefault(add.place, []).append(add)
    if not news:
        for path in gone:
            del added[path]
        return added
    ordered: dict[str, tuple[Add, int]] = {}
    for path, (known, at) in added.items():
        for add in news.get(path, ()):
            ordered[add.path] = (msgspec.structs.replace(add, place=known.place), manifest.version)
        if path not in left:
            ordered[path] = (known, at)
    return ordered


def _mark(added: dict[str, tuple[Add, int]], marked: dict[str, Vector], manifest: Manifest) -> None:
    """Give the files that a manifest marks their new vectors."""
    for mark in manifest.mark:
        if mark.path in added:
            add, at = added[mark.path]
            added[mark.path] = (_marked(add, mark, manifest.version), at)
        else:
            marked[mark.path] = _grown(marked.get(mark.path), mark, manifest.version)


def _marked(add: Add, mark: Mark, version: int) -> Add:
    """An added file with its new vector."""
    vector = _grown(add.vector, mark, version)
    if vector.rows >= add.rows:
        raise _impossible(version, f"a mark of every row of {mark.path}")
    return msgspec.structs.replace(add, vector=vector)


def _grown(known: Vector | None, mark: Mark, version: int) -> Vector:
    """The new vector of a file, which contains the earlier one."""
    if known is not None and mark.vector.rows < known.rows:
        raise _impossible(version, f"a mark of {mark.path} that forgets earlier ones")
    return mark.vector


def _with_marks(files: FileList, marks: Mapping[str, Vector], version: int) -> FileList:
    """A list with new vectors of some of its files."""
    if not marks:
        return files
    found = files.marked(marks)
    if found is None:
        raise _impossible(version, "a mark of a file that is not there")
    if not filelist.grows(files.files, found.files):
        raise _impossible(version, "a mark of every row of a file, or one that forgets earlier ones")
    return found


def _impossible(version: int, what: str) -> CorruptTableError:
    return CorruptTableError(
        f"{names.manifest(version)} contradicts the versions before it: {what}",
        hint="restore all of _txfiles/ from one backup",
    )
