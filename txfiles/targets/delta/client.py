"""The one module that imports `deltalake`: opening a table, committing exactly one version, history and vacuum.

A commit is tried at the version after the one that it was planned on, and at no other: deltalake is told not to try
again on its own. So whoever commits in between wins, and the loser plans anew.

Source: specs/9-targets.md, "Delta"; specs/decisions/0070-delta-by-one-version.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs

from txfiles.errors import (
    ConfirmationRequiredError,
    StoreError,
    TableNotFoundError,
    TxFilesError,
    UnsupportedTableError,
)
from txfiles.store import secret_options
from txfiles.targets.delta.options import delta_options, location
from txfiles.targets.protocol import Place

META = "txfiles"
"""The entry of a commit's metadata that says what txfiles did."""

BATCHES = "txfiles:"
"""Before a batch id, the id of an application transaction."""

_REFUSALS = ("table is append-only", "table features")
"""Words of a `CommitFailedError` that is no failure of the store."""


_ABSOLUTE = re.compile("/|[A-Za-z][A-Za-z0-9+.-]*:/")
"""How a path begins that is not relative to the table's folder."""

_TOO_SHORT = "minimum retention"
"""Words of a refusal to vacuum."""


def _deltalake() -> Any:
    try:
        import deltalake
    except ImportError as error:
        raise StoreError(
            "Delta tables need the package deltalake, which is not installed",
            hint="pip install 'txfiles[delta]'",
        ) from error
    return deltalake


@dataclass(frozen=True)
class Added:
    """A data file that a commit adds. Attributes as in Delta's log."""

    path: str
    bytes: int
    partition: dict[str, str | None]
    stats: str
    modified_ms: int


@dataclass(frozen=True)
class Removed:
    """A data file that a commit removes."""

    path: str
    bytes: int
    partition: dict[str, str | None]


@dataclass(frozen=True)
class LogEntry:
    """A commit, as its file in the log has it.

    Attributes:
        version: that it made.
        said: what it says of itself (`commitInfo`).
        actions: the lines of the file.
    """

    version: int
    said: Mapping[str, Any]
    actions: Sequence[str]

    @property
    def meta(self) -> Mapping[str, Any]:
        """What txfiles said of it; empty for those of others."""
        found = self.said.get(META) or _given(self.said.get("userMetadata"))
        return found if isinstance(found, dict) else {}

    @property
    def time_ms(self) -> int:
        """When it was made, by the writer's clock."""
        return int(self.said.get("timestamp", 0))

    def is_of(self, commit_id: str) -> bool:
        """Whether it is the commit of a call; not one that only prepares it."""
        return self.meta.get("commit_id") == commit_id and "step" not in self.meta

    def files(self, action: str) -> list[dict[str, Any]]:
        """The files that it adds ("add") or removes ("remove")."""
        begin = f'{{"{action}":'
        return [json.loads(line)[action] for line in self.actions if line.startswith(begin)]


@dataclass(frozen=True)
class Marker:
    """What a commit says of itself.

    Attributes:
        meta: what txfiles did, as JSON.
        batch_id: the caller's; None if this is not the commit that applies it.
    """

    meta: Mapping[str, Any]
    batch_id: str | None

    def properties(self) -> Any:
        """In deltalake's form; without a second try."""
        deltalake = _deltalake()
        transactions = None if self.batch_id is None else [deltalake.Transaction(BATCHES + self.batch_id, 1)]
        return deltalake.CommitProperties(
            custom_metadata={META: dict(self.meta)}, max_commit_retries=0, app_transactions=transactions
        )


