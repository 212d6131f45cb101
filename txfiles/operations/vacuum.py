"""`vacuum`: delete what no retained version holds. It commits the list of files to delete, then deletes them.

A writer whose staged files are in that list sees the manifest before its own commit, and stages them again; so vacuum
is safe beside running writers at any retention. What a vacuum that died left behind is neither live nor retained, so
the next one finds it again.

    superseded   removed by version r: deleted if r's manifest is older than the retention,
                 and no retained version holds it; of a file of vectors, r is the version that replaced or removed
                 the last of them
    orphan       this table's by its name, in no version: deleted if older than the grace
    adopted      as superseded, if the property vacuum_adopted says so and the file is as it was when it was adopted:
                 else it is somebody's again; never an orphan
    index runs   removed from the log as superseded files are, or in no version as orphans are; the secret never
    log files    temporary files older than the grace; checkpoints and sidecars that no version needs

A manifest is as old as the younger of its own time and the store's; any other file has only the store's time.

Source: specs/5-commit.md, "Vacuum".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc
from msgspec.structs import replace as replace_struct

from txfiles.core import names, properties
from txfiles.core.manifest import ADOPTED_FILES, DELETION_VECTORS, Add, CheckpointRef, Manifest, Vacuum, Vector
from txfiles.core.plan import CommitPlan, Looked, ReadSet
from txfiles.core.replay import State
from txfiles.errors import ConfirmationRequiredError
from txfiles.log import manifests as log_manifests
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.rows import filelist
from txfiles.store.port import DELETED_AT_ONCE, Entry, Store

ORPHANS_PER_LIVE_FILE = 10
"""More orphans than this for each live file look like a lost log, and are deleted only with `force`."""

TEMPORARY_GRACE_US = 3_600 * 1_000_000
"""No version can name a temporary file, so deleting a running writer's would only make that write fail."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vacuum keeps.

    Attributes:
        retain_us: superseded files are kept this long after they were superseded.
        keep_versions: how many of the newest versions stay readable in any case (at least the head).
        grace_us: orphans are kept this long after they were written.
        force: delete even if there are suspiciously many orphans.
    """

    retain_us: int
    keep_versions: int
    grace_us: int
    force: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What may be deleted, and the version from which on every version stays readable."""

    entries: tuple[Entry, ...]
    oldest_readable_version: int


def plan_vacuum(session: Session, base: Snapshot, rules: Rules) -> CommitPlan:
    """Find what to delete. Cost: as `find`."""
    found = find(session, base, rules)
    deletes = tuple(sorted(names.encode_path(entry.name) for entry in found.entries))
    return CommitPlan(
        table=base.state.table,
        read_set=ReadSet(table=base.state.table),
        vacuum=Vacuum(oldest_readable_version=found.oldest_readable_version, deletes=deletes),
        nothing=not deletes,
        looked=Looked(vacuum_bytes=sum(entry.bytes for entry in found.entries)),
    )


def find(session: Session, base: Snapshot, rules: Rules) -> Found:
    """The deletable files of a table.

    Raises:
        ConfirmationRequiredError: there are far more orphans than live files.
    Cost: one listing of the folder and, beside it, each manifest since the oldest readable version; then one for each
        old sidecar of an older version. Memory: the names of all files.
    """
    store, state = session.store, base.state
    live, runs = live_paths(base), {run.path for run in state.runs}
    adopted = _adopted(session, base)
    (now_us, listing), history = session.both(
        lambda: session.both(store.now_us, lambda: _Listing.read(store, state.table_id, live | runs, adopted)),
        lambda: _History.read(session, base),
    )
    oldest_kept = _oldest_kept_version(history.manifests, listing.manifests_us, rules, now_us)
    old = {path for path, entry in listing.others.items() if now_us - entry.modified_us >= rules.grace_us}
    spare = _spare_log_files(session, old, history, oldest_kept)
    entries: list[Entry] = []
    orphans = 0
    for path, entry in listing.others.items():
        removed = history.removed.get(path, history.runs_removed.get(path))
        if removed is not None and removed > oldest_kept:
            continue  # versions before `removed` hold it, and one of them is kept
        lost_run = path in old and names.is_index_run(entry.name, state.table_id)
        if removed is not None or path in history.listed or path in spare or lost_run or path in adopted:
            entries.append(entry)
        elif path in old and (
            names.is_data_name(entry.name, state.table_id) or names.is_vectors(entry.name, state.table_id)
        ):
            orphans += 1
            entries.append(entry)
        elif path in old and names.is_temporary(entry.name, state.table_id):
            entries += [entry] if now_us - entry.modified_us >= TEMPORARY_GRACE_US else []
    if not rules.force and orphans > ORPHANS_PER_LIVE_FILE * max(1, len(live)):
        raise ConfirmationRequiredError(
            f"{orphans} files of {store.root} are in no version, and only {len(live)} are live: the log may be lost",
            hint="to delete them, pass force=True or --force",
            orphans=orphans,
            live=len(live),
        )
    # Files superseded up to `oldest_kept` are deleted now, or were before: versions from there on stay readable.
    # So do versions before, for all that is known of adopted files that vacuums leave alone.
    stays = _stays(state) if ADOPTED_FILES in state.table.required_features else lambda _: False
    broken = [
        version
        for path, version in history.removed.items()
        if version <= oldest_kept and path not in live and not stays(path)
    ]
    return Found(tuple(entries), max([state.oldest_readable_version, *broken]))


