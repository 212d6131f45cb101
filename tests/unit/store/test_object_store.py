"""What `ObjectStore` makes of a client's failures: answers, retries, waits, and what is left behind."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from tests.fake_client import FakeClient, failing
from txfiles.core import names
from txfiles.errors import CorruptTableError, NoAtomicCreateError, StoreError
from txfiles.store import client as clients
from txfiles.store import open_store, port, probe
from txfiles.store.client import Failed, Failure
from txfiles.store.memory import MemoryStore
from txfiles.store.object_sink import PART_BYTES
from txfiles.store.objects import IO_WIDTH, ObjectStore
from txfiles.store.patience import UNREACHABLE_TRIES, Patience
from txfiles.store.port import Put

ALL = list(Failure)
AGAIN = [Failure.UNDECIDED, Failure.THROTTLED, Failure.UNREACHABLE, Failure.UNCLEAR]
FINAL = [one for one in ALL if one not in AGAIN]
DOUBTFUL = [Failure.THROTTLED, Failure.UNREACHABLE, Failure.UNCLEAR]


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, seconds: float = 10.0) -> Patience:
        return Patience(seconds, lambda: self.now, self.sleep, lambda: 1.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client():
    """A bucket that has been probed."""
    client = FakeClient()
    probe.remember(client)
    return client


@pytest.fixture
def store(client, clock):
    return ObjectStore(client, "t", patience=clock.patience())


# ---------------------------------------------------------------- conditional puts


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("failure", DOUBTFUL)
def test_a_put_whose_answer_was_lost_is_never_told_as_decided(store, client, failure, applied):
    """After an unclear try, *created* is told only where the store has just said so, and *exists* never."""
    client.script["create"] = [failing(failure, applied=applied)]
    assert store.put_if_absent("a", b"1") is (Put.UNKNOWN if applied else Put.CREATED)
    assert store.get("a", limit=1) == b"1"


@pytest.mark.parametrize("failure", DOUBTFUL)
def test_another_writer_between_two_tries(store, client, failure):
    """A name that another writer took meanwhile is unknown, not *exists*: the first try may yet arrive."""
    client.objects["t/a"] = (b"theirs", 1)
    client.script["create"] = [failing(failure)]
    assert store.put_if_absent("a", b"1") is Put.UNKNOWN
    assert store.get("a", limit=9) == b"theirs"


@pytest.mark.parametrize("failure", FINAL)
def test_a_refusal_after_an_unclear_put_is_unknown(store, client, failure):
    """Credentials that expire between two tries do not make the first one undone."""
    client.script["create"] = [failing(Failure.UNCLEAR, applied=True), failing(failure)]
    assert store.put_if_absent("a", b"1") is Put.UNKNOWN


@pytest.mark.parametrize("failure", [Failure.DENIED, Failure.REFUSED, Failure.UNSUPPORTED])
def test_a_refused_put(store, client, failure):
    """A put that was refused at once is an error that says that nothing was committed."""
    client.script["create"] = [failing(failure)]
    with pytest.raises(StoreError, match="could not create fake://bucket/t/a: injected") as raised:
        store.put_if_absent("a", b"1")
    assert (raised.value.committed, raised.value.failure) == ("no", failure.value)
    assert client.calls["create"] == 1
    assert not client.objects


def test_a_client_that_was_denied_something(store, client):
    """What denies a request is remembered of the client, and nothing else is."""
    client.script["get"] = [failing(Failure.REFUSED), failing(Failure.DENIED)]
    for denies in (False, True):
        with pytest.raises(StoreError):
            store.get("a", limit=1)
        assert (client in clients.denied) is denies


@pytest.mark.parametrize("under_lock", [True, False])
@pytest.mark.parametrize("resends", [True, False])
def test_a_denied_put_that_may_be_the_second(client, clock, resends, under_lock):
    """Where something below may have sent it before, a denied put is unknown, also a plain one under a lock."""
    client.capabilities = replace(client.capabilities, resends=resends)
    probe.remember(client, Failed(Failure.UNSUPPORTED, "it overwrites") if under_lock else None)
    store = ObjectStore(client, "t", patience=clock.patience(), lock=threading.Lock())
    client.script["put" if under_lock else "create"] = [failing(Failure.DENIED)]
    with pytest.raises(StoreError) as raised:
        store.put_if_absent("a", b"1")
    assert raised.value.committed == ("unknown" if resends else "no")


def test_undecided_is_tried_again(store, client):
    """A conflict that decided nothing is no lost race: the same put is sent again."""
    client.script["create"] = [failing(Failure.UNDECIDED)] * 3
    assert store.put_if_absent("a", b"1") is Put.CREATED
    client.script["create"] = [failing(Failure.UNDECIDED)]
    assert store.put_if_absent("a", b"2") is Put.EXISTS


def test_undecided_for_ever(store, client):
    """A put that is never decided ends as unknown when the time is up."""
    client.script["create"] = [failing(Failure.UNDECIDED)] * 1_000
    assert store.put_if_absent("a", b"1") is Put.UNKNOWN


# ---------------------------------------------------------------- retries


USES = {
    "get": lambda store: store.get("a", limit=9),
    "stat": lambda store: store.stat("a"),
    "get_range": lambda store: store.read_ranges("a", [(0, 1)], 1),
    "put": lambda store: store.put("a", b"1"),
    "pages": lambda store: list(store.list_from("")),
    "delete_many": lambda store: store.delete_many(["a"]),
    "delete t/a": lambda store: store.delete_many(["a"]),
    "now_us": lambda store: store.now_us(),
    "upload": lambda store: store.create("a").write(b"x" * (PART_BYTES + 1)),
}


@pytest.mark.parametrize("method", USES)
@pytest.mark.parametrize("failure", AGAIN)
def test_what_may_pass_is_tried_again(store, client, clock, method, failure):
    """A failure that may pass is waited for, longer each time, and does not show."""
    client.objects["t/a"] = (b"1", 1)
    client.script[method] = [failing(failure)] * 3
    USES[method](store)
    assert clock.slept == ([0.5, 1.0, 2.0] if failure is Failure.THROTTLED else [0.05, 0.1, 0.2])


@pytest.mark.parametrize("method", USES)
@pytest.mark.parametrize("failure", [Failure.DENIED, Failure.REFUSED])
def test_what_will_not_pass_is_told_at_once(store, client, clock, method, failure):
    """A refusal is an error at once, with a hint."""
    client.objects["t/a"] = (b"1", 1)
    client.script[method] = [failing(failure)]
    with pytest.raises(StoreError, match=r"fake://bucket/t.*: injected") as raised:
        USES[method](store)
    assert raised.value.hint
    assert clock.slept == []


@pytest.mark.parametrize("failure", [one for one in ALL if one is not Failure.ABSENT])
def test_every_failure_has_a_hint_of_its_own(client, clock, failure):
    """No failure of a bucket is explained by the disk."""
    client.script["put"] = [failing(failure)] * 1_000
    with pytest.raises(StoreError, match=f"injected {failure.value}") as raised:
        ObjectStore(client, "t", patience=clock.patience()).put("a", b"1")
    assert "disk" not in raised.value.hint


@pytest.mark.parametrize("method", USES)
def test_the_time_is_kept(client, clock, method):
    """When the time is up it is over: no try begins after it, and the error says what came last."""
    store = ObjectStore(client, "t", patience=clock.patience(7.0))
    client.objects["t/a"] = (b"1", 1)
    client.script[method] = [failing(Failure.UNCLEAR)] * 1_000
    with pytest.raises(StoreError, match="injected unclear"):
        USES[method](store)
    assert 2.0 < clock.now < 7.0
    assert client.calls[method] == len(clock.slept) + 1


def test_a_server_that_is_not_there(store, client, clock):
    """A server that cannot be reached is given up after a few tries: it is more likely mistyped than busy."""
    client.script["get"] = [failing(Failure.UNREACHABLE)] * 1_000
    with pytest.raises(StoreError) as raised:
        store.get("a", limit=1)
    assert "endpoint" in raised.value.hint
    assert client.calls["get"] == UNREACHABLE_TRIES


def test_retry_after(store, client, clock):
    """A server that says how long to wait is obeyed, up to the deadline."""
    client.objects["t/a"] = (b"1", 1)
    client.script["get"] = [failing(Failure.THROTTLED, retry_after=3.0)]
    assert store.get("a", limit=1) == b"1"
    assert clock.slept == [3.0]
    client.script["get"] = [failing(Failure.THROTTLED, retry_after=60.0)]
    with pytest.raises(StoreError, match="throttled"):
        store.get("a", limit=1)
    assert clock.slept == [3.0]


def test_waits_are_jittered(client, clock):
    """Two clients that were refused together do not come back together."""
    waits = []
    for chance in (0.0, 1.0):
        clock.slept.clear()
        store = ObjectStore(client, "t", patience=Patience(10.0, lambda: clock.now, clock.sleep, lambda: chance))
        client.script["now_us"] = [failing(Failure.UNCLEAR)]
        store.now_us()
        waits += clock.slept
    assert waits == [0.025, 0.05]


def test_a_bug_is_not_swallowed(store):
    """Interrupts are not failures of the store."""

    def interrupted(key, limit):
        raise KeyboardInterrupt

    store.client.get = interrupted
    with pytest.raises(KeyboardInterrupt):
        store.get("a", limit=1)


# ---------------------------------------------------------------- listings and deletes


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("fails_at", range(5))
def test_a_listing_goes_on_after_a_failure(clock, in_order, fails_at):
    """A page that failed is asked for again: each name comes once, in order."""
    client = FakeClient(in_order=in_order)
    store = ObjectStore(client, "t", patience=clock.patience())
    names = [f"d/{number:02d}" for number in range(13)]
    for name in names:
        store.put(name, b"")
    client.script["pages"] = [None] * fails_at + [failing(Failure.UNCLEAR)]
    assert [entry.name for entry in store.list_from("d/")] == names
    assert clock.slept == [0.05]


def test_a_listing_out_of_order(store, client):
    """A store that says that it lists in order and does not is refused: the head would be missed."""
    client.pages = lambda prefix, after: iter([[clients.Entry("t/b", 0, 0), clients.Entry("t/a", 0, 0)]])
    with pytest.raises(StoreError, match="does not list names in order"):
        list(store.list_from(""))


def test_what_is_no_name_is_not_listed(store, client):
    """Markers of folders, and keys that no table could have, are passed over."""
    for key in ("t/", "t/a/", "t/a//b", "t/a/../b", "t/ok", "tother"):
        client.objects[key] = (b"", 1)
    assert [entry.name for entry in store.list_from("")] == ["ok"]


def test_keys_that_stay(store, client):
    """A delete of many that leaves some is an error that names one; the others are gone."""
    for name in "abcdefgh":
        store.put(name, b"")
    client.script["delete t/b"] = [failing(Failure.DENIED)]
    client.script["delete t/f"] = [failing(Failure.UNCLEAR)]
    with pytest.raises(StoreError, match="could not delete fake://bucket/t/b: injected denied"):
        store.delete_many(list("abcdefgh"))
    assert list(client.objects) == ["t/b"]


# ---------------------------------------------------------------- reading


def test_a_file_shorter_than_the_log_says(store, client):
    """A file that ends before the size that was given is damage, whoever reads it."""
    client.objects["t/a"] = (b"12345", 1)
    for read in (
        lambda: store.read_ranges("a", [(3, 4)], 9),
        lambda: store.read_ranges("a", [(7, 2)], 9),
        lambda: store.open_input("a", 9).read(),
    ):
        with pytest.raises(CorruptTableError, match=r"t/a has 5 bytes"):
            read()


class Cut(FakeClient):
    """A bucket whose first answers to a range lose their end on the way."""

    cuts = 2

    def get_range(self, key, offset, length):
        found = super().get_range(key, offset, length)
        self.cuts -= 1
        return found[:-1] if self.cuts >= 0 else found


@pytest.mark.parametrize("whole", [b"123", b"12345"])
def test_an_answer_that_is_cut(clock, whole):
    """An answer that is shorter than its range, though the file is long enough, is asked for again."""
    client = Cut()
    client.objects["t/a"] = (whole, 1)
    store = ObjectStore(client, "t", patience=clock.patience())
    assert store.read_ranges("a", [(1, 2)], len(whole)) == [whole[1:3]]
    assert store.open_input("a", len(whole)).read() == whole
    assert clock.slept == [0.05, 0.1]


def test_answers_that_stay_cut(clock):
    """An answer that stays too short is a failure of the transport, never damage."""
    client = Cut()
    client.cuts = 10_000
    client.objects["t/a"] = (b"12345", 1)
    with pytest.raises(StoreError, match="the answer has 1 bytes of a range of 2") as raised:
        ObjectStore(client, "t", patience=clock.patience()).read_ranges("a", [(1, 2)], 5)
    assert not isinstance(raised.value, CorruptTableError)


def test_a_server_that_says_that_a_whole_file_ends(store, client, clock):
    """Nor is it damage if the server says that a range lies beyond the end of a file that is long enough."""
    client.objects["t/a"] = (b"12345", 1)
    client.script["get_range"] = [failing(Failure.SHORT)]
    assert store.read_ranges("a", [(1, 2)], 5) == [b"23"]
    assert clock.slept == [0.05]


def test_a_throttled_store_is_left_alone(client, clock):
    """A store that throttles for ever is asked a dozen times until the time is up, and no more."""
    client.script["get"] = [failing(Failure.THROTTLED)] * 1_000
    with pytest.raises(StoreError, match="throttled") as raised:
        ObjectStore(client, "t", patience=clock.patience(30.0)).get("a", limit=1)
    assert "fewer requests" in raised.value.hint
    assert client.calls["get"] <= 12
    assert clock.now < 30.0


def test_an_archived_object(store, client, clock):
    """An object in an archive tier is told as that at once, with the way out: not as denied, missing or damaged."""
    client.script["get"] = [failing(Failure.ARCHIVED)]
    client.script["get_range"] = [failing(Failure.ARCHIVED)]
    for read in (lambda: store.get("a", limit=1), lambda: store.read_ranges("a", [(0, 1)], 1)):
        with pytest.raises(StoreError, match="injected archived") as raised:
            read()
        assert not isinstance(raised.value, CorruptTableError)
        assert (raised.value.failure, "rehydrate" in raised.value.hint) == ("archived", True)
    assert (clock.slept, client in clients.denied) == ([], False)


def test_reads_are_exact(store, client):
    """A file of known size costs one request for each read, of just those bytes."""
    client.objects["t/a"] = (b"0123456789", 1)
    with store.open_input("a", 10) as source:
        source.seek(4)
        assert source.read(3) == b"456"
        assert source.read() == b"789"
    assert client.calls == {"get_range": 2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_reads(store, client):
    """A process that was forked after its store was used has threads of its own: it reads, and ends."""
    client.objects["t/a"] = (b"0123456789", 1)
    together = threading.Barrier(IO_WIDTH)
    list(store.pool().map(lambda _: together.wait(), range(IO_WIDTH)))  # all the threads that there may be
    child = os.fork()
    if not child:
        signal.alarm(10)  # ends one that hangs
        try:
            os._exit(store.read_ranges("a", [(0, 2), (4, 2)], 10) != [b"01", b"45"])
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert status == 0


# ---------------------------------------------------------------- large files


def written(store, size):
    sink = store.create("a")
    for start in range(0, size, 3_000_000):
        sink.write(b"x" * min(3_000_000, size - start))
    return sink


def test_up_to_a_part_it_is_one_put(store, client):
    """A file of a part's size is one request."""
    written(store, PART_BYTES).close()
    assert client.calls == {"put": 1}


