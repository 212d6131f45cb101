"""Soundness and precision of the conflict rules, tried out on every small world.

A table is up to three files over four keys and two parts; two operations are planned on it, one is committed,
and the real `judge` judges the other by a faithful read set. Whenever it lets the plan stand, the rows must be
those of planning again. How often it asks for planning again in vain is written down, so that any change of the
rules' precision is noticed. A compaction (rows move to another file) is judged group by group: what is left of it must
leave every row as it is. Others may also restore (files come back), and mark rows instead of rewriting files.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from tests.strategies import TABLE_ID
from txfiles.core import conflicts, names
from txfiles.core.conflicts import Verdict
from txfiles.core.manifest import Add, Manifest, Mark, Metrics, Operation, Remove, TableMetadata, Vector
from txfiles.core.plan import (
    Check,
    CommitPlan,
    Group,
    KeysAbsent,
    NoneMatches,
    Partition,
    ReadSet,
    Replaces,
    compaction,
    on_head,
)
from txfiles.core.schema import Column

pytestmark = [pytest.mark.guarantees("S10"), pytest.mark.slow]

TABLE = TableMetadata(
    format="parquet",
    columns=tuple(Column(id=i, name=name, type="int64") for i, name in enumerate(["key", "part", "time", "who"], 1)),
    last_column_id=4,
    partition_by=("part",),
    keys=("key",),
    timestamp_col="time",
)


@dataclass(frozen=True, order=True)
class Row:
    key: int
    part: int
    time: int
    who: str


@dataclass(frozen=True)
class File:
    """A data file: all its rows are of one part. Some may be marked."""

    path: str
    part: int
    stored: frozenset[Row]
    marked: frozenset[Row] = frozenset()

    @property
    def rows(self) -> frozenset[Row]:
        """Those that are live."""
        return self.stored - self.marked

    @property
    def vector(self) -> Vector | None:
        """One for each set of rows: which are marked is told by its name."""
        if not self.marked:
            return None
        digest = hashlib.sha256(repr(sorted(self.marked)).encode()).hexdigest()
        name = names.vectors(TABLE_ID, digest[:32], 0)
        return Vector(file=name, offset=0, bytes=1, sha256=digest, rows=len(self.marked))

    @property
    def add(self) -> Add:
        return Add(
            path=self.path,
            rows=len(self.stored),
            bytes=1,
            sha256="0" * 64,
            partition=(str(self.part),),
            vector=self.vector,
        )


World = tuple[File, ...]

Where = tuple[str, int]
"""A filter: a column of `Row` and the value of the rows that match."""


@dataclass(frozen=True)
class Op:
    """A write of one row for each key, all of one part and time; or a delete of these keys, or of what matches."""

    name: str
    keys: frozenset[int]
    part: int = 0
    time: int = 2
    is_part: bool = False
    where: Where | None = None
    keyed: bool = False
    marks: bool = False

    @property
    def kind(self) -> str:
        """What the table of false conflicts calls it."""
        if self.where is not None:
            return f"{self.name} by filter"
        if self.name == "delete":
            return "delete by keys"
        return "overwrite of partitions" if self.is_part and self.name == "overwrite" else self.name


@dataclass(frozen=True)
class Plan:
    """What an operation would commit on one world, and what that stands on."""

    op: Op
    adds: World
    removes: frozenset[str]
    relies_on: Mapping[str, frozenset[Row] | None] = field(default_factory=dict, hash=False)
    marks: Mapping[str, frozenset[Row]] = field(default_factory=dict, hash=False)
    probes: frozenset[int] = frozenset()
    groups: tuple[Group, ...] = ()

    @property
    def replaces(self) -> Replaces | None:
        """What is listed anew when it is committed."""
        if self.op.name != "overwrite" or self.op.where is not None:
            return None
        return Replaces(frozenset({_partition(self.op.part)})) if self.op.is_part else Replaces()

    @property
    def checks(self) -> tuple[Check, ...]:
        """What must hold of files that others add."""
        found: list[Check] = [NoneMatches(self.op.where)] if self.op.where is not None else []
        if self.probes:
            replaced = self.replaces
            found.append(KeysAbsent(self.probes, (replaced.partitions or frozenset()) if replaced else frozenset()))
        return tuple(found)

    @property
    def commit_plan(self) -> CommitPlan:
        """As the library has it."""
        if self.groups:
            return compaction(TABLE, self.groups)
        staged = frozenset(file.path for file in self.adds)
        return CommitPlan(
            table=TABLE,
            read_set=ReadSet(table=TABLE, relies_on=self.relies_on, checks=self.checks, staged=staged),
            add=tuple(file.add for file in self.adds),
            remove=tuple(sorted(self.removes)),
            replaces=self.replaces,
        )

    def manifest(self, version: int, world: World) -> Manifest:
        """Its commit on a world."""
        before, after = {file.path: file for file in world}, {file.path: file for file in apply(world, self)}
        removes = before.keys() - after.keys()
        adds = [file for path, file in after.items() if path not in before]
        changed = [file for path, file in after.items() if path in before and before[path] != file]
        if self.op.name == "restore":  # a file with fewer marks is removed and added
            removes, adds, changed = removes | {file.path for file in changed}, [*adds, *changed], []
        marks = [Mark(path=file.path, vector=vector) for file in changed if (vector := file.vector) is not None]
        return Manifest(
            format_version=1,
            version=version,
            table_id=TABLE_ID,
            commit_id="c" * 32,
            parent_sha256="0" * 64,
            time="2026-11-24T03:44:00.000001Z",
            operation=Operation(name=self.op.name),
            metrics=Metrics(),
            add=tuple(file.add for file in adds),
            remove=tuple(Remove(path=path) for path in sorted(removes)),
            mark=tuple(marks),
        )


REFUSED = "refused"


def _partition(part: int) -> Partition:
    return (str(part),)


# ---- what the operations mean, on sets -------------------------------------------------------


@cache
def plan(op: Op, world: World, who: str) -> Plan | str:
    """Plan an operation on a world, as the library does: which files it reads, rewrites, adds."""
    batch = frozenset(Row(key, op.part, op.time, "base" if op.time == 1 else who) for key in op.keys)
    if op.name == "overwrite":
        return _overwrite(op, world, batch, who)
    if op.name == "append":
        return _plan(op, who, new=batch)
    if op.name == "compact":
        return _compact(op, world, who)
    if op.name == "delete":
        return _delete(op, world, who)
    hit = {
        file.path: frozenset(row for row in file.rows if row.key in op.keys)
        for file in world
        if any(row.key in op.keys for row in file.rows)
    }
    if op.name == "append_once":
        known = {row.key for file in world for row in file.rows}
        new = frozenset(row for row in batch if row.key not in known)
        return _plan(op, who, new=new, relies_on=hit, probes=frozenset(row.key for row in new))
    return _upsert(op, world, batch, hit, who)


def _compact(op: Op, world: World, who: str) -> Plan | str:
    """Join the files of a part, or of each: every row moves, none changes."""
    adds, groups = [], []
    for part in sorted({file.part for file in world} if op.is_part is False else {op.part}):
        joined = [file for file in world if file.part == part]
        if joined:
            adds.append(File(_path(who, part), part, frozenset(row for file in joined for row in file.rows)))
            groups.append(Group(tuple(file.path for file in joined), len(joined), (adds[-1].add,)))
    if not groups:
        return REFUSED
    return Plan(op, tuple(adds), frozenset(path for group in groups for path in group.inputs), groups=tuple(groups))


def _delete(op: Op, world: World, who: str) -> Plan:
    """Leave out the rows with these keys, or those that match; files without a row left are only removed."""
    gone = frozenset(
        row for file in world for row in file.rows if (_matches(op.where, row) if op.where else row.key in op.keys)
    )
    return _edited(op, who, world, gone, probes=op.keys)


def _edited(
    op: Op,
    who: str,
    world: World,
    gone: frozenset[Row],
    *,
    new: frozenset[Row] = frozenset(),
    homes: Mapping[str, set[Row]] | None = None,
    found: Mapping[str, frozenset[Row]] | None = None,
    probes: frozenset[int] = frozenset(),
) -> Plan:
    """Rows go, and others come in their place: the files are rewritten, or the rows marked and the others new."""
    homes = homes or {}
    touched = [file for file in world if file.rows & gone]
    marked = [file for file in touched if op.marks and file.rows - gone]
    others = [file for file in touched if file not in marked]
    moved = frozenset(row for path, come in homes.items() for row in come) if op.marks else frozenset[Row]()
    pieces = [(file.part, (file.rows - gone) | homes.get(file.path, set())) for file in others if not op.marks]
    relies_on: dict[str, frozenset[Row] | None] = {file.path: file.rows & gone for file in marked}
    plan = _plan(
        op,
        who,
        new=new | moved,
        pieces=pieces,
        removes=_paths(others),
        relies_on={**relies_on, **(found or {}), **dict.fromkeys(_paths(others))},
        probes=probes,
    )
    return replace(plan, marks={file.path: file.marked | (file.rows & gone) for file in marked})


def _matches(where: Where, row: Row) -> bool:
    column, value = where
    return bool(getattr(row, column) == value)


def _overwrite(op: Op, world: World, batch: frozenset[Row], who: str) -> Plan | str:
    gone = [file for file in world if not op.is_part or file.part == op.part]
    staying = {row.key for file in world if file not in gone for row in file.rows}
    if op.keyed and staying & op.keys:
        return REFUSED
    paths = frozenset(file.path for file in gone)
    probes = op.keys if op.keyed else frozenset[int]()
    return _plan(op, who, new=batch, removes=paths, relies_on=dict.fromkeys(paths if op.where else ()), probes=probes)


def _upsert(op: Op, world: World, batch: frozenset[Row], hit: Mapping[str, frozenset[Row]], who: str) -> Plan | str:
    new, homes, changed = set[Row](), dict[str, set[Row]](), set[int]()
    for row in batch:
        stored = [(file, old) for file in world for old in file.rows if old.key == row.key]
        newest = max(stored, key=lambda found: found[1].time, default=None)
        if newest is None:
            new.add(row)
        elif row.time < newest[1].time or [old for _, old in stored] == [row]:
            continue
        else:
            changed.add(row.key)
            if newest[0].part == row.part:
                homes.setdefault(newest[0].path, set()).add(row)
            else:
                new.add(row)
    gone = frozenset(row for file in world for row in file.rows if row.key in changed)
    return _edited(op, who, world, gone, new=frozenset(new), homes=homes, found=hit, probes=op.keys)


def _plan(
    op: Op,
    who: str,
    *,
    new: frozenset[Row],
    pieces: Sequence[tuple[int, frozenset[Row]]] = (),
    removes: frozenset[str] = frozenset(),
    relies_on: Mapping[str, frozenset[Row] | None] | None = None,
    probes: frozenset[int] = frozenset(),
) -> Plan:
    written = [(part, rows) for part, rows in [*pieces, (op.part, new)] if rows]
    adds = tuple(File(_path(who, number), part, frozenset(rows)) for number, (part, rows) in enumerate(written))
    return Plan(op, adds, removes, relies_on or {}, probes=probes)


def _path(who: str, number: int) -> str:
    return names.data_file(TABLE_ID, who.encode().hex().ljust(32, "0"), number, "parquet")


def apply(world: World, found: Plan | str) -> World:
    """The world after a plan, which removes whatever it replaces by now."""
    if isinstance(found, str):
        return world
    replaces = found.replaces

    def goes(file: File) -> bool:
        if replaces is None:
            return file.path in found.removes
        return replaces.partitions is None or _partition(file.part) in replaces.partitions

    stay = [file for file in world if not goes(file)]
    marked = [replace(file, marked=file.marked | found.marks.get(file.path, frozenset())) for file in stay]
    return tuple(file for file in marked if file.rows or not file.stored) + found.adds


@cache
def rows(world: World) -> tuple[Row, ...]:
    return tuple(sorted(row for file in world for row in file.rows))


# ---- all small worlds ------------------------------------------------------------------------

PARTS = (0, 1, 0)
"""Of the three files."""

MISSING = 3


def worlds(keys: int) -> Iterator[World]:
    """Each way to put keys into the three files or nowhere, up to the names of keys and files; some keys twice."""
    for places in itertools.combinations_with_replacement(range(MISSING + 1), keys):
        if places.count(2) <= places.count(0):
            yield _world([(key, place) for key, place in enumerate(places)])
    for doubled in itertools.combinations(range(3), 2):
        yield _world([(0, place) for place in doubled] + [(1, 1), (2, 0)])


def _world(places: Sequence[tuple[int, int]]) -> World:
    return tuple(
        File(_path("base", number), part, found)
        for number, part in enumerate(PARTS)
        if (found := frozenset(Row(key, part, 1, "base") for key, place in places if place == number))
    )


def operations(keys: int, largest: int) -> list[Op]:
    """Each operation with each batch of up to `largest` keys; upserts that are fresh, stale or say what is known."""
    sets = [frozenset(found) for size in range(1, largest + 1) for found in itertools.combinations(range(keys), size)]
    single = [found for found in sets if len(found) == 1]
    return [
        *(Op("append", found, part) for found in single for part in (0, 1)),
        *(Op("append_once", found, part) for found in sets for part in (0, 1)),
        *(Op("upsert", found, part) for found in sets for part in (0, 1)),
        *(Op("upsert", found, time=time) for found in sets for time in (0, 1)),
        *(Op("overwrite", found) for found in [frozenset[int](), *sets]),
        *(
            Op("overwrite", found, part, is_part=True, where=where)
            for found in [frozenset[int](), *single]
            for part in (0, 1)
            for where in (None, ("part", part))
        ),
        *(
            Op("overwrite", found, part, is_part=True, where=where, keyed=True)
            for found in sets
            for part in (0, 1)
            for where in (None, ("part", part))
        ),
        *(Op("delete", found) for found in sets),
        *(Op("delete", frozenset(), where=("part", part)) for part in (0, 1)),
        *(Op("delete", frozenset(), where=("time", time)) for time in (1, 2)),
        *(Op("delete", frozenset(), where=("key", key)) for key in range(keys)),
    ]


COMPACTIONS = [*(Op("compact", frozenset(), part, is_part=True) for part in (0, 1)), Op("compact", frozenset())]
"""Of a part; of all."""


@dataclass(frozen=True)
class Judged:
    stands: bool
    sound: bool
    needless: bool


BUGS = ("marks are no difference", "rows are not looked at", "a compaction ignores marks", "what came back is not new")


def judge(world: World, mine: Plan, theirs: Sequence[Plan], *, undone: bool = False, bug: str = "") -> Judged:
    """Let the others commit, ask the rules, and compare with planning again.

    Args:
        world: the base.
        mine: planned on it.
        theirs: they come first.
        undone: then the table is restored to the base.
        bug: planted into the rules.
    """
    newer = world
    manifests = []
    for number, found in enumerate(theirs):
        manifests.append(found.manifest(8 + number, newer))
        newer = apply(newer, found)
    if undone:
        back = _restored(newer, world)
        manifests.append(back.manifest(8 + len(theirs), newer))
        newer = apply(newer, back)
    net, files = _change(world, newer, manifests, bug)
    decision = conflicts.judge(mine.commit_plan, manifests, net)
    fresh = [files[add.path] for add in net.fresh]
    live = bug == "rows are not looked at" or all(
        not (mine.relies_on.get(path) or frozenset()) & files[path].marked for path in net.marked
    )
    holds = decision.verdict is not Verdict.PROBE or (live and all(_holds(check, fresh) for check in mine.checks))
    stands = decision.verdict is not Verdict.REDO and holds
    if mine.groups:
        marked = frozenset[str]() if bug == "a compaction ignores marks" else net.marked.keys()
        kept = on_head(mine.commit_plan, TABLE, 0, net.held, None, gone=net.gone | marked)
        adds = tuple(file for file in mine.adds if file.path in {add.path for add in kept.add})
        left = Plan(mine.op, adds, frozenset(kept.remove))
        # As sets: two equal rows of one file are one here.
        same = left.removes <= _paths(newer) and set(rows(apply(newer, left))) == set(rows(newer))
        return Judged(stands, sound=same, needless=not stands)
    again = plan(mine.op, newer, "mine")
    applies = mine.replaces is not None or mine.removes <= _paths(newer)
    same = applies and again != REFUSED and rows(apply(newer, mine)) == rows(apply(newer, again))
    return Judged(stands, sound=same or not stands, needless=same and not stands)


def _restored(newer: World, world: World) -> Plan:
    """A restore from one world to another."""
    return Plan(Op("restore", frozenset()), tuple(set(world) - set(newer)), _paths(set(newer) - set(world)))


def _change(
    world: World, newer: World, manifests: Sequence[Manifest], bug: str
) -> tuple[conflicts.Change, dict[str, File]]:
    """The difference, and the files at the head."""
    base = {file.path: file for file in world}
    net = conflicts.change(manifests, lambda path: base[path].vector if path in base else None)
    if bug == "marks are no difference":
        net = replace(net, marked={})
    if bug == "what came back is not new":
        net = replace(net, fresh=tuple(add for add in net.fresh if add.path not in base), gone=net.gone - base.keys())
    return net, {file.path: file for file in newer}


def _paths(files: Iterable[File]) -> frozenset[str]:
    return frozenset(file.path for file in files)


def _holds(check: Check, fresh: Sequence[File]) -> bool:
    stay = [file for file in fresh if _partition(file.part) not in check.outside]
    if isinstance(check, KeysAbsent):
        return not any(row.key in check.keys for file in stay for row in file.rows)
    return not any(_matches(check.where, row) for file in stay for row in file.rows)


def plans(world: World, ops: Sequence[Op], who: str) -> list[Plan]:
    """What there is to commit on a world."""
    return [found for op in ops if isinstance(found := plan(op, world, who), Plan)]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Leave no worlds in memory."""
    yield
    plan.cache_clear()
    rows.cache_clear()


