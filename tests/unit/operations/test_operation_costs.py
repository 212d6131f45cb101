"""What each verb asks for, at n files and versions and at 2n: what need not grow does not, the rest grows in step."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

import txfiles
from tests.counting import CountingStore
from txfiles import environment, inputs
from txfiles.core import codec
from txfiles.formats.parquet import ParquetFile
from txfiles.log import manifests, versions
from txfiles.log.cache import SnapshotCache
from txfiles.log.session import Session
from txfiles.operations import upsert, vacuum
from txfiles.options import Request, VacuumOptions, check
from txfiles.reading import key_finder, live, scan
from txfiles.store.memory import MemoryStore
from txfiles.store.port import Capabilities
from txfiles.targets.files import upkeep, writes
from txfiles.verbs import DeleteOptions, check_delete

FILES, ROWS, GROUP = 8, 40, 10  # the hint is written at every eighth version: at both sizes


def rows(number, count=ROWS):
    """The rows of one file: its own partition, ids in order."""
    ids = np.arange(number * ROWS, number * ROWS + count)
    return pa.table({"p": np.full(count, number), "id": ids, "v": ids * 2})


class World:
    """A table of n files, one a version and a partition, and the process that made it."""

    def __init__(self, count):
        self.files = count
        self.session = Session(CountingStore(MemoryStore()), environment.real(), SnapshotCache())
        properties = {"row_group_rows": GROUP, "checkpoint_interval": 1000}
        self.write(rows(0), "append_once", keys=("id",), partition_by=("p",), properties=properties)
        for number in range(1, count):
            self.write(rows(number), "append_once")

    def request(self, data, mode, **options):
        return check(Request(source=inputs.source(data), mode=mode, **options))

    def write(self, data, mode, **options):
        return writes.write(self.session, self.request(data, mode, **options))

    def plan(self, data, mode, **options):
        return writes.plan(self.session, self.request(data, mode, **options))

    def delete(self, head, **options):
        return writes.delete(self.session, head, check_delete(DeleteOptions(**options)))

    @property
    def head(self):
        """The newest version, as a process opens it that knows nothing of the table."""
        return versions.require_head(Session(self.session.store, environment.real()))

    @property
    def spread(self):
        """One row of each file, with a new value."""
        ids = np.arange(self.files) * ROWS
        return pa.table({"p": np.arange(self.files), "id": ids, "v": ids - 1})


def changed(number):
    """A few rows of one row group, with new values."""
    found = rows(number, 3)
    return found.set_column(2, "v", pa.array([-1, -2, -3]))


def counted(call):
    """What a call asks of the store, and which row groups × columns it decodes."""

    def one(world):
        head = world.head
        world.plan(rows(world.files), "append")  # what a process knows of the table, it knows
        read_group = ParquetFile.read_group
        calls = world.session.store.calls

        def counting(self, index, columns):
            world.session.store.count("groups")
            world.session.store.count("columns", len(columns))
            return read_group(self, index, columns)

        calls.clear()
        with mock.patch.object(ParquetFile, "read_group", counting):
            call(world, head)
        return Counter(calls)

    return one


# By call: run it on a world and its head; of data files (opened, row groups and columns decoded, written), which do not
# depend on the number of files.
CALLS = {
    "append": (lambda w, _: w.write(rows(w.files), "append"), (0, 0, 0, 1)),
    "append_once, new": (lambda w, _: w.write(rows(w.files), "append_once"), (0, 0, 0, 1)),
    "append_once, retried": (lambda w, _: w.write(rows(1), "append_once"), (1, 4, 4, 0)),
    # The key column of the row group, the column that differs, then all of it; the others are copied.
    "upsert, clustered": (lambda w, _: w.write(changed(1), "upsert"), (2, 3, 4, 1)),
    "overwrite": (lambda w, _: w.write(rows(0), "overwrite"), (0, 0, 0, 1)),
    "overwrite, partitions": (lambda w, _: w.write(rows(1, 5), "overwrite", overwrite_partitions=True), (0, 0, 0, 1)),
    # The filter's column of the row group that may match, then all of that; the others are copied.
    "overwrite, filter": (
        lambda w, _: w.write(rows(1, 5), "overwrite", replace_where=[("id", "<", 45), ("id", ">=", 40)]),
        (2, 2, 3, 2),
    ),
    "delete, filter": (lambda w, head: w.delete(head, where=[("id", "<", 45), ("id", ">=", 40)]), (2, 2, 3, 1)),
    "delete, keys": (lambda w, head: w.delete(head, keys=[40, 41]), (2, 2, 3, 1)),
    # No row group of which no row stays is read again, and no file.
    "delete, a row group": (lambda w, head: w.delete(head, where=[("id", "<", 50), ("id", ">=", 40)]), (2, 1, 1, 1)),
    "delete, a file": (lambda w, head: w.delete(head, where=[("id", "<", 80), ("id", ">=", 40)]), (1, 4, 4, 0)),
    "delete, a partition": (lambda w, head: w.delete(head, where=[("p", "=", 1)]), (0, 0, 0, 0)),
    "dry run of a delete": (lambda w, head: w.delete(head, keys=[40], dry_run=True), (1, 1, 1, 0)),
    "plan of an append": (lambda w, _: w.plan(rows(w.files), "append"), (0, 0, 0, 0)),
    "plan of an append_once": (lambda w, _: w.plan(rows(1), "append_once"), (1, 4, 4, 0)),
    "plan of an upsert": (lambda w, _: w.plan(changed(1), "upsert"), (1, 2, 2, 0)),
    "set": (lambda w, head: upkeep.set_table_properties(w.session, head, {"compression": "zstd"}), (0, 0, 0, 0)),
    "history, limited": (lambda w, head: list(manifests.history(w.session, head.state.version, 3)), (0, 0, 0, 0)),
}
# By call: what grows, by how much with each file and version; nothing else does.
GROWING = {
    "upsert, spread": (
        lambda w, _: w.write(w.spread, "upsert"),
        {"open_input": 2, "groups": 3, "columns": 4, "create": 1},
    ),
    # In each file: the filter's column of the row group that may match, then all of that; and a new file in its
    # partition.
    "overwrite, filter, spread": (
        lambda w, _: w.write(w.spread, "overwrite", replace_where=[("id", "in", w.spread["id"].to_pylist())]),
        {"open_input": 2, "groups": 2, "columns": 3, "create": 2},
    ),
    "delete, spread": (
        lambda w, head: w.delete(head, where=[("id", "in", w.spread["id"].to_pylist())]),
        {"open_input": 2, "groups": 2, "columns": 3, "create": 1},
    ),
    "history": (lambda w, head: list(manifests.history(w.session, head.state.version, None)), {"get": 1}),
    # Manifests since the oldest readable version are read; listed are each data file and manifest.
    "vacuum": (lambda w, head: vacuum.find(w.session, head, EXPIRED), {"get": 1, "listed": 2}),
    "vacuum, nothing expired": (lambda w, head: vacuum.find(w.session, head, KEPT), {"get": 1, "listed": 2}),
}
EXPIRED, KEPT = (vacuum.Rules(retain_us, 1, 0, force=False) for retain_us in (0, 10**15))


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_grow(name):
    """The call opens, decodes and writes just what its answer needs, and asks the log as much at n as at 2n files."""
    call, expected = CALLS[name]
    found = [counted(call)(World(count)) for count in (FILES, 2 * FILES)]
    assert [found[0][of] for of in ("open_input", "groups", "columns", "create")] == list(expected)
    assert found[0]["list_from"] == found[0]["read_ranges"] == 0
    assert found[1] == found[0]


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_in_step(name):
    """The call costs so much more for each file and version, and nothing else grows."""
    call, growth = GROWING[name]
    once, twice = (counted(call)(World(count)) for count in (FILES, 2 * FILES))
    assert once["list_from"] == twice["list_from"] == name.startswith("vacuum")
    assert twice - once == Counter({of: FILES * more for of, more in growth.items()})
    assert set(once) == set(twice)


def test_files_are_read_and_rewritten_in_the_environments_map():
    """What a call reads of several files, it reads where files can be read at a time, not one after the other."""
    world, inside, alone = World(FILES), [0], []
    read_group = ParquetFile.read_group

    def watched(function, items, /, width=None):
        def one(item):
            inside[0] += 1
            try:
                return function(item)
            finally:
                inside[0] -= 1

        return map(one, items)

    def noted(self, index, columns):
        if not inside[0]:
            alone.append(columns)
        return read_group(self, index, columns)

    world.session = replace(world.session, environment=replace(environment.real(), map=watched))
    everywhere = {"replace_where": [("id", "in", world.spread["id"].to_pylist())]}
    with mock.patch.object(ParquetFile, "read_group", noted):
        for call in (
            lambda: world.write(world.spread, "append_once"),
            lambda: world.write(world.spread, "upsert"),
            lambda: world.delete(world.head, where=[("v", "=", 2)]),
            lambda: world.write(world.spread, "overwrite", **everywhere),
            lambda: world.write(world.spread, "overwrite", keys=("id", "v"), rekey=True, **everywhere),
            lambda: scan.read(world.session, world.head, ["v"], None),
        ):
            call()
    assert alone == []


# ---------------------------------------------------------------- a vacuum's requests


class FarStore(CountingStore):
    """Its answers take longer than a thread."""

    capabilities = Capabilities(lists_from_a_name=True, requests_at_once=8, resends=False)


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_a_vacuum_reads_manifests_in_parallel_where_that_is_faster(far):
    """All manifests go through the environment's map if the store is worth it, and none if it is not."""
    world, mapped = World(FILES), []

    def watched(function, items, /, width=None):
        return map(function, [mapped.append(item) or item for item in items])

    store = FarStore(world.session.store) if far else world.session.store
    session = replace(world.session, store=store, environment=replace(environment.real(), map=watched))
    assert vacuum.find(session, world.head, KEPT).entries == ()
    assert mapped == (list(range(FILES)) if far else [])


