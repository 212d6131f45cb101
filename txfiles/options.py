"""What a caller may ask of one write: every option once, with its type, default, help and checks.

`WriteOptions` feeds `txfiles.write` and `txfiles.plan`, the shell's options and their help. `read_options` turns what
a caller gave into it; `check` refuses what no target could do, before anything is opened or read.

Source: specs/4-semantics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from txfiles.core import codec, foreign
from txfiles.core.manifest import PropertyValue
from txfiles.core.messages import is_unicode, one_of, plain, shown, text
from txfiles.core.properties import read_properties
from txfiles.errors import KeysRequiredError, OptionError

if TYPE_CHECKING:  # they import pyarrow, and `txfiles --help` should not wait for that
    from txfiles.rows.source import Source
    from txfiles.store.port import Lock

FORMATS = (*codec.FORMATS, "delta", "sql")
MODES = ("overwrite", "append", "append_once", "upsert")
KEYED = ("append_once", "upsert")

STRATEGIES = ("error", "newest_wins", "first_wins", "last_wins")
SchemaMode = Literal["strict", "merge", "overwrite"]
SCHEMA_MODES = ("strict", "merge", "overwrite")
STALE = ("skip", "apply")
INDEX_ACTIONS = ("show", "build", "drop", "check")

Kind = Literal[
    "word", "text", "columns", "switch", "pairs", "types", "dialect", "filter", "seconds", "lock", "storage", "library"
]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long call has come: `done` of `total` units (rows or files) of a stage; total may be None (unknown)."""

    stage: str
    done: int
    total: int | None


def no_progress(_: Progress) -> None:
    """The callback of a caller who does not want progress reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VacuumOptions:
    """What a caller may ask of a vacuum. See `Table.vacuum`."""

    retain: str | timedelta | None = None
    keep_versions: int | None = None
    timeout: float = 60.0
    dry_run: bool = False
    force: bool = False
    progress: Callable[[Progress], None] = no_progress


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactOptions:
    """What a caller may ask of a compaction. See `Table.compact`."""

    target_file_bytes: int | None = None
    sort: bool = False
    where: Any = None
    plain: bool = False
    timeout: float = 60.0
    dry_run: bool = False
    progress: Callable[[Progress], None] = no_progress


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """What a caller may ask of the key index. See `Table.index`."""

    action: str = "show"
    progress: Callable[[Progress], None] = no_progress


class Asked(Protocol):
    """What every call says that plans on a snapshot and may carry a batch id: a write, or a delete."""

    @property
    def mode(self) -> str:
        """What the log calls it."""

    @property
    def scope(self) -> str | None:
        """Which rows it replaces or removes."""

    @property
    def batch_id(self) -> str | None:
        """The caller's."""

    @property
    def user_metadata(self) -> Mapping[str, str]:
        """For the log."""

    @property
    def timeout(self) -> float:
        """Seconds of patience after the first lost race."""

    @property
    def progress(self) -> Callable[[Progress], None]:
        """Told how far it is."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about an option besides its type.

    Attributes:
        kind: what sort of value it takes; `library` marks an option that the shell does not have.
        help: what it does, for the shell's help.
        choices: its valid values.
        flag: its name in the shell, if that differs.
        metavar: the placeholder for its value in the help.
    """

    kind: Kind
    help: str
    choices: tuple[str, ...] = ()
    flag: str | None = None
    metavar: str | None = None