@pytest.mark.parametrize("more", [1, PART_BYTES, 5 * PART_BYTES + 7])
def test_large_files_go_in_parts(store, client, more):
    """A larger one goes in parts, and is visible when it is whole."""
    sink = written(store, PART_BYTES + more)
    assert not client.objects
    sink.close()
    assert store.stat("a").bytes == PART_BYTES + more
    assert client.calls["part"] == -(-(PART_BYTES + more) // PART_BYTES)
    assert not client.begun


@pytest.mark.parametrize("method", ["upload", "part", "complete"])
def test_a_failed_upload_leaves_nothing(store, client, method):
    """An upload that fails in any of its requests is given up: no object, no parts left in the store."""
    client.script[method] = [failing(Failure.DENIED)]
    with pytest.raises(StoreError, match="injected denied"):
        written(store, 6 * PART_BYTES).close()
    assert not client.objects
    assert not client.begun


def test_an_aborted_upload_leaves_nothing(store, client):
    """`abort` takes back what was sent, and what is still on its way."""
    client.gate.clear()
    written(store, 6 * PART_BYTES).abort()
    assert not client.objects
    assert not client.begun
    assert not client.late_parts


def test_a_completed_upload_whose_answer_was_lost(store, client):
    """If the store then knows no such upload, the object itself says that it is whole."""
    client.script["complete"] = [failing(Failure.UNCLEAR, applied=True)]
    written(store, 2 * PART_BYTES).close()
    assert store.stat("a").bytes == 2 * PART_BYTES


def test_an_upload_that_somebody_aborted(store, client):
    """No such upload and no object means that it was not written: an error, and the next run takes another name."""
    sink = written(store, 2 * PART_BYTES)
    client.begun.clear()
    with pytest.raises(StoreError, match="the upload of fake://bucket/t/a was lost") as raised:
        sink.close()
    assert "another name" in raised.value.hint
    assert port.is_lost_upload(raised.value)
    assert not client.objects


def test_a_part_of_an_upload_that_somebody_aborted(store, client):
    """A server that does not know the upload of a part says nothing of a file that the log names: no damage."""
    client.script["part"] = [failing(Failure.ABSENT)]
    with pytest.raises(StoreError, match="was lost") as raised:
        written(store, 3 * PART_BYTES).close()
    assert port.is_lost_upload(raised.value)
    assert not isinstance(raised.value, CorruptTableError)


def test_an_object_of_another_size_is_not_ours(store, client):
    """Where an upload is gone, an object of that name but of another size does not count as written."""
    sink = written(store, 2 * PART_BYTES)
    client.begun.clear()
    client.objects["t/a"] = (b"theirs", 1)
    with pytest.raises(StoreError, match="could not write"):
        sink.close()


def test_abandoned_uploads(store, client):
    """Uploads are aborted if they are old, below the root, and of one's own names; the others stay."""
    table_id = "0" * 16
    own = names.data_file(table_id, "1" * 32, 0, "parquet")
    for key in (f"t/p=1/{own}", f"t/{own}", f"other/{own}", f"t/{own}x", "t/foreign.parquet", f"p=1/{own}"):
        client.upload(key)
        client.clock_us += 10
    before = client.clock_us

    def is_own(name):
        return names.is_data_name(name, table_id)

    client.upload(f"t/p=2/{own}")
    client.script["abort"] = [None, failing(Failure.ABSENT)]
    assert port.abort_uploads(store, is_own, before) == 2
    left = [f"t/{own}", f"other/{own}", f"t/{own}x", "t/foreign.parquet", f"p=1/{own}", f"t/p=2/{own}"]
    assert [one.key for one in client.begun] == left  # the first of them somebody else ended meanwhile
    assert port.abort_uploads(MemoryStore(), is_own, before) == 0


def test_an_upload_that_cannot_be_aborted(store, client, caplog):
    """An upload that could not be aborted is not counted, and a warning tells of it; the others are aborted."""
    for key in ("t/a", "t/b", "t/c"):
        client.upload(key)
    client.script["abort"] = [None, failing(Failure.DENIED)]
    assert port.abort_uploads(store, lambda _: True, client.clock_us + 1) == 2
    assert [one.key for one in client.begun] == ["t/b"]
    told = "the unfinished upload of fake://bucket/t/b could not be aborted: injected denied"
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [("WARNING", told)]


# ---------------------------------------------------------------- the probe


def fresh(lock=None, **about):
    client = FakeClient(**about)
    return client, ObjectStore(client, "t", patience=Clock().patience(), lock=lock)


WRITES = {
    "put_if_absent": lambda store: store.put_if_absent("a", b"1"),
    "create": lambda store: store.create("a").write(b"1"),
}


@pytest.mark.guarantees("S22")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_a_store_that_ignores_the_condition(write, there):
    """A store that overwrites what was to be created is refused before anything is written, each time."""
    client, store = fresh(conditional=False)
    if there:
        client.objects["t/_txfiles/table.json"] = (b"whose", 1)
    before = {key: data for key, (data, _) in client.objects.items()}
    for _ in range(2):
        with pytest.raises(NoAtomicCreateError, match="cannot create a name exactly once") as raised:
            WRITES[write](store)
        assert "--lock" in raised.value.hint
        assert {key: data for key, (data, _) in client.objects.items()} == before
    assert client.calls["create"] == (1 if there else 2)


@pytest.mark.parametrize(("there", "requests"), [(True, {"get": 1, "create": 1}), (False, {"get": 1, "create": 2})])
def test_a_store_is_probed_once(there, requests):
    """A store that honours the condition is probed once, for all tables and writers, and nothing is left of it."""
    client, store = fresh()
    if there:
        client.objects["t/_txfiles/table.json"] = (b"whose", 1)
    before = dict(client.objects)
    store.create("a").abort()
    assert {name: count for name, count in client.calls.items() if not name.startswith("delete")} == requests
    assert client.objects == before
    client.calls.clear()
    ObjectStore(client, "another").put_if_absent("a", b"")
    assert client.calls == {"create": 1}


@pytest.mark.parametrize("lock", [None, threading.Lock()])
@pytest.mark.parametrize(
    ("method", "done", "failure"),
    [
        ("get", 0, Failure.DENIED),
        ("get", 0, Failure.REFUSED),
        ("get", 0, Failure.UNSUPPORTED),
        ("create", 0, Failure.DENIED),
        ("create", 0, Failure.REFUSED),
        ("create", 1, Failure.REFUSED),
    ],
)
def test_a_probe_that_fails_says_nothing_of_the_store(method, done, failure, lock):
    """A store that could not be probed is not refused for ever, nor written to without a condition: the next write
    asks again."""
    client, store = fresh(lock=lock)
    client.script[method] = [*[None] * done, failing(failure)]
    with pytest.raises(StoreError, match="could not write to fake://bucket/t: injected") as raised:
        store.put_if_absent("a", b"1")
    assert not isinstance(raised.value, NoAtomicCreateError)
    assert raised.value.committed == "no"
    assert not client.objects
    assert store.put_if_absent("a", b"1") is Put.CREATED
    assert client.calls["put"] == 0


@pytest.mark.parametrize("steps", [1, 2])
def test_a_store_that_does_not_know_the_condition(steps):
    """A server that does not implement the condition is refused, in its own words, and not asked again."""
    client, store = fresh()
    client.script["create"] = [*[None] * (steps - 1), failing(Failure.UNSUPPORTED)]
    for _ in range(2):
        with pytest.raises(NoAtomicCreateError, match="injected unsupported"):
            store.put_if_absent("a", b"1")
    assert client.calls["create"] == steps
    assert not client.objects


def test_a_probe_whose_answers_are_lost():
    """Lost answers do not mislead the probe: a name that it created twice is its own."""
    client, store = fresh()
    client.script["create"] = [failing(Failure.UNCLEAR, applied=True)]
    assert store.put_if_absent("a", b"1") is Put.CREATED


def test_what_a_killed_probe_leaves():
    """The name that a probe makes up is one that a vacuum deletes."""
    client, store = fresh()
    client.script["delete_many"] = [failing(Failure.DENIED)]
    store.put_if_absent("a", b"1")
    (left,) = client.objects.keys() - {"t/a"}
    assert names.is_temporary(left.removeprefix("t/"), "0" * 16)


def test_a_lock_takes_the_place_of_the_condition():
    """With a lock given, a store that ignores conditions is written to, one writer at a time."""
    client = FakeClient(conditional=False)
    lock = threading.RLock()
    store = ObjectStore(client, "t", patience=Clock().patience(), lock=lock)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: store.put_if_absent("a", b"%d" % number), range(8)))
    assert sorted(answer.value for answer in answers) == ["created"] + ["exists"] * 7
    assert store.get("a", limit=1) == b"%d" % answers.index(Put.CREATED)
    client.script["put"] = [failing(Failure.UNCLEAR, applied=True)] * 100
    assert store.put_if_absent("b", b"1") is Put.UNKNOWN