def test_a_vacuum_reads_no_manifest_twice(monkeypatch):
    """Manifests with a sidecar cost a request more each; those of versions that have expired, one without it."""
    monkeypatch.setattr(codec, "INLINE_ACTIONS", 0)
    found = []
    for count in (FILES, 2 * FILES):
        world = World(count)
        world.write(rows(0), "overwrite")
        young = counted(lambda w, head: vacuum.find(w.session, head, KEPT))(world)
        upkeep.vacuum(world.session, world.head, VacuumOptions(retain="0", keep_versions=1, force=True))
        assert world.head.state.oldest_readable_version == count
        expired = counted(lambda w, head: vacuum.find(w.session, head, EXPIRED))(world)
        found.append((young["get"], expired["get"], young["stat"] + expired["stat"]))
    assert found == [(2 * (count + 1), count + 2 * 2, 0) for count in (FILES, 2 * FILES)]


# ---------------------------------------------------------------- steps of Python

WIDE_FILES = 200
PLANNING_STEPS_PER_FILE = 0.1
"""Calls of this library's functions that one file more costs a plan: none, apart from chance."""
OPENING_STEPS_PER_FILE = 40
"""Those that it costs to read the manifest that adds it, and to list it: checks of its names, mostly."""

PLANS = {
    "append": lambda w: w.plan(rows(w.files), "append"),
    "append_once": lambda w: w.plan(rows(w.files), "append_once"),
    "upsert": lambda w: w.plan(changed(1).slice(0, 2), "upsert"),
    "overwrite": lambda w: w.plan(rows(0), "overwrite"),
    "overwrite, partitions": lambda w: w.plan(rows(1, 5), "overwrite", overwrite_partitions=True),
    "overwrite, filter": lambda w: w.plan(rows(1, 1), "overwrite", replace_where=[("id", "=", 40)]),
    "overwrite, filter, keys": lambda w: w.plan(rows(1, 1), "overwrite", keys=("id",), replace_where=[("id", "=", 40)]),
    "delete": lambda w: w.delete(versions.require_head(w.session), where=WHERE, dry_run=True),
    "delete, keys": lambda w: w.delete(versions.require_head(w.session), keys=[40], dry_run=True),
    "delete, a partition": lambda w: w.delete(versions.require_head(w.session), where=[("p", "=", 1)], dry_run=True),
    "read": lambda w: scan.read(w.session, versions.require_head(w.session), ["v"], WHERE),
}
WHERE = [("id", "=", 41)]


