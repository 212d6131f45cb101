"""What a folder promises beyond the contract of all stores: durability, confinement, plain errors."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import stat
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from txfiles.core import names
from txfiles.errors import CorruptTableError, InputError, NoAtomicCreateError, StoreError
from txfiles.store import drafts, folders
from txfiles.store.local import LocalStore
from txfiles.store.port import Put

NAME = "_txfiles/log/00000000000000000000.json"
DATA = "p=1/part.parquet"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "table"


@pytest.fixture
def store(root):
    return LocalStore(root)


@pytest.fixture
def as_nobody():
    """A block that runs as somebody who is subject to permissions."""

    @contextmanager
    def block():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65_534)
        try:
            yield
        finally:
            os.seteuid(0)

    return block


def tree(root):
    """Every name below a folder, files and folders, without following links."""
    found = [Path(folder, name) for folder, folders, files in os.walk(root) for name in (*folders, *files)]
    return sorted(str(path.relative_to(root)) for path in found)


def files(root):
    return [name for name in tree(root) if not (root / name).is_dir() or (root / name).is_symlink()]


def put(store):
    return store.put_if_absent(NAME, b"manifest")


def write_data(store):
    sink = store.create(DATA)
    sink.write(b"data")
    sink.close()


def failing(monkeypatch, function, number, *, when=lambda *args: True):
    """Let a function of the operating system fail with an error number, where `when` says so."""
    real = getattr(os, function)
    calls = []

    def fail(*args, **kwargs):
        if not when(*args):
            return real(*args, **kwargs)
        calls.append(args)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, fail)
    return calls


def is_folder(fd):
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def is_file(fd, *_):
    return stat.S_ISREG(os.fstat(fd).st_mode)


# ------------------------------------------------------------ durability


@pytest.fixture
def journal(monkeypatch):
    """What was done to the disk, in order, by what each file was called; no folder is known from earlier tests."""
    monkeypatch.setattr(folders, "_DURABLE", set())
    asked = []
    for name in ("fsync", "link", "unlink", "mkdir", "rename"):
        real = getattr(os, name)

        def record(first, *args, name=name, real=real, **kwargs):
            what = Path(os.readlink(f"/proc/self/fd/{first}")).name if isinstance(first, int) else Path(first).name
            answer = real(first, *args, **kwargs)
            asked.append((name, "temporary" if what.startswith(".tmp-") else what))
            return answer

        monkeypatch.setattr(os, name, record)
    return asked


PUBLISHED = [("fsync", "temporary"), ("link", "temporary"), ("unlink", "temporary")]


def test_order_of_a_commit(store, root, journal):
    """New folders are durable in their parents before they are used, bytes before their name, the name at the end."""
    put(store)
    assert journal == [
        ("mkdir", "table"),
        ("fsync", root.parent.name),
        ("mkdir", "_txfiles"),
        ("fsync", "table"),
        ("mkdir", "log"),
        ("fsync", "_txfiles"),
        *PUBLISHED,
        ("fsync", "log"),
    ]
    journal.clear()
    store.put_if_absent(names.manifest(1), b"next")
    assert journal == [*PUBLISHED, ("fsync", "log")]


def test_order_of_a_data_file(store, journal):
    """A data file is durable under its name when `close` returns."""
    store.create(DATA).abort()
    sink = store.create(DATA)
    sink.write(b"x")
    journal.clear()
    sink.close()
    assert journal == [*PUBLISHED, ("fsync", "p=1")]


def test_somebody_elses_new_folder_is_made_durable(store, root, journal):
    """A folder that another process made just now is fsynced into its parent before it is built upon."""
    (root / "_txfiles/log").mkdir(parents=True)
    journal.clear()
    put(store)
    synced = [what for step, what in journal if step == "fsync"]
    assert synced == [root.parent.name, "table", "_txfiles", "temporary", "log"]


def test_what_another_left_is_settled(store, journal, monkeypatch):
    """A name that stands, and whose maker may be dead, is made durable by an fsync of its folder."""
    put(store)
    store.put_if_absent(names.manifest(1), b"next")
    journal.clear()
    store.ensure_durable(names.manifest(1))
    assert journal == []  # its maker is this process
    monkeypatch.setattr(folders, "_DURABLE_NAMES", {})
    store.ensure_durable(names.manifest(1))
    assert journal == [("fsync", "log")]
    store.ensure_durable(names.manifest(1))
    store.ensure_durable(NAME)
    assert journal == [("fsync", "log"), ("fsync", "log")]


def test_what_cannot_be_settled(store, root, monkeypatch):
    """An fsync that fails is an error, tried once; the name stays."""
    put(store)
    monkeypatch.setattr(folders, "_DURABLE_NAMES", {})
    calls = failing(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StoreError) as raised:
        store.ensure_durable(NAME)
    assert raised.value.committed == "no"
    assert len(calls) == 1
    assert files(root) == [NAME]


def test_a_hint_is_replaced_by_renaming(store, journal):
    """A hint is not made durable, and never half-written under its name."""
    put(store)
    store.put(names.HINT_FILE, b"1")
    journal.clear()
    store.put(names.HINT_FILE, b"2")
    assert journal[0] == ("rename", "temporary")
    assert "fsync" not in [step for step, _ in journal]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("function", ["write", "fsync"])
@pytest.mark.parametrize("use", [put, write_data])
def test_failure_before_the_link(store, root, monkeypatch, use, function, number):
    """If the bytes cannot be written or fsynced, nothing is committed or left behind, and it is tried once."""
    put(store)
    store.delete(NAME)
    write_data(store)
    store.delete(DATA)
    calls = failing(monkeypatch, function, number, when=is_file)
    with pytest.raises(StoreError) as raised:
        use(store)
    assert (raised.value.committed, raised.value.errno) == ("no", number)
    assert raised.value.hint
    assert len(calls) == 1
    assert files(root) == []


def test_failed_folder_fsync_after_the_link(store, root, monkeypatch):
    """A manifest whose folder cannot be fsynced may be lost again: unknown, not tried again, and left where it is."""
    store.put_if_absent(names.manifest(7), b"")
    calls = failing(monkeypatch, "fsync", errno.EIO, when=is_folder)
    with pytest.raises(StoreError) as raised:
        put(store)
    assert raised.value.committed == "unknown"
    assert len(calls) == 1
    assert store.get(NAME, limit=99) == b"manifest"
    assert files(root) == [NAME, names.manifest(7)]


def test_failed_folder_fsync_of_a_data_file(store, root, monkeypatch):
    """A data file whose folder cannot be fsynced is taken back: no commit knows of it."""
    write_data(store)
    store.delete(DATA)
    failing(monkeypatch, "fsync", errno.EIO, when=is_folder)
    with pytest.raises(StoreError) as raised:
        write_data(store)
    assert raised.value.committed == "no"
    assert files(root) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_fsynced(store, monkeypatch, number):
    """A file system without fsync of folders makes names durable by itself."""
    failing(monkeypatch, "fsync", number, when=is_folder)
    assert put(store) is Put.CREATED
    write_data(store)


@pytest.mark.guarantees("S22")
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
@pytest.mark.parametrize("use", [put, write_data])
def test_no_hard_links(store, root, monkeypatch, use, number):
    """A file system that cannot create a name exactly once is refused, and nothing replaces the link."""
    failing(monkeypatch, "link", number)
    with pytest.raises(NoAtomicCreateError, match="no hard links") as raised:
        use(store)
    assert raised.value.committed == "no"
    assert "local disk" in raised.value.hint
    assert files(root) == []


def test_order_of_a_commit_under_a_lock(root, journal, monkeypatch):
    """Without hard links the bytes are durable before their name, and the name at the end, as ever."""
    store = LocalStore(root, lock=root.parent / "lock")
    put(store)
    failing(monkeypatch, "link", errno.EPERM)
    journal.clear()
    assert store.put_if_absent(names.manifest(1), b"next") is Put.CREATED
    assert [step for step in journal if step[1] != "lock"] == [
        ("fsync", "temporary"),
        ("rename", "temporary"),
        ("fsync", "log"),
    ]
    assert put(store) is Put.EXISTS
    assert files(root) == [NAME, names.manifest(1)]


def test_a_lock_that_is_not_needed_is_not_taken(root):
    """Where there are hard links, no lock is touched."""
    with FileLock(root.parent / "lock") as held:
        store = LocalStore(root, lock=FileLock(root.parent / "lock", timeout=0))
        assert put(store) is Put.CREATED
        write_data(store)
    assert held.lock_counter == 0
    assert files(root) == [NAME, DATA]


@pytest.mark.parametrize("use", [put, write_data])
def test_a_lock_that_cannot_be_had(root, monkeypatch, use):
    """A lock that somebody keeps, or that cannot be made, is an error that says so; nothing is written."""
    failing(monkeypatch, "link", errno.EPERM)
    with FileLock(root.parent / "lock"):
        for lock in (
            FileLock(root.parent / "lock", timeout=0),
            root.parent / "nowhere\0",
            root.parent / "file" / "lock",
        ):
            (root.parent / "file").touch()
            with pytest.raises((StoreError, InputError), match="lock") as raised:
                use(LocalStore(root, lock=lock))
            assert raised.value.committed == "no"
            assert raised.value.hint
    assert not root.exists() or files(root) == []


@pytest.mark.parametrize(("number", "committed"), [(errno.ENOSPC, "no"), (errno.EACCES, "no"), (errno.EIO, "unknown")])
def test_failed_rename_under_a_lock(root, monkeypatch, number, committed):
    """A rename that was refused did not happen; one that failed in the middle may have; the lock is free again."""
    failing(monkeypatch, "link", errno.EPERM)
    lock = FileLock(root.parent / "lock", timeout=0)
    store = LocalStore(root, lock=lock)
    with monkeypatch.context() as patch:
        failing(patch, "rename", number)
        for use, expected in ((put, committed), (write_data, "no")):
            with pytest.raises(StoreError) as raised:
                use(store)
            assert raised.value.committed == expected
    assert not lock.is_locked
    assert files(root) == []
    assert put(store) is Put.CREATED


@pytest.mark.parametrize(
    ("number", "committed"),
    [(errno.ENOSPC, "no"), (errno.EACCES, "no"), (errno.EIO, "unknown"), (errno.ETIMEDOUT, "unknown")],
)
def test_failed_link(store, root, monkeypatch, number, committed):
    """A link that was refused did not happen; one that failed in the middle may have. A data file is never a commit."""
    failing(monkeypatch, "link", number)
    for use, expected in ((put, committed), (write_data, "no")):
        with pytest.raises(StoreError) as raised:
            use(store)
        assert raised.value.committed == expected
    assert files(root) == []


def test_a_link_whose_reply_was_lost(store, root, monkeypatch):
    """A link that was made, and then found its own name taken, is ours (NFS)."""
    real = os.link

    def twice(*args, **kwargs):
        real(*args, **kwargs)
        real(*args, **kwargs)

    monkeypatch.setattr(os, "link", twice)
    assert put(store) is Put.CREATED
    write_data(store)
    assert files(root) == [NAME, DATA]


def test_a_backup_that_links_is_no_winner(store, root, monkeypatch):
    """A second link to the temporary file elsewhere does not make a taken name ours."""
    put(store)
    real = os.link

    def backed_up(source, target, *, src_dir_fd, **kwargs):
        real(source, "backup", src_dir_fd=src_dir_fd, dst_dir_fd=src_dir_fd)
        real(source, target, src_dir_fd=src_dir_fd, **kwargs)

    monkeypatch.setattr(os, "link", backed_up)
    assert put(store) is Put.EXISTS


def test_an_interrupt_leaves_no_file(store, root, monkeypatch):
    """Ctrl-C in the middle of a put removes the temporary file and goes on up."""

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    for use in (put, write_data):
        with pytest.raises(KeyboardInterrupt):
            use(store)
    assert files(root) == []


def test_no_descriptor_is_left_open(store, root, monkeypatch):
    """Success and failure of every kind leave as many files open as before."""
    put(store)
    (root / "link").symlink_to("/")
    before = len(os.listdir("/proc/self/fd"))
    put(store)
    write_data(store)
    store.create("p=1/second").abort()
    list(store.list_from(""))
    next(store.list_from(""))
    store.open_input(DATA).read()
    with pytest.raises(StoreError, match="exists"):
        store.create(DATA)
    reads = [store.stat, store.open_input, store.delete, lambda name: store.get(name, limit=1)]
    for use in (*reads, store.create):
        for name in ("link", "link/x", "p=1", f"{DATA}/x"):
            with pytest.raises((CorruptTableError, StoreError)):
                use(name)
    for function in ("fsync", "link", "write"):
        with monkeypatch.context() as patch:
            failing(patch, function, errno.EIO)
            for use in (put, write_data):
                with pytest.raises(StoreError):
                    use(LocalStore(root / function))
            with pytest.raises(StoreError):
                store.put_if_absent(f"new folder for {function}/x", b"x")
    assert len(os.listdir("/proc/self/fd")) == before


def _commit_until_killed(root, ready):
    store = LocalStore(root)
    for number in range(1_000_000):
        store.put_if_absent(names.manifest(number), b"x" * 100_000)
        if number == 5:
            ready.set()


def test_a_killed_writer_leaves_whole_objects(store, root):
    """After kill -9 every object is whole, and all else is temporary files that vacuum knows."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_commit_until_killed, args=(root, ready))
    writer.start()
    assert ready.wait(60)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    for entry in store.list_from(""):
        assert names.is_temporary(entry.name, "0" * 16) or entry.bytes == 100_000
    assert store.put_if_absent(names.manifest(5), b"") is Put.EXISTS


