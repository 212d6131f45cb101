"""Finding the newest version: from the hint, from a known version, or by a listing.

The store decides how. If a listing can begin at a name, one request shows all that is new. If it cannot and answers are
slow, the next `WINDOW` names are requested at once. If answers are immediate (a local disk), one after the other.
Numbers have no gaps: a free one before a taken one is damage.

Source: specs/5-commit.md, "Opening"; specs/decisions/0039-round-trips.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from txfiles.core import names
from txfiles.core.manifest import CheckpointRef, Count
from txfiles.errors import CorruptTableError, StoreError
from txfiles.log import manifests
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded
from txfiles.store.port import Store

logger = logging.getLogger("txfiles")

HINT_LIMIT_BYTES = 1024 * 1024
"""A hint names up to `PARTS_LIMIT` parts."""

HINT_INTERVAL = 8
"""Versions between two hints: replacing a file costs a journaling file system as much as an fsync."""

WINDOW = HINT_INTERVAL
"""Names requested at once: as many versions as a hint may lag behind."""


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """`hint.json`: where to start looking for the head. Never trusted.

    Attributes:
        version: a version that existed when the hint was written.
        checkpoint: the newest one that its manifest names.
    """

    version: Count
    checkpoint: CheckpointRef | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """The versions from a given one on.

    Attributes:
        last: the newest of them; one less than the first if there are none.
        loaded: those of their manifests that were read to find it.
    """

    last: int
    loaded: dict[int, Loaded] = field(default_factory=dict)


def read_hint(store: Store) -> Hint | None:
    """The hint, or None: a missing, torn or hostile one only costs a listing."""
    try:
        data = store.get(names.HINT_FILE, limit=HINT_LIMIT_BYTES)
        found = None if data is None else msgspec.json.decode(data, type=Hint)
    except (CorruptTableError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if found is None or found.checkpoint is None or found.checkpoint.version < found.version:
        return found
    return Hint(version=found.version)


def write_hint(store: Store, version: int, checkpoint: CheckpointRef | None) -> None:
    """Leave the next opener a place to start. Best effort: without it, opening lists the log once."""
    try:
        store.put(names.HINT_FILE, msgspec.json.encode(Hint(version=version, checkpoint=checkpoint)) + b"\n")
    except StoreError as error:
        logger.debug("the hint of %s could not be written: %s", store.root, error)


def tail(session: Session, first: int, far: int | None = None) -> Tail:
    """The versions from `first` on; there may be none.

    Args:
        session: the table's.
        first: the number to start at; the one before it is taken.
        far: beyond this many versions, the manifests on the way to the last one need not be read; None: read all.
    Raises:
        CorruptTableError: a number is free before one that is taken.
    Cost: one listing from a name on, or one batch of requests for each `WINDOW` names, or one request per version.
    """
    if session.store.capabilities.lists_from_a_name:
        return _listed(session.store, first)
    return _asked(session, first, far)


def listed(store: Store) -> int | None:
    """The newest version by a full listing; None if there is no manifest. Cost: one request per thousand versions."""
    found = _listed(store, 0)
    return found.last if found.last >= 0 else None


def _listed(store: Store, first: int) -> Tail:
    after = names.manifest(first - 1) if first else ""
    found = [names.manifest_version(entry.name) for entry in store.list_from(names.MANIFEST_DIR, after)]
    taken = [version for version in found if version is not None]
    for before, version in pairwise([first - 1, *taken]):
        for expected in range(before + 1, version):
            # A folder that is written to while it is being listed may show a later name but not the one before it.
            if store.stat(names.manifest(expected)) is None:
                raise manifests.missing(store, expected)
    return Tail(max(taken, default=first - 1))


def _asked(session: Session, first: int, far: int | None) -> Tail:
    store, loaded, width = session.store, dict[int, Loaded](), WINDOW if session.is_parallel else 1
    following, suspects = first, first + (2 * WINDOW if session.is_parallel else 1)
    while True:
        found = manifests.load_all(session, range(following, following + width))
        last = max((version for version, one in found.items() if one is not None), default=following - 1)
        for version in range(following, last + 1):
            loaded[version] = found[version] or _filled(store, version)
        whole, following = last == following + width - 1, last + 1
        if not whole and (session.is_parallel or store.stat(names.manifest(following + 1)) is None):
            return Tail(last, loaded)
        if not whole:  # the next number is free and the one behind it is taken
            loaded[following] = _filled(store, following)
            following += 1
        if far is not None and following == suspects and store.stat(names.manifest(first + far)) is not None:
            return Tail(_galloped(store, first + far), loaded)


def _filled(store: Store, version: int) -> Loaded:
    """The manifest at a number that looked free before a taken one. If it is still free, the log is damaged."""
    loaded = manifests.load(store, version)
    if loaded is None:
        raise manifests.missing(store, version)
    return loaded


def _galloped(store: Store, known: int) -> int:
    """The newest version, starting from an existing one: numbers have no gaps, so doubling, then halving, finds it."""
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
