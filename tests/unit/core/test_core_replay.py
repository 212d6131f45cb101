"""Replay: a version is the fold of its manifests, and a log that does not hang together is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.strategies import TABLE_ID
from txfiles.core import replay, times
from txfiles.core.manifest import (
    Add,
    BatchId,
    CheckpointRef,
    Manifest,
    Metrics,
    Operation,
    Restore,
    TableMetadata,
    Vacuum,
)
from txfiles.core.replay import BatchRecord, State
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError, UnsupportedTableError

TABLE = TableMetadata(format="parquet", columns=(Column(id=1, name="id", type="int64"),), last_column_id=1)


def sha(version: int) -> str:
    """A manifest's hash, as these tests have it: the version's number."""
    return f"{version:064x}"


def manifest(version: int, /, **changes: Any) -> Manifest:
    """Version `version` of a log in which each manifest follows from the one before."""
    known = Manifest(
        format_version=1,
        version=version,
        table_id=TABLE_ID,
        commit_id=f"{version:032x}",
        parent_sha256=sha(version - 1) if version else None,
        time=times.format_us(version * 1_000),
        operation=Operation(name="append"),
        metrics=Metrics(),
        table=None if version else TABLE,
    )
    return replace(known, **changes)


def fold(*manifests: Manifest) -> State:
    state = None
    for one in manifests:
        state = replay.apply(state, one, sha(one.version), table_id=TABLE_ID)
    assert state is not None
    return state


def log(count: int, **last: Any) -> list[Manifest]:
    """`count` versions, the last one changed."""
    return [*(manifest(version) for version in range(count - 1)), manifest(count - 1, **last)]


def test_a_state_says_what_its_manifest_said() -> None:
    """Version, commit, hash, time and checkpoint are the newest manifest's; the table is that of the newest action."""
    checkpoint = CheckpointRef(version=1, id="a" * 32, bytes=9, sha256=sha(9))
    state = fold(*log(3, checkpoint=checkpoint))
    assert state == State(
        version=2,
        table_id=TABLE_ID,
        commit_id=f"{2:032x}",
        sha256=sha(2),
        time_us=2_000,
        table=TABLE,
        batch_ids={},
        oldest_readable_version=0,
        checkpoint=checkpoint,
    )


def test_a_table_action_replaces_the_whole_one() -> None:
    """What a later action leaves out is gone, and manifests without one change nothing about the table."""
    other = replace(TABLE, keys=("id",), properties={"row_group_rows": 7})
    assert fold(*log(2, table=other), manifest(2)).table == other
    assert fold(*log(2, table=other), manifest(2, table=TABLE)).table == TABLE


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "another table": ({"table_id": "0" * 16}, "belongs to table"),
    "a gap": ({"version": 4}, "expected 3"),
    "an older version": ({"version": 2}, "expected 3"),
    "another predecessor": ({"parent_sha256": sha(1)}, "predecessor"),
    "no predecessor": ({"parent_sha256": None}, "predecessor"),
    "the same time": ({"time": times.format_us(2_000)}, "not later"),
    "an earlier time": ({"time": times.format_us(1_999)}, "not later"),
    "a time before 1970": ({"time": "1969-12-31T23:59:59.999999Z"}, "not later"),
    "an id of a later version": (
        {"restore": Restore(version=1, remember=(BatchId(id="b", version=2, mode="append"),))},
        "no version before",
    ),
    "a file of a version to come": (
        {"add": (Add(path="a", rows=1, bytes=1, sha256="", added_version=3),)},
        "no version",
    ),
    "whole from a version to come": ({"vacuum": Vacuum(oldest_readable_version=4)}, "impossible"),
}


@pytest.mark.parametrize(("changes", "said"), BROKEN.values(), ids=BROKEN)
def test_a_manifest_that_does_not_continue_the_log_is_refused(changes: dict[str, Any], said: str) -> None:
    """Number, table, hash of the predecessor, time and vacuum bound must follow from the version before."""
    with pytest.raises(CorruptTableError, match=said) as caught:
        fold(*log(4, **changes))
    assert caught.value.file
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"), [({"version": 1}, "expected 0"), ({"parent_sha256": sha(0)}, "predecessor")]
)
def test_the_first_manifest_has_nothing_before_it(changes: dict[str, Any], said: str) -> None:
    """A log begins at version 0, which names no predecessor."""
    with pytest.raises(CorruptTableError, match=said):
        fold(manifest(0, **changes))


