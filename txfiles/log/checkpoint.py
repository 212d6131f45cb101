"""Checkpoints: a complete snapshot as one Parquet file, so that opening need not replay the history.

The rows are the list of files (`rows.filelist`); everything else is JSON in the file's metadata. A checkpoint of
version v is written by a writer that holds all of v and is about to commit after it, under a unique name. The manifest
of that commit is the first to name it, with its size and hash. A checkpoint that no manifest names is never used, so a
stray file in that folder misleads nobody.

Source: specs/3-manifest.md, "Checkpoints"; specs/decisions/0002-checkpoint-before-commit.md.
"""

from __future__ import annotations

import io
import logging
import tempfile
from functools import cache
from typing import TYPE_CHECKING, Annotated

import msgspec
import pyarrow as pa

from txfiles.core import codec, names, properties, times
from txfiles.core.manifest import CheckpointRef, Count, Hash, Id
from txfiles.core.replay import BatchRecord, State
from txfiles.core.schema import ColumnId
from txfiles.errors import CorruptTableError, StoreError
from txfiles.log.session import Session
from txfiles.log.snapshot import Listed, Snapshot
from txfiles.rows import filelist
from txfiles.store.port import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger("txfiles")

ONE_THREAD_FILES = 10_000
"""Up to this many files, one thread reads the list faster than several."""

MAPPED_FILES = 100_000
"""A longer list (some 100 MB) is memory-mapped."""

LIMIT_BYTES = 1024**3
"""A list of several million files; a larger one is ignored rather than read into memory, and never written."""

DECODED_LIMIT_BYTES = 4 * 1024**3
"""The decoded size that a checkpoint may claim."""

ERROR_SHOWN = 300
"""How many characters of a decoder's own message an error shows."""

_METADATA_KEY = b"txfiles"


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a checkpoint: a `State` without the reference to itself."""

    version: Count
    table_id: Annotated[str, msgspec.Meta(pattern=names.TABLE_ID_PATTERN)]
    commit_id: Id
    sha256: Hash
    time: str
    table: codec.TableAction
    batch_ids: list[tuple[str, int, str, tuple[ColumnId, ...]]]
    oldest_readable_version: Count
    columns_since: Count = 0
    unique_keys: bool = False


def encode(state: State, files: pa.Table) -> bytes:
    """The checkpoint's bytes; the same snapshot gives the same bytes. Cost: O(files), in memory."""
    saved = _Saved(
        version=state.version,
        table_id=state.table_id,
        commit_id=state.commit_id,
        sha256=state.sha256,
        time=times.format_us(state.time_us),
        table=codec.table_action(state.table),
        batch_ids=[(name, known.version, known.mode, known.keys) for name, known in state.batch_ids.items()],
        oldest_readable_version=state.oldest_readable_version,
        columns_since=state.columns_since,
        unique_keys=state.unique_keys,
    )
    import pyarrow.parquet as pq  # here: 30 ms that only some calls need

    buffer = io.BytesIO()
    # One chunk, so that the bytes do not depend on how the list was put together.
    whole = files.combine_chunks().replace_schema_metadata({_METADATA_KEY: msgspec.json.encode(saved)})
    pq.write_table(whole, buffer, compression="zstd", use_dictionary=["partition"], write_page_checksum=True)
    return buffer.getvalue()


