"""A compaction: small files are joined, no row changes, and a second one has nothing to do."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles import environment, inputs
from txfiles.core import names
from txfiles.errors import CorruptTableError, DuplicateKeyError, InputError, KeysRequiredError, OptionError
from txfiles.log import checkpoint, versions
from txfiles.log.session import Session
from txfiles.options import Request, check
from txfiles.reading import scan
from txfiles.store.memory import MemoryStore
from txfiles.targets.files import writes as files_target

SMALL = {"target_file_bytes": 20_000, "row_group_rows": 1}
FORMATS = pytest.mark.parametrize("format_name", ["parquet", "csv"])


def rows(*ids: int, part: str = "a", n: int = 0) -> pa.Table:
    """Rows with these keys."""
    return pa.table({"id": pa.array(ids, pa.int64()), "part": [part] * len(ids), "n": [n] * len(ids)})


def appended(path: Path, count: int, /, **options: Any) -> tx.Table:
    """A table of many appends, each with a row for each of two parts."""
    for number in range(count):
        first: dict[str, Any] = {} if number else {"properties": SMALL, **options}
        both = pa.concat_tables([rows(2 * number, part="a"), rows(2 * number + 1, part="b")])
        tx.write(both, path, mode="append", **first)
    return tx.Table(path)


def files(path: Path) -> list[str]:
    """Everything that stands there."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def in_order(table: tx.Table, part: str) -> list[int]:
    """The keys of a part, in row order."""
    found: list[int] = table.to_arrow(["id"], [("part", "==", part)])["id"].to_pylist()
    return found


@FORMATS
@pytest.mark.parametrize("partitioned", [False, True])
def test_small_files_are_joined(tmp_path: Path, format_name: str, partitioned: bool) -> None:
    """The rows are the same and in their order, the files fewer; the version before stays readable."""
    path = tmp_path / "table"
    table = appended(path, 6, format=format_name, partition_by=["part"] if partitioned else None)
    before, files_before = table.to_arrow(), len(table.files())
    orders = [in_order(table, part) for part in "ab"]
    done = table.compact()
    assert (done.committed, done.version, table.version) == (True, 6, 6)
    assert (done.files_before, done.files_after, done.groups) == (files_before, *([2, 2] if partitioned else [1, 1]))
    assert (done.rows, done.groups_skipped, done.dry_run) == (12, 0, False)
    assert done.bytes_after == sum(Path(file).stat().st_size for file in table.files())
    assert tx.resolve(path, str(done.commit_id)).version == 6
    assert [in_order(table, part) for part in "ab"] == orders
    assert [in_order(tx.Table(path), part) for part in "ab"] == orders
    assert table.at(version=5).to_arrow().equals(before)
    [commit] = table.history(1)
    assert (commit.operation, commit.read_version, commit.rows_in, commit.rows_deleted) == ("compact", 5, 0, 0)
    assert (commit.files_added, commit.files_removed) == (done.files_after, done.files_before)


@FORMATS
def test_a_second_compaction_has_nothing_to_do(tmp_path: Path, format_name: str) -> None:
    """It commits nothing and leaves nothing behind."""
    table = appended(tmp_path / "table", 5, format=format_name)
    assert table.compact().committed
    standing = files(tmp_path)
    again = table.compact()
    assert (again.committed, again.version, again.groups, again.files_before, again.commit_id) == (False, 5, 0, 0, None)
    assert (files(tmp_path), table.version) == (standing, 5)


def test_a_dry_run_says_what_would_be_joined(tmp_path: Path) -> None:
    """Nothing is written, and the files to be joined and their rows are those that a compaction then joins."""
    table = appended(tmp_path / "table", 4)
    standing = files(tmp_path)
    planned = table.compact(dry_run=True)
    assert (planned.dry_run, planned.committed, planned.version) == (True, False, 3)
    assert files(tmp_path) == standing
    done = table.compact()
    assert (planned.files_before, planned.bytes_before, planned.rows) == (done.files_before, done.bytes_before, 8)
    assert planned.bytes_after == planned.bytes_before