def _option(
    kind: Kind, help: str, default: Any = MISSING, *, empty: Any = None, shown: bool = True, **more: Any
) -> Any:
    facts = {"facts": Facts(kind, help, **more)}
    if empty is not None:
        return field(default_factory=empty, metadata=facts, repr=shown)
    return field(default=default, metadata=facts, repr=shown)


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """All options of a write, in the form that the targets use. What they mean for callers: see `txfiles.write`."""

    mode: str = _option(
        "word",
        "overwrite: replace the table; append: add the rows; append_once: add those whose key is new; "
        "upsert: replace rows by key, add the others.",
        choices=MODES,
    )
    format: str | None = _option("word", "The format of a new table; parquet if not given.", None, choices=FORMATS)
    keys: tuple[str, ...] = _option(
        "columns", "A key column; repeat it for a composite key.", (), flag="--key", metavar="COL"
    )
    dedup_strategy: str = _option(
        "word", "Which row of the input to keep if several have the same key.", "error", choices=STRATEGIES
    )
    timestamp_col: str | None = _option(
        "text", "The column that says which of two rows with one key is newer.", None, metavar="COL"
    )
    stale: str = _option(
        "word", "What to do with a row that is older than the table's row with the same key.", "skip", choices=STALE
    )
    batch_id: str | None = _option(
        "text",
        "A name for this input, which is then applied only once, however often the command runs.",
        None,
        metavar="ID",
    )
    schema_mode: SchemaMode = _option(
        "word",
        "strict: the columns of the table; merge: add and widen columns; overwrite: replace all columns.",
        "strict",
        choices=SCHEMA_MODES,
    )
    schema: Any = _option(
        "types",
        "The type of a CSV column, such as id=int64; a new table's other types are inferred from the data. Repeatable.",
        None,
        metavar="NAME=TYPE",
    )
    csv: Any = _option(
        "dialect",
        "How the CSV inputs are written: sep (or delimiter), encoding, decimal, na_values (or null), header, names, "
        "quotechar, unnamed (keep, drop or error). Lists are separated by commas: names=id,name. Repeatable.",
        None,
        metavar="NAME=VALUE",
    )
    partition_by: tuple[str, ...] | None = _option(
        "columns", "A partition column of a new table; repeat it for several, outermost first.", None, metavar="COL"
    )
    overwrite_partitions: bool = _option(
        "switch", "With --mode overwrite: replace only the partitions that the input has.", default=False
    )
    replace_where: Any = _option(
        "filter", "With --mode overwrite: replace only the rows that match.", None, metavar="COLUMN OP VALUE"
    )
    rekey: bool = _option(
        "switch", "Allow keys or a timestamp column that differ from those that the table records.", default=False
    )
    properties: Mapping[str, PropertyValue] = _option(
        "pairs",
        "A property of a new table, such as compression=zstd; 'txfiles set' changes it later. Repeatable.",
        empty=dict,
        flag="--property",
        metavar="NAME=VALUE",
    )
    user_metadata: Mapping[str, str] = _option(
        "pairs",
        "A fact to record with the commit, such as job=nightly. Repeatable.",
        empty=dict,
        flag="--metadata",
        metavar="NAME=VALUE",
    )
    timeout: float = _option(
        "seconds", "How many seconds to keep trying while other writers commit first.", 60.0, metavar="S"
    )
    storage_options: Mapping[str, Any] | None = _option(
        "storage",
        "An option of the bucket's library, such as endpoint_url=http://…; true and false are switches, {…} is JSON. "
        "Other users can see a command line: leave secrets to the environment (AWS_…), or write secret='${NAME}' to "
        "have that variable read. Repeatable.",
        None,
        shown=False,
        flag="--storage-option",
        metavar="NAME=VALUE",
    )
    lock: Lock | None = _option(
        "lock",
        "A lock file, the same for every writer of the table; needed only where the file system has no hard links, "
        "or the bucket ignores the condition of a put.",
        None,
        shown=False,
        metavar="FILE",
    )
    progress: Callable[[Progress], None] = _option("library", "Told how far it is.", no_progress, shown=False)

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


@dataclass(frozen=True, kw_only=True)
class Request(WriteOptions):
    """One write, as asked for: the options and the data."""

    source: Source


OPTIONS: dict[str, Facts] = {one.name: one.metadata["facts"] for one in fields(WriteOptions)}
"""Every option's facts, by its name, in the order of `write`'s arguments."""

DEFAULTS: dict[str, Any] = {
    one.name: one.default_factory() if one.default_factory is not MISSING else one.default
    for one in fields(WriteOptions)
    if one.name != "mode"
}
"""The default of each option; `mode` has none, it is required."""


def read_options(given: Mapping[str, Any]) -> WriteOptions:
    """The options that a caller gave, in one form, checked. None means "not given".

    Raises:
        OptionError: see `check`.
    """
    options = {name: _read(name, value) for name, value in given.items() if value is not None}
    return check(WriteOptions(**{"mode": None, **options}))


def requested(options: WriteOptions, source: Source) -> Request:
    """The options with the data."""
    return Request(source=source, **{name: getattr(options, name) for name in OPTIONS})


def _read(name: str, value: Any) -> Any:
    return read_columns(name, value) if OPTIONS[name].kind == "columns" else plain(value)