def test_one_microsecond_later_is_later() -> None:
    """A commit may follow its predecessor by the smallest step that the log can write."""
    assert fold(*log(3, time=times.format_us(1_001))).time_us == 1_001


def test_the_oldest_readable_version_only_rises() -> None:
    """A vacuum raises it, other commits leave it, and one that lowers it is damage."""
    raised = log(3, vacuum=Vacuum(oldest_readable_version=2))
    assert fold(*raised, manifest(3)).oldest_readable_version == 2
    assert fold(*raised, manifest(3, vacuum=Vacuum(oldest_readable_version=2))).oldest_readable_version == 2
    assert fold(*raised, manifest(3, vacuum=Vacuum(oldest_readable_version=3))).oldest_readable_version == 3
    with pytest.raises(CorruptTableError, match="impossible"):
        fold(*raised, manifest(3, vacuum=Vacuum(oldest_readable_version=1)))


def test_a_restore_goes_back_to_the_state_of_its_version() -> None:
    """It says what replay cannot know: batch ids, and what is derived from the version's own history."""
    ids = [manifest(version, operation=Operation(name="append", batch_id=str(version))) for version in (1, 2)]
    restore = Restore(
        version=1,
        columns_since=1,
        unique_keys=True,
        forget=("2",),
        remember=(BatchId(id="0", version=0, mode="upsert", keys=(1,)),),
    )
    state = fold(*log(1), *ids, manifest(3, table=replace(TABLE, keys=("id",)), restore=restore))
    assert list(state.batch_ids.items()) == [("0", BatchRecord(0, "upsert", (1,))), ("1", BatchRecord(1, "append", ()))]
    assert (state.columns_since, state.unique_keys) == (1, True)


KEYED = replace(TABLE, keys=("id",))
OTHERS = replace(KEYED, columns=(*TABLE.columns, Column(id=2, name="b", type="int64")), last_column_id=2, keys=("b",))
FILE = Add(path="a", rows=1, bytes=1, sha256="")


def keyed(name: str, *keys: str, scope: str | None = None, **more: Any) -> dict[str, Any]:
    """A commit that adds a file."""
    return {"operation": Operation(name=name, keys=keys, scope=scope), "add": (FILE,), **more}


def parts(*names: str) -> dict[str, Any]:
    """A transaction that adds a file."""
    return {"operation": Operation(name="transaction", parts=names), "add": (FILE,)}


UNIQUE: dict[str, tuple[list[dict[str, Any]], bool]] = {
    "a keyed creation": ([keyed("upsert", "id", table=KEYED)], True),
    "a creation without keys": ([keyed("append", table=TABLE)], False),
    "keys for rows that were there": ([keyed("append", table=TABLE), keyed("upsert", "id", table=KEYED)], False),
    "keyed writes": ([keyed("upsert", "id", table=KEYED), keyed("append_once", "id"), keyed("upsert", "id")], True),
    "an append": ([keyed("upsert", "id", table=KEYED), keyed("append"), keyed("upsert", "id")], False),
    "an append of nothing": ([keyed("upsert", "id", table=KEYED), {"operation": Operation(name="append")}], True),
    "rows that only moved": ([keyed("upsert", "id", table=KEYED), keyed("compact"), keyed("delete")], True),
    "an operation of a later release": ([keyed("upsert", "id", table=KEYED), keyed("rewind")], False),
    "one with keys": ([keyed("upsert", "id", table=KEYED), keyed("merge", "id")], False),
    "a transaction": ([keyed("upsert", "id", table=KEYED), parts("delete", "upsert", "set", "append_once")], True),
    "one with an append": ([keyed("upsert", "id", table=KEYED), parts("upsert", "append")], False),
    "one that does not say what it did": ([keyed("upsert", "id", table=KEYED), parts()], False),
    "other keys": ([keyed("upsert", "id", table=KEYED), keyed("upsert", "b", table=OTHERS)], False),
    "a keyed overwrite": ([keyed("append", table=KEYED), keyed("overwrite", "id", scope="table")], True),
    "an overwrite without keys": (
        [keyed("upsert", "id", table=KEYED), keyed("overwrite", scope="table")],
        False,
    ),
    "a keyed overwrite of a part": ([keyed("append", table=KEYED), keyed("overwrite", "id", scope="filter")], False),
    "of a part that was unique": (
        [keyed("upsert", "id", table=KEYED), keyed("overwrite", "id", scope="partitions")],
        True,
    ),
    "of a part, with new keys": (
        [keyed("append", table=TABLE), keyed("overwrite", "id", scope="filter", table=KEYED)],
        True,
    ),
}


