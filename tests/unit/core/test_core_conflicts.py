"""Conflicts: what becomes of a plan when others committed first, judged by the difference that they make together."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from tests.strategies import TABLE_ID
from txfiles.core import names
from txfiles.core.conflicts import Decision, Verdict, change, judge, same_but_properties
from txfiles.core.manifest import (
    Add,
    BatchId,
    CheckpointRef,
    Manifest,
    Mark,
    Metrics,
    Operation,
    Remove,
    Restore,
    SidecarRef,
    TableMetadata,
    Vacuum,
    Vector,
)
from txfiles.core.plan import CommitPlan, Group, KeysAbsent, ReadSet, Replaces, compaction, on_head
from txfiles.core.schema import Column

COLUMNS = (Column(id=1, name="id", type="int64"), Column(id=2, name="day", type="date32"))
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=2, keys=("id",))
FASTER = replace(TABLE, properties={"compression": "zstd"})
CHECK = KeysAbsent("my keys")


def path(number: int) -> str:
    return names.data_file(TABLE_ID, "c" * 32, number, "parquet")


def add(number: int) -> Add:
    return Add(path=path(number), rows=1, bytes=1, sha256="0" * 64)


def theirs(
    name: str = "upsert", *, version: int = 8, adds: tuple[int, ...] = (), removes: tuple[int, ...] = (), **more: Any
) -> Manifest:
    """A commit of somebody else."""
    batch_id = more.pop("batch_id", None)
    return Manifest(
        format_version=1,
        version=version,
        table_id=TABLE_ID,
        commit_id="d" * 32,
        parent_sha256="0" * 64,
        time="2026-11-24T03:44:00.000001Z",
        operation=Operation(name=name, batch_id=batch_id),
        metrics=Metrics(),
        add=tuple(map(add, adds)),
        remove=tuple(Remove(path=path(number)) for number in removes),
        **more,
    )


def mine(*, checks: tuple[Any, ...] = (), relies_on: tuple[int, ...] = (), **more: Any) -> CommitPlan:
    """A plan that staged file 6."""
    vacuum = more.pop("vacuum", None)
    known = {"table": TABLE, "staged": frozenset({path(6)})}
    read_set = ReadSet(checks=checks, relies_on=dict.fromkeys(map(path, relies_on)), **(known | more))
    return CommitPlan(table=TABLE, read_set=read_set, vacuum=vacuum)


PLANS = {
    "stands on nothing": mine(),
    "stands on a file": mine(relies_on=(5,)),
    "has a check": mine(checks=(CHECK,)),
    "both": mine(relies_on=(5,), checks=(CHECK,)),
    "a vacuum": mine(vacuum=Vacuum(oldest_readable_version=0, deletes=(path(9),))),
}
plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def decide(plan: CommitPlan, log: list[Manifest]) -> Decision:
    return judge(plan, log, change(log))


# ---- the difference --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "fresh", "gone"),
    [
        ([theirs(adds=(1, 2))], [1, 2], []),
        ([theirs(removes=(5,))], [], [5]),
        ([theirs(adds=(1, 2), removes=(5,)), theirs(version=9, adds=(3,), removes=(1,))], [2, 3], [5]),
        ([theirs(adds=(1,)), theirs(version=9, removes=(1,))], [], []),
        ([theirs(removes=(5,)), theirs(version=9, adds=(5,))], [], []),
        ([theirs("restore", adds=(7,)), theirs(version=9, removes=(7,)), theirs(version=10, adds=(7,))], [7], []),
        ([theirs("restore", adds=(5,), removes=(5,))], [], []),
        ([], [], []),
    ],
)
def test_the_difference_is_net(log: list[Manifest], fresh: list[int], gone: list[int]) -> None:
    """Fresh is live at the head only, gone was live at the base only, in whatever steps it came about."""
    net = change(log)
    assert [found.path for found in net.fresh] == [path(number) for number in fresh]
    assert net.gone == {path(number) for number in gone}


def test_what_a_version_in_between_holds_is_held() -> None:
    """Data files that came and went, sidecars and checkpoints: a version after the base names them."""
    sidecar = SidecarRef(name=names.sidecar(9, "e" * 32), bytes=1, sha256="0" * 64)
    checkpoint = CheckpointRef(version=7, id="a" * 32, bytes=1, sha256="0" * 64)
    log = [theirs(adds=(1,)), theirs(version=9, removes=(1,), sidecar=sidecar, checkpoint=checkpoint)]
    held = change(log).held
    assert path(1) in held
    assert names.encode_path(names.SIDECAR_DIR + sidecar.name) in held
    assert len(held) == 3


# ---- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["append", "upsert", "overwrite", "restore", "an operation of a later release"])
@plans
def test_a_fresh_file_is_probed_by_those_who_check(plan: CommitPlan, name: str) -> None:
    """Who made sure that some rows are not there looks into every fresh file; the others stand, whoever added it."""
    decision = decide(plan, [theirs(name, adds=(1,))])
    assert decision.verdict is (Verdict.PROBE if plan.read_set.checks else Verdict.REBASE)
    assert decision.version == 8


@pytest.mark.parametrize("name", ["upsert", "overwrite", "compact"])
@plans
def test_a_file_that_i_rely_on_is_gone(plan: CommitPlan, name: str) -> None:
    """Who found a row in a file plans again when the file goes; and is told which commit took it."""
    decision = decide(plan, [theirs(adds=()), theirs(name, version=9, removes=(5,))])
    if plan.read_set.relies_on:
        assert (decision.verdict, decision.version) == (Verdict.REDO, 9)
        assert f"version 9 ({name})" in decision.because
    else:
        assert decision.verdict is Verdict.REBASE


@pytest.mark.parametrize(
    ("log", "moved"),
    [
        ([theirs("compact", removes=(5,))], True),
        ([theirs("compact", removes=(5,)), theirs("upsert", version=9, removes=(7,))], True),
        ([theirs("compact", removes=(5,), adds=(8,)), theirs("upsert", version=9, removes=(8,))], False),
        ([theirs("compact", removes=(5,), adds=(8,)), theirs("compact", version=9, removes=(8,))], True),
        ([theirs("compact", removes=(5,)), theirs("compact", version=9, removes=(6,))], True),
        ([theirs("compact", removes=(5,)), theirs("upsert", version=9, removes=(6,))], False),
        ([theirs("upsert", removes=(5,))], False),
    ],
)
def test_rows_that_only_moved_are_told_apart(log: list[Manifest], moved: bool) -> None:
    """A plan that is made again knows whether a compaction alone took its files: that must not use up patience."""
    decision = decide(mine(relies_on=(5, 6)), log)
    assert (decision.verdict, decision.only_moved) == (Verdict.REDO, moved)


def test_a_file_that_came_back_is_not_gone() -> None:
    """A restore that undoes a removal leaves every plan as it was."""
    log = [theirs(removes=(5,)), theirs("restore", version=9, adds=(5,))]
    assert decide(PLANS["both"], log).verdict is Verdict.REBASE


def test_a_commit_that_only_records_a_batch_id_disturbs_nobody() -> None:
    """A delivery that changed no row makes no difference."""
    assert all(decide(plan, [theirs(batch_id="sunday")]).verdict is Verdict.REBASE for plan in PLANS.values())


def test_a_batch_id_alone_is_judged_as_its_rows() -> None:
    """A delivery that found every key does not stand if the file in which it found one is gone."""
    only_an_id = mine(relies_on=(5,), batch_id="monday")
    assert decide(only_an_id, [theirs("overwrite", removes=(5,))]).verdict is Verdict.REDO


@plans
def test_nothing_since_means_go_on(plan: CommitPlan) -> None:
    """Without newer commits every plan stands."""
    assert decide(plan, []).verdict is Verdict.REBASE


# ---- the table, batches, vacuums ---------------------------------------------------------------


@plans
@pytest.mark.parametrize("name", ["append", "upsert", "set", "vacuum"])
def test_my_batch_id_in_their_commit_ends_mine(plan: CommitPlan, name: str) -> None:
    """A batch that somebody else has committed is done, whatever else happened before or after it."""

    def with_id(batch_id: str | None) -> CommitPlan:
        values = {field: getattr(plan.read_set, field) for field in ReadSet.__slots__}
        return CommitPlan(table=TABLE, read_set=ReadSet(**(values | {"batch_id": batch_id})), vacuum=plan.vacuum)

    log = [theirs(adds=(1,)), theirs(name, version=9, batch_id="monday"), theirs("overwrite", version=10, removes=(5,))]
    decision = decide(with_id("monday"), log)
    assert (decision.verdict, decision.version) == (Verdict.DONE, 9)
    assert decide(with_id("tuesday"), log).verdict is not Verdict.DONE
    assert decide(with_id(None), log).verdict is not Verdict.DONE
    assert decide(with_id(None), [theirs()]).verdict is not Verdict.DONE  # no id is no batch


def test_a_batch_id_goes_and_comes_with_a_restore() -> None:
    """What counts is whether the head knows the id: if a restore forgot it, it is open again; if one brings it, not."""
    plan = mine(batch_id="monday")
    committed = theirs("append", batch_id="monday")
    forgets = theirs("restore", version=9, restore=Restore(version=3, forget=("monday",)))
    brings = theirs(
        "restore", version=9, restore=Restore(version=3, remember=(BatchId(id="monday", version=2, mode="append"),))
    )
    assert decide(plan, [committed, forgets]).verdict is not Verdict.DONE
    for log in ([brings], [committed, brings]):
        assert (decide(plan, log).verdict, decide(plan, log).version) == (Verdict.DONE, 2)


def test_a_restore_is_planned_anew_whatever_came() -> None:
    """It lists what it removes and brings back against the head."""
    plan = dataclasses.replace(mine(), restore=Restore(version=3))
    for log in ([theirs("append", adds=(1,))], [theirs("set")], [theirs("restore", restore=Restore(version=2))]):
        assert decide(plan, log).verdict is Verdict.REDO


def test_a_creation() -> None:
    """Two deliveries of the first batch create one table with one batch in it; other creations plan again."""
    created = theirs("append", version=0, adds=(1,), table=TABLE, batch_id="monday")
    assert decide(mine(table=None, batch_id="monday"), [created]).verdict is Verdict.DONE
    assert decide(mine(table=None), [created]).verdict is Verdict.REDO


@plans
def test_a_vacuum_that_lists_a_staged_file_means_staging_again(plan: CommitPlan) -> None:
    """No version ever names a file that a vacuum has committed to delete."""
    vacuum = Vacuum(oldest_readable_version=1, deletes=(path(9), path(6)))
    later = theirs("append", version=9)
    assert decide(plan, [theirs("vacuum", vacuum=vacuum), later]).verdict is Verdict.REDO


def test_a_vacuum_that_lists_other_files_disturbs_only_vacuums() -> None:
    """Two vacuums do not list the same files twice; nobody else minds."""
    vacuum = Vacuum(oldest_readable_version=1, deletes=(path(9),))
    for name, plan in PLANS.items():
        expected = Verdict.REDO if name == "a vacuum" else Verdict.REBASE
        assert decide(plan, [theirs("vacuum", vacuum=vacuum)]).verdict is expected


CHANGES: dict[str, TableMetadata] = {
    "columns": replace(TABLE, columns=COLUMNS[:1]),
    "column type": replace(TABLE, columns=(Column(id=1, name="id", type="int32"), COLUMNS[1])),
    "column id": replace(TABLE, columns=(Column(id=3, name="id", type="int64"), COLUMNS[1]), last_column_id=3),
    "keys": replace(TABLE, keys=("id", "day")),
    "timestamp column": replace(TABLE, timestamp_col="day"),
    "partitioning": replace(TABLE, partition_by=("day",)),
    "format": replace(TABLE, format="csv"),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
@plans
def test_a_change_of_what_the_table_is_means_redo(plan: CommitPlan, changed: TableMetadata) -> None:
    """A plan made for other columns, keys or partitions is made again; and changing back later does not help."""
    assert not same_but_properties(TABLE, changed)
    back = [theirs(table=changed), theirs(version=9, table=TABLE)]
    assert decide(plan, back[:1]).verdict is decide(plan, back).verdict is Verdict.REDO


@pytest.mark.parametrize("name", ["set", "append"])
def test_a_change_of_properties_does_not_disturb(name: str) -> None:
    """Who does not touch the table action goes on with the new properties; two changes of it never rebase."""
    assert same_but_properties(TABLE, FASTER)
    commit = theirs(name, table=FASTER)
    assert decide(mine(changes_table=True), [commit]).verdict is Verdict.REDO
    assert all(decide(plan, [commit]).verdict is Verdict.REBASE for plan in PLANS.values())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_harmless_commit_before_or_after_does_not_soften_the_decision(order: tuple[int, ...]) -> None:
    """The decision is of all of them together, in whatever order they came."""
    kinds = [theirs("append", adds=(1,)), theirs("set", table=FASTER), theirs(removes=(5,), adds=(2,))]
    log = [replace(kinds[kind], version=8 + number) for number, kind in enumerate(order)]
    assert decide(mine(), log).verdict is Verdict.REBASE
    assert decide(mine(checks=(CHECK,)), log).verdict is Verdict.PROBE
    assert decide(mine(relies_on=(5,)), log).verdict is Verdict.REDO
    assert decide(mine(changes_table=True), log).verdict is Verdict.REDO


# ---- on the head -----------------------------------------------------------------------------


def test_a_plan_that_stands_takes_the_properties_of_the_head() -> None:
    """Unless it changes the table itself."""
    assert on_head(mine(), FASTER, 0, (), None).table == FASTER
    assert on_head(mine(changes_table=True), FASTER, 0, (), None).table == TABLE


def vector(number: int, rows: int = 1) -> Vector:
    return Vector(file=names.vectors(TABLE_ID, "d" * 32, number), offset=0, bytes=1, sha256="0" * 64, rows=rows)


def marks(*numbers: int, version: int = 8) -> Manifest:
    """A commit that marks rows of some files."""
    return theirs("delete", version=version, mark=tuple(Mark(path=path(n), vector=vector(version)) for n in numbers))


def test_marked_rows_are_looked_at() -> None:
    """Who found rows in a file looks at them once others have marked it; who rewrites the file plans again."""
    found = replace_plan(mine(), relies_on={path(5): "where"})
    assert decide(found, [marks(4)]).verdict is Verdict.REBASE
    assert decide(found, [marks(4, 5)]).verdict is Verdict.PROBE
    decision = decide(mine(relies_on=(5,)), [marks(4), marks(5, version=9), marks(4, version=10)])
    assert (decision.verdict, decision.version) == (Verdict.REDO, 9)
    assert "marked rows of a file that this one rewrites" in decision.because
    assert decide(mine(checks=(CHECK,)), [marks(5)]).verdict is Verdict.REBASE


def replace_plan(plan: CommitPlan, **more: Any) -> CommitPlan:
    return dataclasses.replace(plan, read_set=dataclasses.replace(plan.read_set, **more))


def test_the_difference_knows_vectors() -> None:
    """A mark of a fresh file is the file's; the last mark counts; a file that comes back with another vector is new."""
    log = [theirs(adds=(1,)), marks(1, 5, version=9), marks(5, version=10)]
    found = change(log)
    assert found.fresh == (replace(add(1), vector=vector(9)),)
    assert found.marked == {path(5): vector(10)}
    assert {names.VECTOR_DIR + vector(number).file for number in (9, 10)} <= found.held
    gone = change([*log, theirs(version=11, removes=(5,))])
    assert (gone.marked, gone.gone) == ({}, {path(5)})
    back = theirs("restore", version=12, adds=(5,))
    assert change([*log, theirs(version=11, removes=(5,)), back]).gone == frozenset()
    other = change([*log, theirs(version=11, removes=(5,)), back], lambda _: vector(3))
    assert (other.gone, [fresh.path for fresh in other.fresh]) == ({path(5)}, [path(1), path(5)])


