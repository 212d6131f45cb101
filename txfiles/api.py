"""The public functions: check what was asked for, choose the target, call it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from txfiles import environment, inputs, targets
from txfiles.arguments import like, public
from txfiles.core.manifest import PropertyValue
from txfiles.findings import VerifyOptions, VerifyResult
from txfiles.inputs.declared import declared_types
from txfiles.options import (
    OPTIONS,
    Progress,
    WriteOptions,
    check_switch,
    no_progress,
    read_columns,
    read_options,
    requested,
)
from txfiles.results import AdoptResult, DetachResult, Plan, Resolution, WriteResult
from txfiles.rows.dialect import dialect
from txfiles.rows.source import Source
from txfiles.store import open_store
from txfiles.store.diagnosis import DoctorResult
from txfiles.store.port import Lock
from txfiles.targets.protocol import Place, Target
from txfiles.verbs import AdoptOptions, DetachOptions, check_adopt, check_detach

Path = str | os.PathLike[str]


@public
def write(
    data: Any,
    path: Path,
    *,
    mode: str,
    format: str | None = None,
    keys: str | Sequence[str] | None = None,
    dedup_strategy: str = "error",
    timestamp_col: str | None = None,
    stale: str = "skip",
    batch_id: str | None = None,
    schema_mode: str = "strict",
    schema: Any = None,
    csv: Mapping[str, Any] | None = None,
    partition_by: str | Sequence[str] | None = None,
    overwrite_partitions: bool = False,
    replace_where: Any = None,
    rekey: bool = False,
    properties: Mapping[str, PropertyValue] | None = None,
    user_metadata: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    storage_options: Mapping[str, Any] | None = None,
    lock: Lock | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> WriteResult:
    """Write one batch into a table, as one transaction; the first write creates the table.

    Args:
        data: a pandas, polars or Spark frame, Arrow table, record batch reader, iterator of such chunks, or the
            path or URL of a Parquet or CSV file or of a folder of them (or a list of these, taken in order).
        path: the table's folder.
        mode: ``overwrite``, ``append``, ``append_once`` (add rows of unknown keys) or ``upsert`` (replace
            rows of known keys, add the others).
        format: ``parquet``, ``csv``, ``delta`` or ``sql``; by default that of the table or of the database's URL, and
            parquet for a new table. A Delta table is always named as one.
        keys: the columns that identify a row; recorded by the first keyed write.
        dedup_strategy: which of several rows with the same key inside the batch to keep: ``error``,
            ``newest_wins``, ``first_wins`` or ``last_wins``.
        timestamp_col: the column that says which row is newer; recorded by the first keyed write that names it.
        stale: what to do with rows older than the table's: ``skip`` or ``apply``.
        batch_id: a name for this delivery; a delivery that was committed is not applied again.
        schema_mode: ``strict``, ``merge`` (new columns are added, missing ones allowed) or ``overwrite``.
        csv: how CSV files are written where they differ from RFC 4180, with pandas' names: ``sep``, ``encoding``,
            ``decimal``, ``na_values``, ``header``, ``names``, ``quotechar``, ``unnamed`` (``keep``, ``drop`` or
            ``error``), such as ``{"sep": ";", "decimal": ","}``.
        schema: types for CSV columns that the table does not know: a schema, or name → type, in any library's terms.
        partition_by: columns that become folders; fixed when the table is created.
        overwrite_partitions: an overwrite replaces only the partitions present in the batch.
        replace_where: an overwrite replaces only the rows that match this filter: an Arrow expression, or
            ``[(column, op, value), …]``.
        rekey: allow other keys, or another timestamp_col, than those recorded.
        properties: properties of a new table.
        user_metadata: your own facts for the log, text to text.
        timeout: seconds to go on after the first lost race with another writer.
        storage_options: for buckets, of the table and of inputs at URLs: those of their library (s3fs), and
            `request_timeout` in seconds; folders take none.
        lock: a context manager that excludes every other writer of this table, such as
            ``filelock.FileLock("/somewhere/customers.lock")``, or the path of such a lock file. It is used only if
            the store cannot create a name atomically (no hard links, say); then every writer must pass it.
        progress: called from time to time with how far the call has come.
    Returns:
        What was done, with a count for each outcome of a row.
    Raises:
        InputError: data or options are at fault; nothing was written.
        CommitConflictError: other writers kept winning for `timeout` seconds; nothing was written.
        CommitStateUnknownError: it is unknown whether it was committed; see `resolve`.
        CorruptTableError: the table is damaged.
        StoreError: the store failed; nothing was committed.
    Cost: see the modes in specs/4-semantics.md; memory is bounded by the batch and a few row groups.
    """
    given = {name: value for name, value in locals().items() if name in OPTIONS}
    target, where, options = _chosen(data, path, given)
    with closing(_source(data, options)) as source:
        return target.write(where, requested(options, source))


@like(write)
def plan(data: Any, path: Path, **given: Any) -> Plan:
    """Say what `write` with the same arguments would do now: row counts, files touched. Writes nothing.

    Args:
        data: as in `write`; a one-pass input is used up.
        path: the table's folder.
        given: the options, as in `write`; `mode` is required.
    Raises:
        InputError: as `write` would.
    Cost: as `write`, without the writing.
    """
    target, where, options = _chosen(data, path, given)
    with closing(_source(data, options)) as source:
        return target.plan(where, requested(options, source))


@public
def adopt(
    path: Path,
    *,
    keys: str | Sequence[str] | None = None,
    partition_by: str | Sequence[str] | Mapping[str, Any] | None = None,
    timestamp_col: str | None = None,
    properties: Mapping[str, PropertyValue] | None = None,
    schema: Any = None,
    csv: Mapping[str, Any] | None = None,
    format: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    timeout: float = 60.0,
    storage_options: Mapping[str, Any] | None = None,
    lock: Lock | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> AdoptResult:
    """Make a table of the Parquet or CSV files that are in a folder, in one commit, without copying one of them.

    Other tools may go on reading the files, but no longer write into the folder: a file that changes is damage, and
    one that is added is not seen.

    Args:
        path: the folder: flat, nested, or with partition folders (``country=DE/``).
        keys: the columns that identify a row: every row must have them, once.
        partition_by: the partition columns as the folders have them, to be checked; or column → type, for those whose
            type the folders' names do not tell. By default all that the folders have: integers, dates and booleans by
            their exact text (``month=1``, not ``month=01``), else text.
        timestamp_col: the column that says which of two rows with one key is newer.
        properties: properties of the table; ``vacuum_adopted`` is needed if a vacuum may ever delete these files.
        schema: types of columns of CSV files, as in `write`; the others are inferred over all files.
        csv: how CSV files are written, as in `write`.
        format: ``parquet`` or ``csv``; needed if there are files of several formats, of which the others are left
            alone.
        dry_run: say what the table would be, and write nothing.
        force: take files that are named as those of a txfiles table whose log is gone, or that are in the folder of
            another one.
        timeout: seconds to go on after the first lost race with another writer.
        storage_options: as in `write`.
        lock: as in `write`.
        progress: called from time to time with how far the call has come.
    Raises:
        TableExistsError: there is a table, in the folder or within it.
        ForeignTableError: a Delta, Iceberg or Hudi table is in it.
        SchemaMismatchError: the files have types that no column can hold together; names the files.
        DuplicateKeyError: rows have the same key; names files and rows.
        NullKeyError: a row has no key.
        UnreadableInputError: a file is not whole; names it.
        InputError: what else the folder holds cannot be a table.
        StoreError: the store failed; nothing was committed.
    Cost: a listing, the end of each file (one request each, many at a time), and the key columns if there are keys;
        memory for the list of files. CSV files are read twice.
    """
    where = place(path, storage_options, lock, format)
    target = targets.for_place(where)
    targets.require_verb(target, "adopt", f"{where!r}")
    types = (
        declared_types({name: kind for name, kind in partition_by.items() if kind is not None})
        if isinstance(partition_by, Mapping)
        else None
    )
    options = AdoptOptions(
        keys=read_columns("keys", keys or ()),
        partition_by=None if partition_by is None else read_columns("partition_by", partition_by),
        partition_types={field.name: field.type for field in types or ()},
        timestamp_col=timestamp_col,
        properties=properties or {},
        schema=declared_types(schema),
        csv=None if csv is None else dialect(csv),
        timeout=timeout,
        dry_run=dry_run,
        force=force,
        progress=progress or no_progress,
    )
    return target.adopt(where, check_adopt(options))


@public
def exists(path: Path, *, format: str | None = None, storage_options: Mapping[str, Any] | None = None) -> bool:
    """Whether there is a table. An interrupted creation is not one; a folder that cannot be read is an error.

    Args:
        path: the table's folder.
        format: as in `Table`.
        storage_options: as in `write`.
    Raises:
        StoreError: the folder cannot be read.
        CorruptTableError: the log is damaged or lost.
    """
    where = place(path, storage_options, format=format)
    return targets.for_place(where).exists(where)


@public
def resolve(
    path: Path, commit_id: str, *, format: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> Resolution:
    """Find out what became of a commit whose outcome was unknown (`CommitStateUnknownError.commit_id`).

    Cost: reads manifests from the newest back until it is found.
    """
    where = place(path, storage_options, format=format)
    return targets.for_place(where).resolve(where, commit_id)


@public
def detach(
    path: Path,
    *,
    dry_run: bool = False,
    purge: bool = False,
    force: bool = False,
    timeout: float = 60.0,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    lock: Lock | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DetachResult:
    """Leave a table: its folder holds exactly the current rows, in plain files, and no log. There is no way back.

    Files that a plain reader would see otherwise are written anew first, in a commit that is safe beside writers. Then
    one commit ends the log, what is not live is deleted, and the log is taken away. If the call dies, or another one
    detaches the table meanwhile, run it again: it finishes, whatever is left.

    Args:
        path: the table's folder.
        dry_run: only say what would be done.
        purge: in a bucket, delete the names of the log, too, which otherwise stay so that no writer that is still
            under way can create one of them again. Say it once no writer of the table runs any more.
        force: go on even if a partition's value is an empty text, for which plain readers will read null.
        timeout: seconds to go on after the first lost race with another writer.
        format: as in `Table`.
        storage_options: as in `write`.
        lock: as in `write`.
        progress: called from time to time with how far the call has come.
    Returns:
        What is left, and in `notes` what plain readers see otherwise.
    Raises:
        ConfirmationRequiredError: a partition's value is an empty text; nothing was changed.
        TableNotFoundError: there is no table, nor anything left of one.
        UnsupportedVerbError: a Delta or SQL table.
        CommitConflictError, CorruptTableError, StoreError: as `write`.
    Cost: reads and writes the files that have deleted rows or were written before a column changed; two commits; two
        listings; deletes the rest.
    """
    where = place(path, storage_options, lock, format)
    options = check_detach(
        DetachOptions(dry_run=dry_run, purge=purge, force=force, timeout=timeout, progress=progress or no_progress)
    )
    target = targets.for_place(where)
    targets.require_verb(target, "detach", os.fspath(where.path))
    return target.detach(where, options)


@public
def verify(
    path: Path,
    *,
    deep: bool = False,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerifyResult:
    """Check a table, also one that cannot be opened: its log, and the files of the newest version that can be read.

    Nothing is written, and no cache is believed. Every problem has a hint that says how to mend it.

    Args:
        path: the table's folder.
        deep: read the data files, too, and compare their rows with what the log says of them.
        format: as in `Table`.
        storage_options: as in `write`.
        progress: called with how far it is.
    Raises:
        TableNotFoundError: there is no table.
        UnsupportedTableError: the table needs a feature that this release does not know.
        StoreError: the folder cannot be listed.
        UnsupportedVerbError: tables of that format are not verified.
    Cost: two listings, and the manifests since the oldest readable version. `deep`: all manifests, and the version's
        files twice; of a table with keys, the key columns once more for each 16 million rows.
    """
    check_switch("deep", deep)
    where = place(path, storage_options, format=format)
    return targets.verifier(where).verify(where, None, VerifyOptions(deep=deep, progress=progress or no_progress))


@public
def doctor(url: Path, *, storage_options: Mapping[str, Any] | None = None) -> DoctorResult:
    """Try whether tables can be kept at a place: a folder, or a prefix of a bucket. Leaves nothing behind.

    Args:
        url: the folder, or the URL; there may be a table, which is not touched.
        storage_options: as in `write`.
    Raises:
        InputError, OptionError: the URL or an option is wrong.
        StoreError: the library for the store is not installed.
    Cost: about a hundred small requests.
    """
    from txfiles.store import doctor as examination  # here: few calls need it

    where = place(url, storage_options)
    return examination.examine(open_store(where.path, where.storage_options), environment.real())


def place(
    path: Path,
    storage_options: Mapping[str, Any] | None = None,
    lock: Lock | None = None,
    format: str | None = None,
) -> Place:
    """Where a table is. A leading ``~`` is the home folder, as in a shell; write ``./~`` for a folder of that name."""
    return Place(_home(path), storage_options, _home(lock), format)


def _home(given: Any) -> Any:
    # Anything that is not a path is refused later, when it is opened.
    return os.path.expanduser(given) if isinstance(given, str | os.PathLike) else given


def _source(data: Any, options: WriteOptions) -> Source:
    return inputs.source(data, schema=options.schema, csv=options.csv, storage_options=options.storage_options)


def _chosen(data: Any, path: Path, given: Mapping[str, Any]) -> tuple[Target, Place, WriteOptions]:
    """The target that a write means, and its options checked. Nothing is opened yet."""
    options = read_options(given)
    for_input_only = inputs.are_remote(data) and not inputs.are_remote(path)
    where = place(path, None if for_input_only else options.storage_options, options.lock, options.format)
    return targets.for_write(where, options, inputs.engine(data)), where, options