@pytest.mark.parametrize(("commits", "unique"), UNIQUE.values(), ids=UNIQUE)
def test_whether_keys_are_unique(commits: list[dict[str, Any]], unique: bool) -> None:
    """A state knows it as long as each operation checked the rows that it added, and says no otherwise."""
    assert fold(*(manifest(version, **changes) for version, changes in enumerate(commits))).unique_keys is unique


def batch(name: str | None, **more: Any) -> dict[str, Any]:
    return {"operation": Operation(name="upsert", keys=("id",), batch_id=name), **more}


def test_a_batch_id_is_remembered_as_what_it_was() -> None:
    """Version, mode and keys of a batch id's commit are known, for the same id as something else is an error."""
    state = fold(*log(2, **batch("monday")), manifest(2))
    assert state.batch_ids == {"monday": BatchRecord(1, "upsert", (1,))}


def test_an_empty_batch_id_is_an_id_and_none_is_none() -> None:
    """Only a commit without a batch id is not remembered."""
    assert list(fold(*log(2, **batch(None))).batch_ids) == []
    assert list(fold(*log(2, **batch(""))).batch_ids) == [""]


@given(st.lists(st.none() | st.sampled_from("abcdefgh"), max_size=20), st.integers(0, 5))
def test_the_newest_batch_ids_are_remembered(ids: list[str | None], kept: int) -> None:
    """Of all ids ever committed the newest `batch_ids_kept` are known, oldest first, whatever comes between."""
    table = replace(TABLE, properties={"batch_ids_kept": kept})
    state = fold(manifest(0, table=table), *(manifest(v, **batch(name)) for v, name in enumerate(ids, 1)))
    last = {name: version for version, name in enumerate(ids, 1) if name is not None}
    expected = sorted(last, key=lambda name: last[name])[len(last) - min(kept, len(last)) :]
    assert list(state.batch_ids) == expected
    assert all(state.batch_ids[name].version == last[name] for name in expected)


def test_a_lowered_horizon_forgets_at_once() -> None:
    """The commit that lowers `batch_ids_kept` is the first that remembers fewer; raising it brings none back."""
    ids = [manifest(version, **batch(f"b{version}")) for version in range(1, 5)]
    fewer = manifest(5, table=replace(TABLE, properties={"batch_ids_kept": 2}))
    assert list(fold(manifest(0), *ids, fewer).batch_ids) == ["b3", "b4"]
    more = manifest(6, table=replace(TABLE, properties={"batch_ids_kept": 9}))
    assert list(fold(manifest(0), *ids, fewer, more).batch_ids) == ["b3", "b4"]


def test_remembering_never_changes_an_older_state() -> None:
    """A state is a value: going on from it leaves it as it is."""
    first = fold(*log(2, **batch("a")))
    replay.apply(first, manifest(2, **batch("b")), sha(2), table_id=TABLE_ID)
    assert list(first.batch_ids) == ["a"]


def test_a_hostile_horizon_is_refused() -> None:
    """A table property that cannot be used is named, not passed on."""
    with pytest.raises(UnsupportedTableError, match="batch_ids_kept"):
        fold(manifest(0, table=replace(TABLE, properties={"batch_ids_kept": "all"})))
