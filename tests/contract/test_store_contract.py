"""What every store promises: one contract, run on each adapter."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fake_client import FakeClient
from txfiles.core.names import TABLE_FILE
from txfiles.errors import CorruptTableError, InputError, StoreError
from txfiles.formats.common import HashingSink
from txfiles.store import port
from txfiles.store.local import LocalStore
from txfiles.store.memory import MemoryStore
from txfiles.store.objects import ObjectStore
from txfiles.store.port import Entry, Put

WRITERS = 16


@pytest.fixture
def no_hard_links(monkeypatch):
    """A file system that refuses to link."""

    def link(*args, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


ODD_NAMES = [
    "plain.json",
    "country=DE/part.parquet",
    "a b/c d.csv",
    "100%/%2F%20.csv",
    "ключ=値/😀.parquet",
    "e\u0301/nfd.csv",
    "new\nline/tab\t.csv",
    "back\\slash:*?\"<>|'.csv",
    "-rf/--help",
    "~/x",
    ".hidden/..double",
    "__HIVE_DEFAULT_PARTITION__=x/...",
    "x" * 250,
    "é" * 125 + "/file",
    "/".join("deeper" for _ in range(30)),
]

BAD_NAMES = [
    "",
    "/",
    "/absolute",
    "folder/",
    "a//b",
    ".",
    "..",
    "../up",
    "a/../b",
    "a/./b",
    "a/..",
    "nul\0",
    "a\0/b",
    "lone\ud800",
    "x" * 256,
    "é" * 128,
    "y" * 300 + "/a",
]

USES = {
    "get": lambda store, name: store.get(name, limit=9),
    "stat": lambda store, name: store.stat(name),
    "put_if_absent": lambda store, name: store.put_if_absent(name, b""),
    "put": lambda store, name: store.put(name, b""),
    "delete_many": lambda store, name: store.delete_many([name]),
    "open_input": lambda store, name: store.open_input(name),
    "read_ranges": lambda store, name: store.read_ranges(name, [(0, 0)]),
    "create": lambda store, name: store.create(name),
}

SEGMENTS = st.text(st.sampled_from("ab-./=0~é\U0001f600"), min_size=1, max_size=3).filter(
    lambda text: "/" not in text and text not in (".", "..")
)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


def named(store, prefix="", after=""):
    return [entry.name for entry in store.list_from(prefix, after)]


def without_clashes(names):
    """The names of which none is a folder of another: a file system cannot hold both."""
    return {name for name in names if not any(other.startswith(name + "/") for other in names)}


class StoreContract:
    """Subclass it, and give it `fresh`: a function that makes an empty store."""

    clock_ticks_us = 20_000
    """How far the times of objects may lie before their store's clock: the kernel's own ticks every 10 ms at worst."""
    race_rounds = 20
    slashes = "/"
    """The characters that the server takes for slashes; no name of a table's files has a backslash."""
    ordered = ("a-b", "a.b", "a/b/c", "a/b0", "a/c", "a0", "aé", "a\uffff", "a😀")

    @pytest.fixture
    def store(self, fresh):
        return fresh()

    # ------------------------------------------------------------ write once

    @pytest.fixture
    def restless(self):
        """Threads that give way to each other all the time: what is not atomic shows."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)

    def test_one_of_many_writers_wins(self, store, restless):
        """Of 16 threads that create one name at a time one succeeds, and the object is the winner's, whole."""
        for round_number in range(self.race_rounds):
            name = f"_txfiles/log/{round_number:020d}.json"
            bodies = [bytes([65 + writer]) * 5_000 for writer in range(WRITERS)]
            start = threading.Barrier(WRITERS)

            def race(body, name=name, start=start):
                start.wait()
                return store.put_if_absent(name, body)

            with ThreadPoolExecutor(WRITERS) as pool:
                answers = list(pool.map(race, bodies))
            assert sorted(answer.value for answer in answers) == ["created"] + ["exists"] * (WRITERS - 1)
            assert store.get(name, limit=5_000) == bodies[answers.index(Put.CREATED)]
        assert len(named(store)) == self.race_rounds

    def test_a_taken_name_leaves_no_trace(self, store):
        """A put of a taken name changes neither the object nor what else is in the store."""
        assert store.put_if_absent("a/b", b"first") is Put.CREATED
        before = list(store.list_from(""))
        assert store.put_if_absent("a/b", b"second, longer") is Put.EXISTS
        assert list(store.list_from("")) == before
        assert store.get("a/b", limit=99) == b"first"

    def test_readers_never_see_a_part(self, store):
        """Whoever reads a name while it is created finds nothing or all of it."""
        body = b"x" * 300_000
        seen = []
        done = threading.Event()

        def read():
            while not done.is_set():
                seen.append(store.get("big", limit=len(body)))

        reader = threading.Thread(target=read)
        reader.start()
        store.put_if_absent("big", body)
        done.set()
        reader.join()
        assert set(seen) <= {None, body}

    # ------------------------------------------------------------ objects

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names(self, store, name):
        """A name is what it is: stored, listed and deleted under exactly the characters that were given."""
        if "\\" in name and "\\" in self.slashes:
            pytest.skip("another name to this server")
        assert store.put_if_absent(name, b"body") is Put.CREATED
        assert store.get(name, limit=4) == b"body"
        assert named(store) == [name]
        assert store.stat(name).name == name
        store.delete_many([name])
        assert named(store) == []
        sink = store.create(name)
        sink.write(b"data")
        sink.close()
        assert store.open_input(name).read() == b"data"

    @pytest.mark.parametrize("use", USES)
    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names(self, store, name, use):
        """A name that could leave the root, or that no file system holds, is refused before anything is written."""
        with pytest.raises(InputError):
            USES[use](store, name)
        assert named(store) == []

    @pytest.mark.parametrize("prefix", ["a", "/", "../", "a/../", "a//", "a/b"])
    def test_bad_prefixes(self, store, prefix):
        """A listing's prefix is a folder below the root, or all of it."""
        with pytest.raises(InputError):
            list(store.list_from(prefix))

    def test_the_longest_segment(self, store):
        """255 bytes are a segment like any other."""
        assert store.put_if_absent("x" * 255, b"1") is Put.CREATED
        assert store.get("x" * 255, limit=1) == b"1"

    def test_absent(self, store):
        """What is not there is None, False or nothing, for names whose folders are there or not."""
        store.put_if_absent("there/x", b"")
        for name in ("y", "there/y", "nowhere/y", "nowhere/at/all"):
            assert store.get(name, limit=1) is None
            assert store.stat(name) is None
            with pytest.raises(CorruptTableError, match="missing"):
                store.open_input(name)
            with pytest.raises(CorruptTableError, match="missing"):
                store.open_input(name, 5).read()
            with pytest.raises(CorruptTableError, match="missing"):
                store.read_ranges(name, [(0, 1)], 5)
            store.delete_many([name])
        assert named(store, "nowhere/") == []
        assert named(store) == ["there/x"]

    def test_reading_creates_nothing(self, store):
        """A store that was only read holds nothing."""
        assert store.get("a/b", limit=1) is None
        assert store.stat("a/b") is None
        store.delete_many(["a/b"])
        assert named(store) == []

    def test_empty_objects(self, store):
        """An object of no bytes is there."""
        assert store.put_if_absent("empty", b"") is Put.CREATED
        assert store.put_if_absent("empty", b"x") is Put.EXISTS
        assert store.get("empty", limit=0) == b""
        assert store.stat("empty").bytes == 0
        source = store.open_input("empty")
        assert source.size() == 0
        assert source.read() == b""

    def test_limit(self, store):
        """An object may have as many bytes as the limit says; one more is damage, and the error says where."""
        store.put_if_absent("folder/object", b"12345")
        assert store.get("folder/object", limit=5) == b"12345"
        with pytest.raises(CorruptTableError, match="folder/object has 5 bytes"):
            store.get("folder/object", limit=4)

    def test_put_replaces(self, store):
        """`put` creates, and replaces whatever length was there, leaving nothing else behind."""
        for body in (b"long " * 100, b"", b"short"):
            store.put("folder/hint", body)
            assert store.get("folder/hint", limit=1_000) == body
            assert named(store) == ["folder/hint"]

    def test_settle(self, store):
        """To settle an object changes nothing of it."""
        store.put_if_absent("folder/a", b"1")
        before = list(store.list_from(""))
        port.ensure_durable(store, "folder/a")
        assert list(store.list_from("")) == before
        assert store.get("folder/a", limit=1) == b"1"

    def test_stat_and_clock(self, store):
        """Sizes are exact, and times are told by the store's own clock."""
        before = store.now_us()
        store.put_if_absent("a", b"123")
        after = store.now_us()
        found = store.stat("a")
        assert (found.name, found.bytes) == ("a", 3)
        assert before - self.clock_ticks_us <= found.modified_us <= after
        assert list(store.list_from("")) == [found]
        assert isinstance(found, Entry)

    def test_a_deleted_name_is_free(self, store):
        """Deleting twice is no error, and a deleted name can be created again."""
        store.put_if_absent("a/b", b"1")
        store.delete_many(["a/b"])
        store.delete_many(["a/b"])
        assert store.put_if_absent("a/b", b"2") is Put.CREATED
        assert store.get("a/b", limit=1) == b"2"

    def test_delete_many(self, store):
        """Many names are deleted at once, whether they are there or not; the others stay."""
        for name in ("a", "b/c", "b/d", "e"):
            store.put(name, b"")
        store.delete_many([])
        store.delete_many(["a", "no", "b/d", "nowhere/at/all"])
        assert named(store) == ["b/c", "e"]

    def test_delete_many_tries_all(self, store):
        """A name that cannot be deleted is an error, and all others are deleted all the same."""
        for name in ("a", "b"):
            store.put(name, b"")
        with pytest.raises(InputError):
            store.delete_many(["a", "../up", "b"])
        assert named(store) == []

    # ------------------------------------------------------------ what stores do in their own way

    def test_capabilities(self, store):
        """What a store can do is data, and does not change."""
        assert store.capabilities == store.capabilities
        assert store.capabilities.requests_at_once >= 1

    # ------------------------------------------------------------ listing

    def test_many_objects(self, store):
        """1,100 objects are listed once each, in order, from any of them on."""
        names = [f"_txfiles/log/{number:020d}.json" for number in range(1_100)]
        for name in reversed(names):
            store.put(name, b"")
        assert named(store, "_txfiles/log/") == names
        assert named(store, "_txfiles/log/", after=names[1_000]) == names[1_001:]
        assert named(store, "_txfiles/log/", after=names[-1]) == []

    def test_order_is_of_whole_names(self, store):
        """Names sort by code points as a whole: '-' and '.' before the '/' of a folder, '0' after it."""
        names = list(self.ordered)
        for name in reversed(names):
            store.put_if_absent(name, b"")
        assert names == sorted(names)
        assert named(store) == names
        assert named(store, "a/") == ["a/b/c", "a/b0", "a/c"]
        assert named(store, "a/b/") == ["a/b/c"]
        assert named(store, "b/") == []

    # ------------------------------------------------------------ data files

    def test_sink_publishes_at_close_only(self, store):
        """A data file is absent until `close`, and then is all that was written, in order, whatever the pieces were."""
        pieces = [b"a", memoryview(b"bc"), pa.py_buffer(b"def"), b"", b"x" * 3_000_000, b"tail"]
        sink = store.create("p=1/data.parquet")
        sizes = [sink.write(piece) for piece in pieces]
        assert sizes == [1, 2, 3, 0, 3_000_000, 4]
        assert sink.tell() == 3_000_010
        assert store.stat("p=1/data.parquet") is None
        sink.close()
        assert store.stat("p=1/data.parquet").bytes == 3_000_010
        source = store.open_input("p=1/data.parquet")
        assert source.size() == 3_000_010
        assert source.read() == b"".join(bytes(piece) for piece in pieces)
        source.seek(6)
        assert source.read(2) == b"xx"
        assert named(store) == ["p=1/data.parquet"]

    @pytest.mark.parametrize("known", [True, False])
    def test_ranges(self, store, known):
        """Ranges come back in the order asked for: overlapping, empty, up to the last byte."""
        body = bytes(range(256)) * 100
        store.put_if_absent("p=1/a", body)
        ranges = [(25_000, 600), (0, 10), (5, 10), (25_600, 0), (7, 0), (0, 25_600)]
        found = store.read_ranges("p=1/a", ranges, 25_600 if known else None)
        assert found == [body[offset : offset + length] for offset, length in ranges]
        assert store.read_ranges("p=1/a", []) == []

    @pytest.mark.parametrize("past", [(25, 1), (24, 2), (0, 26), (99, 0)])
    def test_a_range_past_the_end(self, store, past):
        """A file that ends before a range does is damaged: nothing shorter is returned."""
        store.put_if_absent("a", b"x" * 25)
        with pytest.raises(CorruptTableError, match=r"/a has 25 bytes"):
            store.read_ranges("a", [(0, 1), past])

    def test_a_known_size(self, store):
        """A file that is opened with its size is the same file."""
        store.put_if_absent("a", b"content")
        with store.open_input("a", 7) as source:
            assert (source.size(), source.read()) == (7, b"content")

    def test_empty_sink(self, store):
        """A data file may be empty."""
        store.create("a").close()
        assert store.stat("a").bytes == 0

    def test_aborted_sink(self, store):
        """After `abort` there is nothing; writing and closing are errors, aborting again is none."""
        sink = store.create("folder/a")
        sink.write(b"x" * 2_000_000)
        sink.abort()
        sink.abort()
        assert named(store) == []
        for use in (lambda: sink.write(b"y"), sink.close):
            with pytest.raises(StoreError, match="closed or aborted"):
                use()
        assert named(store) == []

    def test_closed_sink(self, store):
        """After `close` the file stands: closing again does nothing, aborting does nothing, writing is an error."""
        sink = store.create("a")
        sink.write(b"1")
        sink.close()
        sink.close()
        sink.abort()
        with pytest.raises(StoreError, match="closed or aborted"):
            sink.write(b"2")
        assert store.open_input("a").read() == b"1"
        assert named(store) == ["a"]

    def test_a_dropped_sink_publishes_nothing(self, store):
        """A sink that is forgotten leaves nothing under its name."""
        store.create("a").write(b"x")
        assert store.stat("a") is None

    def test_parquet_through_a_sink(self, store):
        """pyarrow writes through a sink behind a wrapper; closing its writer publishes nothing, `close` does."""
        table = pa.table({"a": list(range(1_000)), "b": ["text"] * 1_000})
        sink = store.create("t.parquet")
        with pq.ParquetWriter(HashingSink(sink), table.schema) as writer:
            writer.write_table(table)
        assert store.stat("t.parquet") is None
        sink.close()
        with store.open_input("t.parquet") as source:
            assert pq.read_table(source).equals(table)

    def test_an_exception_in_a_writer_publishes_nothing(self, store):
        """An error on the way through pyarrow's writer, which closes its file, leaves nothing after `abort`."""
        sink = store.create("t.parquet")

        def write():
            with pq.ParquetWriter(HashingSink(sink), pa.schema([("a", pa.int64())])) as writer:
                writer.write_table(pa.table({"a": [1]}))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write()
        assert store.stat("t.parquet") is None
        sink.abort()
        assert named(store) == []

    # ------------------------------------------------------------ what people see

    def test_errors_show_the_root(self, store):
        """What a person reads names the place in full, and `url` begins with it."""
        assert store.url("a/b c").startswith(store.root)
        with pytest.raises(CorruptTableError) as raised:
            store.open_input("a/b c")
        assert store.url("a/b c") in str(raised.value)


