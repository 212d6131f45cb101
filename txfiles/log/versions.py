"""Reading the log: the table's identity, the newest version, a snapshot at any version.

Opening costs the head, the newest checkpoint that it names and the manifests after that, however long the
history. A name that is absent is a fact; a name that cannot be read is an error, never an absence.

Source: specs/5-commit.md, "Opening".
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import index
from typing import Annotated

import msgspec
import pyarrow as pa

from txfiles.core import manifest as codec
from txfiles.core import names, properties, replay
from txfiles.core.manifest import Add, CheckpointRef, Manifest, TableMetadata
from txfiles.core.messages import shown
from txfiles.core.replay import State
from txfiles.core.schema import became_text
from txfiles.errors import (
    CorruptTableError,
    OptionError,
    SnapshotExpiredError,
    StoreError,
    TableNotFoundError,
    UnsupportedTableError,
)
from txfiles.log import checkpoint
from txfiles.log.cache import SnapshotCache
from txfiles.log.snapshot import Snapshot
from txfiles.rows import filelist
from txfiles.store.port import Put, Store

logger = logging.getLogger("txfiles")

HINT_INTERVAL = 8
"""Versions between two hints."""

SMALL_FILE_LIMIT_BYTES = 64 * 1024
"""`table.json` and the hint are a few hundred bytes; a larger one is not ours."""


class TableFile(msgspec.Struct, frozen=True, kw_only=True):
    """`table.json`: created once, before everything else."""

    format_version: int
    table_id: Annotated[str, msgspec.Meta(pattern=names.TABLE_ID_PATTERN)]


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """`hint.json`: where to begin to look for the head. Never trusted."""

    version: codec.Count


@dataclass(frozen=True)
class Loaded:
    """A manifest with its sidecar's actions filled in, and the hash of its own file."""

    manifest: Manifest
    sha256: str


