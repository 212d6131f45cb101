"""Everything that txfiles raises.

::

    TxFilesError                     exit   when
    ├── InputError (ValueError)         2   the caller's data or options are at fault; nothing was written
    │   ├── OptionError                     an option, mode or property is unknown or does not fit the others
    │   │   └── ArgumentError (TypeError)       a call lacks an argument, or does not take it
    │   ├── UnsupportedVerbError            tables of that format lack what was asked for
    │   ├── NeedsLiveViewError              plain readers of the files would see other columns than the table's
    │   ├── KeysRequiredError               a keyed mode without keys
    │   ├── KeyColumnNotFoundError (KeyError)   a key column is not in the data
    │   ├── NullKeyError                    a key column holds null or NaN
    │   ├── DuplicateKeyError               one key, several rows in a batch
    │   ├── SchemaMismatchError             columns or types do not fit the table
    │   │   └── LossyCastError              a value would change in the table's type
    │   ├── UnsupportedTypeError            a type that the format or the use cannot hold
    │   ├── BatchIdMismatchError            a batch id was committed with another mode or other keys
    │   ├── FolderNotEmptyError             somebody's data files stand where a table would be created
    │   └── UnreadableInputError            an input file cannot be read or parsed
    ├── TableNotFoundError (LookupError)   10   there is no table, or no such version of it
    ├── CommitConflictError            11   other commits kept winning, or one cannot be reconciled
    ├── CommitStateUnknownError        12   the commit may or may not have happened; `tx.resolve` tells later
    ├── CorruptTableError              13   a file of the table is missing, damaged or hostile
    ├── UnsupportedTableError          13   the table needs a feature that this release does not know
    ├── StoreError                     14   the store failed or refused
    │   └── NoAtomicCreateError             the store cannot create a name once and only once
    ├── SnapshotExpiredError           15   vacuum removed files of that version
    └── ConfirmationRequiredError      16   asks before it goes on

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
        hint: what to do next, one sentence; the class's usual one where nothing better is known.
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
    """A call lacks an argument, or does not take one of that name. Evidence: ``argument``."""

    kind = "bad-argument"


class UnsupportedVerbError(InputError):
    """Tables of that format lack what was asked for. Evidence: ``verb``."""

    kind = "unsupported-verb"


class NeedsLiveViewError(InputError):
    """Tools that read the data files themselves would see other columns than the table has. Evidence: ``file``."""

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
    """One key has several rows in a batch. Evidence: ``keys`` (the first such keys), ``count``."""

    kind = "duplicate-key"


class SchemaMismatchError(InputError):
    """Columns or types of the batch do not fit the table."""

    kind = "schema-mismatch"


class LossyCastError(SchemaMismatchError):
    """A value would change in the table's type. Evidence: ``column``, ``row``, ``value``."""

    kind = "lossy-cast"


class UnsupportedTypeError(InputError):
    """A type that the format, or the use made of the column, cannot hold."""

    kind = "unsupported-type"
    usual_hint = "cast the column to another type, or leave it out"


class BatchIdMismatchError(InputError):
    """A batch id was committed before with another mode or other keys."""

    kind = "batch-id-mismatch"


class FolderNotEmptyError(InputError):
    """Somebody's data files stand where a table would be created."""

    kind = "folder-not-empty"


class UnreadableInputError(InputError):
    """An input file cannot be read or parsed."""

    kind = "unreadable-input"
    usual_hint = "see that the file is whole, and that you may read it"


class TableNotFoundError(TxFilesError, LookupError):
    """There is no table at that place, or no such version of it."""

    kind = "not-found"


class CommitConflictError(TxFilesError):
    """The commit was given up for good. Evidence: ``version`` and ``operation`` of the winner."""

    kind = "conflict"


class CommitStateUnknownError(TxFilesError):
    """The commit may or may not have happened. Evidence: ``commit_id``, ``versions`` (attempted).

    Nothing that was staged is deleted. ``tx.resolve(path, commit_id)`` tells later what became of it.
    """

    kind = "commit-state-unknown"


class CorruptTableError(TxFilesError):
    """A file of the table is missing, damaged or hostile; nothing is guessed in its place."""

    kind = "corrupt"
    usual_hint = "restore the file from a backup; nothing is guessed in place of what is damaged"


class UnsupportedTableError(TxFilesError):
    """The table needs a format version or feature that this release does not know."""

    kind = "unsupported-table"


class StoreError(TxFilesError):
    """The store failed or refused: permissions, a full disk, a network that is down."""

    kind = "store"
    usual_hint = "see that the disk is there and has room, and that you may read and write it; then try again"


class NoAtomicCreateError(StoreError):
    """The store cannot create a name once and only once, so no commit on it could be trusted."""

    kind = "no-atomic-create"


class SnapshotExpiredError(TxFilesError):
    """Vacuum removed files of that version. Evidence: ``version``, ``oldest_readable`` (version)."""

    kind = "snapshot-expired"


class ConfirmationRequiredError(TxFilesError):
    """What was asked for looks like a mistake; say ``force`` to go on."""

    kind = "confirmation-required"