def test_what_an_overwrite_replaces_is_listed_anew() -> None:
    """Its removals and their counts are those of the head."""
    plan = CommitPlan(table=TABLE, read_set=ReadSet(table=TABLE), remove=("a",), replaces=Replaces())
    found = on_head(plan, TABLE, 0, (), (("b", "c"), 7))
    assert (found.remove, found.metrics.rows_deleted, found.metrics.files_removed) == (("b", "c"), 7, 2)


GROUPS = (Group((path(1), path(2)), 20, (add(11),)), Group((path(3), path(4)), 30, (add(12),)))


@pytest.mark.parametrize(("gone", "stands"), [((), [0, 1]), ((9,), [0, 1]), ((2,), [1]), ((3, 9), [0]), ((1, 4), [])])
def test_a_group_that_has_lost_a_file_is_left_out(gone: tuple[int, ...], stands: list[int]) -> None:
    """The other groups of a compaction are committed as they are; without any, there is nothing to commit."""
    log = [theirs(removes=gone)]
    plan = compaction(TABLE, GROUPS)
    assert decide(plan, log).verdict is Verdict.REBASE
    found = on_head(plan, FASTER, 0, (), None, gone=change(log).gone)
    assert found == compaction(FASTER, [GROUPS[number] for number in stands], lost=2 - len(stands))
    assert (found.nothing, found.lost_groups) == (not stands, 2 - len(stands))
    assert (found.metrics.files_added, found.metrics.files_removed) == (len(stands), 2 * len(stands))
    assert found.read_set.staged == {added.path for added in found.add}
    again = on_head(found, FASTER, 0, (), None, gone=frozenset({path(1)}))
    assert again.lost_groups == 2 - len(again.groups)


def test_a_new_file_takes_the_place_of_its_first_input() -> None:
    """So a compaction changes no order."""
    assert [(found.path, found.place) for found in compaction(TABLE, GROUPS).add] == [
        (path(11), path(1)),
        (path(12), path(3)),
    ]


def test_a_vacuum_spares_what_a_version_since_holds() -> None:
    """Its list loses every name that a later version holds, and its bound never goes back."""
    plan = mine(vacuum=Vacuum(oldest_readable_version=2, deletes=(path(1), path(9))))
    vacuum = on_head(plan, TABLE, 4, change([theirs(adds=(1,)), theirs(version=9, removes=(1,))]).held, None).vacuum
    assert vacuum is not None
    assert (vacuum.oldest_readable_version, vacuum.deletes) == (4, (path(9),))