def test_a_file_near_the_target_is_left_alone(tmp_path: Path) -> None:
    """Files of half the target size or more stay, and small ones on both sides of one stay apart."""
    table = appended(tmp_path / "table", 4)
    sizes = [Path(file).stat().st_size for file in table.files()]
    assert table.compact(target_file_bytes=2 * min(sizes)).groups == 0
    tx.write(rows(*range(100, 200), n=7), table.path, mode="append")
    tx.write(rows(300), table.path, mode="append")
    tx.write(rows(301), table.path, mode="append")
    large = table.refresh().files()[4]
    done = table.compact()
    assert (done.groups, done.files_before) == (2, 6)
    assert table.files()[1] == large
    assert in_order(table, "a") == [0, 2, 4, 6, *range(100, 200), 300, 301]


def test_a_new_file_stands_where_the_first_one_stood(tmp_path: Path) -> None:
    """If a key is in the table twice, the same row is the last one before and after: merge keeps its values."""
    path = tmp_path / "table"
    for n in (1, 2):
        tx.write(rows(7, n=n), path, mode="append", properties=SMALL)
    tx.write(rows(*range(100, 200), 7, n=3), path, mode="append")
    assert tx.Table(path).compact().groups == 1
    tx.write(pa.table({"id": [7], "part": ["changed"]}), path, mode="upsert", keys=["id"], schema_mode="merge")
    assert tx.Table(path).lookup([7])["n"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("mode", "keys", "joined"),
    [
        ("append", None, True),  # no keys, so nobody can tell two rows of one key
        ("upsert", ["id"], True),  # keys are unique
        ("upsert", ["id", "part"], True),
        ("both", ["id", "part"], True),  # a key is in one partition
        ("both", ["id"], False),
    ],
)
def test_what_lies_between_in_other_partitions(tmp_path: Path, mode: str, keys: Any, joined: bool) -> None:
    """Files of a partition are joined across others, unless one key may be in two partitions."""
    path = tmp_path / "table"
    for number in range(6):
        batch = rows(number, part="ab"[number % 2])
        options: dict[str, Any] = {} if number else {"partition_by": ["part"], "properties": SMALL}
        if mode == "append" or (mode == "both" and number == 5):
            tx.write(batch, path, mode="append", **options)
        else:
            tx.write(batch, path, mode="upsert", keys=keys, **options)
    table = tx.Table(path)
    assert table.compact().files_before == (6 if joined else 0)
    assert [in_order(table, part) for part in "ab"] == [[0, 2, 4], [1, 3, 5]]


def test_where_chooses_files_by_their_bounds(tmp_path: Path) -> None:
    """Files that cannot hold a match are not joined; a filter of an unknown column is an error."""
    table = appended(tmp_path / "table", 4, partition_by=["part"])
    others = [file for file in table.files() if "part=b" in file]
    done = table.compact(where=[("part", "==", "a")])
    assert (done.groups, done.files_before) == (1, 4)
    assert [file for file in table.files() if "part=b" in file] == others
    assert table.compact(where=[("id", ">", 3)]).files_before == 2
    with pytest.raises(InputError, match="nowhere"):
        table.compact(where=[("nowhere", "==", 1)])


