"""The methods of `Table` that commit: each checks its options, has the target do the work, and moves the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from datetime import datetime, timedelta
from typing import Any, TypeVar

from txfiles import targets
from txfiles.arguments import public
from txfiles.core.messages import shown
from txfiles.errors import OptionError
from txfiles.inputs.declared import declared_type
from txfiles.options import INDEX_ACTIONS, CompactOptions, IndexOptions, Progress, VacuumOptions, no_progress, word
from txfiles.results import CompactResult, DetachResult, IndexResult, TransactionResult, VacuumResult, WriteResult
from txfiles.targets.protocol import OpenTable, Target
from txfiles.transaction import Transaction, deletion
from txfiles.verbs import (
    ColumnChange,
    DetachOptions,
    RestoreOptions,
    TransactionOptions,
    check_columns,
    check_compact,
    check_delete,
    check_detach,
    check_restore,
    check_transaction,
    check_vacuum,
)

Done = TypeVar("Done")
"""The result of a verb."""


class Changes:
    """What a handle on an open table does to it. `Table` adds what reads."""

    _target: Target
    _opened: OpenTable
    _read_only: bool

    @property
    def path(self) -> str:
        """The table's folder."""
        return self._opened.path

    @property
    def version(self) -> int:
        """The version that is read."""
        return self._opened.state.version

    @public
    def delete(
        self,
        where: Any = None,
        *,
        keys: Any = None,
        batch_id: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        storage_options: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> WriteResult:
        """Delete the rows that match a filter, or that have some keys, in a commit; the table moves to it.

        The newest version is deleted from, whatever version this table is at. If no row is found, nothing is
        committed, unless there is a `batch_id`.

        Args:
            where: a filter as in `to_arrow`; a row for which it is unknown (null) stays.
            keys: keys as in `lookup`, or a `pathlib.Path` of a Parquet or CSV file with the key columns (or another
                `os.PathLike`, whose `__fspath__` may be a URL). A null among them is refused, a key given twice counts
                once, and one that is not in the table is ignored.
            batch_id: a name for this delete; one that was committed is not applied again.
            user_metadata: your own facts for the log, text to text.
            timeout: seconds to go on after the first lost race with another writer.
            storage_options: for keys at a URL, as in `write`; by default those of a table at a URL of the same scheme.
            dry_run: only say what would be done; the result is a `Plan`.
            progress: called from time to time with how far the call has come.
        Returns:
            What was done: `rows_deleted` and the counts of files.
        Raises:
            InputError: neither `where` nor `keys` is given, or both; a filter or key does not fit the table.
            CommitConflictError, CommitStateUnknownError, CorruptTableError, StoreError: as `write`.
        Cost: as a filtered read or a `lookup`; files of which rows stay are rewritten, the others only dropped. A
            filter of partition columns reads nothing.
        """
        self._require_writable("delete")
        options = check_delete(
            deletion(
                lambda: self._opened.place,
                where,
                keys,
                storage_options,
                batch_id=batch_id,
                user_metadata=user_metadata or {},
                timeout=timeout,
                dry_run=dry_run,
                progress=progress or no_progress,
            )
        )
        with closing(options.source) if options.source is not None else nullcontext():
            result, opened = self._with("delete").delete(options)
        return self._after(result, opened, dry_run=dry_run)

    @public
    def transaction(
        self,
        *,
        batch_id: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        progress: Callable[[Progress], None] | None = None,
    ) -> Transaction:
        """Begin several operations that become one version: all of them are committed, or none.

        ::

            with table.transaction(batch_id="2026-11-28") as t:
                t.delete(where=[("day", "=", "2026-11-28")])
                t.write(df, mode="append")
            t.result.version

        Each operation sees those before it. All of them are carried out on the newest version when the block ends, and
        the table moves to the commit; an exception in the block commits nothing. `t.write`, `t.delete` and `t.set`
        take what `txfiles.write`, `delete` and `set` take, less what one commit has only once. If no operation would
        commit anything by itself, nothing is committed, unless there is a `batch_id`.

        Args:
            batch_id: a name for all of it; a transaction that was committed is not applied again.
            user_metadata: your own facts for the log, text to text.
            timeout: seconds to go on after the first lost race with another writer; each means planning all again
                unless what the other one did touches none of it.
            progress: called from time to time with how far the call has come.
        Raises:
            UnsupportedVerbError: the table is not of Parquet or CSV files.
            InputError: from the end of the block: an operation is at fault; a note says which.
            CommitConflictError, CommitStateUnknownError, CorruptTableError, StoreError: from there, as `write`.
        Cost: that of the operations. A file that a later operation rewrites is written twice.
        """
        self._require_writable("transaction")
        options = check_transaction(
            TransactionOptions(
                batch_id=batch_id,
                user_metadata=user_metadata or {},
                timeout=timeout,
                progress=progress or no_progress,
            )
        )
        opened = self._with("transaction")
        return Transaction(self._commit_all, opened.place, options)

    def _commit_all(self, options: TransactionOptions) -> TransactionResult:
        result, self._opened = self._opened.transaction(options)
        return result

    @public
    def restore(
        self,
        *,
        version: int | None = None,
        timestamp: datetime | str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        dry_run: bool = False,
    ) -> WriteResult:
        """Make the table what it was at an earlier version, in a commit; the table moves to it.

        Rows and their order, schema, keys, timestamp column and batch ids are the version's; properties stay. No data
        file is read or written, and the versions in between can be restored in turn.

        Args:
            version: which version.
            timestamp: or a datetime or ISO 8601 text, with a zone: the last version committed at or before it.
            user_metadata: your own facts for the log, text to text.
            timeout: seconds to go on after the first lost race with another writer.
            dry_run: only say what would be done; the result is a `Plan`.
        Returns:
            What was done: `rows_inserted` (and `rows_in`) are the rows of files that come back, `rows_deleted` those of
            files that go, as the log counts them. A row that was rewritten since is among both; `diff` tells which
            rows differ. Nothing is committed if the table is what it was then.
        Raises:
            TableNotFoundError: no such version.
            SnapshotExpiredError: a vacuum has deleted files of that version.
            SchemaMismatchError: columns of that version differ in case only.
            CommitConflictError: a vacuum lists files of that version meanwhile, or others kept winning.
            CommitStateUnknownError, CorruptTableError, StoreError: as `write`.
        Cost: the lists of files of both versions.
        """
        self._require_writable("restore")
        options = check_restore(
            RestoreOptions(
                version=version,
                timestamp=timestamp,
                user_metadata=user_metadata or {},
                timeout=timeout,
                dry_run=dry_run,
            )
        )
        result, opened = self._with("restore").restore(options)
        return self._after(result, opened, dry_run=dry_run)

    def set(self, properties: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Change table properties in a commit; the table moves to it.

        Raises:
            OptionError: an unknown name or value; names the nearest valid one.
        """
        self._require_writable("set")
        if not isinstance(properties, Mapping | None):
            raise OptionError(f"properties must be a mapping of names to values, not {shown(properties)}")
        self._opened = self._with("set").set({**(properties or {}), **more})

    @public
    def rename_column(self, old: str, new: str) -> None:
        """Give a column another name, in a commit that touches no file; the table moves to it.

        Keys and other roles stay with the column. Versions before the commit have the old name.

        Args:
            old: its name; of a whole column, not of a field in a struct.
            new: its name from now on; no other column may have it, or one that differs only in case.
        Raises:
            InputError: there is no such column, or the new name is taken.
        """
        self._change_columns("rename_column", check_columns("rename", (old, new)))

    @public
    def drop_column(self, name: str) -> None:
        """Remove a column, in a commit that touches no file; the table moves to it.

        Its values stay in the files until these are written anew, and are still read in the versions before. A column
        of that name that is added later does not bring them back.

        Args:
            name: a whole column, not a field of a struct.
        Raises:
            InputError: there is no such column, it is a key, `timestamp_col` or partition column, or the last one.
        """
        self._change_columns("drop_column", check_columns("drop", (name,)))

    @public
    def reorder_columns(self, columns: Sequence[str]) -> None:
        """Change the order of the columns, in a commit that touches no file; the table moves to it.

        Args:
            columns: all names, each once, in the new order.
        Raises:
            InputError: a name is missing, given twice, or not a column's.
        """
        self._change_columns("reorder_columns", check_columns("reorder", columns))

    @public
    def widen_column(self, name: str, type: Any) -> None:
        """Give a column a wider type, in a commit that touches no file; the table moves to it.

        Args:
            name: a whole column, not a field of a struct.
            type: a type that holds every value of the present one, in any spelling that `schema=` of a write takes.
        Raises:
            InputError: there is no such column, or the type is not wider.
        """
        self._change_columns("widen_column", check_columns("widen", (name,), declared_type(name, type)))

    @public
    def vacuum(
        self,
        retain: str | timedelta | None = None,
        *,
        keep_versions: int | None = None,
        timeout: float = 60.0,
        dry_run: bool = False,
        force: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> VacuumResult:
        """Delete files that no retained version holds, in a commit; the table moves to it.

        Args:
            retain: how long superseded files are kept, such as ``7d``; the property `vacuum_retain` by default.
            keep_versions: how many of the newest versions to keep readable in any case.
            timeout: seconds to go on after the first lost race with another writer.
            dry_run: only say what would be deleted.
            force: go on even if orphans outnumber the live files ten to one.
            progress: called with how many files have been deleted.
        Raises:
            ConfirmationRequiredError: so many orphans that the log may be lost.
        Cost: one listing of the folder, and each manifest since the oldest readable version.
        """
        self._require_writable("vacuum")
        options = check_vacuum(
            VacuumOptions(
                retain=retain,
                keep_versions=keep_versions,
                timeout=timeout,
                dry_run=dry_run,
                force=force,
                progress=progress or no_progress,
            )
        )
        result, opened = self._with("vacuum").vacuum(options)
        return self._after(result, opened, dry_run=dry_run)

    @public
    def compact(
        self,
        target_file_bytes: int | None = None,
        *,
        sort: bool = False,
        where: Any = None,
        plain: bool = False,
        timeout: float = 60.0,
        dry_run: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> CompactResult:
        """Join small files that follow each other, in a commit that changes no row; the table moves to it.

        Args:
            target_file_bytes: how large files are to become; the property `target_file_bytes` by default. Files of
                half that size or more are left alone.
            sort: sort the rows of each new file by key, so that reads of some keys skip more of it.
            where: join only files that may hold a matching row; as the filter of `to_arrow`.
            plain: also write anew, whatever their size, all files that other tools would see otherwise than the table
                does: those with deleted rows, or of before a change of the columns. Then `files()` lists them again.
            timeout: seconds to go on after the first lost race with another writer.
            dry_run: only say what would be joined.
            progress: called with how many files have been read.
        Raises:
            KeysRequiredError: `sort` on a table without keys.
            CorruptTableError: a file is missing or damaged; the table is as it was.
        Cost: the rows of the small files are read and written once, as a stream. With `sort`, the rows of as many new
            files as are under way are in memory (two, on two cores), and those of many tiny files are written more than
            once.
        """
        self._require_writable("compact")
        options = check_compact(
            CompactOptions(
                target_file_bytes=target_file_bytes,
                sort=sort,
                where=where,
                plain=plain,
                timeout=timeout,
                dry_run=dry_run,
                progress=progress or no_progress,
            )
        )
        result, opened = self._with("compact").compact(options)
        return self._after(result, opened, dry_run=dry_run)

    @public
    def detach(
        self,
        *,
        dry_run: bool = False,
        purge: bool = False,
        force: bool = False,
        timeout: float = 60.0,
        progress: Callable[[Progress], None] | None = None,
    ) -> DetachResult:
        """Leave the table as a plain folder that holds exactly the newest version's rows; see `txfiles.detach`.

        Args:
            dry_run: only say what would be done.
            purge: in a bucket, delete the names of the log, too.
            force: go on even if a partition's value is an empty text, for which plain readers will read null.
            timeout: seconds to go on after the first lost race with another writer.
            progress: called from time to time with how far the call has come.
        Raises:
            ConfirmationRequiredError, CommitConflictError, CorruptTableError, StoreError: as `txfiles.detach`.
        Cost: as `txfiles.detach`.
        """
        self._require_writable("detach")
        self._with("detach")
        options = check_detach(
            DetachOptions(dry_run=dry_run, purge=purge, force=force, timeout=timeout, progress=progress or no_progress)
        )
        return self._target.detach(self._opened.place, options)

    @public
    def index(self, action: str = "show", *, progress: Callable[[Progress], None] | None = None) -> IndexResult:
        """Describe, build, drop or check the key index, by which keyed writes and `lookup` find rows without a search.

        An index changes no answer. It is a few files beside the log, of about 18 bytes a row.

        Args:
            action: ``show``: say what it consists of and which files it covers. ``build``: cover every live file, in a
                commit that also sets the property `key_index` to ``on``, so that later commits keep it; nothing is
                committed if that is so already. ``drop``: remove it in a commit that sets `key_index` to ``off``.
                ``check``: compare it with the data files; `problems` of the result tells what is wrong.
            progress: called with how far it is.
        Raises:
            KeysRequiredError: it is to be built for a table without keys.
            CorruptTableError: a data file is missing or damaged.
        Cost: ``build``: the key columns of the files that are not covered, read once; its memory is bounded. ``check``:
            the whole index, and all key columns. ``show``: one small read for each of its files.
        """
        word("action", action, INDEX_ACTIONS)
        if action in ("build", "drop"):
            self._require_writable(f"index({action!r})")
        options = IndexOptions(action=action, progress=progress or no_progress)
        result, self._opened = self._with("index").index(options)
        return result

    def _change_columns(self, verb: str, change: ColumnChange) -> None:
        self._require_writable(verb)
        self._opened = self._with(verb).change_columns(change)

    def _after(self, result: Done, opened: OpenTable, *, dry_run: bool) -> Done:
        """The result of a verb, whose commit the table moves to; a dry run leaves it where it is."""
        if not dry_run:
            self._opened = opened
        return result

    def _with(self, verb: str) -> OpenTable:
        """The open table, if its target has the verb."""
        targets.require_verb(self._target, verb, self.path)
        return self._opened

    def _require_writable(self, verb: str) -> None:
        if self._read_only:
            raise OptionError(
                f"{verb} is not possible on a table that is pinned to version {self.version}",
                hint="open it without version or timestamp",
            )