def test_temporary_names_are_known_to_vacuum(store):
    """What a crash can leave is listed, and its name says that it is temporary."""
    store.put_if_absent(names.TABLE_FILE, b"")
    draft = drafts.Draft(store._folders, NAME, drafts.TEMPORARY_PREFIX + "0" * 32, "no")
    sink = store.create("p=1/" + names.data_file("a" * 16, "b" * 32, 0, "parquet"))
    left = [entry.name for entry in store.list_from("") if entry.name != names.TABLE_FILE]
    assert len(left) == 2
    assert all(names.is_temporary(name, "a" * 16) for name in left)
    draft.discard()
    sink.abort()
    assert [entry.name for entry in store.list_from("")] == [names.TABLE_FILE]


def test_concurrent_folders(root):
    """16 stores that begin one table at a time make its folders together."""
    start = threading.Barrier(16)

    def begin(number):
        store = LocalStore(root / "deep" / "below")
        start.wait()
        return store.put_if_absent(names.manifest(number), b"")

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(begin, range(16))) == {Put.CREATED}
    assert len(files(root)) == 16


def test_a_table_that_was_deleted_can_begin_again(store, root):
    """A store that outlives its folder makes it anew."""
    for _ in range(2):
        write_data(store)
        os.unlink(root / DATA)
        os.rmdir(root / "p=1")
    os.rmdir(root)
    write_data(store)
    assert files(root) == [DATA]


