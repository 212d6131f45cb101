"""What a database answered, for the code that decides what to do about it. None of these reaches a caller."""

from __future__ import annotations


class BusyError(Exception):
    """Another transaction was in the way; nothing was done, and another attempt may succeed."""


class LostError(Exception):
    """The connection broke, so the last statement's outcome is unknown."""


class RepeatedKeyError(Exception):
    """A unique index refused a row."""
