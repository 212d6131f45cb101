"""Reading the log: the newest version, and a snapshot at any version.

Opening costs the head, the newest checkpoint that it names and the manifests after that, however long the history.
Every path starts from the nearest checkpoint. tests/unit/log/test_log_round_trips.py counts how many requests wait for
one another.

Source: specs/5-commit.md, "Opening".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from operator import index

from txfiles.core import codec, names
from txfiles.core.manifest import CheckpointRef
from txfiles.core.messages import shown
from txfiles.core.replay import State
from txfiles.errors import CorruptTableError, OptionError, SnapshotExpiredError, TableNotFoundError
from txfiles.log import checkpoint, detached, identity, manifests, newest, parts
from txfiles.log.newest import Hint
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded, Snapshot, extend
from txfiles.rows.segments import FileList
from txfiles.store.port import Store

REPLAYED_AT_ONCE = 1_000
"""Manifests in memory at a time, if a checkpoint is lost and many have to be read."""

FAR = 32
"""Versions behind, beyond which the head's checkpoint is nearer: over `checkpoint_interval` and `HINT_INTERVAL`."""


@dataclass
class _Known:
    """What one call has read of the log, so that nothing is read twice.

    Attributes:
        session: the table's.
        manifests: by version.
        checkpoints: the bytes of those that match their reference.
        guarded: whether a list of which a part is lost is rebuilt from the log; otherwise `PartLost` is raised.
    """

    session: Session
    manifests: dict[int, Loaded] = field(default_factory=dict)
    checkpoints: dict[CheckpointRef, bytes] = field(default_factory=dict)
    guarded: bool = True

    def fetch(self, ref: CheckpointRef | None, versions: Iterable[int], *, required: bool = True) -> None:
        """Read a checkpoint and some manifests together, unless they have been read.

        Raises:
            CorruptTableError: a manifest is missing, and `required`.
        """
        store = self.session.store
        wanted: list[Callable[[], object]] = []
        if ref is not None and ref not in self.checkpoints:
            wanted.append(partial(self._keep_checkpoint, ref))
        todo = [version for version in versions if version not in self.manifests]
        wanted += [partial(self._keep, version) for version in todo]
        list(self.session.together(lambda ask: ask(), wanted))
        for version in todo:
            if required and version not in self.manifests:
                raise manifests.missing(store, version)

    def _keep(self, version: int) -> None:
        loaded = manifests.load(self.session.store, version)
        if loaded is not None:
            self.manifests[version] = loaded

    def _keep_checkpoint(self, ref: CheckpointRef) -> None:
        data = checkpoint.read(self.session.store, ref)
        if data is not None:
            self.checkpoints[ref] = data

    def snapshot(self, table_id: str, version: int) -> Snapshot:
        """The snapshot at a version whose manifest was read, from the nearest checkpoint before it."""
        return self.since(self._confirmed(version) or self.manifests[version].manifest.checkpoint, table_id, version)

    def since(self, ref: CheckpointRef | None, table_id: str, version: int) -> Snapshot:
        """The snapshot at a version, from a checkpoint before it or, if that is lost, from an earlier one."""
        while ref is not None:
            self.fetch(ref, range(ref.version + 1, version))
            if ref in self.checkpoints:
                break
            # Lost or damaged: the manifest of its own version names the one before it.
            self.fetch(None, [ref.version])
            ref = self.manifests[ref.version].manifest.checkpoint
        base = self._decoded(ref, table_id) if ref else None
        first = ref.version + 1 if ref else 0
        for start in range(first, version + 1, REPLAYED_AT_ONCE):
            some = range(start, min(start + REPLAYED_AT_ONCE, version + 1))
            self.fetch(None, some)
            base = extend(base, [self.manifests[number] for number in some], table_id=table_id)
            if len(some) == REPLAYED_AT_ONCE:
                self.manifests = {number: kept for number, kept in self.manifests.items() if number not in some}
        assert base is not None
        return base

    def _confirmed(self, version: int) -> CheckpointRef | None:
        """A checkpoint that has been read with all manifests after it, the first of which names it.

        The head's chain of hashes vouches for these manifests, and so for what they name.
        """
        for ref in self.checkpoints:
            first = self.manifests.get(ref.version + 1)
            at_hand = version - ref.version <= len(self.manifests) and all(
                number in self.manifests for number in range(ref.version + 1, version + 1)
            )
            if first is not None and at_hand and first.manifest.checkpoint == ref:
                return ref
        return None

    def _decoded(self, ref: CheckpointRef, table_id: str) -> Snapshot:
        root = self.session.store.root
        where = f"{root}/{names.checkpoint(ref.version, ref.id)}"
        found = checkpoint.decode(self.checkpoints[ref], ref, where=where, session=self.session)
        if found.state.table_id != table_id or found.state.version != ref.version:
            raise CorruptTableError(f"checkpoint {ref.version} of {root} belongs to another table or version")
        if not self.guarded:
            return found
        return replace(found, base=replace(found.base, load=cache(partial(_listing, self.session, found))))