# ------------------------------------------------------------ confinement


OUTSIDE = b"outside"


def make_link(path):
    path.symlink_to(path.parents[1] / "outside.json")


def make_dangling(path):
    path.symlink_to(path.parents[1] / "not-there")


def make_loop(path):
    path.symlink_to(path.name)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SPECIAL = {
    "link": (make_link, "a symbolic link"),
    "dangling": (make_dangling, "a symbolic link"),
    "loop": (make_loop, "a symbolic link"),
    "pipe": (os.mkfifo, "a pipe"),
    "socket": (make_socket, "a socket"),
    "folder": (os.mkdir, "a folder"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file(store, root, kind):
    """A link, pipe, socket or folder under a file's name is an error: not followed, waited for or removed."""
    make, text = SPECIAL[kind]
    root.mkdir()
    (root.parent / "outside.json").write_bytes(OUTSIDE)
    make(root / "x")
    for use in (lambda: store.get("x", limit=99), lambda: store.stat("x"), lambda: store.open_input("x")):
        with pytest.raises(CorruptTableError, match=text):
            use()
    with pytest.raises(CorruptTableError, match=text):
        store.delete("x")
    with pytest.raises(StoreError, match="exists"):
        store.create("x")
    assert store.put_if_absent("x", b"new") is Put.EXISTS
    assert list(store.list_from("")) == []
    assert (root.parent / "outside.json").read_bytes() == OUTSIDE
    assert tree(root) == ["x"]


@pytest.mark.parametrize("kind", ["link", "dangling", "loop", "pipe", "socket"])
def test_a_hint_replaces_a_link(store, root, kind):
    """`put` takes the place of a link or special file, and writes nothing through it."""
    root.mkdir()
    (root.parent / "outside.json").write_bytes(OUTSIDE)
    SPECIAL[kind][0](root / "x")
    store.put("x", b"hint")
    assert store.get("x", limit=4) == b"hint"
    assert (root.parent / "outside.json").read_bytes() == OUTSIDE
    assert tree(root.parent) == ["outside.json", "table", "table/x"]


@pytest.mark.parametrize("kind", ["link to a folder", "dangling", "pipe", "file"])
@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_no_folder(store, root, kind, depth):
    """A link, pipe or file in the place of a folder, at any depth, is an error; nothing is done behind it."""
    outside = root.parent / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "x").write_bytes(OUTSIDE)
    (outside / "x").write_bytes(OUTSIDE)
    place = root / "a" if depth == 1 else root / "a" / "b"
    place.parent.mkdir(parents=True)
    before = tree(outside)
    {
        "link to a folder": lambda: place.symlink_to(outside),
        "dangling": lambda: place.symlink_to(outside / "not-there"),
        "pipe": lambda: os.mkfifo(place),
        "file": lambda: place.write_bytes(b""),
    }[kind]()
    uses = [
        lambda: store.get("a/b/x", limit=99),
        lambda: store.stat("a/b/x"),
        lambda: store.open_input("a/b/x"),
        lambda: store.delete("a/b/x"),
        lambda: store.put_if_absent("a/b/new", b""),
        lambda: store.put("a/b/x", b""),
        lambda: store.create("a/b/new"),
        lambda: list(store.list_from("a/b/")),
    ]
    for use in uses:
        with pytest.raises(CorruptTableError, match="where a folder belongs"):
            use()
    assert [entry.name for entry in store.list_from("")] == (["a" if depth == 1 else "a/b"] if kind == "file" else [])
    assert tree(outside) == before
    assert (outside / "b" / "x").read_bytes() == OUTSIDE


def test_a_listing_stays_inside(store, root):
    """A listing of a tree with links in it ends, and holds only what is inside."""
    write_data(store)
    (root / "up").symlink_to("..")
    (root / "self").symlink_to(".")
    (root / "p=1" / "root").symlink_to("/")
    (root / "p=1" / "file").symlink_to(root / DATA)
    assert [entry.name for entry in store.list_from("")] == [DATA]


def test_names_that_are_no_text(store, root):
    """A foreign file whose name is not UTF-8 does not stop a listing."""
    write_data(store)
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    (root / os.fsdecode(b"folder\xff")).mkdir()
    assert [entry.name for entry in store.list_from("")] == [DATA]


def test_the_lock_file_is_no_link(store, root):
    """The lock is not taken through a link, and what the link points to is neither made nor changed."""
    (root / "_txfiles").mkdir(parents=True)
    for target in (root.parent / "victim", root.parent / "not-there"):
        (root.parent / "victim").write_bytes(OUTSIDE)
        (root / names.LOCK_FILE).symlink_to(target)
        with pytest.raises(CorruptTableError, match="symbolic link"), store.lock(0.0):
            pass
        (root / names.LOCK_FILE).unlink()
    assert tree(root.parent) == ["table", "table/_txfiles", "victim"]
    assert (root.parent / "victim").read_bytes() == OUTSIDE


def test_a_long_data_file_name(store, root):
    """A data file's name leaves room for the mark of its temporary name."""
    with pytest.raises(InputError, match="250 bytes"):
        store.create("x" * 251)
    assert not root.exists()


# ------------------------------------------------------------ the root


def test_the_root_may_be_a_link(store, root):
    """The root itself may be a link to a folder."""
    (root.parent / "elsewhere").mkdir()
    root.symlink_to(root.parent / "elsewhere")
    put(store)
    assert files(root.parent / "elsewhere") == [NAME]


def test_a_dangling_root(store, root):
    """A root that links to nothing is empty for readers, and an error for writers."""
    root.symlink_to(root.parent / "not-there")
    assert store.get(NAME, limit=9) is None
    assert list(store.list_from("")) == []
    with pytest.raises(StoreError, match="No such file"):
        put(store)


def test_the_root_is_made_absolute_at_once(tmp_path, monkeypatch):
    """A relative root stays where it was when the process goes elsewhere, and `~` is a name like any other."""
    monkeypatch.chdir(tmp_path)
    store = LocalStore("~/table/")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    put(store)
    assert store.root == str(tmp_path / "~" / "table")
    assert store.url("a b%20") == f"{tmp_path}/~/table/a b%20"
    assert files(tmp_path / "~" / "table") == [NAME]


@pytest.mark.parametrize("below", ["", "/sub"])
def test_a_file_for_a_root(tmp_path, below):
    """A root that is a file, or below one, is the caller's mistake."""
    (tmp_path / "data.csv").write_bytes(b"a\n1\n")
    store = LocalStore(f"{tmp_path}/data.csv{below}")
    for use in (lambda: store.get("x", limit=1), lambda: put(store), lambda: list(store.list_from(""))):
        with pytest.raises(InputError, match="is not a folder"):
            use()


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_no_path(path):
    """An empty path is not the current folder."""
    with pytest.raises(InputError):
        LocalStore(path)


# ------------------------------------------------------------ errors of the system


@pytest.fixture
def open_root():
    """A root that somebody without rights can get at."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        table = Path(folder) / "table"
        store = LocalStore(table)
        put(store)
        write_data(store)
        yield table


@pytest.mark.parametrize(
    ("place", "mode", "right"),
    [(NAME, 0o000, "read it"), ("_txfiles/log", 0o000, "read it"), ("", 0o000, "read it")],
)
def test_unreadable_is_not_absent(open_root, as_nobody, place, mode, right):
    """What may not be read is an error that names the right and who lacks it, never taken for absent."""
    (open_root / place).chmod(mode)
    store = LocalStore(open_root)
    with as_nobody():
        with pytest.raises(StoreError, match="Permission denied") as raised:
            store.get(NAME, limit=99)
        assert raised.value.errno == errno.EACCES
        assert right in raised.value.hint
        assert str(os.geteuid()) in raised.value.hint
        assert str(open_root) in str(raised.value)
        if place != NAME:
            with pytest.raises(StoreError):
                list(store.list_from(""))
    (open_root / place).chmod(0o755)


def test_a_read_only_table(open_root, as_nobody):
    """Who may only read reads; writing is an error with nothing half done; the lock is not held."""
    before = tree(open_root)
    store = LocalStore(open_root)
    with as_nobody():
        assert store.get(NAME, limit=99) == b"manifest"
        assert [entry.name for entry in store.list_from("")] == [NAME, DATA]
        for use in (
            lambda: store.put_if_absent(names.manifest(1), b""),
            lambda: store.put(names.HINT_FILE, b""),
            lambda: store.create("p=1/new"),
            lambda: store.create("p=2/new"),
            lambda: store.delete(DATA),
        ):
            with pytest.raises(StoreError, match="Permission denied") as raised:
                use()
            assert raised.value.committed == "no"
            assert "write to its folder" in raised.value.hint
        with store.lock(1.0) as held:
            assert held is False
    assert tree(open_root) == before


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "device failed"),
        (errno.EBUSY, "mounted"),
    ],
)
def test_hints(store, root, monkeypatch, number, hint):
    """An error of the system keeps its number and text, says which file, and what to do."""
    put(store)
    before = files(root)
    failing(monkeypatch, "open", number)
    for use in (lambda: store.get(NAME, limit=99), lambda: write_data(store), lambda: list(store.list_from(""))):
        with pytest.raises(StoreError, match=os.strerror(number)) as raised:
            use()
        assert hint in raised.value.hint
        assert raised.value.errno == number
        assert raised.value.path.startswith(str(root))
    monkeypatch.undo()
    assert files(root) == before


def test_a_failed_write_ends_the_sink(store, root, monkeypatch):
    """After a write that failed, a data file cannot be published with a hole in it."""
    sink = store.create(DATA)
    with monkeypatch.context() as patch:
        failing(patch, "write", errno.ENOSPC)
        with pytest.raises(StoreError, match="No space left"):
            sink.write(b"x" * drafts.WRITE_BUFFER_BYTES)
    for use in (lambda: sink.write(b"y"), sink.close):
        with pytest.raises(StoreError, match="closed or aborted"):
            use()
    sink.abort()
    assert files(root) == []


def test_short_writes(store, monkeypatch):
    """A system that takes a few bytes at a time gets the rest."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    store.put_if_absent("a", bytes(range(100)))
    monkeypatch.undo()
    assert store.get("a", limit=100) == bytes(range(100))


def test_a_leftover_temporary_file_is_not_taken_over(store, root):
    """A data file is not begun on top of somebody's temporary file."""
    (root / "p=1").mkdir(parents=True)
    (root / "p=1" / ".tmp-part.parquet").write_bytes(b"theirs")
    with pytest.raises(StoreError):
        store.create(DATA)
    assert (root / "p=1" / ".tmp-part.parquet").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0, 0o666, 0o777)]
)
def test_umask(store, root, mask, file_mode, folder_mode):
    """Files and folders have the rights that the umask leaves, the lock file included."""
    before = os.umask(mask)
    try:
        put(store)
        write_data(store)
        store.put(names.HINT_FILE, b"")
        with store.lock(1.0):
            pass
    finally:
        os.umask(before)
    modes = {(root / name).is_dir(): stat.S_IMODE((root / name).stat().st_mode) for name in tree(root)}
    assert modes == {False: file_mode, True: folder_mode}
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in files(root)} == {file_mode}


