"""txfiles: a transactional commit log for plain Parquet and CSV folders.

    import txfiles as tx

    tx.write(df, "lake/customers", mode="upsert", keys=["customer_id"])
    tx.Table("lake/customers").to_pandas()

Run a load twice, in any order, crash in the middle: the table is as if it had run once.
"""

from txfiles.api import exists, plan, resolve, write
from txfiles.errors import (
    BatchIdMismatchError,
    CommitConflictError,
    CommitStateUnknownError,
    ConfirmationRequiredError,
    CorruptTableError,
    DuplicateKeyError,
    FolderNotEmptyError,
    InputError,
    KeyColumnNotFoundError,
    KeysRequiredError,
    LossyCastError,
    NoAtomicCreateError,
    NullKeyError,
    OptionError,
    SchemaMismatchError,
    SnapshotExpiredError,
    StoreError,
    TableNotFoundError,
    TxFilesError,
    UnreadableInputError,
    UnsupportedTableError,
    UnsupportedTypeError,
)
from txfiles.table import Table
from txfiles.txn.request import Progress
from txfiles.txn.result import Commit, Plan, Resolution, VacuumResult, WriteResult
from txfiles.version import __version__

__all__ = [
    "BatchIdMismatchError",
    "Commit",
    "CommitConflictError",
    "CommitStateUnknownError",
    "ConfirmationRequiredError",
    "CorruptTableError",
    "DuplicateKeyError",
    "FolderNotEmptyError",
    "InputError",
    "KeyColumnNotFoundError",
    "KeysRequiredError",
    "LossyCastError",
    "NoAtomicCreateError",
    "NullKeyError",
    "OptionError",
    "Plan",
    "Progress",
    "Resolution",
    "SchemaMismatchError",
    "SnapshotExpiredError",
    "StoreError",
    "Table",
    "TableNotFoundError",
    "TxFilesError",
    "UnreadableInputError",
    "UnsupportedTableError",
    "UnsupportedTypeError",
    "VacuumResult",
    "WriteResult",
    "__version__",
    "exists",
    "plan",
    "resolve",
    "write",
]
