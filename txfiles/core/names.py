"""Every name below a table's root, and which names are valid.

Two spellings: a *name* is what the store sees (`country=a b/part-….parquet`); a *path* is a name with each segment
URL-encoded, as manifests write it (`country=a%20b/part-….parquet`). Nothing is ever normalised: what does not match the
grammar is refused. That is what confines a table to its root.

Source: specs/2-layout.md.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

LOG_DIR = "_txfiles/"
LOG_FOLDER = "_txfiles"
TABLE_FILE = "_txfiles/table.json"
LOCK_FILE = "_txfiles/lock"
HINT_FILE = "_txfiles/hint.json"
MANIFEST_DIR = "_txfiles/log/"
CHECKPOINT_DIR = "_txfiles/checkpoints/"
SIDECAR_DIR = "_txfiles/actions/"
VECTOR_DIR = "_txfiles/vectors/"
INDEX_DIR = "_txfiles/index/"
STAGED_DIR = "_txfiles/staged/"
INDEX_SEED_FILE = "_txfiles/index/secret"
LOG_FOLDER = "_txfiles"

TABLE_ID_PATTERN = r"^[0-9a-f]{16}$(?!\n)"
PART_PATTERN = r"^[0-9]{20}-[0-9a-f]{32}\.parquet$(?!\n)"
SIDECAR_PATTERN = r"^[0-9]{20}-[0-9a-f]{32}\.json$(?!\n)"
VECTOR_PATTERN = r"^[0-9a-f]{16}-[0-9a-f]{32}-[0-9]{5,9}\.bin$(?!\n)"
INDEX_RUN_PATTERN = r"^[0-9a-f]{16}-[0-9a-f]{32}-[0-9]{5,9}\.run$(?!\n)"
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
SEGMENT_LIMIT_BYTES = 255
"""The longest file name of every common file system; longer ones could not be copied off a bucket."""

_MANIFEST = re.compile(r"_txfiles/log/([0-9]{20})\.json")
_CHECKPOINT = re.compile(r"_txfiles/checkpoints/([0-9]{20})-[0-9a-f]{32}\.parquet")
_SIDECAR = re.compile(r"_txfiles/actions/([0-9]{20})-[0-9a-f]{32}\.json")
_INDEX_RUN = re.compile(r"_txfiles/index/([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.run")
_VECTORS = re.compile(r"_txfiles/vectors/([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.bin")
_STAGED = re.compile(r"_txfiles/staged/(\.tmp-)?([0-9a-f]{16})-[0-9a-f]{32}-[0-9a-f]{32}\.rows")
_DATA_FILE = re.compile(r"part-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.(parquet|csv)")
_TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{32}|part-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.(parquet|csv))")
_TEMPORARY_VECTORS = re.compile(r"_txfiles/vectors/\.tmp-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.bin")
_TEMPORARY_RUN = re.compile(r"_txfiles/index/\.tmp-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.run")
_REMOVED_LOG = re.compile(r"_txfiles-([0-9a-f]{16})-[0-9a-f]{32}")
_SOME_TABLES = re.compile(r"(?:\.tmp-)?part-([0-9a-f]{16})-[0-9a-f]{32}-[0-9]{5,9}\.(?:parquet|csv)")
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~=-]|%[0-9A-F]{2})+")
_HIVE_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_HIVE_ESCAPED = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]")


def manifest(version: int) -> str:
    """The name of a version's manifest."""
    return f"{MANIFEST_DIR}{version:020d}.json"


def manifest_version(name: str) -> int | None:
    """The version in a manifest's name; None for any other name."""
    found = _MANIFEST.fullmatch(name)
    return int(found[1]) if found else None


def checkpoint(version: int, unique_id: str) -> str:
    """The name of a checkpoint at a version: its own, so that racing writers do not meet."""
    return f"{CHECKPOINT_DIR}{version:020d}-{unique_id}.parquet"