def test_a_lock_that_is_a_path(tmp_path, monkeypatch):
    """A lock's path means the same after a `chdir`, and in a process that the store was sent to."""
    monkeypatch.chdir(tmp_path)
    store = open_store("s3://bucket/t", {"endpoint_url": "http://127.0.0.1:1"}, lock="lock")
    store.client = FakeClient(conditional=False)
    store.client.guard, store.client.gate = contextlib.nullcontext(), None
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for one in (store, pickle.loads(pickle.dumps(store))):
        assert one.put_if_absent("a", b"1") is Put.CREATED
    assert os.listdir(tmp_path / "elsewhere") == []
    assert (tmp_path / "lock").exists()


def test_a_lock_that_cannot_be_taken():
    """A lock that somebody else holds is an error, and nothing is written."""

    class Held:
        def __enter__(self):
            raise TimeoutError("somebody has it")

        def __exit__(self, *_):
            pass

    client = FakeClient(conditional=False)
    store = ObjectStore(client, "t", lock=Held())
    with pytest.raises(StoreError, match="somebody has it"):
        store.put_if_absent("a", b"1")
    assert not client.objects


# ---------------------------------------------------------------- the rest


def test_errors_have_nothing_behind_them(store, client):
    """The library's exception, which may hold what was signed, is behind no error of ours."""
    client.script["get"] = [failing(Failure.DENIED)]
    with pytest.raises(StoreError) as raised:
        store.get("a", limit=1)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_it_pickles(store, client):
    """A store can be sent to another process; its threads stay."""
    store.pool()
    client.guard = client.gate = None
    again = pickle.loads(pickle.dumps(ObjectStore(client, "t")))
    assert again.root == "fake://bucket/t"
    assert repr(again) == "ObjectStore('fake://bucket/t')"