class OwnStoreContract(StoreContract):
    """What a store of our own can promise beyond that, since each look costs nothing."""

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names_are_not_deleted(self, store, name):
        """A name that could leave the root is not deleted."""
        with pytest.raises(InputError):
            store.delete(name)

    def test_delete(self, store):
        """Deleting one name says whether there was something."""
        store.put("a/b", b"1")
        assert [store.delete("a/b"), store.delete("a/b"), store.delete("no/where")] == [True, False, False]

    def test_a_missing_file_is_not_opened(self, store):
        """A file that is missing is found to be so when it is opened, its size known or not."""
        with pytest.raises(CorruptTableError, match="missing"):
            store.open_input("a", 5)

    def test_sink_of_a_taken_name(self, store):
        """A data file never replaces one: neither one that was there, nor one that came meanwhile."""
        sink = store.create("a")
        store.put_if_absent("a", b"theirs")
        with pytest.raises(StoreError, match="already exists") as late:
            sink.close()
        with pytest.raises(StoreError, match="already exists") as early:
            store.create("a")
        assert late.value.committed == early.value.committed == "no"
        sink.abort()
        assert store.get("a", limit=9) == b"theirs"
        assert named(store) == ["a"]

    def test_an_open_file_outlives_its_name(self, store):
        """A reader goes on with a file that a vacuum deletes under it."""
        store.put_if_absent("a", b"content" * 1_000)
        source = store.open_input("a")
        store.delete("a")
        assert source.read() == b"content" * 1_000

    # ------------------------------------------------------------ the lock

    def test_lock_excludes(self, store):
        """One thread at a time holds the lock; who waits too long gets False; it is free again afterwards."""
        store.put_if_absent(TABLE_FILE, b"{}")
        with port.lock(store, 1.0) as held:
            assert held is True
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(self._try_lock, store, 0.02).result() is False
            with port.lock(store, 0.0) as again:
                assert again is False
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(self._try_lock, store, 0.0).result() is True

    def test_lock_ends_with_an_exception(self, store):
        """An error in the locked block frees the lock, and goes on."""
        store.put_if_absent(TABLE_FILE, b"{}")
        with pytest.raises(ZeroDivisionError), port.lock(store, 1.0):
            _ = 1 / 0
        assert self._try_lock(store, 0.0) is True

    def test_lock_serves_those_who_wait(self, store):
        """Eight threads that wait take the lock one after the other, none twice at a time."""
        store.put_if_absent(TABLE_FILE, b"{}")
        inside = []
        most = []

        def work(_):
            with port.lock(store, 30.0) as held:
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                return held

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert max(most) == 1

    @staticmethod
    def _try_lock(store, timeout):
        with port.lock(store, timeout) as held:
            return held


