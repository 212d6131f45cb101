"""A snapshot lists its files when it is asked to, and the list does not depend on when that was."""

from __future__ import annotations

import itertools

import pytest

from txfiles.core import times
from txfiles.core.manifest import Add, ColumnStats, Manifest, Metrics, Operation, TableMetadata
from txfiles.core.replay import State
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError
from txfiles.log import snapshot
from txfiles.log.snapshot import Listed, Loaded, Snapshot, extend
from txfiles.rows import filelist

TABLE = TableMetadata(format="parquet", columns=(Column(id=1, name="a", type="int64"),), last_column_id=1)
VERSIONS = 8


def state(version):
    return State(version, "t", "c", str(version), version, TABLE, {}, 0, None)


def added(version, bound=None):
    stats = {"1": ColumnStats(nulls=0, min=bound or str(version), max=bound or str(version))}
    return Add(path=f"{version}", rows=1, bytes=1, sha256="", stats=stats), version


def plus(before, version, bound=None):
    """The next version, which adds a file."""
    add, _ = added(version, bound)
    manifest = Manifest(
        format_version=1,
        version=version,
        table_id="t",
        commit_id="c",
        parent_sha256=str(version - 1),
        time=times.format_us(version),
        operation=Operation(name="append"),
        metrics=Metrics(),
        add=(add,),
        remove=(),
    )
    return extend(before, [Loaded(manifest, str(version))])


EMPTY = Snapshot(state(0), Listed.of(TABLE, filelist.empty(TABLE.columns)))


@pytest.mark.parametrize("asked", list(itertools.product([False, True], repeat=4)))
def test_list_is_the_same_whenever_it_is_made(asked):
    """Versions that were asked for their files before do not change those of later ones, nor their own."""
    found = EMPTY
    for version in range(1, VERSIONS + 1):
        found = plus(found, version)
        if asked[version % 4]:
            assert found.files["path"].to_pylist() == [str(n) for n in range(1, version + 1)]
        assert found.file_count == version
    assert found.files.equals(filelist.from_adds([added(n) for n in range(1, VERSIONS + 1)], TABLE.columns, ()))
    assert found.files.num_rows == found.file_count


def test_what_is_pending_is_bounded():
    """A snapshot keeps no more than so many adds as values, however many versions come without a look."""
    found = EMPTY
    for version in range(1, 3 * snapshot.PENDING):
        found = plus(found, version)
        assert len(found.changes.added) <= snapshot.PENDING + 1
    assert found.files["path"].to_pylist() == [str(n) for n in range(1, 3 * snapshot.PENDING)]


def test_damage_is_told_when_the_list_is_made():
    """A bound that is none is damage to who looks for files, however late that is."""
    found = plus(plus(EMPTY, 1, "x"), 2)
    for _ in range(2):
        with pytest.raises(CorruptTableError, match="'x' is not a value of type int64"):
            _ = found.files