def read_columns(name: str, value: Any) -> tuple[Any, ...]:
    """One column name or several, as a tuple; `name`: of the option.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(value, str):
        return (plain(value),)
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} must be a column name or a list of them, not {value!r}", hint=f"pass {name}=['…']")
    return tuple(plain(one) for one in value)


Options = TypeVar("Options", bound=WriteOptions)


def check(options: Options) -> Options:
    """Refuse unknown values, and options that do not go together.

    `format` is checked where the target is chosen: each target brings its own.

    Raises:
        OptionError: names the nearest valid value, or what the option needs.
    """
    for name in OPTIONS:
        check_option(name, getattr(options, name))
    check_common(options)
    _check_together(options)
    return options


def check_option(name: str, given: Any) -> None:
    """Refuse a value that an option cannot have, whatever the others are.

    Raises:
        OptionError: names the nearest valid value.
    """
    if name != "format" and not (given is None and DEFAULTS.get(name, MISSING) is None):
        _CHECKS[OPTIONS[name].kind](name, given)
    if name == "properties":
        read_properties(given)


def check_common(options: Asked) -> None:
    """Refuse facts for the log that are not text, and what `check_calling` refuses."""
    for name, value in options.user_metadata.items():
        if not (isinstance(name, str) and isinstance(value, str) and is_unicode(name) and is_unicode(value)):
            raise OptionError(f"user_metadata must map text to text; {shown(name)} is {shown(value)}")
    check_calling(options)


class Calling(Protocol):
    """The options that every call has."""

    @property
    def timeout(self) -> float:
        """Seconds."""

    @property
    def progress(self) -> Callable[[Progress], None]:
        """Told how far it has come."""


def check_calling(options: Calling) -> None:
    """Refuse a timeout that is none, and a progress that cannot be called."""
    check_seconds("timeout", options.timeout)
    if not callable(options.progress):
        raise OptionError(f"progress must be a function that takes a Progress, not {shown(options.progress)}")


def word(name: str, given: object, valid: Iterable[str]) -> None:
    """Refuse a value that is not one of an option's choices.

    Raises:
        OptionError: names the choice with the same meaning, or else the nearest spelling.
    """
    valid = tuple(valid)
    if given not in valid:
        meant = foreign.meant(name, text(given), valid)
        raise OptionError(f"{name} must be {one_of(valid)}, not {shown(given)}{meant}")


def check_text(name: str, given: object) -> None:
    """Refuse what is not text, or empty."""
    if not isinstance(given, str) or not given or not is_unicode(given):
        raise OptionError(f"{name} must be text and not empty, not {shown(given)}")


def _check_columns(name: str, given: tuple[object, ...]) -> None:
    for column in given:
        if not isinstance(column, str) or not column:
            raise OptionError(f"{name} must be a list of column names; {shown(column)} is not one")
    if len(set(given)) != len(given):
        raise OptionError(f"{name} names a column twice: {', '.join(map(str, given))}")


def check_switch(name: str, given: object) -> None:
    """Refuse what is not True or False."""
    if not isinstance(given, bool):
        raise OptionError(f"{name} must be True or False, not {shown(given)}")


def check_pairs(name: str, given: object) -> None:
    """Refuse what is not a mapping."""
    if not isinstance(given, Mapping):
        raise OptionError(f"{name} must be a mapping of names to values, not {shown(given)}")


def check_seconds(name: str, given: object) -> None:
    """Refuse what is not a number of seconds."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise OptionError(f"{name} must be a number of seconds, not {shown(given)}")


def _checked_elsewhere(name: str, given: object) -> None:
    """Checked later, where it is used: that needs the table or the store."""


_CHECKS: dict[Kind, Callable[[str, Any], None]] = {
    "word": lambda name, given: word(name, given, OPTIONS[name].choices),
    "text": check_text,
    "columns": _check_columns,
    "switch": check_switch,
    "pairs": check_pairs,
    "seconds": check_seconds,
    **dict.fromkeys(("types", "dialect", "filter", "lock", "storage", "library"), _checked_elsewhere),
}


def keys_required(mode: str) -> KeysRequiredError:
    """The error for a keyed mode if neither the call nor the table names keys."""
    return KeysRequiredError(
        f"mode {mode!r} requires 'keys': the columns that identify a row",
        hint="pass keys=['…']; the table records them, and later writes need not repeat them",
    )


def _check_together(options: WriteOptions) -> None:
    if options.mode == "append":
        _check_append(options)
    if options.mode == "overwrite":
        _check_overwrite(options)
    else:
        _refuse(
            f"works only with mode 'overwrite', not with {options.mode!r}",
            "leave it out",
            overwrite_partitions=options.overwrite_partitions,
            replace_where=options.replace_where is not None,
            **{"schema_mode='overwrite'": options.schema_mode == "overwrite"},
        )
    if options.rekey and not options.checks_keys:
        raise OptionError("rekey works only with keyed writes", hint="leave it out")


def _check_append(options: WriteOptions) -> None:
    _refuse(
        "is not used by mode 'append'",
        "use append_once or upsert, or leave it out",
        keys=bool(options.keys),
        dedup_strategy=options.dedup_strategy != "error",
        timestamp_col=options.timestamp_col is not None,
    )


def _check_overwrite(options: WriteOptions) -> None:
    if not options.keys and (options.dedup_strategy != "error" or options.timestamp_col is not None):
        raise OptionError(
            "an overwrite deduplicates only if it names keys", hint="pass keys=[…], or leave the option out"
        )
    if options.overwrite_partitions and options.replace_where is not None:
        raise OptionError(
            "overwrite_partitions and replace_where both say which rows to replace", hint="pass only one of them"
        )
    if options.schema_mode == "overwrite" and options.scope != "table":
        raise OptionError(
            "schema_mode 'overwrite' replaces the whole table",
            hint="leave overwrite_partitions and replace_where out, or use schema_mode='merge'",
        )


def _refuse(why: str, hint: str, **given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise OptionError(f"{name} {why}", hint=hint)
