"""What other tools keep in folders, by the names of files: data, markers, and the logs of other kinds of tables."""

from __future__ import annotations

import re

DATA_SUFFIXES = {
    "parquet": (".parquet", ".pq", ".parq"),
    "csv": (".csv", ".csv.gz", ".tsv", ".tsv.gz"),
    "orc": (".orc",),
    "avro": (".avro",),
    "json": (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz"),
    "arrow": (".arrow", ".feather", ".ipc"),
}
"""The endings of data files' names, by format."""

SUFFIXES = tuple(suffix for suffixes in DATA_SUFFIXES.values() for suffix in suffixes)
"""What somebody's data files end with, of whatever format."""

LOGS = (
    ("a Delta table", re.compile(r"(?P<root>(?:.*/)?)_delta_log/")),
    ("an Iceberg table", re.compile(r"(?P<root>(?:.*/)?)metadata/[^/]+\.metadata\.json(\.gz)?$")),
    ("a Hudi table", re.compile(r"(?P<root>(?:.*/)?)\.hoodie/")),
)
"""Kinds of tables, and files of their logs; `root` is the table's folder."""

_UNNAMED = re.compile(r"(?:part-[-0-9a-z_]+|[0-9]{6}_[0-9]+(?:_copy_[0-9]+)?)(?:\.c[0-9]{3})?")
"""Data files whose names do not tell their format: Hadoop's tools and Hive name them so."""


def log_of(name: str) -> tuple[str, str] | None:
    """The kind of table to whose log a name belongs, and the table's folder ("" or "a/b/")."""
    for what, pattern in LOGS:
        found = pattern.match(name)
        if found:
            return what, found["root"]
    return None


def format_of(name: str) -> str | None:
    """The format of a data file by its name; empty if only its content tells; None if it is not one."""
    last = name.rpartition("/")[2].lower()
    for known, suffixes in DATA_SUFFIXES.items():
        if last.endswith(suffixes):
            return known
    return "" if _UNNAMED.fullmatch(last) else None


def is_hidden(name: str) -> bool:
    """Whether Spark and Hive would not read a file: it, or a folder that it is in, is for tools.

    Such a name begins with a dot or an underscore (a partition folder such as `_day=1` is none) or is that of a copy
    that is not complete.
    """
    return any(
        segment.startswith(".") or (segment.startswith("_") and "=" not in segment) or segment.endswith("._COPYING_")
        for segment in name.split("/")
    ) or name.endswith(".crc")
