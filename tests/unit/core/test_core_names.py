"""Names and paths: one spelling each, nothing outside the table, nothing of others to delete."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import TABLE_ID, data_names, partition_values, texts, words
from txfiles.core import names

COMMIT = "5d41402abc4b2a76b9719d911017c592"
DATA = f"part-{TABLE_ID}-{COMMIT}-00000.parquet"
OTHER = DATA.replace(TABLE_ID, "0" * 16)

segments = texts.filter(lambda text: text not in ("", ".", "..") and "/" not in text and "\0" not in text)
all_names = st.lists(segments, min_size=1, max_size=3).map("/".join)


@given(all_names)
def test_a_path_leads_back_to_its_name(name: str) -> None:
    """Encoding a name as a path loses nothing, so two names never share a path."""
    path = names.encode_path(name)
    assert path.isascii()
    assert names.decode_path(path) == name


@given(st.text("aA%=2fF0Ee./~ \\é", max_size=12) | st.text(max_size=12))
def test_a_name_has_one_path(path: str) -> None:
    """A text either is no path at all, or the only spelling of its name."""
    name = names.decode_path(path)
    assert name is None or names.encode_path(name) == path


@given(data_names())
def test_what_is_written_is_accepted(name: str) -> None:
    """Each data file that a table writes is its own and its own only, and below its root."""
    path = names.encode_path(name)
    assert names.is_data_path(path, TABLE_ID)
    assert names.is_data_name(name, TABLE_ID)
    assert not names.is_data_path(path, "0" * 16)
    assert not set(name.split("/")) & {"", ".", "..", "_txfiles"}


HOSTILE = {
    "parent": f"../{DATA}",
    "parent inside": f"c=1/../{DATA}",
    "encoded parent": f"%2e%2e/{DATA}",
    "encoded parent, upper case": f"%2E%2E/{DATA}",
    "here": f"./{DATA}",
    "absolute": f"/{DATA}",
    "absolute elsewhere": "/etc/passwd",
    "empty segment": f"c=1//{DATA}",
    "ends in a slash": f"{DATA}/",
    "empty": "",
    "encoded slash": f"c=1%2F{DATA}",
    "encoded slash in a value": f"c=a%2Fb/{DATA}",
    "encoded slash twice": f"c=..%2F..%2Fx/{DATA}",
    "NUL": f"c=%00/{DATA}",
    "a bare NUL": f"c=\0/{DATA}",
    "newline": f"{DATA}\n",
    "encoded newline": f"{DATA}%0A",
    "backslash": f"c=1\\{DATA}",
    "encoded backslash": f"c=..%5C..%5Cx/{DATA}",
    "drive letter": f"C:/{DATA}",
    "encoded drive letter": f"C%3A/{DATA}",
    "drive as a column": f"C%3A=1/{DATA}",
    "URL": f"s3://bucket/{DATA}",
    "file URL": f"file:///{DATA}",
    "encoded URL": f"s3%3A/{DATA}",
    "home": f"~/{DATA}",
    "lower-case escape": f"c=%c3%a9/{DATA}",
    "escape of a letter": f"c=%41/{DATA}",
    "escape of a letter in the name": DATA.replace("part", "%70art"),
    "half an escape": f"c=%4/{DATA}",
    "a bare percent sign": f"c=%/{DATA}",
    "plus": f"c=a+b/{DATA}",
    "blank": f"c=a b/{DATA}",
    "bare é": f"c=é/{DATA}",
    "invalid UTF-8": f"c=%FF/{DATA}",
    "overlong slash": f"c=%C0%AF/{DATA}",
    "encoded surrogate": f"c=%ED%A0%80/{DATA}",
    "query": f"{DATA}?versionId=1",
    "fragment": f"{DATA}#x",
    "folder that is no partition": f"sub/{DATA}",
    "folder without a column": f"=1/{DATA}",
    "folder longer than any disk has": f"c={'x' * 254}/{DATA}",
    "folder longer than any disk has, in bytes": f"c={'%C3%A9' * 127}/{DATA}",
    "folder without a value": f"c=/{DATA}",
    "folder in another Hive spelling": f"c=%2541/{DATA}",
    "folder with a bare equals sign in its value": f"c=a=b/{DATA}",
    "the log": f"_txfiles/{DATA}",
    "a manifest": names.manifest(3),
    "a checkpoint": names.checkpoint(3, COMMIT),
    "table.json": names.TABLE_FILE,
    "another table's file": OTHER,
    "a table within": f"c=1/_txfiles/{DATA}",
    "somebody's file": "thesis.parquet",
    "Spark's file": f"part-00000-{COMMIT}-c000.snappy.parquet",
    "upper-case hex": DATA.upper().replace("PART", "part").replace("PARQUET", "parquet"),
    "another suffix": DATA.replace("parquet", "json"),
    "two suffixes": f"{DATA}.parquet",
    "a temporary file": f".tmp-{DATA}",
    "four digits": DATA.replace("-00000", "-0000"),
    "ten digits": DATA.replace("-00000", "-0000000000"),
    "digits of another script": names.encode_path(DATA.replace("-00000", "-٠٠٠٠٠")),
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_path_is_no_data_file(path: str) -> None:
    """Nothing but this table's own spelling of this table's own data files is ever followed or deleted."""
    assert not names.is_data_path(path, TABLE_ID)
    if path not in (names.checkpoint(3, COMMIT), f".tmp-{DATA}"):
        assert not names.is_deletable(path, TABLE_ID)


def test_a_folder_of_255_bytes_is_one() -> None:
    """The longest folder that file systems hold is a partition's like any other."""
    assert names.is_data_path(f"c={'x' * 253}/{DATA}", TABLE_ID)


