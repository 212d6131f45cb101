"""The content of a CSV file as UTF-8: unpacked, converted from its encoding, without a byte order mark.

Source: specs/4-semantics.md, "CSV inputs".
"""

from __future__ import annotations

import codecs
import gzip
import zlib

import pyarrow as pa

from txfiles.errors import UnreadableInputError
from txfiles.rows import looks
from txfiles.temporary import mapped, temporary_file, writing

BLOCK_BYTES = 4 << 20
"""How much is unpacked or converted at a time."""

INFLATED_FREE_BYTES = 1 << 30
INFLATED_RATIO_LIMIT = 500
"""Real CSV compresses 3 to 100 fold, a bomb 1,000 fold; anything below `INFLATED_FREE_BYTES` is let through."""

_MARK = b"\xef\xbb\xbf"


def utf8(data: pa.Buffer, path: str, encoding: str) -> pa.Buffer:
    """What a file holds, as UTF-8.

    Args:
        data: its bytes, in memory or mapped.
        path: its name, which tells whether it is compressed; for messages.
        encoding: of its text.
    Raises:
        UnreadableInputError: it is damaged, unpacks to far more than any CSV file, or is not in that encoding.
        StoreError: the temporary folder cannot be written.
    Cost: nothing for UTF-8; otherwise one pass, memory for a block, and the text in a temporary file.
    """
    if looks.is_gzip(bytes(memoryview(data)[: looks.HEAD_BYTES]), path):
        data = _inflated(data, path)
    if encoding not in ("utf-8", "utf-8-sig"):
        data = _converted(data, encoding, path)
    return data.slice(len(_MARK)) if bytes(memoryview(data)[: len(_MARK)]) == _MARK else data


def _converted(data: pa.Buffer, encoding: str, path: str) -> pa.Buffer:
    decoder = codecs.getincrementaldecoder(encoding)()
    with temporary_file() as sink:
        for start in range(0, data.size + BLOCK_BYTES, BLOCK_BYTES):
            try:
                text = decoder.decode(bytes(memoryview(data)[start : start + BLOCK_BYTES]), start >= data.size)
                converted = text.encode()
            except UnicodeError as error:
                raise UnreadableInputError(
                    f"{path!r} is not {encoding}: {error}", hint="pass another csv={'encoding': …}", path=path
                ) from error
            with writing("a temporary file"):
                sink.write(converted)
        return mapped(sink)


def _inflated(data: pa.Buffer, path: str) -> pa.Buffer:
    limit = max(INFLATED_FREE_BYTES, data.size * INFLATED_RATIO_LIMIT)
    size = 0
    with gzip.GzipFile(fileobj=pa.BufferReader(data)) as source, temporary_file() as sink:
        while block := _block(source, path):
            size += len(block)
            if size > limit:
                raise UnreadableInputError(
                    f"{path!r} unpacks to more than {INFLATED_RATIO_LIMIT} times its size",
                    hint="unpack it yourself",
                    path=path,
                )
            with writing("a temporary file"):
                sink.write(block)
        return mapped(sink)


def _block(source: gzip.GzipFile, path: str) -> bytes:
    try:
        return source.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableInputError(f"{path!r} is damaged or cut short: {error}", path=path) from error