def table_id(store: Store) -> str | None:
    """The id in `table.json`; None where there is none.

    Raises:
        CorruptTableError: it is damaged.
        UnsupportedTableError: a later format version.
    """
    data = store.get(names.TABLE_FILE, limit=SMALL_FILE_LIMIT_BYTES)
    if data is None:
        return None
    try:
        found = msgspec.json.decode(data, type=TableFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptTableError(
            f"{store.root}/{names.TABLE_FILE} is damaged: {error}", hint="restore the file from a backup"
        ) from error
    if found.format_version != codec.FORMAT_VERSION:
        raise UnsupportedTableError(
            f"the table at {store.root} has format version {found.format_version}", hint="upgrade txfiles"
        )
    return str(found.table_id)


def claim_table_id(store: Store, fresh_id: str) -> str:
    """The id of the table that is being created: ours if we are first, else the one that stands."""
    body = msgspec.json.encode(TableFile(format_version=codec.FORMAT_VERSION, table_id=fresh_id))
    if create(store, names.TABLE_FILE, msgspec.json.format(body, indent=1) + b"\n") is Put.CREATED:
        return fresh_id
    found = table_id(store)
    if found is None:
        raise StoreError(
            f"{store.root}/{names.TABLE_FILE} could be neither created nor read", hint="run the same call again"
        )
    return found


def create(store: Store, name: str, data: bytes) -> Put:
    """`put_if_absent` of what is no commit by itself: whatever became of it, nothing is committed."""
    try:
        return store.put_if_absent(name, data)
    except StoreError as error:
        error.committed = "no"
        raise


def head(store: Store, cache: SnapshotCache | None = None) -> Snapshot | None:
    """The newest version, or None where there is no table (or only an interrupted creation).

    Args:
        store: where the table is.
        cache: snapshots opened before; what is found is kept there.
    Raises:
        CorruptTableError: the log is damaged, or lost though a hint or a checkpoint stands.
    Cost: about six small reads, the newest checkpoint, and at most `checkpoint_interval` manifests; from the
        cache four small reads, and where there are newer manifests one more and these.
    """
    found_id = table_id(store)
    known = _still_true(store, found_id, cache.get(store.root)) if cache else None
    found = (_caught_up(store, known) if known else None) or _open_head(store, found_id)
    if cache is not None and found is not None:
        cache.keep(store.root, found)
    return found


def _still_true(store: Store, found_id: str | None, known: Snapshot | None) -> Snapshot | None:
    """A cached snapshot, if it is of this table's history."""
    if known is None or known.state.table_id != found_id:
        return None
    return known if is_still_there(store, known.state) else None


def _caught_up(store: Store, known: Snapshot) -> Snapshot | None:
    """The newest version by way of one that is known; None where that is so old that a checkpoint is nearer."""
    following = _following(store, known.state.version + 1)
    first = next(following, None)
    if first is None:
        return known
    far = known.state.version + properties.integer(known.state.table.properties, "checkpoint_interval")
    return extend(known, [first, *following]) if store.stat(names.manifest(far)) is None else None


def _open_head(store: Store, found_id: str | None) -> Snapshot | None:
    newest = _newest_version(store)
    if newest is None and _was_written_to(store):
        newest = _newest_version(store)  # once more: the first commit may have come between the two looks
        if newest is None:
            raise _lost(store)
    if newest is None:
        return None
    found_id = found_id or table_id(store)  # likewise: it stands before the first manifest does
    if found_id is None:
        raise CorruptTableError(
            f"{store.root} has a log and no {names.TABLE_FILE}", hint="restore that file from a backup"
        )
    return advance(store, _load(store, found_id, newest))


def require_head(store: Store, cache: SnapshotCache | None = None) -> Snapshot:
    """The newest version; no table is an error."""
    found = head(store, cache)
    if found is None:
        raise TableNotFoundError(
            f"there is no txfiles table at {store.root}", hint="check the path; the first write creates a table"
        )
    return found


def at_version(store: Store, latest: State, version: int) -> Snapshot:
    """The table as it was at `version`.

    Raises:
        TableNotFoundError: no such version.
        SnapshotExpiredError: vacuum has removed files of that version.
    """
    if isinstance(version, bool) or not hasattr(version, "__index__"):
        raise OptionError(f"a version is a whole number, not {shown(version)}")
    version = index(version)  # of numpy or pandas it may be, too
    if not 0 <= version <= latest.version:
        raise TableNotFoundError(
            f"{store.root} has no version {shown(version)}", hint=f"the newest is {latest.version}", version=version
        )
    if version < latest.oldest_readable_version:
        raise expired(store, version, latest.oldest_readable_version)
    return _load(store, latest.table_id, version)


def at_time(store: Store, latest: State, time_us: int) -> Snapshot:
    """The last version committed at or before a time. Cost: log2(versions) manifests to find it."""
    low, high = -1, latest.version
    while low < high:
        middle = (low + high + 1) // 2
        if _require_manifest(store, middle).time_us <= time_us:
            low = middle
        else:
            high = middle - 1
    if low < 0:
        raise TableNotFoundError(
            f"{store.root} did not exist at that time", hint="`txfiles log` tells when its first version was committed"
        )
    return at_version(store, latest, low)


def expired(store: Store, version: int, oldest: int) -> SnapshotExpiredError:
    """The error for a version that a vacuum has taken files from."""
    return SnapshotExpiredError(
        f"version {version} of {store.root} has expired: vacuum removed files of it",
        hint=f"versions from {oldest} on are whole; vacuum_retain sets how long they are kept",
        version=version,
        oldest_readable=oldest,
    )


def is_still_there(store: Store, state: State) -> bool:
    """Whether the manifest of a version is the one that was read. Not so: the table was deleted and created again."""
    data = store.get(names.manifest(state.version), limit=codec.MANIFEST_LIMIT_BYTES)
    return data is not None and codec.sha256(data) == state.sha256


def advance(store: Store, snapshot: Snapshot) -> Snapshot:
    """The newest version, reading only manifests newer than `snapshot`."""
    return extend(snapshot, newer(store, snapshot.state))


def newer(store: Store, state: State | None) -> list[Loaded]:
    """The manifests after `state`, oldest first, sidecars resolved.

    Raises:
        CorruptTableError: one is damaged, or missing though the one after it is there: an older version is never
            taken for the newest, and no commit may fill the gap.
    Cost: one read each, one that finds none, and a look at the number behind it.
    """
    return list(_following(store, state.version + 1 if state else 0))


def _following(store: Store, version: int) -> Iterator[Loaded]:
    while (loaded := load_manifest(store, version) or _filled_since(store, version)) is not None:
        yield loaded
        version += 1


def _filled_since(store: Store, version: int) -> Loaded | None:
    """For a number found free: what stands there now if the next number is taken. Free still, the log is damaged."""
    if store.stat(names.manifest(version + 1)) is None:
        return None
    loaded = load_manifest(store, version)
    if loaded is None:
        raise _missing(store, version)
    return loaded


def extend(snapshot: Snapshot | None, manifests: Sequence[Loaded], *, found_id: str | None = None) -> Snapshot:
    """Apply manifests to a snapshot (None: before version 0).

    Raises:
        CorruptTableError: the chain is broken, or a file is added twice or removed though it is not there.
    """
    state = snapshot.state if snapshot else None
    identity = state.table_id if state else found_id or manifests[0].manifest.table_id
    added: dict[str, tuple[Add, int]] = {}
    removed: list[str] = []
    for loaded in manifests:
        before = state
        state = replay.apply(state, loaded.manifest, loaded.sha256, table_id=identity)
        if before is not None and loaded.manifest.table is not None:
            added = _followed(added, before.table, loaded.manifest.table)
        for gone in loaded.manifest.remove:
            known = added.pop(gone.path, None)
            removed += [] if known else [gone.path]
        for add in loaded.manifest.add:
            if add.path in added or len(add.partition) != len(state.table.partition_by):
                raise _impossible(loaded.manifest, f"the add of {add.path}")
            added[add.path] = (add, loaded.manifest.version)
    if state is None:
        raise TableNotFoundError("there is no version 0")  # pragma: no cover - callers pass at least one manifest
    if snapshot is not None and snapshot.state is state:
        return snapshot
    if snapshot is not None and snapshot.state.table is state.table and not removed:
        return snapshot.plus(state, list(added.values()))
    return Snapshot(state, _files(snapshot, state, added, removed, manifests))


def load_manifest(store: Store, version: int) -> Loaded | None:
    """One manifest with its actions, or None where that number is free."""
    name = names.manifest(version)
    data = store.get(name, limit=codec.MANIFEST_LIMIT_BYTES)
    if data is None:
        return None
    where = f"{store.root}/{name}"
    manifest = codec.decode(data, version=version, where=where)
    if manifest.sidecar is not None:
        manifest = _with_sidecar(store, manifest)
    return Loaded(manifest, codec.sha256(data))


def history(store: Store, newest: int, limit: int | None) -> Iterator[Manifest]:
    """Manifests from the newest back, without their sidecars' actions."""
    oldest = 0 if limit is None else max(0, newest - limit + 1)
    for version in range(newest, oldest - 1, -1):
        yield _require_manifest(store, version)


def write_hint(store: Store, version: int) -> None:
    """Leave the next opener a place to begin. Best effort: without it, opening lists the log once.

    Not at every version: replacing a file costs a journaling file system as much as an fsync, and galloping from a
    hint that is a few versions old costs a few looks.
    """
    if version % HINT_INTERVAL:
        return
    try:
        store.put(names.HINT_FILE, msgspec.json.encode(Hint(version=version)) + b"\n")
    except StoreError as error:
        logger.debug("the hint of %s could not be written: %s", store.root, error)


class ExpiryReported:
    """A frame around reading: a file that is missing because its version has expired is told as that.

    Raises:
        SnapshotExpiredError: instead of `CorruptTableError`, where a vacuum has taken files of this version since.
    """

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self._state = state

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, CorruptTableError):
            newest = head(self._store)
            if newest is not None and self._state.version < newest.state.oldest_readable_version:
                raise expired(self._store, self._state.version, newest.state.oldest_readable_version) from error