def _listing(session: Session, saved: Snapshot) -> FileList:
    """The list of a checkpoint; if a part of it is lost, from an earlier checkpoint and the manifests after that."""
    lost: int | None = None
    while True:  # no checkpoint before version `lost` has the part that is lost: this ends
        try:
            return (saved if lost is None else _rebuilt(session, saved.state, lost)).listing
        except parts.PartLost as error:
            lost = error.version


def _rebuilt(session: Session, state: State, lost: int) -> Snapshot:
    """A version from the checkpoint that manifest `lost` names, and the manifests after that."""
    known = _Known(session, guarded=False)
    known.fetch(None, {lost, state.version})
    return known.since(known.manifests[lost].manifest.checkpoint, state.table_id, state.version)


def in_named_parts(session: Session, snapshot: Snapshot) -> Snapshot:
    """The same version, its list of files in the parts that its newest checkpoint names.

    Another writer may have saved the list in other parts than this process knows. Only those that the checkpoint names
    are safe from a vacuum, and reusing them avoids rewriting them.
    """
    ref = snapshot.state.checkpoint
    if ref is None or not ref.parts or ref == snapshot.base.saved:
        return snapshot
    known = _Known(session)
    try:
        known.fetch(None, [snapshot.state.version])
        return known.snapshot(snapshot.state.table_id, snapshot.state.version)
    except CorruptTableError:  # perhaps it was deleted and created again: the look at its manifest decides
        return snapshot


def head(session: Session) -> Snapshot | None:
    """The newest version, or None if there is no table (or only an interrupted creation).

    The result is kept in the session's cache.

    Raises:
        CorruptTableError: the log is damaged, or lost although a hint or a checkpoint exists.
        TableDetachedError: the table was detached, and only names are left of its log.
    Cost: three round trips (a hint at most `HINT_INTERVAL` versions old; the newest checkpoint and at most
        `checkpoint_interval` manifests, together); from the cache one, and another if there are newer manifests.
    """
    root = session.store.root
    known = session.cache.get(root) if session.cache else None
    found = _readable(session, (_caught_up(session, known) if known else None) or _opened(session))
    if session.cache is not None and found is not None:
        session.cache.keep(root, found)
    return found


def require_head(session: Session) -> Snapshot:
    """The newest version. Raises `TableNotFoundError` if there is no table."""
    found = head(session)
    if found is None:
        raise TableNotFoundError(
            f"there is no txfiles table at {session.store.root}",
            hint="check the path; the first write creates a table",
        )
    return found


def advance(session: Session, snapshot: Snapshot) -> Snapshot:
    """The newest version, reading only manifests newer than `snapshot` unless a checkpoint is nearer."""
    return _readable(session, _caught_up(session, snapshot)) or require_head(session)


