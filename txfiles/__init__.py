"""txfiles: a transactional commit log for plain Parquet and CSV folders.

    import txfiles as tx

    tx.write(df, "lake/customers", mode="upsert", keys=["customer_id"])
    tx.Table("lake/customers").to_pandas()

Run the same load twice, in any order, crash in the middle: the table is as if it had run once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from txfiles.errors import (
    ArgumentError,
    BatchIdMismatchError,
    CommitConflictError,
    CommitStateUnknownError,
    ConfigError,
    ConfirmationRequiredError,
    CorruptTableError,
    DuplicateKeyError,
    EngineError,
    FolderNotEmptyError,
    ForeignTableError,
    InputError,
    KeyColumnNotFoundError,
    KeysRequiredError,
    LossyCastError,
    NeedsLiveViewError,
    NoAtomicCreateError,
    NullKeyError,
    OptionError,
    SchemaMismatchError,
    SnapshotExpiredError,
    StoreError,
    TableDetachedError,
    TableExistsError,
    TableNotFoundError,
    TxFilesError,
    UnreadableInputError,
    UnsupportedTableError,
    UnsupportedTypeError,
    UnsupportedVerbError,
)
from txfiles.version import __version__

if TYPE_CHECKING:
    from txfiles.api import adopt, detach, doctor, exists, plan, resolve, verify, write
    from txfiles.config import Config, load_config
    from txfiles.diffs import ChangedRows, Diff
    from txfiles.findings import Problem, VerifyResult
    from txfiles.options import Progress
    from txfiles.results import (
        AdoptResult,
        Commit,
        CompactResult,
        DetachResult,
        IndexResult,
        Plan,
        Resolution,
        TransactionResult,
        VacuumResult,
        WriteResult,
    )
    from txfiles.spark.streaming import streaming_batch_id
    from txfiles.store.diagnosis import Check, DoctorResult
    from txfiles.table import Table
    from txfiles.targets.spark_source import register_spark

__all__ = [
    "AdoptResult",
    "ArgumentError",
    "BatchIdMismatchError",
    "ChangedRows",
    "Check",
    "Commit",
    "CommitConflictError",
    "CommitStateUnknownError",
    "CompactResult",
    "Config",
    "ConfigError",
    "ConfirmationRequiredError",
    "CorruptTableError",
    "DetachResult",
    "Diff",
    "DoctorResult",
    "DuplicateKeyError",
    "EngineError",
    "FolderNotEmptyError",
    "ForeignTableError",
    "IndexResult",
    "InputError",
    "KeyColumnNotFoundError",
    "KeysRequiredError",
    "LossyCastError",
    "NeedsLiveViewError",
    "NoAtomicCreateError",
    "NullKeyError",
    "OptionError",
    "Plan",
    "Problem",
    "Progress",
    "Resolution",
    "SchemaMismatchError",
    "SnapshotExpiredError",
    "StoreError",
    "Table",
    "TableDetachedError",
    "TableExistsError",
    "TableNotFoundError",
    "TransactionResult",
    "TxFilesError",
    "UnreadableInputError",
    "UnsupportedTableError",
    "UnsupportedTypeError",
    "UnsupportedVerbError",
    "VacuumResult",
    "VerifyResult",
    "WriteResult",
    "__version__",
    "adopt",
    "detach",
    "doctor",
    "exists",
    "load_config",
    "plan",
    "register_spark",
    "resolve",
    "streaming_batch_id",
    "verify",
    "write",
]

# Imported on first use: they import pyarrow, and `txfiles --help` should not wait for that.
_LATER = {
    **dict.fromkeys(("adopt", "detach", "doctor", "exists", "plan", "resolve", "verify", "write"), "txfiles.api"),
    **dict.fromkeys(("Config", "load_config"), "txfiles.config"),
    "Table": "txfiles.table",
    "register_spark": "txfiles.targets.spark_source",
    "streaming_batch_id": "txfiles.spark.streaming",
    **dict.fromkeys(("ChangedRows", "Diff"), "txfiles.diffs"),
    "Progress": "txfiles.options",
    **dict.fromkeys(("Problem", "VerifyResult"), "txfiles.findings"),
    **dict.fromkeys(("Check", "DoctorResult"), "txfiles.store.diagnosis"),
    **dict.fromkeys(
        (
            "AdoptResult",
            "Commit",
            "CompactResult",
            "DetachResult",
            "IndexResult",
            "Plan",
            "Resolution",
            "TransactionResult",
            "VacuumResult",
            "WriteResult",
        ),
        "txfiles.results",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'txfiles' has no attribute {name!r}")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
