"""The codec of manifests and sidecars: one commit as one small JSON document, strict to read and sealed against damage.

Encoding and decoding are exact inverses for every value. Unknown fields are ignored; those of the `table` action are
kept (``extra``), so that a newer writer's optional facts survive an older one. Everything here is bytes in, frozen
values out: `core.names` judges paths, `rows.types` types.

Source: specs/3-manifest.md; specs/manifest.schema.json is generated from these types.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from txfiles.core import csv_dialect, names, times
from txfiles.core.csv_dialect import CSV_DIALECT, CsvDialect
from txfiles.core.manifest import (
    ADOPTED_FILES,
    COLUMN_MAPPING,
    DELETION_VECTORS,
    DETACHED,
    Actions,
    Add,
    Commit,
    Count,
    IndexAction,
    Manifest,
    Mark,
    PropertyValue,
    Remove,
    TableMetadata,
    Vector,
)
from txfiles.core.messages import shown
from txfiles.core.schema import Column, ColumnId
from txfiles.errors import CorruptTableError, InputError, UnsupportedTableError

FORMAT_VERSION = 1

MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024
"""A manifest is one small put; larger lists of actions go to a sidecar, so no honest manifest comes near."""

SIDECAR_LIMIT_BYTES = 1024**3
"""A sidecar of about a million actions; a larger one is refused rather than read into memory, and never written."""

EXTRA_DEPTH = 64
"""How deep unknown fields that are kept may nest: whatever can be read, any caller must be able to write."""

INLINE_ACTIONS = 1_000
"""More actions than this go to a sidecar, so that a manifest stays one small put and readable."""

FORMATS = ("parquet", "csv")

KNOWN_FEATURES: frozenset[str] = frozenset({ADOPTED_FILES, COLUMN_MAPPING, CSV_DIALECT, DELETION_VECTORS, DETACHED})
"""Required features that this release understands."""


class TableAction(msgspec.Struct, frozen=True, kw_only=True):
    """What the table is, in full, in version 0 and wherever it changes, as the log writes it.

    Roles refer to column ids, so a rename changes `columns` alone. Callers work with `TableMetadata`, which has names;
    `table_action` and `read_table` convert between the two.

    Attributes:
        format: ``parquet`` or ``csv``.
        columns: in order.
        last_column_id: the greatest column id ever given out.
        partition_by: ids of the partition columns, in the order of the folders.
        keys: ids; recorded at the first keyed write; empty before.
        timestamp_col: an id; recorded at the first keyed write that names one.
        properties: those that were set; the others have their defaults.
        required_features: a reader or writer that does not know one refuses the table.
        csv_dialect: how its adopted CSV files are written; absent if it has none.
        extra: fields that this release does not know, kept when it is written again.
    """

    format: str
    columns: tuple[Column, ...]
    last_column_id: Count
    partition_by: tuple[ColumnId, ...] = ()
    keys: tuple[ColumnId, ...] = ()
    timestamp_col: ColumnId | None = None
    properties: dict[str, PropertyValue] = {}
    required_features: tuple[str, ...] = ()
    csv_dialect: CsvDialect | None = None
    extra: dict[str, Any] = {}


class StoredManifest(Commit, frozen=True, kw_only=True):
    """A manifest as its file has it."""

    table: TableAction | None = None


class _Newer(msgspec.Struct):
    """What is checked first in a manifest whose form is not known."""

    format_version: int


class _Needs(msgspec.Struct, frozen=True):
    """The required features of a table action of any form."""

    required_features: tuple[str, ...] = ()


class NeedsOf(msgspec.Struct):
    """What is checked next: a required feature may change the form of a field."""

    table: _Needs = _Needs()


_ORDER = (
    *("format_version", "version", "table_id", "commit_id", "parent_sha256", "time", "operation", "metrics"),
    *("table", "checkpoint", "vacuum", "restore", "add", "remove", "mark", "index", "sidecar"),
)
_TABLE_FIELDS = frozenset(TableAction.__struct_fields__) - {"extra"}
_SEAL = re.compile(rb'"sha256"\s*:\s*"([0-9a-f]{64})"\s*\}\s*\Z')
_decode = msgspec.json.Decoder(StoredManifest).decode
_decode_newer = msgspec.json.Decoder(_Newer).decode
_decode_needs = msgspec.json.Decoder(NeedsOf).decode
_decode_table_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_decode_actions = msgspec.json.Decoder(Actions).decode


def sha256(data: bytes | memoryview) -> str:
    """Hex digest, the only hash of the log."""
    return hashlib.sha256(data).hexdigest()


def encode(manifest: Manifest) -> bytes:
    """Write a manifest out, sealed.

    Raises:
        InputError: it would be larger than any reader accepts.
    Cost: O(actions); no I/O.
    """
    fields = msgspec.to_builtins(manifest)
    if manifest.table is not None:
        fields["table"] = msgspec.to_builtins(table_action(manifest.table))
        del fields["table"]["extra"]
        if manifest.table.csv_dialect is None:
            del fields["table"]["csv_dialect"]
        fields["table"].update(manifest.table.extra)
    if not manifest.mark:  # as releases write it that do not know marks
        del fields["mark"]
    if not manifest.index:
        del fields["index"]
    document = {name: fields[name] for name in _ORDER if fields.get(name) is not None or name == "parent_sha256"}
    body = msgspec.json.format(msgspec.json.encode(document), indent=1)
    unsealed = body[: body.rindex(b"\n}")] + b",\n "
    sealed = unsealed + b'"sha256": "' + sha256(unsealed).encode() + b'"\n}\n'
    if len(sealed) > MANIFEST_LIMIT_BYTES:
        raise InputError(
            f"the manifest of version {manifest.version} would have {len(sealed):,} bytes, "
            f"but readers accept at most {MANIFEST_LIMIT_BYTES:,}",
            hint="pass less user_metadata, or write fewer columns or files at once",
        )
    return sealed


def decode(data: bytes, *, version: int, where: str) -> Manifest:
    """Read a manifest and trust nothing: check seal, types, limits, version, features, paths.

    Args:
        data: the file's bytes.
        version: the number in the file's name, which the content must repeat.
        where: the file, for messages.
    Raises:
        CorruptTableError: damaged or hostile.
        UnsupportedTableError: a format version or required feature that is not known.
    """
    _check_seal(data, where)
    try:
        str(data, "utf-8")  # the decoder does not look at the bytes of fields that it does not know
        stored = _decode(data)
        action = None if stored.table is None else _with_extra(stored.table, data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        _refuse_newer(data, where)
        raise _corrupt(where, f"it does not have a manifest's form: {error}") from error
    if stored.format_version != FORMAT_VERSION:
        raise _unsupported(where, f"format version {stored.format_version}")
    commit = {name: getattr(stored, name) for name in Commit.__struct_fields__}
    manifest = Manifest(**commit, table=None if action is None else read_table(action, where))
    _check_place(manifest, version, where)
    check_dialect_of(manifest.table_id, manifest.table, where)
    check_paths(manifest.table_id, manifest.add, manifest.remove, where, adopts=may_adopt(manifest))
    check_vectors(manifest.table_id, manifest.add, manifest.remove, manifest.mark, where)
    check_index(manifest.table_id, manifest.index, where)
    if manifest.vacuum is not None:
        check_deletes(manifest.table_id, manifest.vacuum.deletes, where)
    return manifest


def encode_actions(actions: Actions) -> bytes:
    """The bytes of a sidecar.

    Raises:
        InputError: it would be larger than any reader accepts.
    """
    data = msgspec.json.encode(actions) + b"\n"
    if len(data) > SIDECAR_LIMIT_BYTES:
        raise InputError(
            f"the list of files of this commit would have {len(data):,} bytes, "
            f"but readers accept at most {SIDECAR_LIMIT_BYTES:,}",
            hint="write fewer files at once, or larger ones (target_file_bytes)",
        )
    return data


def may_adopt(manifest: Manifest) -> bool:
    """Whether a commit may add files that other tools have named: an adoption, or a restore that brings them back."""
    operation = manifest.operation.name
    if operation == "adopt":
        return manifest.table is not None and ADOPTED_FILES in manifest.table.required_features and not manifest.version
    return operation == "restore"


def decode_actions(data: bytes, *, table_id: str, where: str, adopts: bool = False) -> Actions:
    """Read a sidecar, whose hash its manifest vouches for, as strictly as a manifest; `adopts`: its `may_adopt`."""
    try:
        actions = _decode_actions(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _corrupt(where, f"it does not have a sidecar's form: {error}") from error
    check_paths(table_id, actions.add, actions.remove, where, adopts=adopts)
    check_vectors(table_id, actions.add, actions.remove, actions.mark, where)
    check_deletes(table_id, actions.deletes, where)
    return actions


def table_action(table: TableMetadata) -> TableAction:
    """A table as the log writes it: roles refer to column ids."""
    return TableAction(
        format=table.format,
        columns=table.columns,
        last_column_id=table.last_column_id,
        partition_by=table.ids(table.partition_by),
        keys=table.ids(table.keys),
        timestamp_col=None if table.timestamp_col is None else table.ids([table.timestamp_col])[0],
        properties=table.properties,
        required_features=table.required_features,
        csv_dialect=table.csv_dialect,
        extra=table.extra,
    )


def read_table(action: TableAction, where: str, formats: tuple[str, ...] = FORMATS) -> TableMetadata:
    """The inverse of `table_action`, for a table action that may be hostile: one that this release understands.

    Args:
        action: as it was decoded.
        where: the document, for messages.
        formats: what the table's format may be there.
    Raises:
        UnsupportedTableError: a required feature or file format that is not known.
        CorruptTableError: duplicate columns, roles for columns that do not exist or have a nested type, or fields that
            nest deeper than `EXTRA_DEPTH`.
    """
    if _is_deep(action.extra):
        raise _corrupt(where, f"a field of its table nests deeper than {EXTRA_DEPTH} levels")
    refuse_unknown_features(action.required_features, where)
    if action.format not in formats:
        raise _unsupported(where, f"the file format {shown(action.format)}")
    by_id = {column.id: column.name for column in action.columns}
    if len(by_id) != len(action.columns) or len(set(by_id.values())) != len(by_id) or "" in by_id.values():
        raise _corrupt(where, "two of its columns have one id or name, or one has no name")
    if max(by_id, default=0) > action.last_column_id:
        raise _corrupt(where, f"its columns have ids beyond the last one given out, {action.last_column_id}")
    timestamp = () if action.timestamp_col is None else (action.timestamp_col,)
    for role in (action.partition_by, action.keys, timestamp):
        if len(set(role)) != len(role) or not by_id.keys() >= set(role):
            raise _corrupt(where, "its keys, partition or timestamp columns are not among its columns")
    roles = {*action.partition_by, *action.keys, *timestamp}
    if any(column.id in roles and not isinstance(column.type, str) for column in action.columns):
        raise _corrupt(where, "one of its keys, partition or timestamp columns has a nested type")
    if action.csv_dialect is not None:
        _check_dialect(action, where)
    return TableMetadata(
        format=action.format,
        columns=action.columns,
        last_column_id=action.last_column_id,
        partition_by=tuple(by_id[column] for column in action.partition_by),
        keys=tuple(by_id[column] for column in action.keys),
        timestamp_col=by_id[action.timestamp_col] if action.timestamp_col is not None else None,
        properties=action.properties,
        required_features=action.required_features,
        csv_dialect=action.csv_dialect,
        extra=action.extra,
    )


def _check_dialect(action: TableAction, where: str) -> None:
    """The dialect is one that an adopt may have recorded, in an encoding that is known here."""
    dialect = action.csv_dialect
    assert dialect is not None
    if action.format != "csv" or CSV_DIALECT not in action.required_features:
        raise _corrupt(where, "it has a CSV dialect, which its format or its required features rule out")
    if max((column.id for column in dialect.columns), default=0) > action.last_column_id:
        raise _corrupt(where, "its CSV dialect names a column beyond the last one given out")
    found = csv_dialect.fault(dialect)
    if found is not None:
        raise _corrupt(where, found)
    if not csv_dialect.is_text_encoding(dialect.encoding):
        raise _unsupported(where, f"the encoding {shown(dialect.encoding)}")


def check_dialect_of(table_id: str, table: TableMetadata | None, where: str) -> None:
    """A dialect tells the table's own files by its id."""
    dialect = None if table is None else table.csv_dialect
    if dialect is not None and dialect.table_id != table_id:
        raise _corrupt(where, f"its CSV dialect is that of table {dialect.table_id}")