def test_sort_orders_rows_by_key(tmp_path: Path) -> None:
    """Rows of a new file are in order of their keys, those of one key in their old order; nulls come last."""
    path = tmp_path / "table"
    tx.write(rows(5, 1), path, mode="upsert", keys=["id"], properties=SMALL)
    tx.write(rows(9, 3, n=1), path, mode="append")
    tx.write(rows(5, n=2), path, mode="append")
    tx.write(pa.table({"id": pa.array([None], pa.int64()), "part": ["x"], "n": [0]}), path, mode="append")
    tx.write(rows(2), path, mode="append")
    table = tx.Table(path)
    before = table.to_arrow().to_pylist()
    done = table.compact(sort=True)
    assert (done.groups, done.rows) == (1, 7)
    found = table.to_arrow().to_pylist()
    assert [(row["id"], row["n"]) for row in found] == [(1, 0), (2, 0), (3, 1), (5, 0), (5, 2), (9, 1), (None, 0)]
    assert sorted(map(str, found)) == sorted(map(str, before))
    assert not table.compact(sort=True).committed


def test_sort_needs_keys(tmp_path: Path) -> None:
    """A table without keys has no order: an error, and nothing is written."""
    table = appended(tmp_path / "table", 3)
    standing = files(tmp_path)
    for dry_run in (False, True):
        with pytest.raises(KeysRequiredError, match="no") as raised:
            table.compact(sort=True, dry_run=dry_run)
        assert raised.value.hint
    assert files(tmp_path) == standing


@pytest.mark.parametrize("given", [0, -5, "many", 1.5, True, 2**60])
def test_a_target_that_is_no_size_is_refused(tmp_path: Path, given: Any) -> None:
    """As the property of that name."""
    with pytest.raises(OptionError, match="target_file_bytes"):
        appended(tmp_path / "table", 1).compact(target_file_bytes=given)


def test_a_pinned_version_is_not_compacted(tmp_path: Path) -> None:
    """Only the newest version can be."""
    with pytest.raises(OptionError, match="compact is not possible"):
        appended(tmp_path / "table", 2).at(version=0).compact()


@FORMATS
def test_files_of_older_columns_are_joined(tmp_path: Path, format_name: str) -> None:
    """Files written before a merge added and widened columns become files of the table's columns."""
    path = tmp_path / "table"
    tx.write(pa.table({"id": pa.array([1], pa.int32())}), path, mode="append", format=format_name, properties=SMALL)
    wider = pa.table({"more": ["x"], "id": pa.array([2**40], pa.int64())})
    tx.write(wider, path, mode="append", schema_mode="merge")
    table = tx.Table(path)
    before = table.to_arrow()
    assert table.compact().files_before == 2
    assert table.to_arrow().equals(before)
    assert len(table.files()) == 1  # plain readers may have it again
    assert table.lookup([1, 2**40]).num_rows == 2 if table.keys else True
    [file] = table.file_table().to_pylist()
    assert (file["id.min"], file["id.max"], file["more.nulls"]) == (1, 2**40, 1)


def test_many_tiny_files_fill_new_ones(tmp_path: Path) -> None:
    """Files that are mostly footers are joined until the new one is no longer small, sorted or not."""
    path = tmp_path / "table"
    first: dict[str, Any] = {"keys": ["id"], "properties": {"target_file_bytes": 8_000, "row_group_rows": 8}}
    for number in range(40):
        texts = [hashlib.sha512(bytes([number, row])).hexdigest() for row in range(3)]
        tx.write(pa.table({"id": range(3 * number, 3 * number + 3), "text": texts}), path, mode="upsert", **first)
    shutil.copytree(path, tmp_path / "sorted")
    for table, sort in ((tx.Table(path), False), (tx.Table(tmp_path / "sorted"), True)):
        done = table.compact(sort=sort)
        sizes = [Path(file).stat().st_size for file in table.files()]
        assert done.groups > 2
        assert all(4_000 <= size <= 16_000 for size in sizes[:-1])
        assert table.to_arrow()["id"].to_pylist() == list(range(120))
        assert not table.compact().committed
        written = {Path(file).name for file in table.files()}
        standing = {found.name for found in Path(table.path).glob("part-*")}
        assert len(standing - written) == 40  # nothing is left of what was written and found too small


