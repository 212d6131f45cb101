"""The key index in the log: what a manifest may say of runs, what a version makes of it, and which runs are merged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
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


@given(st.lists(st.integers(0, 10**8), max_size=40))
def test_at_most_eight_runs_of_a_tier_are_merged(sizes: list[int]) -> None:
    """All of one tier, the oldest first, and no more rows than a commit may be kept waiting for."""
    known = [run(number, entries) for number, entries in enumerate(sizes)]
    found = runs.to_merge(known)
    assert len(found) in (0, 8)
    if found:
        [tier] = {runs.tier(each.entries) for each in found}
        assert list(found) == [each for each in known if runs.tier(each.entries) == tier][:8]
        assert sum(each.entries for each in found) <= runs.MERGED_ENTRIES_MOST


def test_each_row_is_merged_about_once_a_tier() -> None:
    """Appending equal runs for ever leaves few runs, and the work of merging grows with the logarithm of the table."""
    known: list[RunRef] = []
    merged, rows = 0, 20_000
    for number in range(2_000):
        due = list(runs.to_merge(known))
        if due:
            known = [each for each in known if each not in due]
            total = sum(each.entries for each in due)
            merged += total
            known.append(run(10_000 + number, total))
        known.append(run(number, rows))
        assert len(known) <= 25 + sum(each.entries > 10**6 for each in known)
    assert merged <= 4 * 2_000 * rows
