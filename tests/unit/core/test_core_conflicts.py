"""Conflicts: the rule table is the specification's, and each rule does what its row says."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.strategies import TABLE_ID
from txfiles.core import names
from txfiles.core.conflicts import MINE, OPERATIONS, RULES, ReadSet, Rule, Verdict, decide, same_but_properties
from txfiles.core.manifest import Add, Manifest, Metrics, Operation, Remove, TableMetadata, Vacuum
from txfiles.core.schema import Column

PAIRS = list(itertools.product(MINE, OPERATIONS))

SPEC = Path(__file__).parents[3] / "specs" / "5-commit.md"

COLUMNS = (Column(id=1, name="id", type="int64"), Column(id=2, name="day", type="date32"))
TABLE = TableMetadata(format="parquet", columns=COLUMNS, last_column_id=2, keys=("id",))
FASTER = replace(TABLE, properties={"compression": "zstd"})


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


def typical(operation: str) -> Manifest:
    """A commit of an operation that touches nothing of mine: file 1 comes, and file 2 goes where rows may go."""
    if operation == "set":
        return theirs("set", table=FASTER)
    if operation == "vacuum":
        return theirs("vacuum", vacuum=Vacuum(oldest_readable_version=1, deletes=(path(2),)))
    return theirs(operation, adds=(1,), removes=(2,) if operation in ("upsert", "overwrite") else ())


def mine(kind: str, **more: Any) -> ReadSet:
    """A plan that stands on file 5 and staged file 6."""
    known = {"relies_on": frozenset({path(5)}), "staged": frozenset({path(6)}), "changes_table": kind == "set"}
    return ReadSet(kind=kind, table=TABLE, **(known | more))


# ---- the table -------------------------------------------------------------------------------


def test_the_rules_are_the_table_of_the_specification() -> None:
    """Cell by cell, code and specification say the same."""
    text = SPEC.read_text(encoding="utf-8")
    lines = itertools.takewhile(
        lambda line: line.startswith("|"), text[text.index("| mine \\ theirs |") :].splitlines()
    )
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    written = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    assert written == {kind: {name: rule.name.lower() for name, rule in cells.items()} for kind, cells in RULES.items()}
    assert {f"- **{rule.name.lower()}**" for rule in Rule} <= set(re.findall(r"^- \*\*\w+\*\*", text, re.MULTILINE))


def test_every_pair_has_a_rule() -> None:
    """No operation meets another one without a decision being written down."""
    assert list(RULES) == list(MINE)
    assert all(list(cells) == list(OPERATIONS) for cells in RULES.values())


EXPECTED = {
    Rule.REBASE: Verdict.REBASE,
    Rule.PROBE: Verdict.PROBE,
    Rule.PART: Verdict.REDO,
    Rule.DERIVE: Verdict.DERIVE,
    Rule.REDO: Verdict.REDO,
}


@pytest.mark.parametrize(("kind", "operation"), PAIRS)
def test_each_cell(kind: str, operation: str) -> None:
    """A commit of each operation that touches none of my files gets what its cell says."""
    decision = decide(mine(kind), [typical(operation)])
    assert decision.verdict is EXPECTED[RULES[kind][operation]]
    assert decision.probe == ((add(1),) if decision.verdict is Verdict.PROBE else ())
    if decision.verdict is Verdict.REDO:
        assert f"version 8 ({operation})" in decision.because
        assert decision.version == 8


@pytest.mark.parametrize(("kind", "operation"), PAIRS)
def test_a_file_that_i_rely_on_is_gone(kind: str, operation: str) -> None:
    """Who stands on a file plans again when it goes, where its cell says probe or part; else the cell counts."""
    commit = replace(typical(operation), remove=(Remove(path=path(5)),))
    rule = RULES[kind][operation]
    expected = Verdict.REDO if rule in (Rule.PROBE, Rule.PART) else EXPECTED[rule]
    assert decide(mine(kind), [commit]).verdict is expected


@pytest.mark.parametrize("kind", MINE)
def test_an_operation_of_a_later_release_means_redo(kind: str) -> None:
    """What is not known is never taken for harmless."""
    assert decide(mine(kind), [theirs("compact", adds=(1,), removes=(2,))]).verdict is Verdict.REDO


# ---- parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyed", "in_part", "adds", "verdict"),
    [
        (False, True, (1,), Verdict.REDO),
        (False, False, (1,), Verdict.REBASE),
        (True, False, (1,), Verdict.PROBE),
        (True, True, (1,), Verdict.REDO),
        (True, True, (), Verdict.REBASE),
    ],
)
def test_an_overwrite_of_a_part(keyed: bool, in_part: bool, adds: tuple[int, ...], verdict: Verdict) -> None:
    """It looks at what was added to its part and, where it names keys, for its keys in the rest."""
    read_set = mine("overwrite part", keyed=keyed, in_part=lambda _: in_part)
    assert decide(read_set, [theirs(adds=adds, removes=(2,))]).verdict is verdict


def test_each_added_file_is_judged() -> None:
    """One file of many that may hold rows of my part is enough."""
    read_set = mine("overwrite part", in_part=lambda found: found.path == path(3))
    assert decide(read_set, [theirs(adds=(1, 2))]).verdict is Verdict.REBASE
    assert decide(read_set, [theirs(adds=(1, 3, 2))]).verdict is Verdict.REDO


# ---- before the table ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MINE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_my_batch_id_in_their_commit_ends_mine(kind: str, operation: str) -> None:
    """A batch that somebody else has committed is done, whatever else happened before or after it."""
    read_set = mine(kind, batch_id="monday")
    log = [
        typical("upsert"),
        replace(typical(operation), version=9, operation=Operation(name=operation, batch_id="monday")),
    ]
    after = theirs("overwrite", version=10, adds=(1,), removes=(5,))
    decision = decide(read_set, [*log, after])
    assert (decision.verdict, decision.version) == (Verdict.DONE, 9)
    assert decide(mine(kind, batch_id="tuesday"), log).verdict is not Verdict.DONE
    assert decide(mine(kind), log).verdict is not Verdict.DONE


def test_two_commits_without_a_batch_id_are_not_one_batch() -> None:
    """No batch id is equal to no other one."""
    assert decide(mine("append"), [theirs("append", adds=(1,))]).verdict is Verdict.REBASE


def test_my_batch_id_in_a_creation_ends_mine() -> None:
    """Two deliveries of the first batch create one table with one batch in it."""
    read_set = ReadSet(kind="append", table=None, batch_id="monday")
    created = theirs("append", version=0, adds=(1,), table=TABLE, batch_id="monday")
    assert decide(read_set, [created]).verdict is Verdict.DONE
    assert decide(ReadSet(kind="append", table=None), [created]).verdict is Verdict.REDO


@pytest.mark.parametrize("kind", MINE)
def test_a_vacuum_that_lists_a_staged_file_means_staging_again(kind: str) -> None:
    """No version ever names a file that a vacuum has committed to delete."""
    vacuum = Vacuum(oldest_readable_version=1, deletes=(path(9), path(6)))
    assert decide(mine(kind), [theirs("vacuum", vacuum=vacuum)]).verdict is Verdict.REDO
    both = [theirs("vacuum", vacuum=vacuum), theirs("append", version=9, adds=(1,))]
    assert decide(mine(kind), both).verdict is Verdict.REDO


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
@pytest.mark.parametrize("kind", MINE)
def test_a_change_of_what_the_table_is_means_redo(kind: str, changed: TableMetadata) -> None:
    """A plan made for other columns, keys or partitions is made again; and changing back later does not help."""
    assert not same_but_properties(TABLE, changed)
    assert decide(mine(kind), [theirs("upsert", table=changed)]).verdict is Verdict.REDO
    back = [theirs("upsert", table=changed), theirs("upsert", version=9, table=TABLE)]
    assert decide(mine(kind), back).verdict is Verdict.REDO


@pytest.mark.parametrize("kind", MINE)
@pytest.mark.parametrize("operation", ["set", "append"])
def test_a_change_of_properties_does_not_disturb(kind: str, operation: str) -> None:
    """Who does not touch the table action goes on with the new properties; two changes of it never rebase."""
    assert same_but_properties(TABLE, FASTER)
    commit = theirs(operation, table=FASTER)
    assert decide(mine(kind, changes_table=True), [commit]).verdict is Verdict.REDO
    if kind != "set":
        assert decide(mine(kind, changes_table=False), [commit]).verdict is not Verdict.REDO


@pytest.mark.parametrize("kind", MINE)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_commit_that_only_records_a_batch_id_disturbs_nobody(kind: str, operation: str) -> None:
    """A delivery that changed no row conflicts with nothing."""
    assert decide(mine(kind), [theirs(operation, batch_id="sunday")]).verdict is Verdict.REBASE


# ---- several commits -------------------------------------------------------------------------


def test_only_files_that_still_live_are_probed() -> None:
    """What one commit added and a later one removed need not be looked into."""
    log = [theirs(adds=(1, 2)), theirs(version=9, adds=(3,), removes=(1,)), theirs(version=10, adds=(4,), removes=(3,))]
    decision = decide(mine("upsert"), log)
    assert decision.verdict is Verdict.PROBE
    assert [found.path for found in decision.probe] == [path(2), path(4)]


def test_a_probe_of_nothing_is_left_when_all_added_files_are_gone() -> None:
    """Then no file can hold my keys."""
    log = [theirs("append", adds=(1,)), theirs("overwrite", version=9, removes=(1,))]
    assert decide(mine("append_once"), log).probe == ()


@pytest.mark.parametrize("order", list(itertools.permutations(["append", "set", "upsert"])))
def test_the_strictest_outcome_wins_in_any_order(order: tuple[str, ...]) -> None:
    """A harmless commit before or after does not soften the decision."""
    log = [replace(typical(name), version=8 + number) for number, name in enumerate(order)]
    assert decide(mine("append"), log).verdict is Verdict.REBASE
    assert decide(mine("upsert"), log).verdict is Verdict.PROBE
    assert decide(mine("overwrite"), log).verdict is Verdict.DERIVE
    assert decide(mine("set"), log).verdict is Verdict.REDO


def test_nothing_since_means_go_on() -> None:
    """Without newer commits every plan stands."""
    assert all(decide(mine(kind), []).verdict is Verdict.REBASE for kind in MINE)
