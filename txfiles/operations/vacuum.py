"""`vacuum`: delete what no retained version holds. A commit that says what it deletes, and then does it.

A writer whose new files stand in that list touches_keys the manifest before its own commit and stages them again;
so vacuum is safe at any retention beside running writers. What a vacuum that died left behind is neither
live nor retained, so the next one finds it again.

    superseded   removed by version r: deleted if r's manifest is older than the retention,
                 and no version that is kept holds it
    orphan       of this table by its name, in no version: deleted if older than the grace
    log files    temporary files older than the grace; checkpoints and sidecars that no version needs

Source: specs/5-commit.md, "Vacuum".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from txfiles.core import names
from txfiles.core.manifest import Manifest, Vacuum
from txfiles.core.plan import CommitPlan, Looked, ReadSet
from txfiles.errors import ConfirmationRequiredError, CorruptTableError
from txfiles.log import versions
from txfiles.log.snapshot import Snapshot
from txfiles.store.port import Entry, Store

ORPHANS_PER_LIVE_FILE = 10
"""More orphans than this for each live file look like a lost log, and are deleted only when asked for by force."""

TEMPORARY_GRACE_US = 3_600 * 1_000_000
"""No version can ever name a temporary file, so nothing is gained by taking it from a writer that is at work."""

DELETED_AT_ONCE = 1_000
"""Names in one request: what S3 takes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vacuum keeps.

    Attributes:
        retain_us: superseded files stay this long after they were superseded.
        keep_versions: the newest versions that stay whole in any case (at least the head).
        grace_us: orphans stay this long after they were written.
        force: delete though there are suspiciously many orphans.
    """

    retain_us: int
    keep_versions: int
    grace_us: int
    force: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What may be deleted, and from which version on every version stays whole."""

    entries: tuple[Entry, ...]
    oldest_readable_version: int


def plan_vacuum(store: Store, base: Snapshot, rules: Rules) -> CommitPlan:
    """Find what to delete. Cost: one listing of the folder, and each manifest since the last vacuum's bound."""
    found = find(store, base, rules)
    deletes = tuple(sorted(names.encode_path(entry.name) for entry in found.entries))
    return CommitPlan(
        table=base.state.table,
        read_set=ReadSet(table=base.state.table),
        vacuum=Vacuum(oldest_readable_version=found.oldest_readable_version, deletes=deletes),
        nothing=not deletes,
        looked=Looked(vacuum_bytes=sum(entry.bytes for entry in found.entries)),
    )


def find(store: Store, base: Snapshot, rules: Rules) -> Found:
    """The deletable files of a table.

    Raises:
        ConfirmationRequiredError: orphans outweigh the live files by far.
    """
    now_us = store.now_us()
    state = base.state
    history = _Since.load(store, state.oldest_readable_version, state.version)
    live = {names.decode_path(path) for path in base.files["path"].to_pylist()}
    oldest_kept = _oldest_kept_version(store, state.version, history, rules, now_us)
    # A file removed by version r is held by versions before r only.
    superseded = {name for name, version in history.removed.items() if version <= oldest_kept} - live
    retained = set(history.removed) - superseded
    entries: list[Entry] = []
    orphans = 0
    for entry in store.list_from(""):
        if not names.is_deletable(names.encode_path(entry.name), state.table_id) or entry.name in live | retained:
            continue
        old = now_us - entry.modified_us >= rules.grace_us
        if entry.name in superseded or entry.name in history.listed:
            entries.append(entry)
        elif names.is_data_name(entry.name, state.table_id):
            orphans += old
            entries += [entry] if old else []
        elif names.is_temporary(entry.name, state.table_id):
            entries += [entry] if now_us - entry.modified_us >= max(rules.grace_us, TEMPORARY_GRACE_US) else []
        elif old and _log_file_is_spare(store, entry.name, state.version, history, oldest_kept):
            entries.append(entry)
    if not rules.force and orphans > ORPHANS_PER_LIVE_FILE * max(1, len(live)):
        raise ConfirmationRequiredError(
            f"{orphans} files of {store.root} are in no version, beside {len(live)} live ones: perhaps a lost log",
            hint="if they are to be deleted, say force=True or --force",
            orphans=orphans,
            live=len(live),
        )
    # Files superseded up to `oldest_kept` go now, or went earlier: every version from there on stays whole.
    broken = [version for name, version in history.removed.items() if version <= oldest_kept and name not in live]
    smallest = max([state.oldest_readable_version, *broken])
    return Found(tuple(entries), smallest)


def delete(store: Store, paths: Sequence[str], done: Callable[[int], None]) -> None:
    """Delete what a vacuum has committed to delete. What another vacuum took first is not an error.

    Cost: one request for each `DELETED_AT_ONCE` files, where the store can.
    """
    for start in range(0, len(paths), DELETED_AT_ONCE):
        some = paths[start : start + DELETED_AT_ONCE]
        store.delete_many([name for path in some if (name := names.decode_path(path)) is not None])
        done(start + len(some))


@dataclass(frozen=True, slots=True)
class _Since:
    """What the manifests since the oldest readable version say.

    Attributes:
        manifests: by version.
        removed: name → the version that removed it last.
        listed: names that an earlier vacuum committed to delete.
    """

    manifests: dict[int, Manifest]
    removed: dict[str | None, int]
    listed: set[str | None]

    @classmethod
    def load(cls, store: Store, first: int, last: int) -> _Since:
        manifests: dict[int, Manifest] = {}
        removed: dict[str | None, int] = {}
        listed: set[str | None] = set()
        for version in range(first, last + 1):
            loaded = versions.load_manifest(store, version)
            if loaded is None:
                raise CorruptTableError(f"the log of {store.root} is damaged: manifest {version} is missing")
            manifest = loaded.manifest
            manifests[version] = manifest
            removed |= {names.decode_path(action.path): version for action in manifest.remove}
            if manifest.vacuum is not None:
                listed |= {names.decode_path(path) for path in manifest.vacuum.deletes}
        return cls(manifests, removed, listed)


def _oldest_kept_version(store: Store, head: int, history: _Since, rules: Rules, now_us: int) -> int:
    """The oldest version that stays whole: by number, and by the store's age of the manifest that superseded it."""
    kept = max(0, head - rules.keep_versions + 1)
    while kept > min(history.manifests):
        # Version kept-1 was superseded when manifest `kept` was created.
        entry = store.stat(names.manifest(kept))
        if entry is None or now_us - entry.modified_us >= rules.retain_us:
            break
        kept -= 1
    return max(kept, min(history.manifests))


def _log_file_is_spare(store: Store, name: str, head: int, history: _Since, oldest_kept: int) -> bool:
    """Whether a checkpoint or sidecar serves no version that can still be opened."""
    version = names.checkpoint_version(name)
    if version is not None:
        named = history.manifests[oldest_kept].checkpoint
        return named is not None and version < named.version
    version = names.sidecar_version(name)
    if version is None:
        return False  # pragma: no cover - there are no other deletable names
    if version > head:
        return True  # of a writer that will write another one for its next number
    loaded = versions.load_manifest(store, version)
    sidecar = loaded.manifest.sidecar if loaded else None
    return loaded is not None and (sidecar is None or names.SIDECAR_DIR + sidecar.name != name)