def refuse_unknown_features(required: Iterable[str], where: str) -> None:
    """Raises `UnsupportedTableError`, which names it, for a required feature that this release does not know."""
    unknown = sorted(set(required) - KNOWN_FEATURES)
    if unknown:
        raise _unsupported(where, f"the required feature {shown(unknown[0])}")


def check_paths(
    table_id: str, add: tuple[Add, ...], remove: tuple[Remove, ...], where: str, *, adopts: bool = False
) -> None:
    """Every path is one that txfiles would have written for this table, and occurs once.

    If it `adopts`, files that it adds may have any name below the root. A file that it removes may, too: replay knows
    which are live.
    """
    added = [action.path for action in add]
    removed = [action.path for action in remove]
    gone = frozenset(removed)
    for path, foreign in (*((path, adopts) for path in added), *((path, True) for path in removed)):
        if not (names.is_data_path(path, table_id) or (foreign and names.is_adopted_path(path))):
            raise _corrupt(where, f"it names the path {shown(path)}, which is not a data file of this table")
    for action in add:
        if not action.sha256 and (names.is_data_path(action.path, table_id) or not action.footer_sha256):
            raise _corrupt(where, f"the add of {action.path} has no sha256")
        if action.columns is not None and len(set(action.columns)) != len(action.columns):
            raise _corrupt(where, f"the add of {action.path} names a column twice")
        if action.place is not None and action.place not in gone:
            raise _corrupt(where, f"the add of {action.path} takes the place of a file that it does not remove")
    if len(set(added)) != len(added) or len(set(removed)) != len(removed):
        raise _corrupt(where, "it names a path twice")