STEPS_PER_HIT_FILE = 400
"""Those that it costs to look into one file more, and to plan what becomes of its rows."""
ELEMENTS_PER_HIT_FILE = 100
"""Elements of arrays that one hit file more with one row costs, in all operations on them."""
VACUUM_STEPS_PER_FILE = 150
"""Those that a vacuum takes for one file more and the one that it replaced: mostly checks of names in manifests."""


def steps(call):
    """How many functions of the library are called."""
    root, found = str(Path(txfiles.__file__).parent), Counter()

    def see(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            found["steps"] += 1

    before = sys.getprofile()
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return found["steps"]


@pytest.fixture(scope="module")
def wide():
    """Tables of 200 and of 400 files, all of one commit."""
    found = []
    for count in (WIDE_FILES, 2 * WIDE_FILES):
        world = World.__new__(World)
        world.files = count
        world.session = Session(CountingStore(MemoryStore()), environment.real(), SnapshotCache())
        data = pa.concat_tables([rows(number, 2) for number in range(count)])
        world.write(data, "append_once", keys=("id",), partition_by=("p",))
        world.plan(rows(count), "append")
        found.append(world)
    return found


@pytest.mark.parametrize("name", PLANS)
def test_planning_does_not_loop_over_files(wide, name):
    """A table of 200 files more costs planning no call of a Python function more."""
    once, twice = (steps(lambda world=world: PLANS[name](world)) for world in wide)
    assert once > 0
    assert (twice - once) / WIDE_FILES <= PLANNING_STEPS_PER_FILE


def test_opening_costs_a_bounded_number_of_steps_a_file(wide):
    """Opening a table of which nothing is known, and listing its files, is linear in the files, by a small factor."""
    once, twice = (steps(lambda world=world: world.head.files) for world in wide)
    assert WIDE_FILES < twice - once <= OPENING_STEPS_PER_FILE * WIDE_FILES


class Seen(AbstractSet):
    """A set that counts how many of its elements are looked at; asking for one looks at none."""

    def __init__(self, held):
        self._held = frozenset(held)
        self.elements = 0

    def __contains__(self, wanted):
        return wanted in self._held

    def __len__(self):
        return len(self._held)

    def __iter__(self):
        for element in self._held:
            self.elements += 1
            yield element


@pytest.fixture(scope="module")
def replaced():
    """Tables of 200 and of 400 files that replaced as many, all of two commits."""
    found = []
    for count in (WIDE_FILES, 2 * WIDE_FILES):
        world = World.__new__(World)
        world.files = count
        world.session = Session(CountingStore(MemoryStore()), environment.real(), SnapshotCache())
        for value in (0, 1):
            data = pa.table({"p": np.arange(count), "value": np.full(count, value)})
            world.write(data, "overwrite", partition_by=("p",))
        found.append(world)
    return found


@pytest.mark.parametrize("rules", [EXPIRED, KEPT], ids=["expired", "kept"])
def test_a_vacuum_is_linear_in_the_files(replaced, rules):
    """For each file listed it takes a bounded number of steps, and never goes through all live ones."""
    costs, real = [], vacuum.live_paths
    for world in replaced:
        head, live = world.head, []
        with mock.patch.object(vacuum, "live_paths", lambda base, live=live: live.append(Seen(real(base))) or live[0]):
            costs.append(steps(lambda world=world, head=head: vacuum.find(world.session, head, rules)))
        assert live[0].elements <= 2 * len(live[0])
    once, twice = costs
    assert WIDE_FILES < twice - once <= VACUUM_STEPS_PER_FILE * WIDE_FILES


class Elements(np.ndarray):
    """An array that counts the elements that operations on it, and on what comes of it, take in."""

    count = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return self._of(
            getattr(ufunc, method)(*map(_plain, inputs), **{k: _plain(v) for k, v in options.items()}), inputs
        )

    def __array_function__(self, function, kinds, given, options):
        return self._of(function(*_plain(given), **options), given)

    def __getitem__(self, which):
        return self._of(_plain(self)[_plain(which)], (which,))

    @staticmethod
    def _of(result, given):
        Elements.count += sum(np.size(of) for of in _plain(given) if isinstance(of, np.ndarray | list | tuple))
        return result.view(Elements) if isinstance(result, np.ndarray) else result


def _plain(of):
    if isinstance(of, list | tuple):
        return type(of)(map(_plain, of))
    return of.view(np.ndarray) if isinstance(of, Elements) else of


class CountedNumpy:
    """numpy, all of whose arrays count what is done with them."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *given, **options: Elements._of(found(*_plain(given), **options), given)


def test_an_upsert_sorts_its_batch_once(wide):
    """With twice the files hit, each by one row, an upsert's plan does twice as much: it scans no batch for a file."""
    costs = []
    for world in wide:
        ids = np.arange(world.files) * ROWS
        batch = pa.table({"p": np.arange(world.files), "id": ids, "v": ids - 1})
        Elements.count, in_turn = (
            0,
            replace(environment.real(), map=lambda function, items, /, width=None: map(function, items)),
        )
        with ExitStack() as planted:
            planted.enter_context(mock.patch.object(world, "session", replace(world.session, environment=in_turn)))
            for module in (upsert, live, key_finder):
                planted.enter_context(mock.patch.object(module, "np", CountedNumpy()))
            taken = steps(lambda world=world, batch=batch: world.plan(batch, "upsert"))
        costs.append((taken, Elements.count))
    (once, elements), (twice, elements_twice) = costs
    assert WIDE_FILES < twice - once <= STEPS_PER_HIT_FILE * WIDE_FILES
    assert WIDE_FILES < elements_twice - elements <= ELEMENTS_PER_HIT_FILE * WIDE_FILES