def checkpoint_version(name: str) -> int | None:
    """The version in a checkpoint's name; None for any other name."""
    found = _CHECKPOINT.fullmatch(name)
    return int(found[1]) if found else None


def part_version(part: str) -> int:
    """The version of the checkpoint that a part of a later one was first written for."""
    return int(part[:20])


def sidecar(version: int, unique_id: str) -> str:
    """The last segment of the name of a version's sidecar; only manifest `version` can name it."""
    return f"{version:020d}-{unique_id}.json"


def sidecar_version(name: str) -> int | None:
    """The version in a sidecar's name; None for any other name."""
    found = _SIDECAR.fullmatch(name)
    return int(found[1]) if found else None


def index_run(table_id: str, unique_id: str, number: int) -> str:
    """The name of a run of the key index, unique by a commit's id or any other fresh one."""
    return f"{INDEX_DIR}{table_id}-{unique_id}-{number:05d}.run"


def is_index_run(name: str, table_id: str) -> bool:
    """Whether a name found in the store is a run of this table's key index."""
    found = _INDEX_RUN.fullmatch(name)
    return found is not None and found[1] == table_id


def vectors(table_id: str, commit_id: str, number: int) -> str:
    """The last segment of the name of a file of deletion vectors; all those of a commit are in one."""
    return f"{table_id}-{commit_id}-{number:05d}.bin"


def is_vectors(name: str, table_id: str) -> bool:
    """Whether a name found in the store is a file of this table's deletion vectors."""
    found = _VECTORS.fullmatch(name)
    return found is not None and found[1] == table_id


def staged(table_id: str, call_id: str, unique_id: str = "") -> str:
    """The name of a file of rows on their way into a table, in no version; or what those of a call all begin with."""
    return f"{STAGED_DIR}{table_id}-{call_id}-" + (f"{unique_id}.rows" if unique_id else "")


def data_file(table_id: str, commit_id: str, number: int, suffix: str) -> str:
    """The last segment of a data file's name: unique by its commit's id, and the table's own by the table's id."""
    return f"part-{table_id}-{commit_id}-{number:05d}.{suffix}"


def is_data_path(path: str, table_id: str) -> bool:
    """Whether a path from a manifest is one that txfiles would write for this table."""
    name = decode_path(path)
    return name is not None and is_data_name(name, table_id)


def is_data_name(name: str, table_id: str) -> bool:
    """Whether a name found in the store is a data file of this table."""
    *folders, last = name.split("/")
    found = _DATA_FILE.fullmatch(last)
    return found is not None and found[1] == table_id and all(_is_partition_folder(folder) for folder in folders)


def table_of(name: str) -> str | None:
    """The id of the table whose data file has this name, in whatever folder; None for any other name."""
    found = _SOME_TABLES.fullmatch(name.rpartition("/")[2])
    return found[1] if found else None


def is_adoptable(name: str) -> bool:
    """Whether a data file that another tool named may belong to a table: any name below the root but the log's."""
    segments = name.split("/")
    return all(
        segment not in ("", ".", "..", LOG_FOLDER)
        and "\0" not in segment
        and len(segment.encode()) <= SEGMENT_LIMIT_BYTES
        for segment in segments
    )


def is_adopted_path(path: str) -> bool:
    """Whether a path from a manifest may be that of an adopted file."""
    name = decode_path(path)
    return name is not None and is_adoptable(name)


def is_temporary(name: str, table_id: str) -> bool:
    """Whether a name is a temporary file: this table's staged rows, or one that a local store has not yet renamed."""
    staged_rows = _STAGED.fullmatch(name)
    if staged_rows is not None:
        return staged_rows[2] == table_id
    for pattern in (_TEMPORARY_VECTORS, _TEMPORARY_RUN):
        own = pattern.fullmatch(name)
        if own is not None:
            return own[1] == table_id
    folder, _, last = name.rpartition("/")
    found = _TEMPORARY.fullmatch(last)
    if found is None:
        return False
    if found[2] is None:
        return folder == "_txfiles" or folder.startswith(LOG_DIR)
    return found[2] == table_id and not folder.startswith("_txfiles")


