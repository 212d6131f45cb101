"""The key index as the log knows it: which runs may be used, under which secret, and which are no use.

An index never changes an answer. So what is wrong with a run costs time: it is forgotten, which is logged once, and the
next commit of this process removes it from the log.

Source: specs/8-index.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from txfiles.core import codec, names, properties
from txfiles.core.manifest import RunKey, RunRef, TableMetadata
from txfiles.core.protocol import MOST_PUTS
from txfiles.core.replay import State
from txfiles.errors import CorruptTableError
from txfiles.formats.index_run import Run, expect_size, open_run
from txfiles.formats.run_source import Held, Mapped, Ranged, RunSource, UnusableRunError
from txfiles.log.session import Session
from txfiles.rows import digests, keys, types
from txfiles.store import port
from txfiles.store.port import Put, Store

logger = logging.getLogger("txfiles")

WHOLE_BYTES = 16 * 1024 * 1024
"""A run of about a million keys: read in one piece by who needs all of it, larger ones piece by piece."""


def usable(session: Session, state: State | None, table: TableMetadata) -> tuple[RunRef, ...]:
    """The runs of a version that may be asked for keys of a table. Cost: nothing is read."""
    if state is None or not state.runs or properties.text(table.properties, "key_index") == "off":
        return ()
    return tuple(run for run in state.runs if not is_forgotten(session, run))


def wants_runs(table: TableMetadata, *, has_runs: bool) -> bool:
    """Whether a commit that adds files adds a run for them, if the version before has or has not any."""
    wanted = properties.text(table.properties, "key_index")
    if wanted == "auto":
        wanted = "on" if has_runs or properties.marks_rows(table.properties) else "off"
    return bool(table.keys) and wanted == "on" and key_kinds(table) is not None


def key_kinds(table: TableMetadata) -> tuple[str, ...] | None:
    """Which code each key column has; None while one of them has no type yet."""
    schema = types.arrow_schema(table.columns)
    found = [schema.field(name).type for name in table.keys]
    return tuple(map(keys.kind, found)) if all(map(types.is_key_type, found)) else None


def run_key(table: TableMetadata, secret: bytes) -> RunKey:
    """Which keys the runs of a table hold. A key column without type is not among them: see `key_kinds`."""
    kinds = key_kinds(table)
    assert kinds is not None
    ids = table.ids(table.keys)
    return RunKey(columns=ids, kinds=kinds, code=keys.CODE_VERSION, secret=digests.secret_id(secret))


def same_keys(table: TableMetadata, runs: Sequence[RunRef]) -> list[RunRef]:
    """Those runs that hold the keys of a table, under whatever secret."""
    ids, kinds = table.ids(table.keys), key_kinds(table)
    return [
        run for run in runs if run.key.columns == ids and run.key.kinds == kinds and run.key.code == keys.CODE_VERSION
    ]


def secret(session: Session, table_id: str) -> bytes | None:
    """The table's secret; None if it has none, or what stands in its place is not one.

    Raises:
        StoreError: it could not be read.
    Cost: one request; nothing if this process knows it.
    """
    known = session.cache.secrets if session.cache is not None else {}
    place = session.store.root, table_id
    if place not in known:
        try:
            found = session.store.get(names.INDEX_SEED_FILE, limit=digests.SECRET_BYTES)
        except CorruptTableError:  # it is larger
            return None
        if found is None or len(found) != digests.SECRET_BYTES:
            return None
        known[place] = found
    return known[place]


def renew_secret(session: Session, runs: Sequence[RunRef]) -> None:
    """Forget the secret that this process knows if no run of a version is of it: somebody has made another one."""
    if session.cache is None or not runs:
        return
    place = session.store.root, runs[0].name[:16]
    known = session.cache.secrets.get(place)
    if known is not None and digests.secret_id(known) not in {run.key.secret for run in runs}:
        del session.cache.secrets[place]


def made_secret(session: Session, table_id: str) -> bytes | None:
    """The table's secret, created if there is none; None if what stands in its place is not one.

    Raises:
        StoreError: it could be neither read nor created.
    Cost: one request more than `secret` if there is none. Whatever the answer, what is there then is the secret.
    """
    found = secret(session, table_id)
    for _ in range(MOST_PUTS):
        if found is not None:
            break
        put = session.store.put_if_absent(names.INDEX_SEED_FILE, bytes.fromhex(session.environment.new_id()))
        found = secret(session, table_id)
        if put is not Put.UNKNOWN:
            break
    return found


def opened(session: Session, ref: RunRef, *, whole: bool = False, held: bool = False) -> Run:
    """Open a run.

    Args:
        session: where it is.
        ref: what the log says of it.
        whole: all of it will be read; a small one is read now.
        held: its end and its list of blocks are remembered for the next time, and not read again.
    Raises:
        UnusableRunError: it is missing or damaged, or not the one that the log names.
        StoreError: the store failed.
    Cost: one request; none if its end is remembered.
    """
    expect_size(ref.bytes, ref.entries, ref.footer_bytes)
    known = session.cache.held(session.store.root, ref.name) if held and session.cache is not None else None
    source = _source(session.store, ref, known, whole=whole)
    run = open_run(source)
    if codec.sha256(source.end(min(ref.footer_bytes, ref.bytes))) != ref.footer_sha256 or (run.id, run.key) != (
        ref.run,
        ref.key,
    ):
        raise UnusableRunError("it is not the run that the log names")
    return run


def _source(store: Store, ref: RunRef, held: Held | None, *, whole: bool) -> RunSource:
    try:
        content = port.mapped(store, ref.path)
    except CorruptTableError as error:
        raise UnusableRunError("it is missing") from error
    if content is not None:
        return Mapped(content)
    source = Ranged(lambda ranges: store.read_ranges(ref.path, ranges, ref.bytes), ref.bytes, held)
    return Mapped(source.end(ref.bytes)) if whole and ref.bytes <= WHOLE_BYTES else source


def forget(session: Session, ref: RunRef, why: object) -> None:
    """Do without a run from now on, in this process."""
    if is_forgotten(session, ref):
        return
    if session.cache is not None:
        session.cache.forgotten.add((session.store.root, ref.name))
    logger.warning("the key index of %s goes on without the run %s: %s", session.store.root, ref.name, why)


def is_forgotten(session: Session, ref: RunRef) -> bool:
    """Whether this process has found that a run is no use."""
    return session.cache is not None and (session.store.root, ref.name) in session.cache.forgotten