JUDGED = (490_729, 295_295)
"""Pairs of plans that were judged, and how many of them the rules let stand."""

NEEDLESS = {
    ("append_once", "compact"): 900,
    ("append_once", "delete by filter"): 448,
    ("append_once", "delete by keys"): 932,
    ("append_once", "overwrite"): 1_048,
    ("append_once", "overwrite by filter"): 1_564,
    ("append_once", "overwrite of partitions"): 1_564,
    ("append_once", "upsert"): 7_188,
    ("upsert", "append"): 928,
    ("upsert", "compact"): 689,
    ("upsert", "delete by filter"): 340,
    ("upsert", "delete by keys"): 716,
    ("upsert", "overwrite"): 813,
    ("upsert", "overwrite by filter"): 1_556,
    ("upsert", "overwrite of partitions"): 1_556,
    ("upsert", "upsert"): 5_219,
}
"""Pairs of operations (mine, theirs) → how often the rules ask for planning again in vain."""


def test_a_plan_that_stands_gives_the_rows_of_planning_again(cases: Callable[..., None]) -> None:
    """For two operations on any small world the rules are sound; and their false conflicts are as many as known."""
    ops = [*operations(4, 2), *COMPACTIONS]
    needless: Counter[tuple[str, str]] = Counter()
    judged = standing = 0
    for world in worlds(4):
        for theirs, mine in itertools.product(plans(world, ops, "theirs"), plans(world, ops, "mine")):
            verdict = judge(world, mine, [theirs])
            assert verdict.sound, (world, theirs, mine)
            needless[mine.op.kind, theirs.op.kind] += verdict.needless
            standing += verdict.stands
            judged += 1
    cases(pairs_of_plans=judged, false_conflicts=sum(needless.values()))
    assert +needless == NEEDLESS
    assert (judged, standing) == JUDGED