def test_new_files_are_filled(tmp_path: Path) -> None:
    """Each takes files until the next one would take it beyond the target, so only the last may be small."""
    for number in range(24):
        texts = [hashlib.sha512(bytes([number, row])).hexdigest() for row in range(48)]
        tx.write(pa.table({"text": texts}), tmp_path / "table", mode="append", properties={"row_group_rows": 16})
    table = tx.Table(tmp_path / "table")
    assert table.compact(target_file_bytes=40_000).groups > 3
    sizes = [Path(file).stat().st_size for file in table.files()]
    assert all(20_000 <= size <= 50_000 for size in sizes[:-1])
    assert not table.compact(target_file_bytes=40_000).committed


def test_superseded_files_are_vacuumed(tmp_path: Path) -> None:
    """As those of any commit."""
    table = appended(tmp_path / "table", 4)
    before = table.to_arrow()
    old = {Path(file).name for file in table.files()}
    table.compact()
    assert {Path(name).name for name in table.vacuum(retain="0").deleted} == old
    assert table.to_arrow().equals(before)
    assert len(list((tmp_path / "table").glob("part-*"))) == 1


@FORMATS
def test_a_damaged_file_stops_it(tmp_path: Path, format_name: str) -> None:
    """A file that cannot be read is an error; the table is as before, and nothing of the new files stays."""
    table = appended(tmp_path / "table", 4, format=format_name)
    victim = Path(table.files()[2])
    victim.write_bytes(victim.read_bytes()[:-3] + b"xyz")
    standing = files(tmp_path)
    with pytest.raises(CorruptTableError) as raised:
        table.compact()
    assert victim.name in str(raised.value.evidence.get("file"))
    assert (files(tmp_path), tx.Table(table.path).version) == (standing, 3)


def test_it_streams(tmp_path: Path) -> None:
    """No more than a row group is held, however many files are joined."""
    path = tmp_path / "table"
    blob = "x" * 1_000_000
    properties: dict[str, Any] = {"row_group_rows": 1, "compression": "none"}
    for number in range(12):
        batch = pa.table({"n": [number] * 2, "blob": [f"{number}{blob}"] * 2})
        tx.write(batch, path, mode="append", properties=properties)
    table = tx.Table(path)
    most = 0

    def look(_: tx.Progress) -> None:
        nonlocal most
        most = max(most, pa.total_allocated_bytes() - before)

    before = pa.total_allocated_bytes()
    assert table.compact(progress=look).rows == 24
    assert most < 12_000_000
    assert pq.read_metadata(table.files()[0]).num_row_groups == 24


def test_progress_counts_the_files_that_were_read(tmp_path: Path) -> None:
    """Up to their number."""
    seen: list[tuple[int, int | None]] = []
    appended(tmp_path / "table", 5).compact(progress=lambda told: seen.append((told.done, told.total)))
    assert seen == [(number, 5) for number in range(1, 6)]


ROW = st.tuples(st.integers(0, 9), st.sampled_from("ab"))