def _adopted(session: Session, base: Snapshot) -> dict[str, Add]:
    """The files that the table has adopted, by path, if a vacuum may delete them.

    Cost: the first manifest and its sidecar, which is never deleted.
    """
    table = base.state.table
    if ADOPTED_FILES not in table.required_features or not properties.switch(table.properties, "vacuum_adopted"):
        return {}
    (first,) = log_manifests.require(session, [0])
    return {add.path: add for add in first.manifest.add if not names.is_data_path(add.path, base.state.table_id)}


def _stays(state: State) -> Callable[[str], bool]:
    """Whether a vacuum leaves a superseded file alone: it was adopted, and nobody allowed it to be deleted."""
    if properties.switch(state.table.properties, "vacuum_adopted"):
        return lambda _: False
    return lambda path: names.is_adopted_path(path) and not names.is_deletable(path, state.table_id)


def _is_as_adopted(entry: Entry, adopted: Add) -> bool:
    return entry.bytes == adopted.bytes and entry.modified_us == adopted.modified_us


def delete(store: Store, paths: Sequence[str], done: Callable[[int], None]) -> None:
    """Delete what a vacuum has committed to delete. It is not an error if another vacuum deleted a file first.

    Cost: one request for each `DELETED_AT_ONCE` files, if the store has such requests.
    """
    for start in range(0, len(paths), DELETED_AT_ONCE):
        some = paths[start : start + DELETED_AT_ONCE]
        store.delete_many([name for path in some if (name := names.decode_path(path)) is not None])
        done(start + len(some))


def live_paths(base: Snapshot) -> frozenset[str]:
    """Paths that must not be deleted, whatever the manifests say about them."""
    return frozenset(base.files["path"].to_pylist()) | frozenset(_vector_files(base).values())


def _vector_files(snapshot: Snapshot) -> dict[str, str]:
    """The file of its vector, as a manifest writes its name, by the path of each marked file."""
    marked = filelist.marked(snapshot.files)
    files = pc.struct_field(marked["vector"], "file").to_pylist()
    return {
        path: names.encode_path(names.VECTOR_DIR + file)
        for path, file in zip(marked["path"].to_pylist(), files, strict=True)
    }


class _Vectors:
    """Which version was the first without a file's vectors: no manifest names that one, replay tells.

    Args:
        current: path of a marked file → the file of its vector, at the oldest readable version.
    """

    def __init__(self, current: dict[str, str]) -> None:
        self._current = current
        self._live = Counter(current.values())
        self.superseded: dict[str, int] = {}

    def follow(self, manifest: Manifest) -> None:
        """Apply a later manifest."""
        for action in manifest.remove:
            self._set(action.path, None, manifest.version)
        added = [(add.path, add.vector) for add in manifest.add if add.vector is not None]
        for path, vector in [*added, *((mark.path, mark.vector) for mark in manifest.mark)]:
            self._set(path, vector, manifest.version)

    def _set(self, path: str, vector: Vector | None, version: int) -> None:
        before = self._current.pop(path, None)
        if vector is not None:
            file = names.encode_path(names.VECTOR_DIR + vector.file)
            self._current[path] = file
            self._live[file] += 1
            self.superseded.pop(file, None)
        if before is not None:
            self._live[before] -= 1
            if not self._live[before]:
                self.superseded[before] = version