def test_the_specification_lists_false_conflicts() -> None:
    """The page on commits tells how often the rules ask for planning again in vain, pair by pair."""
    page = Path(__file__).parents[3].joinpath("specs/5-commit.md").read_text()
    rows = re.findall(r"^\| ([a-z_ ]+) \| ([a-z_ ]+) \| ([0-9,]+) \|$", page, re.MULTILINE)
    assert {(mine, theirs): int(count.replace(",", "")) for mine, theirs, count in rows} == NEEDLESS
    assert f"{JUDGED[0]:,}" in page


def test_a_plan_that_stands_on_two_commits_does_too() -> None:
    """The same holds where two others came first, one on top of the other."""
    ops = [*operations(2, 1), *COMPACTIONS]
    for world in list(worlds(2))[-4:]:
        for first in plans(world, ops, "first"):
            for second in plans(apply(world, first), ops, "second"):
                for mine in plans(world, ops, "mine"):
                    assert judge(world, mine, [first, second]).sound, (world, first, second, mine)


def test_what_was_undone_disturbs_nobody() -> None:
    """If a restore brings the base's files back, every plan stands, and gives the rows of planning again."""
    ops = [*operations(3, 1), *COMPACTIONS]
    for world in worlds(3):
        for theirs, mine in itertools.product(plans(world, ops, "theirs"), plans(world, ops, "mine")):
            verdict = judge(world, mine, [theirs], undone=True)
            assert (verdict.stands, verdict.sound) == (True, True), (world, theirs, mine)


