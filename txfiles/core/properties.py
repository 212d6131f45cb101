"""Table properties: names, types, defaults. Source: specs/4-semantics.md, "Properties"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from txfiles.core import messages
from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import nearest, one_of, shown
from txfiles.errors import OptionError, UnsupportedTableError

COMPRESSIONS = ("none", "snappy", "gzip", "zstd", "lz4")

_DURATION = re.compile(r"([0-9]{1,14})\s*(d|h|m|s)")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Property:
    """One property: its default, what it means, and how a given value is read (ValueError: what it must be)."""

    default: PropertyValue
    meaning: str
    read: Callable[[object], PropertyValue]


def duration_us(given: str | timedelta) -> int:
    """A duration such as ``7d``, ``12h``, ``30m``, ``45s``, ``0`` or a timedelta, in microseconds.

    Raises:
        OptionError: anything else, or negative.
    """
    if isinstance(given, timedelta):
        if given < timedelta(0):
            raise OptionError(f"a duration cannot be negative: {given}")
        return given // timedelta(microseconds=1)
    text = messages.text(given).strip()
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None:
        raise OptionError(f"{shown(given)} is not a duration", hint="write 7d, 12h, 30m, 45s or 0")
    return int(found[1]) * _SECONDS[found[2]] * 1_000_000


@dataclass(frozen=True, slots=True)
class Integer:
    """Reads a whole number of a range."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        """The number."""
        text = messages.text(value).replace("_", "")
        fits = re.fullmatch(r"[0-9]{1,18}", text) and self.least <= int(text) <= self.most
        if isinstance(value, bool) or not fits:
            raise ValueError(f"an integer from {self.least} to {self.most}")
        return int(text)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


@dataclass(frozen=True, slots=True)
class Choice:
    """Reads one of a fixed set of words."""

    valid: tuple[str, ...]

    def __call__(self, value: object) -> str:
        """The word."""
        if value not in self.valid:
            raise ValueError(one_of(self.valid) + nearest(messages.text(value), self.valid))
        return str(value)


def _duration(value: object) -> str:
    try:
        duration_us(value if isinstance(value, timedelta) else messages.text(value))
    except OptionError:
        raise ValueError("a duration such as 7d, 12h, 30m, 45s or 0") from None
    # Whole seconds, rounded up: nothing is kept for less time than was asked for.
    return f"{-(-value // timedelta(seconds=1))}s" if isinstance(value, timedelta) else str(value).strip()


PROPERTIES: dict[str, Property] = {
    "compression": Property("snappy", "codec of Parquet data files", Choice(COMPRESSIONS)),
    "target_file_bytes": Property(
        64 * 1024 * 1024, "a data file is closed when it reaches this size, in bytes", Integer(1_024, 2**40)
    ),
    "row_group_rows": Property(32_768, "rows of a Parquet row group", Integer(1, 2**31)),
    "update_strategy": Property(
        "copy_on_write",
        "what becomes of a file of which rows change: it is written anew, or they are marked (merge_on_read)",
        Choice(("copy_on_write", "merge_on_read")),
    ),
    "checkpoint_interval": Property(20, "commits between two checkpoints", Integer(1, 1_000_000)),
    "batch_ids_kept": Property(10_000, "how many of the newest batch ids are remembered", Integer(0, 1_000_000)),
    "vacuum_retain": Property("7d", "how long superseded files are kept", _duration),
    "vacuum_grace": Property("1d", "how long files of unfinished writes are kept", _duration),
    "vacuum_adopted": Property(
        False, "whether a vacuum deletes adopted files, too, once no version needs them", _switch
    ),
    "key_index": Property(
        "auto", "whether writes add to the key index, and keyed operations use it", Choice(("auto", "on", "off"))
    ),
    "case_sensitive_names": Property(False, "whether new names may differ from others in case only", _switch),
}


def read_properties(given: Mapping[str, object]) -> dict[str, PropertyValue]:
    """Check names and values. Raises `OptionError`, which names the nearest valid one."""
    result: dict[str, PropertyValue] = {}
    for name, value in given.items():
        known = PROPERTIES.get(name)
        if known is None:
            raise OptionError(
                f"unknown table property {name!r}{nearest(name, PROPERTIES)}",
                hint=f"the properties are {', '.join(PROPERTIES)}",
            )
        try:
            result[name] = known.read(value)
        except ValueError as error:
            raise OptionError(f"property {name!r} must be {error}, not {shown(value)}") from None
    return result


def effective(properties: Mapping[str, PropertyValue]) -> dict[str, PropertyValue]:
    """Every property with the value in force."""
    return {name: properties.get(name, known.default) for name, known in PROPERTIES.items()}


def integer(properties: Mapping[str, PropertyValue], name: str) -> int:
    """The value in force of a whole-number property."""
    return int(_in_force(properties, name))


def text(properties: Mapping[str, PropertyValue], name: str) -> str:
    """The value in force of a text property."""
    return str(_in_force(properties, name))


def marks_rows(properties: Mapping[str, PropertyValue]) -> bool:
    """Whether rows that change are marked, and their file stays."""
    return text(properties, "update_strategy") == "merge_on_read"


def switch(properties: Mapping[str, PropertyValue], name: str) -> bool:
    """The value in force of a true-or-false property."""
    return bool(_in_force(properties, name))


def _in_force(properties: Mapping[str, PropertyValue], name: str) -> PropertyValue:
    known = PROPERTIES[name]
    value = properties.get(name, known.default)
    try:
        return known.read(value)
    except ValueError as error:
        raise UnsupportedTableError(
            f"the log gives the table property {name!r} the value {shown(value)}; this release needs {error}",
            hint="upgrade txfiles, or restore _txfiles/ from a backup",
        ) from error
