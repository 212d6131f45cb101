"""Everything that txfiles raises.

::

    TxFilesError                     exit   when
    ├── InputError (ValueError)         2   the caller's data or options are at fault; nothing was written
    │   ├── OptionError                     an option, mode or property is unknown or does not fit the others
    │   │   └── ArgumentError (TypeError)       an argument is missing or unknown
    │   ├── ConfigError                     a configuration file is unreadable, or something in it is wrong
    │   ├── UnsupportedVerbError            tables of that format do not support the call
    │   ├── NeedsLiveViewError              plain readers of the files would not see the table's columns
    │   ├── KeysRequiredError               a keyed mode without keys
    │   ├── KeyColumnNotFoundError (KeyError)   a key column is not in the data
    │   ├── NullKeyError                    a key column holds null or NaN
    │   ├── DuplicateKeyError               several rows of a batch have the same key
    │   ├── SchemaMismatchError             columns or types do not fit the table
    │   │   └── LossyCastError              a value would change in the table's type
    │   ├── UnsupportedTypeError            a type that the format cannot store, or that does not suit its role
    │   ├── BatchIdMismatchError            a batch id was committed with another mode or other keys
    │   ├── FolderNotEmptyError             somebody's data files are where a table would be created
    │   ├── ForeignTableError               somebody's table of another kind is where one would be created
    │   ├── TableExistsError                there is a table already where one would be made of a folder's files
    │   └── UnreadableInputError            an input file cannot be read or parsed
    ├── TableNotFoundError (LookupError)   10   there is no table, or it has no such version
    ├── TableDetachedError             10   the table was detached: its folder is plain, and takes no commit
    ├── CommitConflictError            11   other commits kept winning, or one cannot be reconciled
    ├── CommitStateUnknownError        12   the commit may or may not have happened; `tx.resolve` tells later
    ├── CorruptTableError              13   a file of the table is missing, damaged or hostile
    ├── UnsupportedTableError          13   the table needs a feature that this release does not know
    ├── StoreError                     14   the store failed or refused
    │   └── NoAtomicCreateError             the store cannot create a name exactly once
    ├── EngineError                    14   Spark failed while it worked for a call
    ├── SnapshotExpiredError           15   a vacuum deleted files of that version
    └── ConfirmationRequiredError      16   the call needs confirmation

An error says what happened and where in its message, what to do next in `hint`, and carries its
evidence as attributes. `kind` is a stable word for programs: kinds are added, never renamed.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Committed = Literal["no", "yes", "unknown"]


class TxFilesError(Exception):
    """The root of all errors of txfiles.

    Args:
        message: what happened and where: table, version, file, column, row positions.
        hint: what to do next, one sentence; by default the class's usual one.
        committed: whether the call's effect is in the table: ``"no"``, ``"yes"`` or ``"unknown"``.
        evidence: facts for programs; each becomes an attribute.
    """

    kind: ClassVar[str] = "error"
    usual_hint: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        committed: Committed = "no",
        **evidence: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint
        self.committed: Committed = committed
        self.evidence = evidence

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["evidence"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        # KeyError's own __str__ would print the repr of the message.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"__notes__": self.__notes__} if "__notes__" in self.__dict__ else {}
        return (_rebuild, (type(self), self.message, self.hint, self.committed, self.evidence), state)


def _rebuild(
    cls: type[TxFilesError],
    message: str,
    hint: str | None,
    committed: Committed,
    evidence: dict[str, Any],
) -> TxFilesError:
    return cls(message, hint=hint, committed=committed, **evidence)


class InputError(TxFilesError, ValueError):
    """The caller's data or options are at fault; nothing was written."""

    kind = "bad-input"


class OptionError(InputError):
    """An option, mode or property is unknown, or does not fit the others."""

    kind = "bad-option"


class ArgumentError(OptionError, TypeError):
    """An argument is missing, or the call has none of that name. Evidence: ``argument``."""

    kind = "bad-argument"


class ConfigError(InputError):
    """A configuration file is unreadable, or something in it is wrong. Evidence: ``file``, ``line``, ``place``."""

    kind = "bad-config"


