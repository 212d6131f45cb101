"""Restore: a table is what it was, to the last detail that the log keeps, whatever came between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from txfiles.core import codec
from txfiles.log import versions
from txfiles.log.cache import SnapshotCache
from txfiles.targets.files import target

KEYED: dict[str, Any] = {"mode": "upsert", "keys": ["id"]}


def write(path: Path, ids: list[int], **options: Any) -> tx.WriteResult:
    more = {"more": ["x"] * len(ids)} if options.pop("more", False) else {}
    return tx.write(pa.table({"id": ids, **more}), path, **{"mode": "append", **options})


def facts(table: tx.Table) -> Any:
    """All that is known of a version, but for its number, properties and features."""
    snapshot = table._opened.snapshot  # type: ignore[attr-defined]
    state = snapshot.state
    columns = [column or state.table.stored_ids for column in map(_ids, snapshot.files["columns"].to_pylist())]
    return (
        table.to_arrow().to_pylist(),
        table.schema,
        (table.keys, table.timestamp_col, table.partition_by),
        list(state.batch_ids.items()),
        (state.columns_since, state.unique_keys),
        snapshot.files.select(["path", "rows", "bytes", "added_version", "partition", "vector"]).to_pylist(),
        columns,
    )


def _ids(own: list[int] | None) -> tuple[int, ...] | None:
    return None if own is None else tuple(own)


def reopened(path: Path) -> tx.Table:
    """The table as a process opens it that has seen nothing of it."""
    target._SNAPSHOTS = SnapshotCache()
    return tx.Table(path)


STEP = st.one_of(
    st.tuples(st.sampled_from(["append", "upsert", "overwrite"]), st.lists(st.integers(0, 9), min_size=1, unique=True)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("batch"), st.sampled_from("abc")),
    st.tuples(st.just("restore"), st.integers(0, 30)),
    st.tuples(st.sampled_from(["widen", "compact", "mark", "rewrite"]), st.none()),
)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEP, max_size=9), interval=st.sampled_from([1, 2, 20]), kept=st.sampled_from([1, 10]))
def test_any_version_comes_back(
    steps: list[tuple[str, Any]], interval: int, kept: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any steps, each version can be restored, one after the other: rows, order, schema, keys, ids, files."""
    path = tmp_path_factory.mktemp("restore") / "table"
    write(path, [0, 1], properties={"checkpoint_interval": interval, "batch_ids_kept": kept})
    for step, given_ in steps:
        table = tx.Table(path)
        if step == "append":
            write(path, given_)
        elif step == "upsert":
            write(path, given_, schema_mode="merge", **KEYED)
        elif step == "overwrite":
            write(path, given_, mode="overwrite", schema_mode="overwrite")
        elif step == "delete":
            table.delete([("id", "=", given_)])
        elif step == "batch":
            write(path, [5], batch_id=given_, schema_mode="merge")
        elif step == "restore":
            table.restore(version=given_ % (table.version + 1))
        elif step == "widen":
            write(path, [7], more=True, schema_mode="merge")
        elif step == "compact":
            table.compact()
        else:
            table.set(update_strategy="merge_on_read" if step == "mark" else "copy_on_write")
    newest = tx.Table(path).version
    for version in (newest, *range(newest), newest):
        table = tx.Table(path)
        table.restore(version=version)
        wanted = facts(table.at(version=version))
        assert facts(table) == wanted
        assert facts(reopened(path)) == wanted
        assert not table.restore(version=version).committed


def test_what_a_restore_says(tmp_path: Path) -> None:
    """Rows of files that come back and go are counted from the log; a dry run says the same and commits nothing."""
    path = tmp_path / "t"
    write(path, [1, 2])
    write(path, [3])
    write(path, [4, 5, 6], mode="overwrite")
    table = tx.Table(path)
    plan = table.restore(version=1, dry_run=True)
    assert isinstance(plan, tx.Plan)
    assert (plan.version, plan.committed, tx.Table(path).version) == (2, True, 2)
    result = table.restore(version=1, user_metadata={"why": "mistake"})
    for said in (plan, result):
        assert (said.mode, said.rows_in, said.rows_inserted, said.rows_deleted) == ("restore", 3, 3, 3)
        assert (said.files_added, said.files_removed, said.bytes_written) == (2, 1, 0)
    assert (result.version, table.version, result.committed) == (3, 3, True)
    commit = table.history(1)[0]
    assert (commit.restored_version, commit.user_metadata, commit.commit_id) == (
        1,
        {"why": "mistake"},
        result.commit_id,
    )
    time = table.history()[-1].time
    assert table.restore(timestamp=time).version == 4
    assert table.to_arrow()["id"].to_pylist() == [1, 2]


@pytest.mark.parametrize("inline", [0, 1_000])
def test_batch_ids_come_and_go_with_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: int) -> None:
    """A batch whose rows are gone is applied again; one whose rows are back is not, even if its id was dropped."""
    monkeypatch.setattr(codec, "INLINE_ACTIONS", inline)
    path = tmp_path / "t"
    write(path, [1], batch_id="one", properties={"batch_ids_kept": 1})
    write(path, [2], batch_id="two")
    tx.Table(path).restore(version=0)
    assert write(path, [1], batch_id="one").already_committed
    tx.Table(path).restore(version=1)
    assert write(path, [2], batch_id="two").already_committed
    tx.Table(path).restore(version=0)
    assert write(path, [2], batch_id="two").committed
    assert reopened(path).to_arrow()["id"].to_pylist() == [1, 2]


