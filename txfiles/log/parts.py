"""Rows of a list of files as bytes, and the parts of a checkpoint: files of such rows that later checkpoints use again.

Source: specs/3-manifest.md, "Checkpoints"; specs/decisions/0055-checkpoints-in-parts.md.
"""

from __future__ import annotations

import io
import logging
import tempfile
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from txfiles.core import codec, names
from txfiles.core.manifest import ADOPTED_FILES, Count, Hash
from txfiles.core.replay import State
from txfiles.errors import CorruptTableError
from txfiles.log.session import Session
from txfiles.rows import filelist
from txfiles.rows.segments import Part, Segment
from txfiles.store.port import Store

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger("txfiles")

ONE_THREAD_FILES = 10_000
"""Up to this many files, one thread reads the list faster than several."""

MAPPED_FILES = 100_000
"""The parts of a longer list (some 100 MB) are memory-mapped."""

LIMIT_BYTES = 1024**3
"""A larger file is ignored rather than read into memory, and never written."""

DECODED_LIMIT_BYTES = 4 * 1024**3
"""The decoded size that a file may claim."""

ERROR_SHOWN = 300
"""How many characters of a decoder's own message an error shows."""


Bits = bytes
"""Alias: `SavedPart.bytes` shadows the built-in."""


class PartLost(Exception):  # noqa: N818 - not an error: the list is put together from the log
    """A part of a checkpoint is missing or damaged. This costs time, never data: the list is rebuilt from the log.

    Attributes:
        version: of the checkpoint that it was first written for; no earlier one has it.
    """

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class SavedPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a checkpoint says of a part.

    Attributes:
        name: of its file.
        files: how many rows it has.
        bytes: its size.
        sha256: its hash.
        gone: base64 of a bit for each row, set if the file is not live any more; the first one is the highest bit of
            the first byte. Empty: all are live.
    """

    name: str
    files: Count
    gone: Bits = b""
    bytes: Count
    sha256: Hash

    @property
    def live(self) -> int:
        """How many of its files are live."""
        return self.files - int.from_bytes(self.gone).bit_count()

    @property
    def is_sound(self) -> bool:
        """Whether `gone` has a bit for each row, and no other one is set."""
        spare = -self.files % 8
        return not self.gone or (8 * len(self.gone) == self.files + spare and self.gone[-1] % (1 << spare) == 0)


def saved(segment: Segment) -> SavedPart:
    """What a checkpoint says of a segment that a part holds."""
    part = segment.part
    assert part is not None
    return SavedPart(name=part.name, files=part.files.num_rows, bytes=part.bytes, sha256=part.sha256, gone=segment.gone)


def load(session: Session, state: State, saved: SavedPart, *, mapped: bool) -> Segment:
    """What is left of a part, which is read unless this process has it.

    Args:
        session: the table's.
        state: the checkpoint's.
        saved: what the checkpoint says of the part.
        mapped: keep it in a temporary file.
    Raises:
        PartLost: it is missing or damaged.
        CorruptTableError: a hash vouches for it, and it makes no sense.
    """
    store, known = session.store, session.cache.parts if session.cache else {}
    part = known.get((state.table_id, saved.name, saved.sha256))
    if part is None or part.files.schema != filelist.schema(state.table.columns):
        name = names.CHECKPOINT_DIR + saved.name
        where = f"{store.root}/{name}"
        data = vouched(store, name, saved.bytes, saved.sha256)
        if data is None:
            raise PartLost(names.part_version(saved.name))
        files = rows(data, state, where)
        part = Part(saved.name, saved.bytes, saved.sha256, _mapped(files) if mapped else files)
        known[state.table_id, saved.name, saved.sha256] = part
    if part.files.num_rows != saved.files:
        where = f"{store.root}/{names.CHECKPOINT_DIR}{saved.name}"
        raise corrupt(where, f"it has {part.files.num_rows} rows, and {saved.files} are expected")
    return Segment.of_part(part, saved.gone)


def save(session: Session, state: State, segment: Segment, *, mapped: bool) -> Segment:
    """Write the segment as a part, unless a part already holds it. Raises `StoreError`."""
    if segment.part is not None:
        return segment
    files = filelist.unmarked(segment.files)
    data = encoded(files)
    table_id, name = state.table_id, names.checkpoint(state.version, session.environment.new_id())
    session.store.put(name, data)
    part = Part(
        name.removeprefix(names.CHECKPOINT_DIR),
        len(data),
        codec.sha256(data),
        _mapped(files) if mapped else files,
    )
    if session.cache is not None:
        session.cache.parts[table_id, part.name, part.sha256] = part
    return Segment(segment.files if filelist.has_marks(segment.files) else part.files, part)


def encoded(files: pa.Table) -> bytes:
    """Rows as a Parquet file; without marks, as releases write it that do not know them."""
    import pyarrow.parquet as pq  # here: 30 ms that only some calls need

    buffer = io.BytesIO()
    # One chunk, so that the bytes do not depend on how the list was put together.
    whole = files.combine_chunks()
    if "vector" in whole.column_names and not filelist.has_marks(whole):
        whole = whole.drop_columns(["vector"])
    pq.write_table(whole, buffer, compression="zstd", use_dictionary=["partition"], write_page_checksum=True)
    return buffer.getvalue()


def rows(data: bytes, state: State, where: str) -> pa.Table:
    """The rows of a checkpoint or of a part."""
    wanted = filelist.schema(state.table.columns)
    try:
        file = opened(data)
        files = file.read(use_threads=file.metadata.num_rows > ONE_THREAD_FILES).replace_schema_metadata(None)
        files = filelist.saved_without_vectors(files).select(wanted.names).cast(wanted)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise corrupt(where, str(error)[:ERROR_SHOWN]) from error
    adopted = ADOPTED_FILES in state.table.required_features
    fault = filelist.fault(files, state.table_id, len(state.table.partition_by), state.version, adopted=adopted)
    if fault is not None:
        raise corrupt(where, fault)
    return files


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


def opened(data: bytes) -> pq.ParquetFile:
    """A Parquet file of rows. Raises `ValueError` if it claims to be too large, or what Arrow raises."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if file.metadata.num_rows > len(data):  # each file has a path of its own
        raise ValueError(f"{file.metadata.num_rows} files do not fit in {len(data)} bytes")
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > DECODED_LIMIT_BYTES:
        raise ValueError(f"it claims to take more than {DECODED_LIMIT_BYTES:,} bytes")
    return file


def vouched(store: Store, name: str, size: int, digest: str) -> bytes | None:
    """The bytes of a file of a checkpoint; None if it is lost or damaged, which costs time and no data."""
    try:
        data = store.get(name, limit=min(size, LIMIT_BYTES))
    except CorruptTableError as error:
        logger.warning("%s/%s is ignored: %s", store.root, name, error)
        return None
    if data is None or len(data) != size or codec.sha256(data) != digest:
        logger.warning("%s/%s is missing or damaged and is ignored", store.root, name)
        return None
    return data


def corrupt(where: str, why: str) -> CorruptTableError:
    """The error for a file of a checkpoint that makes no sense."""
    return CorruptTableError(
        f"{where} is not a valid checkpoint: {why}", hint="restore all of _txfiles/ from one backup", file=where
    )
