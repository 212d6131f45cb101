"""A snapshot lists its files when it is asked to, and the list does not depend on when that was."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core import times
from txfiles.core.manifest import Add, ColumnStats, Manifest, Metrics, Operation, Remove, TableMetadata
from txfiles.core.replay import State
from txfiles.core.schema import Column
from txfiles.errors import CorruptTableError
from txfiles.log import snapshot
from txfiles.log.snapshot import Listed, Loaded, Snapshot, extend
from txfiles.rows import filelist
from txfiles.rows.segments import FileList

TABLE = TableMetadata(format="parquet", columns=(Column(id=1, name="a", type="int64"),), last_column_id=1)
VERSIONS = 8


def state(version):
    return State(version, "t", "c", str(version), version, TABLE, {}, 0, None)


def added(version, bound=None):
    stats = {"1": ColumnStats(nulls=0, min=bound or str(version), max=bound or str(version))}
    return Add(path=f"{version}", rows=1, bytes=1, sha256="", stats=stats), version


def plus(before, version, bound=None):
    """The next version, which adds a file."""
    return changed(before, version, [added(version, bound)[0]])


def changed(before, version, adds, removes=()):
    """The next version."""
    manifest = Manifest(
        format_version=1,
        version=version,
        table_id="t",
        commit_id="c",
        parent_sha256=str(version - 1),
        time=times.format_us(version),
        operation=Operation(name="append"),
        metrics=Metrics(),
        add=tuple(adds),
        remove=tuple(Remove(path=path) for path in removes),
    )
    return extend(before, [Loaded(manifest, str(version))])


EMPTY = Snapshot(state(0), Listed.of(TABLE, FileList.of(filelist.empty(TABLE.columns))))


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


@given(data=st.data())
def test_a_file_takes_the_place_of_another(data):
    """Whenever lists are made, files stand where the log puts them: at the end, or in the place of a removed one."""
    model: list[str] = []
    found = EMPTY
    for version in range(1, data.draw(st.integers(1, 12), "versions") + 1):
        removed = data.draw(st.lists(st.sampled_from(model), unique=True), "removed") if model else []
        places = data.draw(st.lists(st.sampled_from([None, *removed]), max_size=3), "places")
        news = [f"{version}-{number}" for number in range(len(places))]
        found = changed(found, version, [_placed(*pair) for pair in zip(news, places, strict=True)], removed)
        taken = {path: [new for new, place in zip(news, places, strict=True) if place == path] for path in removed}
        model = [one for path in model for one in taken.get(path, [path])]
        model += [new for new, place in zip(news, places, strict=True) if place is None]
        if data.draw(st.booleans(), "asked"):
            assert found.files["path"].to_pylist() == model
        assert found.file_count == len(model)
    assert found.files["path"].to_pylist() == model


def _placed(path, place):
    return Add(path=path, rows=1, bytes=1, sha256="", place=place)
