"""Checkpoints: a complete snapshot as one Parquet file, so that opening need not replay the history.

The rows are the list of files (`rows.filelist`); everything else is JSON in the file's metadata. Most of a long list
stands in *parts*: files of their own, which later checkpoints use again (`rows.segments`). Parts hold no vectors:
those of their files stand in front of the checkpoint's own rows, so that a mark costs no new part. A checkpoint of
version v is written by a writer that holds all of v and is about to commit after it, under a unique name. The manifest
of that commit is the first to name it, with its size and hash. A checkpoint that no manifest names is never used, so a
stray file in that folder misleads nobody.

Source: specs/3-manifest.md, "Checkpoints"; specs/decisions/0002-checkpoint-before-commit.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated

import msgspec
import pyarrow as pa

from txfiles.core import codec, names, properties, times
from txfiles.core.manifest import INDEX_ACTIONS_LIMIT, CheckpointRef, Count, Hash, Id, IndexAction, RunRef
from txfiles.core.replay import BatchRecord, State
from txfiles.core.schema import ColumnId
from txfiles.errors import StoreError
from txfiles.log import parts
from txfiles.log.parts import SavedPart
from txfiles.log.session import Session
from txfiles.log.snapshot import Listed, Snapshot
from txfiles.rows import filelist
from txfiles.rows.segments import FileList, Segment, packed
from txfiles.store.port import Store

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
    names_since: Count = 0
    unique_keys: bool = False
    parts: tuple[SavedPart, ...] = ()
    marked: Count = 0
    index: Annotated[tuple[RunRef, ...], msgspec.Meta(max_length=INDEX_ACTIONS_LIMIT)] = ()


def encode(state: State, files: pa.Table, segments: Sequence[Segment] = ()) -> bytes:
    """The checkpoint's bytes; the same snapshot gives the same bytes.

    Args:
        state: all but the list of files.
        files: the end of the list.
        segments: what comes before it, in parts.
    Cost: O(files), in memory.
    """
    marks = [found for segment in segments if len(found := filelist.overlay(segment.files))]
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
        names_since=state.names_since,
        unique_keys=state.unique_keys,
        parts=tuple(map(parts.saved, segments)),
        marked=sum(map(len, marks)),
        index=state.runs[-INDEX_ACTIONS_LIMIT:],
    )
    rows = pa.concat_tables([*marks, files]) if marks else files
    return parts.encoded(rows.replace_schema_metadata({_METADATA_KEY: msgspec.json.encode(saved)}))


def decode(data: bytes, ref: CheckpointRef | None, *, where: str, session: Session | None = None) -> Snapshot:
    """The inverse of `encode`, for bytes whose hash a manifest vouches for. The list of files is read on demand.

    Args:
        data: the file's bytes.
        ref: what names it.
        where: for errors.
        session: where the parts are that `ref` names; None if it names none. Loading them may raise `PartLost`.
    Raises:
        CorruptTableError: not a valid checkpoint, or it contradicts itself: a hash vouches for bytes, not for sense.
        UnsupportedTableError: it needs a feature that this release does not know.
    """
    try:
        file = parts.opened(data)
        metadata = (file.schema_arrow.metadata or {})[_METADATA_KEY]
        # First of all: a feature may change the form of what follows, and what it adds is for other releases to read.
        codec.refuse_unknown_features(msgspec.json.decode(metadata, type=codec.NeedsOf).table.required_features, where)
        saved = msgspec.json.decode(metadata, type=_Saved)
    except (pa.ArrowException, OSError, KeyError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise parts.corrupt(where, str(error)[: parts.ERROR_SHOWN]) from error
    table = codec.read_table(saved.table, where)
    codec.check_dialect_of(saved.table_id, table, where)
    codec.check_index(saved.table_id, [IndexAction(add=run) for run in saved.index], where)
    versions = [saved.oldest_readable_version, saved.columns_since, saved.names_since]
    versions += [version for _, version, _, _ in saved.batch_ids]
    if not 0 <= min(versions) <= max(versions) <= saved.version:
        raise parts.corrupt(where, "it names versions that come after it")
    named = tuple(part.name for part in saved.parts)
    if named != (ref.parts if ref else ()):
        raise parts.corrupt(where, "its parts are not those that the manifest names")
    if len({part.name for part in saved.parts}) < len(named) or len({part.sha256 for part in saved.parts}) < len(named):
        raise parts.corrupt(where, "it has a part twice")
    if not all(part.is_sound for part in saved.parts):
        raise parts.corrupt(where, "it does not say which files of a part are live")
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
        names_since=saved.names_since,
        unique_keys=saved.unique_keys,
        runs=saved.index,
    )
    own = file.metadata.num_rows - saved.marked
    if own < 0:
        raise parts.corrupt(where, "it has fewer rows than marked files")
    count = own + sum(part.live for part in saved.parts)

    def listing() -> FileList:
        rows = parts.rows(data, state, where)
        marked, rest = rows.slice(0, saved.marked), Segment(rows.slice(saved.marked))
        held: tuple[Segment, ...] = ()
        if saved.parts:
            assert session is not None
            load = partial(parts.load, session, state, mapped=count > parts.MAPPED_FILES)
            held = tuple(session.each(load, saved.parts))
        found = FileList(held).overlaid(marked["path"].combine_chunks(), marked["vector"].combine_chunks())
        if found is None or marked["vector"].null_count:
            raise parts.corrupt(where, "it marks a file that is in none of its parts")
        return FileList((*found.segments, rest))

    return Snapshot(state, Listed(table, count, cache(listing), ref))


def due(state: State) -> bool:
    """Whether the newest checkpoint is so old that the next writer should leave one."""
    newest = state.checkpoint.version if state.checkpoint else -1
    return state.version - newest >= properties.integer(state.table.properties, "checkpoint_interval")


def write(session: Session, snapshot: Snapshot) -> tuple[CheckpointRef, Snapshot]:
    """Save a snapshot.

    Returns:
        The reference to it for the next manifest, and the snapshot with its files in the parts that now hold them.
    Raises:
        StoreError: it cannot be saved, or its list of files cannot be read. The commit must not fail for that.
    Cost: writes the files added since the last checkpoint, and their share of joining parts. Who does not have the
        list in memory reads it first.
    """
    state, store = snapshot.state, session.store
    segments, rest = packed(snapshot.listing, set(state.checkpoint.parts if state.checkpoint else ()))
    save = partial(parts.save, session, state, mapped=snapshot.file_count > parts.MAPPED_FILES)
    saved = tuple(session.each(save, segments))
    data = encode(state, rest, saved)
    if len(data) > parts.LIMIT_BYTES:
        raise StoreError(f"it would have {len(data):,} bytes, but readers accept at most {parts.LIMIT_BYTES:,}")
    ref = CheckpointRef(
        version=state.version,
        id=session.environment.new_id(),
        bytes=len(data),
        sha256=codec.sha256(data),
        parts=tuple(segment.part.name for segment in saved if segment.part is not None),
    )
    store.put(names.checkpoint(ref.version, ref.id), data)
    return ref, Snapshot(state, Listed.of(state.table, FileList((*saved, Segment(rest))), ref))


def read(store: Store, ref: CheckpointRef) -> bytes | None:
    """The bytes of a checkpoint; None if it is lost or damaged, which costs time and no data."""
    return parts.vouched(store, names.checkpoint(ref.version, ref.id), ref.bytes, ref.sha256)


def saved_parts(data: bytes, where: str) -> tuple[SavedPart, ...]:
    """What a checkpoint says of its parts. Raises `CorruptTableError`."""
    try:
        metadata = (parts.opened(data).schema_arrow.metadata or {})[_METADATA_KEY]
        return msgspec.json.decode(metadata, type=_Saved).parts
    except (pa.ArrowException, OSError, KeyError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise parts.corrupt(where, str(error)[: parts.ERROR_SHOWN]) from error