class Client:
    """The Delta tables at one place."""

    def __init__(self, place: Place) -> None:
        self.url = location(place.path)
        self.options = delta_options(self.url, place.storage_options or {})

    def exists(self) -> bool:
        """Whether there is a table."""
        deltalake = _deltalake()
        with self.failures("look for a table"):
            if "://" not in self.url and not os.path.isdir(self.url):
                return False
            return bool(deltalake.DeltaTable.is_deltatable(self.url, self.options))

    def load(self, version: int | None = None) -> Any:
        """A handle at a version, or at the newest."""
        deltalake = _deltalake()
        with self.failures("open"):
            try:
                return deltalake.DeltaTable(self.url, version=version, storage_options=self.options)
            except deltalake.exceptions.TableNotFoundError as error:
                raise TableNotFoundError(
                    f"there is no Delta table at {self.url}", hint="check the path; the first write creates a table"
                ) from error

    def newest(self) -> Any | None:
        """A handle at the newest version; None if there is no table."""
        try:
            return self.load()
        except TableNotFoundError:
            # Told of a folder that is not there, and of some that could not be read: asked again, to be sure.
            return self.load() if self.exists() else None

    def file_system(self, sizes: Mapping[str, int] | None = None, *, creates: bool = False) -> pa_fs.FileSystem:
        """The files below the table's folder: a bucket with the access that deltalake has, a local folder by Arrow.

        Args:
            sizes: of files, where they are known.
            creates: whether a local folder is made if it is not there.
        Raises:
            TableNotFoundError: it is not there, and not made.
        """
        if "://" in self.url:
            from deltalake.fs import DeltaStorageHandler

            with self.failures("open"):
                return pa_fs.PyFileSystem(DeltaStorageHandler(self.url, self.options, dict(sizes) if sizes else None))
        with self.failures("open"):
            if creates:
                os.makedirs(self.url, exist_ok=True)
            elif not os.path.isdir(self.url):
                raise TableNotFoundError(f"the folder of the Delta table {self.url} is gone", hint="check the path")
            return pa_fs.SubTreeFileSystem(self.url, pa_fs.LocalFileSystem())

    def names(self) -> list[str]:
        """Every file below the table's folder."""
        with self.failures("list the files of"):
            found = self.file_system(creates=True).get_file_info(
                pa_fs.FileSelector("", allow_not_found=True, recursive=True)
            )
        return [one.path for one in found if one.type == pa_fs.FileType.File]

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """The bytes of those files that are there."""
        with self.failures("list the files of"):
            found = self.file_system().get_file_info(list(names)) if names else []
        return {one.path: one.size for one in found if one.type == pa_fs.FileType.File}

    def create(self, schema: pa.Schema, partition_by: Sequence[str], adds: Sequence[Added], marker: Marker) -> None:
        """Create the table with its first files; raises if there is one."""
        deltalake = _deltalake()
        deltalake.transaction.create_table_with_add_actions(
            self.url,
            deltalake.Schema.from_arrow(schema),
            [_add(one) for one in adds],
            mode="error",
            partition_by=list(partition_by),
            storage_options=self.options,
            commit_properties=marker.properties(),
        )

    def commit(
        self,
        table: Any,
        adds: Sequence[Added],
        removes: Sequence[Removed],
        marker: Marker,
        *,
        replaces: pa.Schema | None = None,
        now_ms: int,
    ) -> None:
        """Commit files as the version after that of a handle.

        Args:
            table: the handle.
            adds: files to add.
            removes: files to remove; not with `replaces`.
            marker: what the commit says of itself.
            replaces: the schema after an overwrite, which removes every other file; None keeps files and schema.
            now_ms: the time of removal.
        """
        deltalake = _deltalake()
        actions = [_add(one) for one in adds]
        if replaces is None:
            remove = deltalake.transaction.RemoveAction
            actions += [remove(one.path, True, now_ms, one.bytes, one.partition) for one in removes]
        table.create_write_transaction(
            actions,
            "append" if replaces is None else "overwrite",
            table.schema() if replaces is None else deltalake.Schema.from_arrow(replaces),
            partition_by=table.metadata().partition_columns,
            commit_properties=marker.properties(),
        )

    def add_columns(self, table: Any, fields: pa.Schema, marker: Marker) -> None:
        """Add columns in a commit of their own."""
        wanted = _deltalake().Schema.from_arrow(fields).fields
        table.alter.add_columns(wanted, commit_properties=marker.properties())

    def describe_column(self, table: Any, column: str, facts: Mapping[str, str], marker: Marker) -> None:
        """Record facts with a column in a commit of its own."""
        table.alter.set_column_metadata(column, dict(facts), commit_properties=marker.properties())

    def log_entry(self, version: int) -> LogEntry | None:
        """A commit; None if the log no longer has it.

        deltalake's own history numbers its entries by what the handle knows, which others may have overtaken.
        """
        with self.failures("read the log of"):
            try:
                with self.file_system().open_input_file(f"_delta_log/{version:020d}.json") as file:
                    lines = file.read().decode().splitlines()
            except FileNotFoundError:
                return None
            found = (json.loads(line).get("commitInfo") for line in lines if '"commitInfo"' in line)
            return LogEntry(version, next((one for one in found if one), {}), lines)

    def vacuum(self, table: Any, hours: int | None, *, dry_run: bool, force: bool) -> list[str]:
        """Delete files that commits removed and no version within the time needs; returns their names.

        Not "full": that would delete whatever the log does not name, such as the files of a writer under way.

        Raises:
            ConfirmationRequiredError: the time is shorter than the table's own.
        """
        with self.failures("vacuum"):
            try:
                found: list[str] = table.vacuum(
                    retention_hours=hours, dry_run=dry_run, enforce_retention_duration=not force, full=False
                )
            except _deltalake().exceptions.DeltaError as error:
                if _TOO_SHORT not in str(error):
                    raise
                raise ConfirmationRequiredError(
                    f"{self.url} keeps what was removed for longer than {hours} hours: {self.shown(error)}",
                    hint="pass force (--force) if nobody reads or writes an older version",
                ) from error
        return found

    def require_own(self, paths: Iterable[str]) -> None:
        """Refuse paths of files that are another table's: a shallow clone names them in full.

        Raises:
            UnsupportedTableError: there is one.
        """
        if any(_ABSOLUTE.match(path) for path in paths):
            raise UnsupportedTableError(
                f"the Delta table at {self.url} is a shallow clone: it names files of another table",
                hint="use Spark for it, or make a table of its own: CREATE TABLE … AS SELECT * FROM the clone",
            )

    def failures(self, what: str) -> _Failures:
        """Turns what deltalake raises into an error of txfiles that shows no secret."""
        return _Failures(self, what)

    def refuses(self, error: BaseException) -> bool:
        """Whether deltalake refused a commit by its rules, before the store was asked."""
        kinds = _deltalake().exceptions
        if isinstance(error, kinds.DeltaProtocolError | kinds.SchemaMismatchError):
            return True
        return isinstance(error, kinds.CommitFailedError) and any(words in str(error) for words in _REFUSALS)

    def shown(self, error: BaseException) -> str:
        """An exception's words without secrets."""
        return secret_options.shown(f"{type(error).__name__}: {error}", self.options)


class _Failures:
    def __init__(self, client: Client, what: str) -> None:
        self._client, self._what = client, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, TxFilesError):
            raise StoreError(
                f"deltalake could not {self._what} {self._client.url}: {self._client.shown(error)}",
            ) from error


def _given(said: object) -> object:
    """What txfiles said of a commit that Spark made, which takes one text."""
    if not isinstance(said, str) or META not in said:
        return None
    try:
        found = json.loads(said)
    except ValueError:  # somebody else's
        return None
    return found.get(META) if isinstance(found, dict) else None


def _add(one: Added) -> Any:
    action = _deltalake().transaction.AddAction
    return action(one.path, one.bytes, one.partition, one.modified_ms, True, one.stats)