@dataclass(frozen=True, slots=True)
class _Listing:
    """One listing of the folder.

    Attributes:
        manifests_us: by version, the last change of its manifest by the store's clock.
        others: by path, this table's other files that may be deleted and are not live.
    """

    manifests_us: dict[int, int]
    others: dict[str, Entry]

    @classmethod
    def read(cls, store: Store, table_id: str, live: Collection[str], adopted: Mapping[str, Add]) -> _Listing:
        manifests_us: dict[int, int] = {}
        others: dict[str, Entry] = {}
        for entry in store.list_from(""):
            path = names.encode_path(entry.name)
            version = names.manifest_version(entry.name)
            if version is not None:
                manifests_us[version] = entry.modified_us
            elif path not in live and (
                names.is_deletable(path, table_id) or (path in adopted and _is_as_adopted(entry, adopted[path]))
            ):
                others[path] = entry
        return cls(manifests_us, others)


@dataclass(frozen=True, slots=True)
class _History:
    """What the manifests since the oldest readable version say.

    Attributes:
        manifests: by version, without their actions.
        removed: path → the version that removed it last, or after which none of its vectors is a live file's.
        runs_removed: the same for runs of the key index, without which a version stays readable.
        listed: paths that an earlier vacuum committed to delete.
    """

    manifests: dict[int, Manifest]
    removed: dict[str, int]
    runs_removed: dict[str, int]
    listed: set[str]

    @classmethod
    def read(cls, session: Session, base: Snapshot) -> _History:
        first, last = base.state.oldest_readable_version, base.state.version
        has_vectors = DELETION_VECTORS in base.state.table.required_features
        vectors = _Vectors(_vector_files(versions.at_version(session, base.state, first)) if has_vectors else {})
        manifests: dict[int, Manifest] = {}
        shared: dict[CheckpointRef | None, CheckpointRef | None] = {}
        removed: dict[str, int] = {}
        runs_removed: dict[str, int] = {}
        listed: set[str] = set()
        for version, loaded in enumerate(log_manifests.require(session, range(first, last + 1)), first):
            manifest = loaded.manifest
            removed.update((action.path, version) for action in manifest.remove)
            if has_vectors and version > first:
                vectors.follow(manifest)
            gone = [action.remove for action in manifest.index if action.remove is not None]
            runs_removed.update((names.INDEX_DIR + name, version) for name in gone)
            listed.update(manifest.vacuum.deletes if manifest.vacuum else ())
            ref = shared.setdefault(manifest.checkpoint, manifest.checkpoint)  # many name the same, and its parts
            whole = replace_struct(manifest, add=(), remove=(), mark=(), index=(), vacuum=None, checkpoint=ref)
            manifests[version] = whole
        return cls(manifests, removed | vectors.superseded, runs_removed, listed)


def _oldest_kept_version(
    manifests: Mapping[int, Manifest], modified_us: Mapping[int, int], rules: Rules, now_us: int
) -> int:
    """The oldest version that stays readable: by number, and by the age of the manifest that superseded it.

    Manifests were created in order, so if one is old, all before it are old too.
    """
    oldest, head = min(manifests), max(manifests)
    kept = max(oldest, head - rules.keep_versions + 1)
    # Version kept-1 was superseded when manifest `kept` was created. One that the listing does not show yet is new.
    while kept > oldest and _age_us(manifests[kept], modified_us.get(kept, now_us), now_us) < rules.retain_us:
        kept -= 1
    return kept


def _age_us(manifest: Manifest, modified_us: int, now_us: int) -> int:
    """The age by the younger of two times: a copy may have old file times, and a writer's clock may be slow.

    A manifest's own time does not count if it is in the future: one fast clock must not stop all vacuums.
    """
    return now_us - max(modified_us, manifest.time_us if manifest.time_us <= now_us else 0)


def _spare_log_files(session: Session, paths: Collection[str], history: _History, oldest_kept: int) -> set[str]:
    """The checkpoints and sidecars among some paths that no readable version needs."""
    head = max(history.manifests)
    checkpoints = {path: version for path in paths if (version := names.checkpoint_version(path)) is not None}
    sidecars = {path: version for path in paths if (version := names.sidecar_version(path)) is not None}
    before = sorted({version for version in sidecars.values() if version < min(history.manifests)})
    read = session.together(lambda version: log_manifests.summary(session.store, version), before)
    in_use = {
        names.SIDECAR_DIR + manifest.sidecar.name
        for manifest in (*history.manifests.values(), *read)
        if manifest.sidecar is not None
    }
    named = {
        name
        for version, manifest in history.manifests.items()
        if version >= oldest_kept and manifest.checkpoint is not None
        for name in manifest.checkpoint.files
    }
    # A sidecar of a version beyond the head is deleted too: its writer will write another for its next number. A
    # checkpoint of the head may be about to be named.
    return (sidecars.keys() - in_use) | {path for path in checkpoints.keys() - named if checkpoints[path] < head}