class TestMemoryStore(OwnStoreContract):
    @pytest.fixture
    def fresh(self):
        return MemoryStore

    def test_the_clock_is_injected(self):
        """Time in a memory store is what its maker says."""
        ticks = itertools.count(1_000, 10)
        store = MemoryStore("t", now_us=lambda: next(ticks))
        store.put("a", b"")
        store.put("b", b"")
        assert [entry.modified_us for entry in store.list_from("")] == [1_000, 1_010]
        assert store.now_us() == 1_020

    def test_what_a_store_does_not_have(self):
        """A store without durability, lock or Arrow's readers of its own says nothing of them, and callers go on."""

        class Plain:
            root = "plain://t"

        with port.lock(Plain(), 1.0) as held:
            assert held is False
        port.ensure_durable(Plain(), "a")
        for store in (Plain(), MemoryStore("t")):
            with pytest.raises(StoreError, match=f"cannot open what is at {store.root}") as raised:
                port.arrow(store)
            assert "to_arrow" in raised.value.hint

    def test_what_was_put_does_not_change(self):
        """A buffer that its owner goes on to change was copied."""
        store = MemoryStore()
        body = bytearray(b"before")
        store.put("a", body)
        body[:] = b"after!"
        assert store.get("a", limit=9) == b"before"


