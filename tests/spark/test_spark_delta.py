"""Delta tables written from Spark frames: the same tables, counts and errors as from data of this process."""

from __future__ import annotations

import pyarrow as pa
import pytest

import txfiles as tx

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def rows(path, *order):
    found = tx.Table(str(path), format="delta").to_arrow()
    return sorted(found.to_pylist(), key=lambda row: [str(row[name]) for name in order or found.column_names])


def counts(result):
    names = ("rows_in", "rows_inserted", "rows_updated", "rows_unchanged", "rows_skipped", "rows_stale")
    return tuple(getattr(result, name) for name in (*names, "rows_deduplicated", "rows_deleted"))


def write(frame, path, **options):
    return tx.write(frame, str(path), format="delta", **options)


def test_each_mode_twice(spark, tmp_path):
    """A retry of a keyed mode changes nothing and commits nothing; counts add up."""
    path = tmp_path / "t"
    frame = spark.createDataFrame([(1, "a"), (2, "b")], "id long, v string")
    done = write(frame, path, mode="append_once", keys=["id"])
    assert (done.version, done.committed, counts(done)) == (0, True, (2, 2, 0, 0, 0, 0, 0, 0))
    again = write(frame, path, mode="append_once")
    assert (again.version, again.committed, counts(again)) == (0, False, (2, 0, 0, 0, 2, 0, 0, 0))
    more = spark.createDataFrame([(2, "B"), (3, "c"), (1, "a")], "id long, v string")
    done = write(more, path, mode="upsert", user_metadata={"job": "nightly"})
    assert (done.version, done.committed, counts(done)) == (1, True, (3, 1, 1, 1, 0, 0, 0, 0))
    again = write(more, path, mode="upsert")
    assert (again.version, again.committed, counts(again)) == (1, False, (3, 0, 0, 3, 0, 0, 0, 0))
    assert rows(path) == [{"id": 1, "v": "a"}, {"id": 2, "v": "B"}, {"id": 3, "v": "c"}]
    table = tx.Table(str(path), format="delta")
    assert table.keys == ("id",)
    last = table.history()[0]
    assert (last.operation, last.user_metadata, last.commit_id) == ("upsert", {"job": "nightly"}, done.commit_id)
    assert tx.resolve(str(path), done.commit_id, format="delta").version == 1
    done = write(frame, path, mode="append")
    assert counts(done) == (2, 2, 0, 0, 0, 0, 0, 0)
    done = write(frame, path, mode="overwrite")
    assert counts(done) == (2, 2, 0, 0, 0, 0, 0, 5)
    assert write(frame, path, mode="overwrite").rows_deleted == 2
    assert rows(path) == [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
