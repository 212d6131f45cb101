"""`Transaction`: several operations on one table that become one version, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from txfiles import inputs
from txfiles.arguments import public, unknown_argument
from txfiles.core.manifest import OPERATIONS_LIMIT
from txfiles.core.messages import shown, url_scheme
from txfiles.core.properties import read_properties
from txfiles.errors import InputError, OptionError
from txfiles.options import DEFAULTS, OPTIONS, WriteOptions, read_options, requested
from txfiles.targets.protocol import Place
from txfiles.verbs import DeleteOptions, SetOptions, TransactionOptions, check_delete

if TYPE_CHECKING:
    from txfiles.results import TransactionResult

OF_THE_TRANSACTION = ("batch_id", "user_metadata", "timeout", "progress")
"""Options of a write that one commit has once: `Table.transaction` takes them."""

OF_A_NEW_TABLE = ("format", "partition_by", "properties", "lock")
"""Options of a write that say what a new table is to be, or how to reach it: this one is open."""

OF_A_WRITE_ALONE = ("rekey",)
"""Options of a write that change what the operations before it rely on."""


class Transaction:
    """Operations that are committed together when the block ends, in one version; see `Table.transaction`.

    Attributes:
        result: what was done, after the block.
    """

    result: TransactionResult | None

    def __init__(
        self, commit: Callable[[TransactionOptions], TransactionResult], where: Place, options: TransactionOptions
    ) -> None:
        self._commit = commit
        self._where = where
        self._options = options
        self._parts: list[Any] = []
        self._sources = ExitStack()
        self._open = False
        self.result = None

    def __repr__(self) -> str:
        state = "open" if self._open else "not begun" if self.result is None else f"version {self.result.version}"
        return f"<Transaction of {len(self._parts)} operations, {state}>"

    def __enter__(self) -> Self:
        if self._open or self._parts or self.result is not None:
            raise OptionError("a transaction is used once", hint="begin another one: with table.transaction() as t: …")
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        with self._sources:
            if kind is None:
                self.result = self._commit(replace(self._options, parts=tuple(self._parts)))

    def write(self, data: Any, *, mode: str, **options: Any) -> None:
        """Write one batch, as `txfiles.write` does, when the block ends.

        Args:
            data: as in `txfiles.write`, except a Spark frame. It is read when the block ends: do not change it before.
            mode: ``overwrite``, ``append``, ``append_once`` or ``upsert``.
            options: the others of `txfiles.write` that are about rows: `keys`, `dedup_strategy`, `timestamp_col`,
                `stale`, `schema_mode` (``strict`` or ``merge``), `schema`, `csv`, `overwrite_partitions`,
                `replace_where`, `storage_options` (of inputs at URLs).
        Raises:
            InputError: an option is unknown, or one of the transaction or of a new table.
        """
        self._require_open()
        for name in options:
            if name not in OPTIONS:
                raise unknown_argument("Transaction.write", name, OPTIONS)
        asked = read_options({"mode": mode, **options})
        _refuse(asked, OF_THE_TRANSACTION, "is the whole transaction's", "pass it to table.transaction(…)")
        _refuse(asked, OF_A_NEW_TABLE, "is for the write that creates a table", "leave it out")
        _refuse(asked, OF_A_WRITE_ALONE, "changes what other operations rely on", "call txfiles.write by itself")
        if asked.schema_mode == "overwrite":
            raise OptionError(
                "schema_mode='overwrite' is not possible inside a transaction",
                hint="call txfiles.write by itself; inside, 'strict' and 'merge' are possible",
            )
        if inputs.engine(data) != "local":
            raise InputError(
                "a transaction takes no Spark frame", hint="write it by itself, with a batch_id if it may be retried"
            )
        storage = asked.storage_options
        if storage is None and inputs.are_remote(data):
            storage = self._where.storage_options
        source = inputs.source(data, schema=asked.schema, csv=asked.csv, storage_options=storage)
        self._add(requested(asked, self._sources.enter_context(closing(source))))

    @public
    def delete(self, where: Any = None, *, keys: Any = None, storage_options: Mapping[str, Any] | None = None) -> None:
        """Delete the rows that match a filter, or that have some keys, when the block ends; as `Table.delete`.

        Args:
            where: a filter.
            keys: keys, or a `pathlib.Path` of a file of them.
            storage_options: for keys at a URL.
        Raises:
            InputError: neither `where` nor `keys` is given, or both.
        """
        self._require_open()
        asked = deletion(lambda: self._where, where, keys, storage_options)
        if asked.source is not None:
            self._sources.enter_context(closing(asked.source))
        self._add(check_delete(asked))

    def set(self, properties: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Change table properties when the block ends; as `Table.set`.

        Raises:
            OptionError: an unknown name or value.
        """
        self._require_open()
        if not isinstance(properties, Mapping | None):
            raise OptionError(f"properties must be a mapping of names to values, not {shown(properties)}")
        self._add(SetOptions(properties=read_properties({**(properties or {}), **more})))

    def _add(self, part: Any) -> None:
        if len(self._parts) == OPERATIONS_LIMIT:
            raise OptionError(
                f"a transaction has at most {OPERATIONS_LIMIT} operations",
                hint="put rows of one mode into one batch: a write takes a list of files, or a stream of chunks",
            )
        self._parts.append(part)

    def _require_open(self) -> None:
        if not self._open:
            raise OptionError(
                "the transaction is not open",
                hint="call its methods inside the block: with table.transaction() as t: …",
            )


def deletion(
    place: Callable[[], Place], rows: Any, keys: Any, storage_options: Mapping[str, Any] | None, **more: Any
) -> DeleteOptions:
    """What a delete was asked for, with keys in a file as a source.

    Args:
        place: tells the table's place; that of a SQL table may have a secret in it, and be told to nobody.
        rows: the filter.
        keys: keys, or the path of a file of them.
        storage_options: for a file at a URL; by default the table's, if it is at a URL of the same scheme.
        more: other options of the delete.
    Raises:
        InputError: the keys may be a key or the name of a file.
    """
    if isinstance(keys, str) and keys.lower().endswith((".csv", ".parquet")):
        raise InputError(
            f"keys={keys!r} may be a key or the name of a file; nothing was deleted",
            hint=f"pass pathlib.Path({keys!r}) for the keys in the file, or [{keys!r}] for that key",
        )
    if isinstance(keys, os.PathLike):
        own = place()
        if storage_options is None and url_scheme(os.fspath(keys)) == url_scheme(str(own.path)):
            storage_options = own.storage_options
        return DeleteOptions(where=rows, source=inputs.source(keys, storage_options=storage_options), **more)
    table = None if keys is None else inputs.as_table(keys)
    return DeleteOptions(where=rows, keys=keys if table is None else table, **more)


def _refuse(asked: WriteOptions, names: tuple[str, ...], why: str, hint: str) -> None:
    for name in names:
        if getattr(asked, name) != DEFAULTS[name]:
            raise OptionError(f"{name!r} {why}", hint=hint)