def test_rows_that_were_compacted_are_probed() -> None:
    """A key that others appended and then compacted is found, though the file in which it came is gone."""
    ops = [*operations(3, 1), *COMPACTIONS]
    for world in worlds(3):
        for first in plans(world, ops, "first"):
            for second in plans(apply(world, first), COMPACTIONS, "second"):
                for mine in plans(world, ops, "mine"):
                    assert judge(world, mine, [first, second]).sound, (world, first, second, mine)


# ---- marked rows -----------------------------------------------------------------------------


def marked_worlds() -> Iterator[World]:
    """Small worlds; in some, rows with a key that is nowhere else or in another file too are marked already."""
    for world in worlds(2):
        yield world
        for number, file in enumerate(world):
            for extra in (Row(0, file.part, 0, "dead"), *file.rows):
                stored = file.stored | {extra}
                if len(stored) > 1:
                    marked = replace(file, stored=stored, marked=frozenset({extra}))
                    yield (*world[:number], marked, *world[number + 1 :])


def marking(ops: Iterable[Op]) -> list[Op]:
    """The operations that may mark rows, marking them."""
    return [replace(op, marks=True) for op in ops if op.name in ("upsert", "delete") or op.where is not None]


MARKED = (109_632, 70_231, 6_395)
"""Pairs with marked rows that were judged, those that stand, and those that are planned again in vain."""