def removed_log(table_id: str, unique_id: str) -> str:
    """The folder to which a detach moves the log in one step, before it deletes it."""
    return f"{LOG_FOLDER}-{table_id}-{unique_id}"


def removed_log_of(folder: str) -> str | None:
    """The id of the table whose log was moved to a folder of this name; None for any other folder."""
    found = _REMOVED_LOG.fullmatch(folder)
    return found[1] if found else None


def is_log_name(name: str, table_id: str) -> bool:
    """Whether a name below `_txfiles/` is one that this table's log may have."""
    if name in (TABLE_FILE, LOCK_FILE, HINT_FILE, INDEX_SEED_FILE):
        return True
    if any(version_of(name) is not None for version_of in (manifest_version, checkpoint_version, sidecar_version)):
        return True
    return any(is_own(name, table_id) for is_own in (is_vectors, is_index_run, is_temporary))


def is_deletable(path: str, table_id: str) -> bool:
    """Whether a vacuum may ever list this path: files of data, vectors or index, temporary ones, checkpoints, sidecars.

    A manifest never is one.
    """
    name = decode_path(path)
    if name is None:
        return False
    if checkpoint_version(name) is not None or sidecar_version(name) is not None:
        return True
    return any(is_own(name, table_id) for is_own in (is_data_name, is_vectors, is_index_run, is_temporary))


def encode_path(name: str) -> str:
    """A store's name as a manifest writes it. Characters that the grammar allows stay, all others become %XX."""
    return "/".join(quote(segment, safe="=") for segment in name.split("/"))


def decode_path(path: str) -> str | None:
    """The name behind a manifest's path; None unless the path is spelt in the one canonical way."""
    segments = path.split("/")
    if not all(_ENCODED.fullmatch(segment) for segment in segments):
        return None
    try:
        decoded = [unquote_to_bytes(segment).decode() for segment in segments]
    except UnicodeDecodeError:
        return None
    if any(segment in (".", "..") or "/" in segment or "\0" in segment for segment in decoded):
        return None
    name = "/".join(decoded)
    return name if encode_path(name) == path else None


def partition_folder(column: str, value: str | None) -> str:
    """One Hive folder, `column=value`, in Hive's escapes; null and the empty text share one folder."""
    text = NULL_FOLDER if value is None or value == "" else _hive_escape(value)
    return f"{_hive_escape(column)}={text}"


def partition_of(folder: str) -> tuple[str, str | None]:
    """The column and the text of a Hive folder: the inverse of `partition_folder`, in which null is the empty text."""
    column, _, text = folder.partition("=")
    return _hive_unescape(column), None if text == NULL_FOLDER else _hive_unescape(text)


def foreign_partition_of(folder: str) -> tuple[str, str | None] | None:
    """The column and the value's text in a Hive folder that another tool named; None if it is no such folder.

    Hive and Spark escape some ASCII characters, others all that a URL would: both are undone.
    """
    column, equals, text = folder.partition("=")
    if not equals or not column:
        return None
    try:
        name, value = (unquote_to_bytes(part).decode() for part in (column, text))
    except UnicodeDecodeError:
        return None
    return name, None if value == NULL_FOLDER else value


def is_partition_folder(folder: str) -> bool:
    """Whether a folder is spelt as txfiles would spell it, so that its own files may be in it."""
    return _is_partition_folder(folder)


def _hive_escape(text: str) -> str:
    return _HIVE_ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _hive_unescape(text: str) -> str:
    return _HIVE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _is_partition_folder(folder: str) -> bool:
    column, _, text = folder.partition("=")
    if len(folder.encode()) > SEGMENT_LIMIT_BYTES:
        return False
    return all(part and _hive_escape(_hive_unescape(part)) == part for part in (column, text))
