"""Rows in files. Each format is a module and one `Format` record; `get` finds it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from txfiles.core.messages import nearest, one_of
from txfiles.errors import OptionError

if TYPE_CHECKING:
    from txfiles.formats.common import Format

NAMES = ("parquet", "csv")


def get(name: str) -> Format:
    """The format with that name; its module is imported when it is first needed.

    Raises:
        OptionError: there is no such format.
    """
    if name == "parquet":
        from txfiles.formats import parquet

        return parquet.FORMAT
    if name == "csv":
        from txfiles.formats import csv

        return csv.FORMAT
    raise OptionError(f"unknown format {name!r}{nearest(name, NAMES)}", hint=f"a file is {one_of(NAMES)}")