def test_marked_rows_are_judged_row_by_row(cases: Callable[..., None]) -> None:
    """Where operations mark rows, the rules are sound too; and what is planned again in vain is as much as known."""
    plain = operations(2, 1)
    ops = [*marking(plain), *(op for op in plain if op.name not in ("upsert", "delete")), *COMPACTIONS]
    judged = standing = needless = 0
    for world in marked_worlds():
        for theirs, mine in itertools.product(plans(world, ops, "theirs"), plans(world, ops, "mine")):
            verdict = judge(world, mine, [theirs])
            assert verdict.sound, (world, theirs, mine)
            judged, standing, needless = judged + 1, standing + verdict.stands, needless + verdict.needless
    cases(pairs_of_plans=judged, false_conflicts=needless)
    assert (judged, standing, needless) == MARKED


def test_two_that_mark_different_rows_of_a_file_both_stand() -> None:
    """Neither waits for the other, and the rows of both are gone; who marks the same row plans again."""
    world = _world([(0, 0), (1, 0), (2, 0)])
    for mine, theirs in itertools.product(range(3), repeat=2):
        own = plan(Op("delete", frozenset({mine}), marks=True), world, "mine")
        other = plan(Op("delete", frozenset({theirs}), marks=True), world, "theirs")
        assert isinstance(own, Plan)
        assert isinstance(other, Plan)
        verdict = judge(world, own, [other])
        assert (verdict.stands, verdict.sound) == (mine != theirs, True)
        if mine != theirs:
            assert {row.key for row in rows(apply(apply(world, other), own))} == {0, 1, 2} - {mine, theirs}