def _readable(session: Session, found: Snapshot | None) -> Snapshot | None:
    """The newest version, unless it detached the table and its log was taken away since."""
    if found is not None and found.state.table.is_detached and identity.table_id(session.store) is None:
        raise detached.error(session.store.root, found.state.version, found.state.time_us, finished=True)
    return found


def at_version(session: Session, latest: State, version: int) -> Snapshot:
    """The table as it was at `version`.

    Raises:
        TableNotFoundError: no such version.
        SnapshotExpiredError: a vacuum has deleted files of that version.
    Cost: two round trips: its manifest, and the checkpoint that it names with the manifests in between.
    """
    store = session.store
    if isinstance(version, bool) or not hasattr(version, "__index__"):
        raise OptionError(f"version must be a whole number, not {shown(version)}")
    version = index(version)  # it may be numpy's or pandas'
    if not 0 <= version <= latest.version:
        raise TableNotFoundError(
            f"{store.root} has no version {shown(version)}", hint=f"the newest is {latest.version}", version=version
        )
    if version < latest.oldest_readable_version:
        raise expired(store, version, latest.oldest_readable_version)
    return replayed(session, latest.table_id, version)


def replayed(session: Session, table_id: str, version: int) -> Snapshot:
    """An existing version, whether or not a vacuum has deleted files of it. Cost: as `at_version`."""
    known = _Known(session)
    known.fetch(None, [version])
    return known.snapshot(table_id, version)


def at_time(session: Session, latest: State, time_us: int) -> Snapshot:
    """The last version committed at or before a time.

    Cost: log(versions) round trips to find it, each for as many manifests as the store answers at once.
    """
    low, high = -1, latest.version  # the answer is one of low … high
    width = session.store.capabilities.requests_at_once
    while low < high:
        step = -(-(high - low) // (width + 1))
        probes = list(range(low + step, high + 1, step))[:width]
        times = session.together(lambda version: manifests.summary(session.store, version).time_us, probes)
        before = sum(time <= time_us for time in times)
        high = probes[before] - 1 if before < len(probes) else high
        low = probes[before - 1] if before else low
    if low < 0:
        raise TableNotFoundError(
            f"{session.store.root} did not exist at that time",
            hint="`txfiles log` tells when its first version was committed",
        )
    return at_version(session, latest, low)


def newer(session: Session, state: State | None) -> list[Loaded] | None:
    """The manifests after `state` (None: from version 0 on), oldest first, sidecars resolved.

    Returns:
        None if the manifest of `state` is not the one that was read: the table was deleted and created again.
    Raises:
        CorruptTableError: one is damaged, or missing although the one after it exists: an older version is never
            taken for the newest, and no commit may fill the gap.
    Cost: one round trip, and another if there are any.
    """
    first = state.version + 1 if state else 0
    same, tail = session.both(
        lambda: state is None or is_still_there(session.store, state), lambda: newest.tail(session, first)
    )
    if not same:
        return None
    known = _Known(session, tail.loaded)
    known.fetch(None, range(first, tail.last + 1))
    return [known.manifests[version] for version in range(first, tail.last + 1)]


def is_still_there(store: Store, state: State) -> bool:
    """Whether the manifest of a version is still the one that was read. If not, the table was created again."""
    data = manifests.read(store, state.version)
    return data is not None and codec.sha256(data) == state.sha256


def expired(store: Store, version: int, oldest: int) -> SnapshotExpiredError:
    """The error for a version that has lost files to a vacuum."""
    return SnapshotExpiredError(
        f"version {version} of {store.root} has expired: a vacuum deleted some of its files",
        hint=f"versions from {oldest} on are readable; vacuum_retain sets how long they are kept",
        version=version,
        oldest_readable=oldest,
    )


def gone(store: Store, meanwhile: str) -> TableNotFoundError:
    """The error for a table that a call has read and that is not there any more."""
    return TableNotFoundError(
        f"there is no table at {store.root} any more: it was detached or deleted while {meanwhile}",
        hint="look at the folder: if its data files are there, any reader of such files reads them",
    )


class ExpiryReported:
    """Context manager that reports a missing file as `SnapshotExpiredError` if a vacuum expired this snapshot.

    Raises:
        SnapshotExpiredError: instead of `CorruptTableError`, if a vacuum has deleted files of this version since.
        TableNotFoundError: likewise, if there is no table any more.
    """

    def __init__(self, session: Session, state: State) -> None:
        self._session = session
        self._state = state

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, CorruptTableError):
            found = head(self._session)
            if found is None:
                raise gone(self._session.store, f"version {self._state.version} was read") from error
            if self._state.version < found.state.oldest_readable_version:
                raise expired(self._session.store, self._state.version, found.state.oldest_readable_version) from error