@given(words, partition_values)
def test_a_partition_folder_is_one_segment_that_says_column_and_value(column: str, value: str | None) -> None:
    """Hive's escapes can be undone by any Hive reader; null and the empty text share a folder."""
    folder = names.partition_folder(column, value)
    assert "/" not in folder
    assert folder.count("=") == 1
    said_column, _, said_value = folder.partition("=")
    assert unquote(said_column, errors="strict") == column
    assert unquote(said_value, errors="strict") == (value or names.NULL_FOLDER)
    assert names.is_data_name(f"{folder}/{DATA}", TABLE_ID)


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("DE", "c=DE"),
        ("a/A", "c=a%2FA"),
        ("..", "c=.."),
        ("a b", "c=a b"),
        ("50%", "c=50%25"),
        ("é", "c=é"),
        ("2013-01-01T10:00:00Z", "c=2013-01-01T10%3A00%3A00Z"),
        ("\x00\x1f\x7f", "c=%00%1F%7F"),
        ("\"#'*:=?\\{[]^", "c=%22%23%27%2A%3A%3D%3F%5C%7B%5B%5D%5E"),
        ("}!&+,;@$()", "c=}!&+,;@$()"),
        (None, "c=__HIVE_DEFAULT_PARTITION__"),
        ("", "c=__HIVE_DEFAULT_PARTITION__"),
        ("__HIVE_DEFAULT_PARTITION__", "c=__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_hive_escapes(value: str | None, folder: str) -> None:
    """Just the characters that Hive and Spark escape are escaped, as they do."""
    assert names.partition_folder("c", value) == folder


def test_a_value_with_a_slash_stands_in_one_folder() -> None:
    """country=a/A is one folder, escaped once for Hive and once for the path, and cannot be taken for two."""
    name = f"{names.partition_folder('country', 'a/A')}/{DATA}"
    path = names.encode_path(name)
    assert name == f"country=a%2FA/{DATA}"
    assert path == f"country=a%252FA/{DATA}"
    assert names.decode_path(path) == name
    assert not names.is_data_path(f"country=a%2FA/{DATA}", TABLE_ID)
    assert not names.is_data_path(f"country=a/A/{DATA}", TABLE_ID)


@given(st.lists(st.tuples(words, texts.filter(bool)), min_size=2, max_size=2, unique=True))
def test_two_partitions_have_two_folders(pair: list[tuple[str, str]]) -> None:
    """Different columns or values never share a folder, null and the empty text apart."""
    if names.NULL_FOLDER not in (pair[0][1], pair[1][1]):
        assert names.partition_folder(*pair[0]) != names.partition_folder(*pair[1])


DELETABLE = {
    "data file": DATA,
    "partitioned data file": f"c=a%2525/{DATA}",
    "CSV": DATA.replace("parquet", "csv"),
    "temporary data file": f"c=1/.tmp-{DATA}",
    "temporary log file": f"_txfiles/log/.tmp-{COMMIT}",
    "temporary file of the folder": f"_txfiles/.tmp-{COMMIT}",
    "checkpoint": names.checkpoint(7, COMMIT),
    "sidecar": names.SIDECAR_DIR + names.sidecar(7, COMMIT),
    "index run": names.index_run(TABLE_ID, COMMIT, 3),
}

KEPT = {
    "manifest 0": names.manifest(0),
    "manifest 7": names.manifest(7),
    "the greatest manifest": names.manifest(10**20 - 1),
    "a manifest with digits of another script": names.encode_path(f"_txfiles/log/{'٧' * 20}.json"),
    "table.json": names.TABLE_FILE,
    "hint": names.HINT_FILE,
    "lock": names.LOCK_FILE,
    "the log's folder": "_txfiles/log",
    "README": "README.md",
    "somebody's Parquet": "part-00000.parquet",
    "a file of another table": OTHER,
    "a temporary file of another table": f".tmp-{OTHER}",
    "somebody's temporary file": ".tmp-thesis",
    "a temporary file that is not the log's": f".tmp-{COMMIT}",
    "a data file within the log": f"_txfiles/{DATA}",
    "a temporary data file within the log": f"_txfiles/.tmp-{DATA}",
    "something beside the index runs": f"_txfiles/index/{COMMIT}",
    "an index run of another table": names.index_run(TABLE_ID[::-1], COMMIT, 3),
    "an index run in another folder": names.index_run(TABLE_ID, COMMIT, 3).replace("index", "log"),
    "the index's secret": names.INDEX_SEED_FILE,
    "a checkpoint's neighbour": f"_txfiles/checkpoints/{7:020d}.parquet",
    "a checkpoint of a table within": f"c=1/{names.checkpoint(7, COMMIT)}",
    "a manifest, by way of the checkpoints": f"_txfiles/checkpoints/../log/{7:020d}.json",
}


@pytest.mark.parametrize("path", DELETABLE.values(), ids=DELETABLE)
def test_own_files_may_be_deleted(path: str) -> None:
    """Vacuum may list data and temporary files, checkpoints, sidecars and index runs of its own table."""
    assert names.is_deletable(path, TABLE_ID)


@pytest.mark.parametrize("name", KEPT.values(), ids=KEPT)
def test_nothing_else_may_be_deleted(name: str) -> None:
    """No vacuum ever lists a manifest, the table's identity, hint or lock, or anything of somebody else."""
    assert not names.is_deletable(name, TABLE_ID)
    assert not names.is_deletable(names.encode_path(name), TABLE_ID)


@given(st.integers(0, 10**20 - 1))
def test_numbers_stand_in_names_and_come_back(version: int) -> None:
    """A version is read from the name that was made of it, and names sort as versions do."""
    assert names.manifest_version(names.manifest(version)) == version
    assert names.checkpoint_version(names.checkpoint(version, COMMIT)) == version
    assert names.sidecar_version(names.SIDECAR_DIR + names.sidecar(version, COMMIT)) == version
    assert (names.manifest(version) < names.manifest(10**19)) == (version < 10**19)
    assert not names.is_deletable(names.manifest(version), TABLE_ID)


@pytest.mark.parametrize(
    "name",
    [
        "_txfiles/log/7.json",
        f"_txfiles/log/{7:020d}.json.tmp",
        f"_txfiles/log/x{7:019d}.json",
        f"_txfiles/log/-{7:019d}.json",
        f"{7:020d}.json",
        f"c=1/_txfiles/log/{7:020d}.json",
        f"_txfiles/log/{7:020d}.json\n",
        f"_txfiles/log/{'٧' * 20}.json",
    ],
)
def test_what_is_no_manifest_has_no_version(name: str) -> None:
    """Only the exact form of a manifest's name is taken for one."""
    assert names.manifest_version(name) is None