def test_marks_of_two_commits() -> None:
    """The same holds where two others came first, and where the second is a restore to the base, or to before it."""
    ops = [*marking(operations(2, 1)), Op("append_once", frozenset({0})), *COMPACTIONS]
    for world in [found for found in marked_worlds() if any(file.marked for file in found)][:40:3]:
        for first in plans(world, ops, "first"):
            newer = apply(world, first)
            unmarked = tuple(replace(file, marked=frozenset()) for file in newer)
            for second in [*plans(newer, ops, "second"), _restored(newer, world), _restored(newer, unmarked)]:
                for mine in plans(world, ops, "mine"):
                    assert judge(world, mine, [first, second]).sound, (world, first, second, mine)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_rules_of_marks_shows(bug: str) -> None:
    """Each of these mistakes leads to wrong rows in some small world."""
    ops = [*marking(operations(2, 1)), Op("append_once", frozenset({0})), *COMPACTIONS]
    for world in marked_worlds():
        unmarked = tuple(replace(file, marked=frozenset()) for file in world)
        for theirs in [*plans(world, ops, "theirs"), *([_restored(world, unmarked)] if unmarked != world else [])]:
            if not all(judge(world, mine, [theirs], bug=bug).sound for mine in plans(world, ops, "mine")):
                return
    pytest.fail("nothing was noticed")