class UnsupportedVerbError(InputError):
    """Tables of that format do not support the call. Evidence: ``verb``."""

    kind = "unsupported-verb"


class NeedsLiveViewError(InputError):
    """Tools that read the data files themselves would not see the table's columns. Evidence: ``file``."""

    kind = "needs-live-view"


class KeysRequiredError(InputError):
    """A keyed mode was asked for, and neither the call nor the table names keys."""

    kind = "keys-required"


class KeyColumnNotFoundError(InputError, KeyError):
    """A key column is not in the data."""

    kind = "key-not-found"


class NullKeyError(InputError):
    """A key column holds null or NaN. Evidence: ``column``, ``count``, ``rows`` (first positions, from 0)."""

    kind = "null-key"


class DuplicateKeyError(InputError):
    """Several rows of a batch have the same key. Evidence: ``keys`` (the first such keys), ``count``."""

    kind = "duplicate-key"


class SchemaMismatchError(InputError):
    """Columns or types of the batch do not fit the table."""

    kind = "schema-mismatch"


class LossyCastError(SchemaMismatchError):
    """A value would change in the table's type. Evidence: ``column``, ``row``, ``value``."""

    kind = "lossy-cast"


class UnsupportedTypeError(InputError):
    """A type that the format cannot store, or that does not suit the column's role."""

    kind = "unsupported-type"
    usual_hint = "cast the column to another type, or leave it out"


class BatchIdMismatchError(InputError):
    """A batch id was committed before with another mode or other keys."""

    kind = "batch-id-mismatch"


class FolderNotEmptyError(InputError):
    """Somebody's data files are where a table would be created."""

    kind = "folder-not-empty"


class ForeignTableError(InputError):
    """Somebody's table (SQL, Delta, Iceberg, Hudi) is where a table would be created."""

    kind = "foreign-table"


class TableExistsError(InputError):
    """There is a table already where one would be made of a folder's files."""

    kind = "table-exists"


class UnreadableInputError(InputError):
    """An input file cannot be read or parsed."""

    kind = "unreadable-input"
    usual_hint = "check that the file is complete and that you may read it"


class TableNotFoundError(TxFilesError, LookupError):
    """There is no table there, or it has no such version."""

    kind = "not-found"


class TableDetachedError(TxFilesError):
    """The table was detached: its files are a plain folder. Evidence: ``version``, ``time`` (of the detach)."""

    kind = "detached"


class CommitConflictError(TxFilesError):
    """The commit was given up for good. Evidence: ``version`` (of the winner), ``commit_id``."""

    kind = "conflict"


class CommitStateUnknownError(TxFilesError):
    """The commit may or may not have happened. Evidence: ``commit_id``, ``versions`` (attempted).

    Staged files are kept. ``tx.resolve(path, commit_id)`` tells later what became of it.
    """

    kind = "commit-state-unknown"


class CorruptTableError(TxFilesError):
    """A file of the table is missing, damaged or hostile; txfiles does not guess what it held."""

    kind = "corrupt"
    usual_hint = "restore the file from a backup; txfiles does not guess what it held"


class UnsupportedTableError(TxFilesError):
    """The table needs a format version or feature that this release does not know."""

    kind = "unsupported-table"


class StoreError(TxFilesError):
    """The store failed or refused: permissions, a full disk, a network that is down."""

    kind = "store"
    usual_hint = "check that the disk is there and has room, and that you may read and write it; then try again"


class NoAtomicCreateError(StoreError):
    """The store cannot create a name exactly once, so commits on it would not be safe."""

    kind = "no-atomic-create"


class EngineError(TxFilesError):
    """Spark failed while it worked for a call; nothing was committed."""

    kind = "engine"


class SnapshotExpiredError(TxFilesError):
    """A vacuum deleted files of that version. Evidence: ``version``, ``oldest_readable`` (version)."""

    kind = "snapshot-expired"


class ConfirmationRequiredError(TxFilesError):
    """The request looks like a mistake; pass ``force`` to go on."""

    kind = "confirmation-required"