def _load(store: Store, found_id: str, version: int) -> Snapshot:
    """The snapshot at a version that exists, from the newest usable checkpoint that its manifest names."""
    last = _require_loaded(store, version)
    base = _from_checkpoint(store, found_id, last.manifest.checkpoint)
    first = base.state.version + 1 if base else 0
    before = [_require_loaded(store, number) for number in range(first, version)]
    return extend(base, [*before, last], found_id=found_id)


def _require_loaded(store: Store, version: int) -> Loaded:
    loaded = load_manifest(store, version)
    if loaded is None:
        raise _missing(store, version)
    return loaded


def _from_checkpoint(store: Store, found_id: str, ref: CheckpointRef | None) -> Snapshot | None:
    """The checkpoint's snapshot; None where it is lost or damaged, which costs time and no data."""
    if ref is None:
        return None
    try:
        data = store.get(names.checkpoint(ref.version), limit=min(ref.bytes, checkpoint.LIMIT_BYTES))
    except CorruptTableError as error:
        logger.warning("checkpoint %d of %s is ignored: %s", ref.version, store.root, error)
        return None
    if data is None or len(data) != ref.bytes or codec.sha256(data) != ref.sha256:
        logger.warning("checkpoint %d of %s is missing or damaged and is ignored", ref.version, store.root)
        return None
    state, files = checkpoint.decode(data, where=f"{store.root}/{names.checkpoint(ref.version)}")
    if state.table_id != found_id or state.version != ref.version:
        raise CorruptTableError(f"checkpoint {ref.version} of {store.root} is of another table or version")
    return Snapshot(replace(state, checkpoint=ref), files)


def _newest_version(store: Store) -> int | None:
    start = _hinted(store)
    if start is None or store.stat(names.manifest(start)) is None:
        return _listed_newest(store)
    return _gallop(store, start)