def test_properties_and_features_stay(tmp_path: Path) -> None:
    """Column ids are not given out twice; a property set since keeps its value; a feature is never taken back."""
    path = tmp_path / "t"
    write(path, [1, 2], properties={"update_strategy": "merge_on_read"})
    write(path, [3], more=True, schema_mode="merge")
    table = tx.Table(path)
    table.delete([("id", "=", 1)])
    table.set(row_group_rows=77)
    table.restore(version=0)
    metadata = table._opened.snapshot.state.table  # type: ignore[attr-defined]
    assert (metadata.last_column_id, metadata.required_features) == (2, ("deletion_vectors",))
    assert (table.properties["row_group_rows"], table.schema.names) == (77, ["id"])
    write(path, [9], more=True, schema_mode="merge")
    assert tx.Table(path)._opened.snapshot.state.table.columns[1].id == 3  # type: ignore[attr-defined]
    assert tx.Table(path).to_arrow().to_pylist()[-1] == {"id": 9, "more": "x"}


def test_plain_readers_see_what_they_saw_then(tmp_path: Path) -> None:
    """Files are handed out after a restore if, and only if, the version handed them out."""
    path = tmp_path / "t"
    write(path, [1])
    write(path, [2], more=True, schema_mode="merge")
    table = tx.Table(path)
    table.restore(version=0)
    assert table.files() == table.at(version=0).files()
    table.restore(version=1)
    with pytest.raises(tx.NeedsLiveViewError):
        table.files()


def test_an_expired_version_is_refused(tmp_path: Path) -> None:
    """After a vacuum: an error that says which versions are left, and nothing has changed."""
    path = tmp_path / "t"
    write(path, [1])
    write(path, [2], mode="overwrite")
    table = tx.Table(path)
    table.vacuum(retain="0")
    before = sorted(file.name for file in path.rglob("*") if file.is_file())
    with pytest.raises(tx.SnapshotExpiredError) as caught:
        table.restore(version=0)
    assert caught.value.oldest_readable == 1
    assert sorted(file.name for file in path.rglob("*") if file.is_file()) == before
    assert (tx.Table(path).version, tx.Table(path).to_arrow()["id"].to_pylist()) == (2, [2])


def test_a_vacuum_in_between_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F47: a vacuum that lists files of the version commits first: a conflict, and the hint leads on."""
    path = tmp_path / "t"
    write(path, [1])
    write(path, [2], mode="overwrite")
    table, real = tx.Table(path), versions.at_version

    def then_vacuum(*given_: Any) -> Any:
        found = real(*given_)
        monkeypatch.undo()
        tx.Table(path).vacuum(retain="0")
        return found

    monkeypatch.setattr(versions, "at_version", then_vacuum)
    with pytest.raises(tx.CommitConflictError) as caught:
        table.restore(version=0)
    assert caught.value.committed == "no"
    assert "versions from 1 on" in (caught.value.hint or "")
    assert (tx.Table(path).version, tx.Table(path).to_arrow()["id"].to_pylist()) == (2, [2])
    assert not table.restore(version=1).committed


def test_names_that_differ_in_case_do_not_come_back(tmp_path: Path) -> None:
    """Unless the table allows them by now, which the hint says."""
    path = tmp_path / "t"
    clash = pa.table({"id": [1], "ID": [2]})
    tx.write(clash, path, mode="append", properties={"case_sensitive_names": True})
    tx.write(pa.table({"id": [1]}), path, mode="overwrite", schema_mode="overwrite")
    table = tx.Table(path)
    table.set(case_sensitive_names=False)
    with pytest.raises(tx.SchemaMismatchError, match="differ only in case"):
        table.restore(version=0)
    assert tx.Table(path).version == 2
    table.set(case_sensitive_names=True)
    assert table.restore(version=0).committed
    assert table.to_arrow().equals(clash)


@pytest.mark.parametrize("given_", [{}, {"version": 0, "timestamp": "2026-01-01T00:00:00Z"}])
def test_one_version_is_named(tmp_path: Path, given_: dict[str, Any]) -> None:
    """Neither none nor two ways to say which; and not on a table that is pinned."""
    write(tmp_path / "t", [1])
    with pytest.raises(tx.OptionError, match=r"takes one of them|does not say"):
        tx.Table(tmp_path / "t").restore(**given_)
    with pytest.raises(tx.OptionError, match="pinned"):
        tx.Table(tmp_path / "t", version=0).restore(version=0)
    with pytest.raises(tx.TableNotFoundError, match="no version 3"):
        tx.Table(tmp_path / "t").restore(version=3)


def test_the_index_stays_right(tmp_path: Path) -> None:
    """Keys of files that come back are found, whether or not a run covers them."""
    path = tmp_path / "t"
    properties = {"key_index": "on", "update_strategy": "merge_on_read"}
    write(path, list(range(40)), properties=properties, **KEYED)
    table = tx.Table(path)
    table.delete(keys=[3, 4])
    write(path, [100], mode="overwrite")
    for version, found in ((0, [3]), (1, []), (0, [3])):
        table.restore(version=version)
        assert table.lookup([3])["id"].to_pylist() == found
        assert table.index("check").problems == ()
        assert write(path, [3], mode="append_once").rows_skipped == len(found)
        table.restore(version=version)