def decode(data: bytes, ref: CheckpointRef | None, *, where: str) -> Snapshot:
    """The inverse of `encode`, for bytes whose hash a manifest vouches for. The list of files is read on demand.

    Args:
        data: the file's bytes.
        ref: what names it.
        where: for errors.
    Raises:
        CorruptTableError: not a valid checkpoint, or it contradicts itself: a hash vouches for bytes, not for sense.
        UnsupportedTableError: it needs a feature that this release does not know.
    """
    try:
        file = _opened(data)
        metadata = (file.schema_arrow.metadata or {})[_METADATA_KEY]
        # First of all: a feature may change the form of what follows, and what it adds is for other releases to read.
        codec.refuse_unknown_features(msgspec.json.decode(metadata, type=codec.NeedsOf).table.required_features, where)
        saved = msgspec.json.decode(metadata, type=_Saved)
    except (pa.ArrowException, OSError, KeyError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise _corrupt(where, str(error)[:ERROR_SHOWN]) from error
    table = codec.read_table(saved.table, where)
    versions = [saved.oldest_readable_version, saved.columns_since, *(version for _, version, _, _ in saved.batch_ids)]
    if not 0 <= min(versions) <= max(versions) <= saved.version:
        raise _corrupt(where, "it names versions that come after it")
    state = State(
        version=saved.version,
        table_id=saved.table_id,
        commit_id=saved.commit_id,
        sha256=saved.sha256,
        time_us=times.parse_us(saved.time),
        table=table,
        batch_ids={name: BatchRecord(version, mode, keys) for name, version, mode, keys in saved.batch_ids},
        oldest_readable_version=saved.oldest_readable_version,
        checkpoint=ref,
        columns_since=saved.columns_since,
        unique_keys=saved.unique_keys,
    )
    return Snapshot(state, Listed(table, file.metadata.num_rows, cache(lambda: _files(data, state, where))))


def _files(data: bytes, state: State, where: str) -> pa.Table:
    """The list of files of a checkpoint. A very long one is memory-mapped, so that the system can page it out."""
    wanted = filelist.schema(state.table.columns)
    try:
        file = _opened(data)
        files = file.read(use_threads=file.metadata.num_rows > ONE_THREAD_FILES)
        files = files.replace_schema_metadata(None).select(wanted.names).cast(wanted)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _corrupt(where, str(error)[:ERROR_SHOWN]) from error
    fault = filelist.fault(files, state.table_id, len(state.table.partition_by), state.version)
    if fault is not None:
        raise _corrupt(where, fault)
    return _mapped(files) if files.num_rows > MAPPED_FILES else files


def _mapped(files: pa.Table) -> pa.Table:
    """The same list in a temporary file without a name, which is deleted with it."""
    try:
        with tempfile.NamedTemporaryFile(prefix="txfiles-", suffix=".arrow") as spool:
            with pa.ipc.new_file(spool, files.schema) as writer:
                writer.write_table(files)
            spool.flush()
            with pa.memory_map(spool.name) as source:
                return pa.ipc.open_file(source).read_all()
    except OSError as error:
        logger.debug("a list of %d files stays in memory: %s", files.num_rows, error)
        return files


def _opened(data: bytes) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if file.metadata.num_rows > len(data):  # each file has a path of its own
        raise ValueError(f"{file.metadata.num_rows} files do not fit in {len(data)} bytes")
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > DECODED_LIMIT_BYTES:
        raise ValueError(f"it claims to take more than {DECODED_LIMIT_BYTES:,} bytes")
    return file


def _corrupt(where: str, why: str) -> CorruptTableError:
    return CorruptTableError(
        f"{where} is not a valid checkpoint: {why}", hint="restore all of _txfiles/ from one backup", file=where
    )


def due(state: State) -> bool:
    """Whether the newest checkpoint is so old that the next writer should leave one."""
    newest = state.checkpoint.version if state.checkpoint else -1
    return state.version - newest >= properties.integer(state.table.properties, "checkpoint_interval")


def write(session: Session, snapshot: Snapshot) -> CheckpointRef | None:
    """Save a snapshot and return the reference to it for the next manifest.

    Best effort: if the store fails here, the next openers lose time, but the commit must not fail.
    """
    state, files, store = snapshot.state, snapshot.files, session.store
    data = encode(state, files)
    if len(data) > LIMIT_BYTES or files.nbytes > DECODED_LIMIT_BYTES // 2:  # Parquet's pages are a little larger
        logger.warning("no checkpoint at version %d of %s: it has too many files", state.version, store.root)
        return None
    ref = CheckpointRef(
        version=state.version, id=session.environment.new_id(), bytes=len(data), sha256=codec.sha256(data)
    )
    try:
        store.put(names.checkpoint(ref.version, ref.id), data)
    except StoreError as error:
        logger.warning("no checkpoint at version %d of %s: %s", state.version, store.root, error)
        return None
    return ref


def read(store: Store, ref: CheckpointRef) -> bytes | None:
    """The bytes of a checkpoint; None if it is lost or damaged, which costs time and no data."""
    name = names.checkpoint(ref.version, ref.id)
    try:
        data = store.get(name, limit=min(ref.bytes, LIMIT_BYTES))
    except CorruptTableError as error:
        logger.warning("%s/%s is ignored: %s", store.root, name, error)
        return None
    if data is None or len(data) != ref.bytes or codec.sha256(data) != ref.sha256:
        logger.warning("%s/%s is missing or damaged and is ignored", store.root, name)
        return None
    return data