@pytest.mark.parametrize(
    ("code", "status", "means"),
    [
        ("NoSuchKey", 404, Failure.ABSENT),
        ("Other", 412, Failure.EXISTS),
        ("Other", 404, Failure.REFUSED),
        (None, 400, Failure.REFUSED),
        (None, 500, Failure.UNCLEAR),
        (None, 302, Failure.UNCLEAR),
        ("Unheard", None, Failure.UNCLEAR),
        (None, None, Failure.UNCLEAR),
    ],
)
def test_meaning(code, status, means):
    """A code says more than its status; what is unknown is refused if it is a 4xx, else unclear: never absent."""
    answers = {"NoSuchKey": Failure.ABSENT, 412: Failure.EXISTS}
    assert clients.meaning(answers, code, status) is means


def test_described():
    """What an answer did not say is left out."""
    assert clients.described(503, "SlowDown", "less") == "503 SlowDown: less"
    assert clients.described(503, None, None) == "503"
    assert clients.described(None, "SlowDown", "") == "SlowDown"
    assert clients.described(503, None, "less") == "503: less"


def test_headers():
    """A `Date` is the end of its second, and a `Retry-After` that is no number is left out."""
    assert clients.http_time_us("Thu, 01 Jan 1970 00:00:01 GMT") == 1_999_999
    assert clients.retry_after_seconds("2") == 2.0
    assert clients.retry_after_seconds("Thu, 01 Jan 1970 00:00:01 GMT") is None
    assert clients.retry_after_seconds(None) is None


