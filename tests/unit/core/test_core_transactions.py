"""Several plans as one: what it commits, and what it depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.strategies import TABLE_ID
from txfiles.core import names
from txfiles.core.manifest import Add, Manifest, Mark, Metrics, Operation, Remove, TableMetadata, Vector
from txfiles.core.plan import CommitPlan, KeysAbsent, NoneMatches, ReadSet, Replaces
from txfiles.core.schema import Column
from txfiles.core.transactions import combined, left_over
from txfiles.log.snapshot import Loaded, Snapshot, extend

COLUMNS = (Column(id=1, name="id", type="int64"),)
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=1, required_features=("deletion_vectors",))
FASTER = replace(TABLE, properties={"compression": "zstd"})


def path(number: int) -> str:
    return names.data_file(TABLE_ID, "c" * 32, number, "parquet")


def add(number: int, place: str | None = None) -> Add:
    return Add(path=path(number), rows=100, bytes=10, sha256="0" * 64, place=place)


def mark(of: str, number: int, rows: int) -> Mark:
    file = names.vectors(TABLE_ID, "c" * 32, number)
    return Mark(path=of, vector=Vector(file=file, offset=0, bytes=1, sha256="0" * 64, rows=rows))


def plan(**values: Any) -> CommitPlan:
    read_set = ReadSet(table=TABLE, **values.pop("reads", {}))
    return CommitPlan(table=values.pop("table", TABLE), read_set=read_set, **values)


def committed(base: Snapshot | None, found: CommitPlan) -> Snapshot:
    """The version after a plan."""
    state = base.state if base else None
    manifest = Manifest(
        format_version=1,
        version=state.version + 1 if state else 0,
        table_id=TABLE_ID,
        commit_id="c" * 32,
        parent_sha256=state.sha256 if state else None,
        time=f"2026-11-24T03:44:00.{state.version + 1 if state else 0:06}Z",
        operation=Operation(name="any"),
        metrics=Metrics(),
        table=found.table if found.changes_table or base is None else None,
        add=found.add,
        remove=tuple(Remove(path=one) for one in found.remove),
        mark=found.mark,
    )
    return extend(base, [Loaded(manifest, "0" * 64)])


def files(snapshot: Snapshot) -> list[tuple[str, Any]]:
    listed = snapshot.files
    return list(zip(listed["path"].to_pylist(), listed["vector"].to_pylist(), strict=True))


@given(st.data())
def test_it_makes_the_files_that_its_parts_make(data: st.DataObject) -> None:
    """Whatever they add, replace, remove and mark: the same files in the same order with the same vectors."""
    base = snapshot = committed(None, plan(add=tuple(add(number) for number in range(4))))
    number, parts = 10, []
    rows = {path(one): 0 for one in range(4)}
    for _ in range(data.draw(st.integers(1, 4))):
        adds, removes, marks = [], [], []
        for known in list(rows):
            fate = data.draw(st.sampled_from(["stays", "stays", "goes", "anew", "anew at the end", "marked"]))
            if fate == "marked":
                rows[known] += 1
                marks.append(mark(known, number, rows[known]))
            elif fate != "stays":
                removes.append(known)
                rows.pop(known)
                count = data.draw(st.integers(1, 2)) if fate != "goes" else 0
                adds += [add(number + extra, known if fate == "anew" else None) for extra in range(count)]
            number += 3
        adds += [add(number + extra) for extra in range(data.draw(st.integers(0, 2)))]
        number += 3
        rows |= {one.path: 0 for one in adds}
        part = plan(add=tuple(adds), remove=tuple(removes), mark=tuple(marks), nothing=not (adds or removes or marks))
        parts.append(part)
        snapshot = snapshot if part.nothing else committed(snapshot, part)
    one = combined(parts, np.union1d)
    assert one.nothing == (snapshot is base)
    if not one.nothing:
        assert files(committed(base, one)) == files(snapshot)
    assert (one.metrics.files_added, one.metrics.files_removed) == (len(one.add), len(one.remove))
    assert not set(one.remove) & {found.path for found in one.add}


def test_files_that_are_in_no_version_are_left_over() -> None:
    """Those that a later part replaces, and vectors that it supersedes: the rest is staged for the commit."""
    first = plan(
        add=(add(10), add(11)),
        mark=(mark(path(0), 12, 1),),
        reads={"staged": frozenset({path(10), path(11), names.VECTOR_DIR + names.vectors(TABLE_ID, "c" * 32, 12)})},
    )
    second = plan(
        add=(add(20, path(10)),),
        remove=(path(10),),
        mark=(mark(path(0), 21, 2), mark(path(11), 21, 1)),
        reads={"staged": frozenset({path(20), names.VECTOR_DIR + names.vectors(TABLE_ID, "c" * 32, 21)})},
    )
    one = combined([first, second], np.union1d)
    vectors = names.VECTOR_DIR + names.vectors(TABLE_ID, "c" * 32, 21)
    assert one.read_set.staged == {path(20), path(11), vectors}
    assert left_over(one) == {path(10), names.VECTOR_DIR + names.vectors(TABLE_ID, "c" * 32, 12)}
    assert [found.path for found in one.add] == [path(20), path(11)]
    assert one.add[1].vector is not None


def test_it_relies_on_what_its_parts_rely_on() -> None:
    """Rows in one file together; all of a file contains any rows; a file of its own is nobody's to change."""
    first = plan(add=(add(10),), reads={"relies_on": {path(0): np.array([1, 4]), path(1): np.array([2])}})
    second = plan(reads={"relies_on": {path(0): np.array([4, 5]), path(1): None, path(10): np.array([0])}})
    found = combined([first, second], np.union1d).read_set.relies_on
    assert (found[path(0)].tolist(), found[path(1)], set(found)) == ([1, 4, 5], None, {path(0), path(1)})


@pytest.mark.parametrize(
    ("parts", "strict"),
    [
        ([plan(reads={"checks": (KeysAbsent("a"),)}), plan(reads={"checks": (KeysAbsent("b"),)})], False),
        ([plan(remove=(path(0),), replaces=Replaces()), plan(reads={"checks": (KeysAbsent("b"),)})], True),
        ([plan(table=FASTER, reads={"changes_table": True}), plan(table=FASTER)], True),
        ([plan(table=FASTER, reads={"changes_table": True})], False),
        ([plan(table=FASTER, reads={"changes_table": True}, nothing=True), plan()], False),
    ],
    ids=["keys", "an overwrite", "a change of the table", "that change alone", "no change"],
)
def test_what_must_not_be_in_fresh_files(parts: list[CommitPlan], strict: bool) -> None:
    """All that its parts say; any row, where a part replaces whatever is there, or plans for another table."""
    one = combined(parts, np.union1d)
    checks = tuple(check for part in parts for check in part.read_set.checks)
    assert one.read_set.checks == ((NoneMatches(where=None),) if strict else checks)
    assert one.replaces is None
    assert all(one.read_set.relies_on[removed] is None for removed in one.remove)


def test_a_part_that_commits_nothing_leaves_no_table() -> None:
    """What it would have made of the table is not what the table is."""
    one = combined([plan(), plan(table=FASTER, nothing=True)], np.union1d)
    assert (one.table, one.changes_table, one.nothing) == (TABLE, False, False)