class TestLocalStore(OwnStoreContract):
    @pytest.fixture
    def fresh(self, tmp_path):
        numbers = itertools.count()
        return lambda: LocalStore(tmp_path / f"store {next(numbers)}" / "täble")

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names_are_not_settled(self, store, name):
        """To settle what could not be a name is refused too."""
        with pytest.raises(InputError):
            port.ensure_durable(store, name)
        assert named(store) == []


class TestLocalStoreUnderALock(OwnStoreContract):
    """On a file system without hard links, with a lock given."""

    @pytest.fixture
    def fresh(self, tmp_path, no_hard_links):
        numbers = itertools.count()
        lock = FileLock(tmp_path / "table.lock", poll_interval=0.0005)
        return lambda: LocalStore(tmp_path / f"store {next(numbers)}" / "täble", lock=lock)


class TestLocalStoreUnderALockFile(OwnStoreContract):
    """Likewise, with the path of a lock file."""

    @pytest.fixture
    def fresh(self, tmp_path, no_hard_links):
        numbers = itertools.count()
        return lambda: LocalStore(tmp_path / f"store {next(numbers)}" / "täble", lock=tmp_path / "table.lock")


class TestObjectStore(StoreContract):
    """Over a bucket in memory."""

    @pytest.fixture(params=[True, False], ids=["in order", "in any order"])
    def fresh(self, request):
        return lambda: ObjectStore(FakeClient(in_order=request.param), "täble/a b")


@pytest.mark.parametrize("adapter", ["memory", "local"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(names=st.sets(NAMES, max_size=8), after=st.one_of(NAMES, st.just(""), SEGMENTS))
def test_any_listing(adapter, tmp_path_factory, names, after):
    """A listing is every name below the prefix, after the given one, in order: for any names."""
    store = MemoryStore() if adapter == "memory" else LocalStore(tmp_path_factory.mktemp("listing"))
    names = without_clashes(names)
    for name in names:
        store.put(name, b"")
    folders = [name.split("/")[:-1] for name in names]
    prefixes = {"/".join(path[:depth]) + "/" for path in folders for depth in range(1, len(path) + 1)}
    for prefix, start in itertools.product({"", *prefixes}, (*names, *prefixes, after)):
        wanted = sorted(name for name in names if name.startswith(prefix) and name > start)
        assert named(store, prefix, start) == wanted
