"""The key index in the log: what a manifest may say of runs, what a version makes of it, and which runs are merged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.strategies import TABLE_ID, manifests
from tests.unit.core.test_core_replay import TABLE, fold, log, manifest
from txfiles.core import codec, names, runs
from txfiles.core.manifest import IndexAction, RunKey, RunRef
from txfiles.errors import CorruptTableError

KEYED = replace(TABLE, keys=("id",))


def run(number: int, entries: int = 1) -> RunRef:
    """A run of the tables of these tests."""
    return RunRef(
        name=names.index_run(TABLE_ID, "a" * 32, number).removeprefix(names.INDEX_DIR),
        run=f"{number:032x}",
        bytes=1,
        entries=entries,
        files=1,
        footer_bytes=1,
        footer_sha256="0" * 64,
        key=RunKey(columns=(1,), kinds=("integer",), code=1, secret="b" * 32),
    )


def adds(*numbers: int) -> tuple[IndexAction, ...]:
    return tuple(IndexAction(add=run(number)) for number in numbers)


def removes(*numbers: int) -> tuple[IndexAction, ...]:
    return tuple(IndexAction(remove=run(number).name) for number in numbers)


def test_a_version_has_the_runs_that_its_manifests_added() -> None:
    """Oldest first, without those that were removed; removing one that is not there is no damage."""
    first, second = manifest(0, table=KEYED, index=adds(1, 2)), manifest(1, index=(*removes(1, 7), *adds(3)))
    assert fold(first).runs == (run(1), run(2))
    assert fold(first, second).runs == (run(2), run(3))


@pytest.mark.parametrize(
    "table", [replace(KEYED, keys=()), replace(KEYED, columns=(replace(TABLE.columns[0], type="string"),))]
)
def test_no_run_outlives_its_keys(table: Any) -> None:
    """Other keys, or a key that became text, have other codes: the old runs are gone, those of the commit are not."""
    found = fold(manifest(0, table=KEYED, index=adds(1)), manifest(1, table=table, index=adds(2)))
    assert found.runs == (run(2),)
    assert fold(manifest(0, table=KEYED, index=adds(1)), manifest(1, table=replace(KEYED, properties={"a": 1}))).runs


HOSTILE: dict[str, Any] = {
    "not a list": 1,
    "not objects": ["run"],
    "neither adds nor removes": [{}],
    "does both": [{"add": "RUN", "remove": "NAME"}],
    "a run twice": [{"add": "RUN"}, {"add": "RUN"}],
    "added and removed": [{"add": "RUN"}, {"remove": "NAME"}],
    "another table's": [{"remove": names.index_run("f" * 16, "a" * 32, 1).removeprefix(names.INDEX_DIR)}],
    "a path out of the folder": [{"remove": "../../x"}],
    "the secret": [{"remove": "secret"}],
    "a name of many lines": [{"remove": "NAME\n"}],
    "a negative size": [{"add": "RUN", "bytes": -1}],
    "too many": [
        {"remove": names.index_run(TABLE_ID, f"{number:032x}", 1)[len(names.INDEX_DIR) :]} for number in range(10_001)
    ],
}


@pytest.mark.parametrize("index", HOSTILE.values(), ids=HOSTILE)
def test_hostile_actions_are_refused(index: Any) -> None:
    """A manifest whose index is not what a writer would write is damaged, and says so."""
    document = json.loads(codec.encode(log(1)[0]))
    del document["sha256"]
    known = json.loads(codec.encode(manifest(0, index=adds(1))))["index"][0]["add"]

    def filled(action: Any) -> Any:
        if not isinstance(action, dict):
            return action
        found = {
            name: run(1).name if value == "NAME" else known if value == "RUN" else value
            for name, value in action.items()
        }
        if "remove" in found and action["remove"] == "NAME\n":
            found["remove"] = run(1).name + "\n"
        if "bytes" in found:
            found["add"] = found["add"] | {"bytes": found.pop("bytes")}
        return found

    document["index"] = [filled(action) for action in index] if isinstance(index, list) else index
    unsealed = json.dumps(document).encode()[:-1] + b", "
    data = unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}'
    with pytest.raises(CorruptTableError, match="damaged"):
        codec.decode(data, version=0, where="here")


@given(manifests())
def test_a_manifest_without_runs_does_not_speak_of_them(found: Any) -> None:
    """So tables without an index look to older releases as they always did."""
    assert (b'"index": [' in codec.encode(replace(found, table=None))) == bool(found.index)


FLOOR = 8 * runs.FIRST_TIER_ENTRIES
"""What any commit may merge."""


@given(st.lists(st.integers(0, 10**8), max_size=60), st.integers(FLOOR, 10**8) | st.none())
@example([500_000] * 15, FLOOR)
@example([500_000] * 16, FLOOR)
@example([500_000] * 8, 4_000_000)
def test_the_smallest_eight_runs_of_a_tier_are_merged(sizes: list[int], most: int | None) -> None:
    """All of one tier, and no more entries than a commit may be kept waiting for; a build merges whatever is full."""
    known = [run(number, entries) for number, entries in enumerate(sizes)]
    tiers = [[each for each in known if runs.tier(each.entries) == tier] for tier in range(7)]
    found = list(runs.to_merge(known, most=most))
    if not found:
        assert all(len(tier) < 8 or (most is not None and merged(tier) > limit(tier, most)) for tier in tiers)
        return
    [tier] = (tier for tier in tiers if found[0] in tier)
    assert found == sorted(tier, key=lambda each: each.entries)[:8]
    assert most is None or merged(tier) <= limit(tier, most)


def merged(tier: list[RunRef]) -> int:
    """The entries of the smallest eight runs."""
    return sum(sorted(each.entries for each in tier)[:8])


def limit(tier: list[RunRef], most: int) -> int:
    """How many entries of a tier a commit merges: no more than its share while few runs wait."""
    return min(8_000_000, most) if len(tier) < 16 else 8_000_000


def test_what_a_commit_may_merge_is_in_proportion_to_it() -> None:
    """Eight commits like it, if it brings rows; no more than it writes, if it moves them; half a million anyway."""
    assert runs.most_entries(changed=1, written=1_000) == runs.most_entries(changed=1_000, written=150_000) == FLOOR
    assert runs.most_entries(changed=1_000_000, written=1_000_000) == 8_000_000
    assert runs.most_entries(changed=1_000, written=3_000_000) == 3_000_000


def test_large_footers_are_not_merged() -> None:
    """Each names the files that it covers, and what is merged has to have room for all."""
    assert runs.to_merge([replace(run(number), footer_bytes=4 * 1024**2) for number in range(8)], most=FLOOR)
    assert not runs.to_merge([replace(run(number), footer_bytes=4 * 1024**2 + 1) for number in range(8)], most=FLOOR)


COMMITS = 2_000
SIZES = ("all of one size", "now and then a large one", "of any size", "large ones first", "rows are moved, too")


@pytest.mark.parametrize("sizes", SIZES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5)
def test_merging_is_bounded_however_long_a_table_is_written(sizes: str, seed: int) -> None:
    """Each row is merged thrice at most, beside ten thousand entries a run; few runs stay, and small commits are quick.

    More runs than 48 stay only where they have a million entries on average, more than may be merged at once. A commit
    merges more than its share only where sixteen runs wait, so at most once for eight runs that were added to a tier.
    """
    known: list[RunRef] = []
    rows = work = added = 0
    over = [0] * 4
    joined = [0] * 12  # how many runs came to each tier

    def add(entries: int) -> None:
        known.append(run(sum(joined), entries))
        joined[runs.tier(entries)] += 1

    for changed, written in commits(sizes, seed):
        due = list(runs.to_merge(known, most=runs.most_entries(changed=changed, written=written)))
        if due:
            entries = sum(each.entries for each in due)
            tier = runs.tier(due[0].entries)
            assert entries <= 8_000_000
            if entries > max(8 * changed, written, FLOOR):
                assert sum(runs.tier(each.entries) == tier for each in known) >= 16
                over[tier] += 1
            work += entries
            known = [each for each in known if each not in due]
            add(entries)
        for start in range(0, written, 4_000_000):
            add(min(4_000_000, written - start))
            added += 1
        rows += written
        assert len(known) <= 48 + rows // 10**6
        assert work <= 3 * rows + 10_000 * added
        assert all(8 * count <= came for count, came in zip(over, joined, strict=False))


def commits(sizes: str, seed: int) -> Iterator[tuple[int, int]]:
    """Many commits: how many rows each changes, and how many entries it adds."""
    random = Random(seed)
    size = round(10 ** random.uniform(0, 6))
    for number in range(COMMITS):
        changed = {
            "all of one size": size,
            "now and then a large one": 10**6 if random.random() < 0.01 else 1_000,
            "of any size": round(10 ** random.uniform(0, 7)),
            "large ones first": 500_000 if number < COMMITS // 10 else random.randrange(1, 100_000),
            "rows are moved, too": random.randrange(1, 1_000),
        }[sizes]
        yield changed, changed + (random.randrange(200_000) if sizes == "rows are moved, too" else 0)