def _caught_up(session: Session, known: Snapshot) -> Snapshot | None:
    """The newest version, starting from a known one; None if the table is another one by now."""
    first = known.state.version + 1
    same, tail = session.both(
        lambda: is_still_there(session.store, known.state), lambda: newest.tail(session, first, FAR)
    )
    if not same:
        return None
    read = _Known(session, dict(tail.loaded))
    if tail.last - known.state.version > FAR:
        read.fetch(None, [tail.last])
        return read.snapshot(known.state.table_id, tail.last)
    read.fetch(None, range(first, tail.last + 1))
    return extend(known, [read.manifests[version] for version in range(first, tail.last + 1)])


def _opened(session: Session) -> Snapshot | None:
    """The newest version, without a known one to start from."""
    store = session.store
    table_id, hint = session.both(lambda: identity.table_id(store), lambda: newest.read_hint(store))
    known = _Known(session)
    last = _by_hint(known, hint) if hint else None
    if last is None:
        last = _listed(store)
        if last is None and _was_written_to(store, hint):
            last = newest.listed(store)  # once more: the first commit may have come between the two looks
            if last is None:
                raise _lost(store)
        if last is None:
            return None
    table_id = table_id or identity.table_id(store)  # once more: it is created before the first manifest
    if table_id is None:
        detached.refuse_tombstones(store)
        raise gone(store, "it was being opened")
    known.fetch(None, [last])
    return known.snapshot(table_id, last)


def _listed(store: Store) -> int | None:
    """The newest version by a listing. A purge that died may have left gaps: then it is said to be that."""
    try:
        return newest.listed(store)
    except CorruptTableError:
        if identity.table_id(store) is None:
            detached.refuse_tombstones(store)
        raise


def _by_hint(known: _Known, hint: Hint) -> int | None:
    """The newest version, found from the hint; None if the hint names no existing version.

    If requests can go together, what the hint names is read beside the look for newer versions.
    """
    session, ref = known.session, hint.checkpoint
    first = ref.version + 1 if ref else 0
    speculates = session.is_parallel and hint.version - first <= FAR
    between = range(first, hint.version) if speculates else range(0)
    tail, _ = session.both(
        lambda: newest.tail(session, hint.version + 1, FAR),
        lambda: known.fetch(ref if speculates else None, [*between, hint.version], required=False),
    )
    if hint.version not in known.manifests:
        return None
    known.manifests |= tail.loaded
    if tail.last - hint.version <= FAR:
        known.fetch(None, range(hint.version + 1, tail.last + 1))
    return tail.last


def _was_written_to(store: Store, hint: Hint | None) -> bool:
    """Whether there is something that only a commit leaves behind."""
    return (
        hint is not None
        or store.stat(names.HINT_FILE) is not None
        or any(names.checkpoint_version(entry.name) is not None for entry in store.list_from(names.CHECKPOINT_DIR))
    )


def _lost(store: Store) -> CorruptTableError:
    return CorruptTableError(
        f"the log of {store.root} is lost: it has a hint or a checkpoint, but no manifest",
        hint=f"restore {names.MANIFEST_DIR} from a backup; nothing is read or written until then",
    )