@given(
    batches=st.lists(
        st.tuples(st.sampled_from(["append", "upsert"]), st.lists(ROW, min_size=1, max_size=4)), max_size=8
    ),
    partitioned=st.booleans(),
    keys=st.sampled_from([["id"], ["id", "part"]]),
    target=st.sampled_from([1_024, 3_000, 6_000, 20_000]),
    sort=st.booleans(),
)
def test_no_row_changes_and_it_comes_to_rest(
    batches: list[Any], partitioned: bool, keys: list[str], target: int, sort: bool
) -> None:
    """Whatever was written before: the same rows, in each part in the same order, and no second compaction.

    And an upsert that meets a key twice takes the same row as without the compaction.
    """
    root = Path(tempfile.mkdtemp(prefix="txfiles-compact-"))
    try:
        options: dict[str, Any] = {"partition_by": ["part"] if partitioned else None, "properties": SMALL}
        for number, (mode, given_rows) in enumerate(batches):
            unique = dict(given_rows)
            batch = pa.table({"id": list(unique), "part": list(unique.values()), "n": [number] * len(unique)})
            keyed: dict[str, Any] = {"keys": keys} if mode == "upsert" else {}
            tx.write(batch, root / "a", mode=mode, **options, **keyed)
        if not batches:
            return
        table = tx.Table(root / "a")
        sort = sort and bool(table.keys)
        before = table.to_arrow()
        shutil.copytree(root / "a", root / "b")
        other = tx.Table(root / "b")
        other.compact(target, sort=sort)
        again = other.compact(target, sort=sort)
        assert (again.committed, again.groups) == (False, 0)
        assert sorted(map(str, other.to_arrow().to_pylist())) == sorted(map(str, before.to_pylist()))
        if not sort:
            assert [in_order(other, part) for part in "ab"] == [in_order(table, part) for part in "ab"]
        if table.keys:
            changes = pa.table({"id": list(range(10)) * 2, "part": ["a"] * 10 + ["b"] * 10, "more": [1] * 20})
            changes = changes if keys == ["id", "part"] else changes.slice(0, 10)
            for path in (root / "a", root / "b"):
                tx.write(changes, path, mode="upsert", schema_mode="merge")
            found = [sorted(map(str, tx.Table(path).to_arrow().to_pylist())) for path in (root / "a", root / "b")]
            assert found[0] == found[1]
    finally:
        shutil.rmtree(root)


def test_the_log_says_what_took_whose_place(tmp_path: Path) -> None:
    """The manifest's `place` is the first file that was joined."""
    table = appended(tmp_path / "table", 3)
    table.compact()
    manifest = (tmp_path / "table" / names.manifest(3)).read_text()
    first = Path(tx.Table(table.path, version=2).files()[0]).name
    assert f'"place": "{first}"' in manifest


WRITES: dict[str, dict[str, Any]] = {
    "append": {"mode": "append"},
    "upsert": {"mode": "upsert", "keys": ["id"]},
    "other keys": {"mode": "upsert", "keys": ["id", "part"], "rekey": True},
    "the first keys again": {"mode": "append_once", "keys": ["id"], "rekey": True},
    "overwrite": {"mode": "overwrite"},
    "keyed overwrite": {"mode": "overwrite", "keys": ["id"], "rekey": True},
    "partitions": {"mode": "overwrite", "overwrite_partitions": True},
    "keyed partitions": {"mode": "overwrite", "overwrite_partitions": True, "keys": ["id"]},
}


@pytest.mark.parametrize("batches", [((0, "a"), (0, "b"), (1, "a")), ((0, "a"), (0, "a"), (1, "b"))])
@pytest.mark.parametrize("first", ["upsert", "keyed overwrite"])
def test_keys_that_are_known_to_be_unique_are(first: str, batches: tuple[tuple[int, str], ...]) -> None:
    """Of any three writes: if a state says that no key is there twice, none is; a checkpoint says the same."""
    known = 0
    for others in itertools.product(WRITES, repeat=2):
        session = Session(MemoryStore(), environment.real())
        for write, (number, part) in zip((first, *others), batches, strict=True):
            batch = pa.table({"id": [number], "part": [part]})
            request = Request(source=inputs.source(batch), partition_by=("part",), **WRITES[write])
            with contextlib.suppress(DuplicateKeyError, OptionError):  # of rows that stay; of other keys without rekey
                files_target.write(session, check(request))
        head = versions.require_head(session)
        keys = head.state.table.keys
        found = [tuple(row.values()) for row in scan.read(session, head, keys or None, None).to_pylist()]
        assert not head.state.unique_keys or (keys and len(set(found)) == len(found)), (first, *others)
        saved = checkpoint.decode(checkpoint.encode(head.state, head.files), head.state.checkpoint, where="c")
        assert saved.state == head.state
        known += head.state.unique_keys
    assert known
