"""Where reading takes requests, an upsert fetches what it rewrites once, and writes what it writes anywhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.remote import Remote, asked, table, write
from txfiles import environment
from txfiles.core import names
from txfiles.formats import source
from txfiles.log import manifests, versions
from txfiles.log import session as sessions
from txfiles.log.session import FILES_AT_ONCE, Session
from txfiles.reading import scan
from txfiles.store.memory import MemoryStore
from txfiles.store.port import Capabilities

GROUPS, GROUP = 4, 10_000
FATES = ("inserted", "updated", "unchanged", "stale", "deleted")


class Bucket(Remote):
    """A store of whose requests several should run at once."""

    capabilities = Capabilities(lists_from_a_name=True, requests_at_once=8, resends=False)


def made(count, **properties):
    """A table of some files, each of `GROUPS` row groups."""
    session = Session(Bucket(), environment.real())
    properties = {"row_group_rows": GROUP, "compression": "none"} | properties
    for number in range(count):
        rows = table(number * GROUPS * GROUP, GROUPS * GROUP)
        options = {"mode": "append_once", "keys": ("id",), "properties": properties}
        write(session, rows, **(options if not number else {"mode": "append_once"}))
    return session


def stored(session):
    """The bytes of each live file, and of all data files that there are."""
    live = versions.require_head(session).files
    objects = session.store._store._objects
    return live["bytes"].to_pylist(), sorted(name for name in objects if name.endswith(".parquet"))


def some(session, step):
    """Every so-manieth row of the table, with another value of a column."""
    rows = scan.read(session, versions.require_head(session), None, None)
    rows = rows.take(pa.array(np.arange(0, rows.num_rows, step)))
    return rows.set_column(1, "a", pa.array(np.zeros(rows.num_rows, np.int64)))


@pytest.mark.parametrize("count", [3, 6])
def test_what_is_rewritten_is_received_once(count):
    """Of files that change in every row group: the footer, the keys, and then the rest in one batch."""
    session = made(count)
    batch, (sizes, _) = some(session, 100), stored(session)
    calls, found = asked(session, lambda _: write(session, batch, mode="upsert"))
    assert (found.rows_updated, found.files_removed) == (batch.num_rows, count)
    assert calls["bytes"] <= sum(sizes)
    assert (calls["reads"], calls["batches"]) == (count, 2 * count)


@pytest.mark.parametrize("count", [3, 6])
def test_what_is_copied_is_received_once(count):
    """Files of which one row group changes are read as a whole, to compare their checksum, and once."""
    session = made(count)
    batch, (sizes, _) = some(session, GROUPS * GROUP), stored(session)
    calls, found = asked(session, lambda _: write(session, batch, mode="upsert"))
    assert (found.rows_updated, found.files_removed) == (count, count)
    assert calls["bytes"] <= sum(sizes)
    assert (calls["reads"], calls["batches"]) == (count, 3 * count)


@pytest.mark.parametrize("count", [3, 6])
def test_a_retry_writes_nothing(count):
    """The same upsert again fetches the rows to compare them, and begins no file."""
    session = made(count)
    batch = some(session, 100)
    write(session, batch, mode="upsert")
    sizes, names_before = stored(session)
    calls, found = asked(session, lambda _: write(session, batch, mode="upsert"))
    assert (found.committed, found.rows_unchanged) == (False, batch.num_rows)
    assert stored(session) == (sizes, names_before)
    assert calls["bytes"] <= sum(sizes)


def test_a_file_that_is_too_large_to_hold(monkeypatch):
    """It is fetched in several batches, and a second time to be written; no more than the limit is held."""
    session = made(1)
    batch, ((size,), _) = some(session, 100), stored(session)
    monkeypatch.setattr(source, "AHEAD_BYTES", size // 3)
    calls, found = asked(session, lambda _: write(session, batch, mode="upsert"))
    assert found.rows_updated == batch.num_rows
    assert size < calls["bytes"] <= 2 * size
    assert scan.read(session, versions.require_head(session), None, [("a", "=", 0)]).num_rows == batch.num_rows


@pytest.mark.parametrize(("files_held", "width"), [(1, 1), (3, 3), (100, FILES_AT_ONCE)])
def test_files_under_way_are_held_within_a_limit(files_held, width, monkeypatch):
    """Large files are fewer at a time: what all of them hold does not grow with their size."""
    session, widths = made(3), []
    batch, (sizes, _) = some(session, 100), stored(session)
    real = environment.real().map

    def watched(function, items, /, width=None):
        widths.append(width)
        return real(function, items, width)

    monkeypatch.setattr(sessions, "HELD_BYTES", files_held * max(sizes))
    watching = replace(session, environment=replace(environment.real(), map=watched))
    write(watching, batch, mode="upsert")
    assert width in widths
    assert all(found <= width or found == Bucket.capabilities.requests_at_once for found in widths)


COUNTS = ["committed", "files_added", "files_removed", *(f"rows_{what}" for what in FATES)]
ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from(["x", "y"])), min_size=1, max_size=8)
SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("p", pa.string())])


def as_table(rows):
    return pa.table(
        [pa.array(column, f.type) for column, f in zip(zip(*rows, strict=True), SCHEMA, strict=True)], SCHEMA
    )


@given(
    files=st.lists(st.tuples(st.sampled_from(["append", "append_once"]), ROWS), min_size=1, max_size=4),
    batches=st.lists(ROWS, min_size=1, max_size=2),
    options=st.fixed_dictionaries({
        "partition_by": st.sampled_from([(), ("p",)]),
        "timestamp_col": st.sampled_from([None, "n"]),
        "key_index": st.sampled_from(["off", "on"]),
        "columns": st.sampled_from([["id", "n", "p"], ["id", "n"], ["id", "p"]]),
    }),
)  # fmt: skip
def test_a_bucket_ends_as_a_folder_does(files, batches, options):
    """Rows, their order and the counts are those of a store that is near; no other file is left.

    A key may be in several files, or in one twice: then rows are decided on together, not by each file alone.
    """
    found = []
    columns = {"id", *options["columns"], *options["partition_by"]}
    timestamp = {"timestamp_col": "n"} if options["timestamp_col"] and "n" in columns else {}
    for store in (MemoryStore(), Bucket()):
        session, counts = Session(store, environment.real()), []
        properties = {"row_group_rows": 3, "key_index": options["key_index"]}
        first = {"keys": ("id",), "partition_by": options["partition_by"], "properties": properties}
        write(session, as_table([(-1, 0, "x")]), mode="append_once", **first)
        for mode, rows in files:
            write(session, as_table(rows), mode=mode, **({"dedup_strategy": "last_wins"} if "once" in mode else {}))
        for rows in batches:
            batch = as_table(rows).select(sorted(columns))
            result = write(session, batch, mode="upsert", schema_mode="merge", dedup_strategy="last_wins", **timestamp)
            counts.append({name: getattr(result, name) for name in COUNTS})
        head = versions.require_head(session)
        found.append((scan.read(session, head, None, None).to_pylist(), counts))
    assert found[0] == found[1]
    there = {names.encode_path(name) for name in store._store._objects if name.endswith(".parquet")}
    history = manifests.history(session, head.state.version, None)
    assert there == {add.path for manifest in history for add in manifest.add}