def check_vectors(
    table_id: str, add: tuple[Add, ...], remove: tuple[Remove, ...], mark: tuple[Mark, ...], where: str
) -> None:
    """Every vector is this table's, marks some rows of its file but not all, and a file is marked once, if it stays."""
    others = {added.path for added in add} | {removed.path for removed in remove}
    for action in mark:
        if not (names.is_data_path(action.path, table_id) or names.is_adopted_path(action.path)):
            raise _corrupt(where, f"it marks {shown(action.path)}, which is not a data file of this table")
        if action.path in others:
            raise _corrupt(where, f"it marks {action.path} twice, or adds or removes it too")
        others.add(action.path)
        _check_vector(table_id, action.vector, where)
    for found in add:
        if found.vector is not None:
            _check_vector(table_id, found.vector, where)
            if found.vector.rows >= found.rows:
                raise _corrupt(where, f"it marks every row of {found.path}")


def _check_vector(table_id: str, vector: Vector, where: str) -> None:
    if not names.is_vectors(names.VECTOR_DIR + vector.file, table_id):
        raise _corrupt(where, f"it names the vector file {shown(vector.file)}, which is not this table's")


def check_index(table_id: str, index: Iterable[IndexAction], where: str) -> None:
    """Every run has a name of this table's, and occurs once; an action adds a run or removes one."""
    known: set[str] = set()
    for action in index:
        name = action.remove if action.add is None else action.add.name
        if name is None or (action.add is not None and action.remove is not None):
            raise _corrupt(where, "an action on its index neither adds nor removes a run, or does both")
        if name in known or not names.is_index_run(names.INDEX_DIR + name, table_id):
            raise _corrupt(where, f"it names the run {shown(name)} twice, or it is not this table's")
        known.add(name)


