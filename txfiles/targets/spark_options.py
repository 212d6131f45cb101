"""The options of `spark.read.format("txfiles")` and `df.write.format("txfiles")`, which Spark has as text.

A name may be spelled as `write` has it or in Spark's way (`batch_id`, `batchId`): Spark itself forgets the case.

Source: specs/13-spark-source.md, "Data Source".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from txfiles.core.codec import FORMATS
from txfiles.core.messages import nearest, one_of, shown
from txfiles.errors import OptionError
from txfiles.options import OPTIONS, Kind, WriteOptions, read_options, word

PATH = "path"
"""What Spark makes of `load` and `save`."""

OF_CATALOGS = frozenset({"collation", "comment", "external", "is_managed_location", "location", "owner", "provider"})
"""What a catalog adds to the options of a table that was made by `CREATE TABLE … USING txfiles`."""

READING: dict[str, Kind] = {
    "version": "text",
    "timestamp": "text",
    "columns": "columns",
    "filter": "filter",
    "storage_options": "storage",
}


def path_of(options: Mapping[str, str]) -> str:
    """The table's folder or URL."""
    if not options.get(PATH):
        raise OptionError("there is no path", hint="say it in load('…') or save('…')")
    return options[PATH]


def to_write(options: Mapping[str, str], *, overwrite: bool) -> WriteOptions:
    """The options of a write.

    Args:
        options: as Spark has them.
        overwrite: whether Spark's save mode is ``overwrite``; otherwise it is ``append``.
    Raises:
        OptionError: one is unknown, or its value is not understood, or they do not go together.
    """
    known = {name: facts.kind for name, facts in OPTIONS.items() if facts.kind in _PARSED}
    given = _parsed(options, known)
    mode = given.setdefault("mode", "overwrite" if overwrite else "append")
    if overwrite != (mode == "overwrite"):
        raise OptionError(
            f"option mode={shown(mode)} does not go with Spark's save mode {'overwrite' if overwrite else 'append'!r}",
            hint=".mode('append') goes with append, append_once and upsert, .mode('overwrite') with overwrite",
        )
    if given.get("format") is not None:
        word("format", given["format"], FORMATS)
    return read_options(given)


def to_read(options: Mapping[str, str]) -> dict[str, Any]:
    """The options of a read, by the names in `READING`; those that were not given are absent.

    Raises:
        OptionError: one is unknown, or its value is not understood.
    """
    given = _parsed(options, READING)
    if "version" in given:
        if not given["version"].isdecimal():
            raise OptionError(f"version must be a whole number, not {shown(given['version'])}")
        given["version"] = int(given["version"])
    if "version" in given and "timestamp" in given:
        raise OptionError("version and timestamp cannot be combined", hint="pass one of them")
    return given


def _parsed(options: Mapping[str, str], known: Mapping[str, Kind]) -> dict[str, Any]:
    by_folded = {_folded(name): name for name in known}
    given: dict[str, Any] = {}
    for option, value in options.items():
        if option.lower() in {PATH, *OF_CATALOGS}:
            continue
        name = by_folded.get(_folded(option))
        if name is None:
            raise OptionError(
                f"there is no option {option!r}{nearest(option, known)}", hint=f"the options are {', '.join(known)}"
            )
        given[name] = _PARSED[known[name]](name, value)
    return given


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _text(_: str, value: str) -> str:
    return value


def _columns(name: str, value: str) -> Any:
    """One column, or several as JSON."""
    return _json(name, value, list, '["a", "b"]') if value.startswith("[") else [value]


def _switch(name: str, value: str) -> bool:
    words = {"true": True, "false": False}
    if value.lower() not in words:
        raise OptionError(f"{name} must be {one_of(words)}, not {shown(value)}")
    return words[value.lower()]


def _seconds(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise OptionError(f"{name} must be a number of seconds, not {shown(value)}") from None


def _pairs(name: str, value: str) -> Any:
    return _json(name, value, dict, '{"name": "value"}')


def _filter(name: str, value: str) -> Any:
    return [
        tuple(item) if isinstance(item, list) else item
        for item in _json(name, value, list, '[["column", "==", "value"]]')
    ]


def _json(name: str, value: str, kind: type[Collection[Any]], example: str) -> Any:
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise OptionError(f"{name} must be JSON such as {example}", hint="json.dumps makes it")
    return found


_PARSED: dict[Kind, Callable[[str, str], Any]] = {
    "word": _text,
    "text": _text,
    "columns": _columns,
    "switch": _switch,
    "pairs": _pairs,
    "filter": _filter,
    "seconds": _seconds,
    "lock": _text,
    "storage": _pairs,
}
"""How each kind of option is read. Those of inputs that are text files, and those of Python's own, have no text."""