# ---------------------------------------------------------------- Arrow's own readers


def test_threads_read_one_file(store, client):
    """Arrow's threads that read one open file each get the bytes that they asked for."""
    client.objects["t/a"] = (bytes(range(256)) * 4, 1)
    source = store.open_input("a", 1_024)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda offset: source.read_at(4, offset), range(0, 200, 4)))
    assert found == [bytes(range(offset, offset + 4)) for offset in range(0, 200, 4)]


def test_arrows_file_system(store, client):
    """Arrow's readers see the files, read just what they need, and can neither list nor write."""
    table = pa.table({"a": [1, 2, 3]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put("p=1/x.parquet", buffer.getvalue())
    system, root = port.arrow(store)
    assert root == "bucket/t"
    assert pq.read_table(f"{root}/p=1/x.parquet", filesystem=system, partitioning=None).equals(table)
    found = system.get_file_info([f"{root}/p=1/x.parquet", f"{root}/no"])
    assert [(one.size, one.is_file) for one in found] == [(len(buffer.getvalue()), True), (None, False)]
    assert system == port.arrow(store)[0]
    for use in (
        lambda: system.open_output_stream(f"{root}/y"),
        lambda: system.get_file_info(pafs.FileSelector(root)),
        lambda: system.delete_file(f"{root}/p=1/x.parquet"),
    ):
        with pytest.raises(NotImplementedError):
            use()
    with pytest.raises(FileNotFoundError):
        system.open_input_file("bucket/other/x")
    assert list(client.objects) == ["t/p=1/x.parquet"]
