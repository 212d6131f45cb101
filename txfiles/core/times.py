"""Times as the log writes them: UTC, ISO 8601, microseconds, always with Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from txfiles.errors import CorruptTableError, OptionError

PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$(?!\n)"

WRITE_IT = "write it like 2026-11-01T00:00:00Z"

LAST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def format_us(microseconds: int) -> str:
    """Microseconds since 1970 as ``2026-11-24T03:44:00.000001Z``."""
    return moment(microseconds).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_us(text: str) -> int:
    """The inverse of `format_us`. Raises `CorruptTableError` for a day that does not exist."""
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError) as error:
        raise CorruptTableError(f"{text!r} is not a valid time in the log: {error}") from error


def point_us(point: datetime | str) -> int:
    """A caller's point in time, in microseconds since 1970.

    Raises:
        OptionError: not ISO 8601, or without a zone (which makes it ambiguous).
    """
    if isinstance(point, str):
        try:
            point = datetime.fromisoformat(point)
        except ValueError as error:
            raise OptionError(f"{point!r} is not a time: {error}", hint=WRITE_IT) from error
    if not isinstance(point, datetime):
        raise OptionError(f"{point!r} is not a time", hint=WRITE_IT)
    if point.tzinfo is None:
        raise OptionError(
            f"the time {point.isoformat()} has no zone", hint="add Z for UTC, or an offset such as +01:00"
        )
    return (point - _EPOCH) // _MICROSECOND
