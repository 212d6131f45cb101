"""Parquet files that lie: valid ones, in which a number of the footer or of a page's header is another."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TRILLION = 10**12
TAIL_BYTES = 8
"""After the footer: its length and the magic."""


def written(rows: pa.Table, **options: Any) -> bytes:
    """An honest file."""
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, row_group_size=2**31 - 1, **{"use_dictionary": False, **options})
    return buffer.getvalue()


def footer_bytes(data: bytes) -> int:
    """How many bytes at the end the footer takes with its length and magic."""
    return int.from_bytes(data[-TAIL_BYTES:-4], "little") + TAIL_BYTES


def with_footer_length(data: bytes, claimed: int) -> bytes:
    """Another length of the footer at the end."""
    return data[:-TAIL_BYTES] + claimed.to_bytes(4, "little") + data[-4:]


def with_number(data: bytes, real: int, claimed: int) -> bytes:
    """A footer in which one number is another wherever it stands: of rows, of values, of nulls."""
    size = footer_bytes(data)
    footer = data[-size:-TAIL_BYTES]
    assert _varint(real) in footer
    footer = footer.replace(_varint(real), _varint(claimed))
    return data[:-size] + footer + len(footer).to_bytes(4, "little") + data[-4:]


def with_page_size(data: bytes, claimed: int) -> bytes:
    """The first page's header claims that the page has so many bytes when it is unpacked."""
    # Compact Thrift: field 1 (the kind of page), then field 2, the size, each an i32 as a varint.
    assert data[4] == data[6] == 0x15
    end = 7
    while data[end] & 0x80:
        end += 1
    header = _varint(claimed)
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0).total_compressed_size
    data = with_number(data, chunk, chunk + len(header) - (end - 6))
    return data[:7] + header + data[end + 1 :]


def _varint(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    left = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])