def check_deletes(table_id: str, deletes: tuple[str, ...], where: str) -> None:
    """Every name that a vacuum lists is one of this table's own, or may be one of a file that it adopted.

    A list deletes nothing: a vacuum that finishes another one's work deletes only what it finds superseded itself.
    """
    for name in deletes:
        if not (names.is_deletable(name, table_id) or names.is_adopted_path(name)):
            raise _corrupt(where, f"its vacuum names {shown(name)}, which is not this table's to delete")


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(EXTRA_DEPTH + 1):
        containers = [found.values() if isinstance(found, dict) else found for found in level]
        level = [item for found in containers for item in found if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _check_seal(data: bytes, where: str) -> None:
    at = data.rfind(b'"sha256"')
    seal = _SEAL.match(data, at) if at >= 0 else None
    if seal is None:
        raise _corrupt(where, "it is cut off, or its last field is not its sha256")
    if sha256(data[:at]) != seal[1].decode():
        raise _corrupt(where, "its content does not match its sha256")


def _check_place(manifest: Manifest, version: int, where: str) -> None:
    """What it says about itself and other files fits its version."""
    try:
        times.parse_us(manifest.time)
    except CorruptTableError as error:
        raise _corrupt(where, error.message) from error
    sidecar, checkpoint, restore = manifest.sidecar, manifest.checkpoint, manifest.restore
    if manifest.version != version:
        why = f"it says that it is version {manifest.version}"
    elif manifest.table is None and version == 0:
        why = "version 0 does not say what the table is"
    elif checkpoint is not None and checkpoint.version >= version:
        why = f"it names a checkpoint of version {checkpoint.version}"
    elif checkpoint is not None and any(names.part_version(part) > checkpoint.version for part in checkpoint.parts):
        why = "it names a part that is newer than its checkpoint"
    elif sidecar is not None and names.sidecar_version(names.SIDECAR_DIR + sidecar.name) != version:
        why = f"it names {sidecar.name}, which is another version's"
    elif restore is not None and max(restore.version, restore.columns_since, restore.names_since) >= version:
        why = f"it restores version {restore.version}, which does not come before it"
    elif sidecar is not None and (
        (manifest.add or manifest.remove or manifest.mark)
        or (manifest.vacuum and manifest.vacuum.deletes)
        or (restore and (restore.forget or restore.remember))
    ):
        why = "it has actions of its own beside those of its sidecar"
    else:
        return
    raise _corrupt(where, why)


def _refuse_newer(data: bytes, where: str) -> None:
    """A later format or feature may have another form: report it as newer, not as damaged."""
    try:
        newer = _decode_newer(data)
        if newer.format_version > FORMAT_VERSION:
            raise _unsupported(where, f"format version {newer.format_version}")
        needs = _decode_needs(data).table
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return
    refuse_unknown_features(needs.required_features, where)


def _with_extra(table: TableAction, data: bytes) -> TableAction:
    fields = _decode_table_fields(_decode_table_fields(data)["table"])
    extra = {name: _decode_any(raw) for name, raw in fields.items() if name not in _TABLE_FIELDS}
    return msgspec.structs.replace(table, extra=extra)


def _corrupt(where: str, why: str) -> CorruptTableError:
    return CorruptTableError(
        f"{where} is damaged: {why}",
        hint="restore the file from a backup; txfiles does not guess what it held",
        file=where,
    )


def _unsupported(where: str, what: str) -> UnsupportedTableError:
    return UnsupportedTableError(
        f"{where} needs {what}, which this release does not know", hint="upgrade txfiles", file=where
    )