# ------------------------------------------------------------ lock, Arrow


def _hold_lock(root, ready):
    with LocalStore(root).lock(10.0) as held:
        if held:
            ready.set()
        signal.pause()


def test_lock_between_processes(store, root):
    """Another process excludes this one, and its death frees the lock."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    put(store)
    holder = context.Process(target=_hold_lock, args=(root, ready))
    holder.start()
    assert ready.wait(60)
    with store.lock(0.02) as held:
        assert held is False
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with store.lock(1.0) as held:
        assert held is True


def test_lock_between_stores(store, root):
    """Two stores of one table exclude each other, also in one thread."""
    put(store)
    with store.lock(1.0) as first, LocalStore(root).lock(0.0) as second:
        assert (first, second) == (True, False)


def test_no_lock_support(store, monkeypatch):
    """A file system without locks has none to hold; that is no error, and leaves no marker that outlives us."""
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with store.lock(1.0) as held:
        assert held is False


def test_arrow_reads_what_the_store_wrote(store, root):
    """Arrow's own file system opens the table's files at `root/name`."""
    table = pa.table({"a": [1, 2]})
    sink = store.create("a b=%/t.parquet")
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    sink.write(buffer.getvalue())
    sink.close()
    system, folder = store.arrow()
    assert isinstance(system, pafs.LocalFileSystem)
    assert pq.read_table(f"{folder}/a b=%/t.parquet", filesystem=system, partitioning=None).equals(table)


def test_modification_times_are_microseconds(store, root):
    """`modified_us` is the file's own time, to the microsecond."""
    put(store)
    os.utime(root / NAME, ns=(0, 1_234_567_890_123_456_789))
    assert store.stat(NAME).modified_us == 1_234_567_890_123_456