def _hinted(store: Store) -> int | None:
    """The hint's version, or None: a hint that is missing, torn or hostile only costs a listing."""
    try:
        data = store.get(names.HINT_FILE, limit=SMALL_FILE_LIMIT_BYTES)
        return None if data is None else msgspec.json.decode(data, type=Hint).version
    except (CorruptTableError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _gallop(store: Store, known: int) -> int:
    """The newest version, from one that exists: numbers have no gaps, so doubling steps and halving find it."""
    step = 1
    while store.stat(names.manifest(known + step)) is not None:
        known += step
        step *= 2
    absent = known + step
    while absent - known > 1:
        middle = (known + absent) // 2
        if store.stat(names.manifest(middle)) is not None:
            known = middle
        else:
            absent = middle
    return known


def _listed_newest(store: Store) -> int | None:
    found = [names.manifest_version(entry.name) for entry in store.list_from(names.MANIFEST_DIR)]
    versions = [version for version in found if version is not None]
    if not versions:
        return None
    for before, after in pairwise([-1, *versions]):
        for expected in range(before + 1, after):
            # A folder that is written to while it is listed may show a later name and not the one before it.
            if store.stat(names.manifest(expected)) is None:
                raise _missing(store, expected)
    return _gallop(store, versions[-1])


def _was_written_to(store: Store) -> bool:
    """Whether something stands that only a commit leaves."""
    return store.stat(names.HINT_FILE) is not None or any(
        names.checkpoint_version(entry.name) is not None for entry in store.list_from(names.CHECKPOINT_DIR)
    )


def _lost(store: Store) -> CorruptTableError:
    return CorruptTableError(
        f"the log of {store.root} is lost: it has a hint or a checkpoint, and no manifest",
        hint=f"restore {names.MANIFEST_DIR} from a backup; nothing is read or written until then",
    )


def _require_manifest(store: Store, version: int) -> Manifest:
    name = names.manifest(version)
    data = store.get(name, limit=codec.MANIFEST_LIMIT_BYTES)
    if data is None:
        raise _missing(store, version)
    return codec.decode(data, version=version, where=f"{store.root}/{name}")


def _with_sidecar(store: Store, manifest: Manifest) -> Manifest:
    ref = manifest.sidecar
    assert ref is not None
    where = f"{store.root}/{names.SIDECAR_DIR}{ref.name}"
    data = store.get(names.SIDECAR_DIR + ref.name, limit=min(ref.bytes, codec.SIDECAR_LIMIT_BYTES))
    if data is None or codec.sha256(data) != ref.sha256:
        raise CorruptTableError(
            f"{where} is missing or damaged; version {manifest.version} cannot be read",
            hint="restore the file from a backup",
            file=where,
        )
    actions = codec.decode_actions(data, table_id=manifest.table_id, where=where)
    vacuum = manifest.vacuum and msgspec.structs.replace(manifest.vacuum, deletes=actions.deletes)
    return msgspec.structs.replace(manifest, add=actions.add, remove=actions.remove, vacuum=vacuum)


def _files(
    snapshot: Snapshot | None,
    state: State,
    added: dict[str, tuple[Add, int]],
    removed: list[str],
    manifests: Sequence[Loaded],
) -> pa.Table:
    table = state.table
    fresh = filelist.from_adds(list(added.values()), table.columns, table.keys)
    if snapshot is None:
        if removed:
            raise _impossible(manifests[-1].manifest, f"the removal of {removed[0]}")
        return fresh
    kept = filelist.without(filelist.follow(snapshot.files, snapshot.state.table, table), removed)
    if snapshot.files.num_rows - kept.num_rows != len(removed):
        raise _impossible(manifests[-1].manifest, "a removal of a file that is not there")
    return filelist.joined(kept, fresh)


def _followed(
    added: dict[str, tuple[Add, int]], before: TableMetadata, after: TableMetadata
) -> dict[str, tuple[Add, int]]:
    """Adds as a later table action finds them: with the columns that they have, and without bounds in another order."""
    added = {path: (replay.with_columns(add, before, after), at) for path, (add, at) in added.items()}
    ids = became_text(before.columns, after.columns)
    if not ids:
        return added
    same_keys = replay.same_key_codes(before, after)
    return {path: (replay.without_bounds(add, ids, keys=not same_keys), at) for path, (add, at) in added.items()}


def _missing(store: Store, version: int) -> CorruptTableError:
    return CorruptTableError(
        f"the log of {store.root} is damaged: manifest {version} is missing",
        hint=f"restore {names.manifest(version)} from a backup",
        version=version,
    )


def _impossible(manifest: Manifest, what: str) -> CorruptTableError:
    return CorruptTableError(
        f"{names.manifest(manifest.version)} contradicts the versions before it: {what}",
        hint="restore _txfiles/ from one backup",
    )
