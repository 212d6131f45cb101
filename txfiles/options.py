"""What a caller asks of one write, checked for sense before anything is read.

Source: specs/4-semantics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import is_unicode, nearest, one_of, shown, text
from txfiles.core.properties import read_properties
from txfiles.errors import KeysRequiredError, OptionError
from txfiles.rows.source import Source

MODES = ("overwrite", "append", "append_once", "upsert")
KEYED = ("append_once", "upsert")
FORMATS = ("parquet", "csv")
STRATEGIES = ("error", "newest_wins", "first_wins", "last_wins")
SchemaMode = Literal["strict", "merge", "overwrite"]
SCHEMA_MODES = ("strict", "merge", "overwrite")
STALE = ("skip", "apply")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long call has come: `done` of `total` units (rows or files) of a stage; total None is unknown."""

    stage: str
    done: int
    total: int | None


def no_progress(_: Progress) -> None:
    """The callback of a caller who does not want to know."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One write, as asked for. Attributes are the arguments of `txfiles.write`."""

    source: Source
    mode: str
    format: str | None = None
    keys: tuple[str, ...] = ()
    dedup_strategy: str = "error"
    timestamp_col: str | None = None
    stale: str = "skip"
    batch_id: str | None = None
    schema_mode: SchemaMode = "strict"
    partition_by: tuple[str, ...] | None = None
    overwrite_partitions: bool = False
    replace_where: Any = None
    rekey: bool = False
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    progress: Callable[[Progress], None] = no_progress

    @property
    def checks_keys(self) -> bool:
        """Whether the batch's keys are checked and deduplicated."""
        return self.mode in KEYED or (self.mode == "overwrite" and bool(self.keys))

    @property
    def scope(self) -> str | None:
        """What an overwrite replaces; None for the other modes."""
        if self.mode != "overwrite":
            return None
        return "partitions" if self.overwrite_partitions else "filter" if self.replace_where is not None else "table"


def check(request: Request) -> Request:
    """Refuse words that are unknown and options that do not go together.

    Raises:
        OptionError: with the nearest valid word, or with what the option needs.
    """
    _word("mode", request.mode, MODES)
    if request.format is not None:
        _word("format", request.format, FORMATS)
    _word("dedup_strategy", request.dedup_strategy, STRATEGIES)
    _word("schema_mode", request.schema_mode, SCHEMA_MODES)
    _word("stale", request.stale, STALE)
    for name in ("keys", "partition_by"):
        _column_names(name, getattr(request, name) or ())
    _text("batch_id", request.batch_id)
    _text("timestamp_col", request.timestamp_col)
    _check_kinds(request)
    if isinstance(request.timeout, bool) or not isinstance(request.timeout, int | float) or not request.timeout >= 0:
        raise OptionError(f"timeout is a number of seconds, not {shown(request.timeout)}")
    read_properties(request.properties)
    _check_together(request)
    return request


def _check_kinds(request: Request) -> None:
    for option in ("overwrite_partitions", "rekey"):
        if not isinstance(getattr(request, option), bool):
            raise OptionError(f"{option} is True or False, not {shown(getattr(request, option))}")
    for option in ("properties", "user_metadata"):
        if not isinstance(getattr(request, option), Mapping):
            raise OptionError(f"{option} is a mapping of names to values, not {shown(getattr(request, option))}")
    for name, value in request.user_metadata.items():
        if not (isinstance(name, str) and isinstance(value, str) and is_unicode(name) and is_unicode(value)):
            raise OptionError(f"user_metadata is text to text; {shown(name)} is {shown(value)}")
    if not callable(request.progress):
        raise OptionError(f"progress is a function that is told how far the call is, not {shown(request.progress)}")


def keys_required(mode: str) -> KeysRequiredError:
    """The error for a keyed mode where neither the call nor the table names keys."""
    return KeysRequiredError(
        f"mode {mode!r} requires 'keys': the columns that identify a row",
        hint="pass keys=['…']; the table records them, and later writes need not repeat them",
    )


def _check_together(request: Request) -> None:
    if request.mode == "append":
        _check_append(request)
    if request.mode == "overwrite":
        _check_overwrite(request)
    else:
        _refuse(
            f"goes with mode 'overwrite' only, not with {request.mode!r}",
            "leave it out",
            overwrite_partitions=request.overwrite_partitions,
            replace_where=request.replace_where is not None,
            **{"schema_mode='overwrite'": request.schema_mode == "overwrite"},
        )
    if request.rekey and not request.checks_keys:
        raise OptionError("rekey goes with a write that names keys", hint="leave it out")


def _check_append(request: Request) -> None:
    _refuse(
        "is not used by mode 'append'",
        "use append_once or upsert, or leave it out",
        keys=bool(request.keys),
        dedup_strategy=request.dedup_strategy != "error",
        timestamp_col=request.timestamp_col is not None,
    )


def _check_overwrite(request: Request) -> None:
    if not request.keys and (request.dedup_strategy != "error" or request.timestamp_col is not None):
        raise OptionError(
            "an overwrite deduplicates only where it names keys", hint="pass keys=[…], or leave the option out"
        )
    if request.overwrite_partitions and request.replace_where is not None:
        raise OptionError(
            "overwrite_partitions and replace_where both say which rows are replaced", hint="give one of them"
        )
    if request.schema_mode == "overwrite" and request.scope != "table":
        raise OptionError(
            "schema_mode 'overwrite' replaces the whole table",
            hint="leave overwrite_partitions and replace_where out, or use schema_mode='merge'",
        )


def _refuse(why: str, hint: str, **given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise OptionError(f"{name} {why}", hint=hint)


def _word(option: str, given: object, valid: tuple[str, ...]) -> None:
    if given not in valid:
        raise OptionError(f"{option} must be {one_of(valid)}, not {shown(given)}{nearest(text(given), valid)}")


def _text(option: str, given: object) -> None:
    if given is not None and (not isinstance(given, str) or not given or not is_unicode(given)):
        raise OptionError(f"{option} is a text that is not empty, not {shown(given)}")


def _column_names(option: str, given: tuple[str, ...]) -> None:
    for name in given:
        if not isinstance(name, str) or not name:
            raise OptionError(f"{option} is a list of column names; {shown(name)} is none")
    if len(set(given)) != len(given):
        raise OptionError(f"{option} names a column twice: {', '.join(given)}")
