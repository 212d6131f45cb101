"""Manifests as objects in the store: one, some together, and the history back from the newest.

A name that is absent is a fact; a name that cannot be read is an error, never an absence.

Source: specs/3-manifest.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from txfiles.core import codec, names
from txfiles.core.manifest import Manifest
from txfiles.errors import CorruptTableError
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded
from txfiles.store.port import Store

Found = TypeVar("Found")


def load(store: Store, version: int) -> Loaded | None:
    """One manifest with its actions, or None if that number is free."""
    data = read(store, version)
    if data is None:
        return None
    manifest = codec.decode(data, version=version, where=_where(store, version))
    if manifest.sidecar is not None:
        manifest = _with_sidecar(store, manifest)
    return Loaded(manifest, codec.sha256(data))


def load_all(session: Session, versions: Iterable[int]) -> dict[int, Loaded | None]:
    """Some manifests by version, requested together."""
    wanted = list(versions)
    return dict(zip(wanted, session.together(lambda version: load(session.store, version), wanted), strict=True))


def require(session: Session, versions: Iterable[int]) -> Iterator[Loaded]:
    """Some manifests that must be there, a few at a time.

    Raises:
        CorruptTableError: one is missing.
    """
    store = session.store
    return session.together(lambda version: _required(store, version, load(store, version)), versions)


def read(store: Store, version: int) -> bytes | None:
    """A manifest's bytes, or None if that number is free."""
    return store.get(names.manifest(version), limit=codec.MANIFEST_LIMIT_BYTES)


def history(session: Session, newest: int, limit: int | None) -> Iterator[Manifest]:
    """Manifests from the newest back, without their sidecars' actions. Cost: one request each, several at a time."""
    oldest = 0 if limit is None else max(0, newest - limit + 1)
    return session.together(lambda version: summary(session.store, version), range(newest, oldest - 1, -1))


def summary(store: Store, version: int) -> Manifest:
    """A manifest that must be there, without its sidecar's actions."""
    data = _required(store, version, read(store, version))
    return codec.decode(data, version=version, where=_where(store, version))


def missing(store: Store, version: int) -> CorruptTableError:
    """The error for a missing manifest that has later ones after it."""
    return CorruptTableError(
        f"the log of {store.root} is damaged: manifest {version} is missing",
        hint=f"restore {names.manifest(version)} from a backup",
        version=version,
    )


def _required(store: Store, version: int, found: Found | None) -> Found:
    if found is None:
        raise missing(store, version)
    return found


def _where(store: Store, version: int) -> str:
    return f"{store.root}/{names.manifest(version)}"


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
    actions = codec.decode_actions(data, table_id=manifest.table_id, where=where, adopts=codec.may_adopt(manifest))
    if actions.deletes and manifest.vacuum is None:
        raise CorruptTableError(
            f"{where} lists files to delete, and version {manifest.version} is no vacuum",
            hint="restore the file from a backup",
            file=where,
        )
    vacuum = manifest.vacuum and msgspec.structs.replace(manifest.vacuum, deletes=actions.deletes)
    restore = manifest.restore and msgspec.structs.replace(
        manifest.restore, forget=actions.forget, remember=actions.remember
    )
    return msgspec.structs.replace(
        manifest, add=actions.add, remove=actions.remove, mark=actions.mark, vacuum=vacuum, restore=restore
    )
