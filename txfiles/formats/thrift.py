"""Thrift's compact protocol for values whose schema is not known: what was read is written again byte for byte.

A struct is its fields by number, in the order in which they came: fields that a later release of a format has added are
kept.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

DEPTH_LIMIT = 32
"""Levels of nesting; a Parquet footer has seven."""

_INTEGERS = (I16, I32, I64)
_LONG_LIST = 15
_STOP = 0


@dataclass(slots=True)
class Field:
    """A field of a struct: `type` is one of the constants above; a boolean has no value beside it."""

    type: int
    value: Any


@dataclass(slots=True)
class List:
    """A list or a set: the type of its elements, and these."""

    type: int
    items: list[Any]


Struct = dict[int, Field]


def decode(data: bytes) -> Struct:
    """Read one struct, which takes all of the bytes.

    Raises:
        ValueError: the bytes are not one, or contain a map, or are nested too deeply.
    """
    reader = _Reader(data)
    found = reader.struct(DEPTH_LIMIT)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the struct")
    return found


def encode(struct: Struct) -> bytes:
    """The struct's bytes, each field header as short as the protocol allows."""
    out = bytearray()
    _put_struct(out, struct)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> Struct:
        if not depth:
            raise ValueError("nested too deeply")
        found: Struct = {}
        number = 0
        while header := self._byte():
            kind, step = header & 15, header >> 4
            number = number + step if step else self._zigzag()
            if number in found:
                raise ValueError(f"field {number} comes twice")
            found[number] = Field(kind, None if kind in (TRUE, FALSE) else self._value(kind, depth))
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == BINARY:
            return self._take(self._varint())
        if kind == STRUCT:
            return self.struct(depth - 1)
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == DOUBLE:
            return self._take(8)
        if kind == BYTE:
            return self._byte()
        raise ValueError(f"a value of type {kind}")

    def _list(self, depth: int) -> List:
        header = self._byte()
        kind, size = header & 15, header >> 4
        if size == _LONG_LIST:
            size = self._varint()
        if size > len(self._data) - self.at:  # each element takes a byte at least
            raise ValueError(f"a list of {size} elements")
        read = self._byte if kind in (TRUE, FALSE) else lambda: self._value(kind, depth)
        return List(kind, [read() for _ in range(size)])

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("the bytes end too early")
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, size: int) -> bytes:
        found = self._data[self.at : self.at + size]
        if len(found) < size:
            raise ValueError("the bytes end too early")
        self.at += size
        return found

    def _varint(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the highest bit says that more follow
                break
            shift += 7
        if found >> 64:
            raise ValueError("a number of more than 64 bits")
        return found

    def _zigzag(self) -> int:
        found = self._varint()
        return (found >> 1) ^ -(found & 1)


def _put_struct(out: bytearray, struct: Struct) -> None:
    before = 0
    for number, field in struct.items():
        step = number - before
        if 0 < step <= _LONG_LIST:
            out.append(step << 4 | field.type)
        else:
            out.append(field.type)
            _put_zigzag(out, number)
        _put(out, field.type, field.value)
        before = number
    out.append(_STOP)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _put_zigzag(out, value)
    elif kind == BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        _put_struct(out, value)
    elif kind in (LIST, SET):
        _put_list(out, value)
    elif kind == DOUBLE:
        out += value
    elif kind == BYTE:
        out.append(value)


def _put_list(out: bytearray, value: List) -> None:
    size = len(value.items)
    if size < _LONG_LIST:
        out.append(size << 4 | value.type)
    else:
        out.append(_LONG_LIST << 4 | value.type)
        _put_varint(out, size)
    for item in value.items:
        if value.type in (TRUE, FALSE):
            out.append(item)
        else:
            _put(out, value.type, item)


def _put_varint(out: bytearray, number: int) -> None:
    while number >= 128:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put_zigzag(out: bytearray, number: int) -> None:
    _put_varint(out, number << 1 if number >= 0 else (-number << 1) - 1)
