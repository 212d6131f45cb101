"""What calls return and raise goes to other processes: by every pickle protocol, and into spawned ones."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import filelock
import pyarrow as pa
import pytest

import txfiles as tx
from txfiles import errors

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
ROWS = pa.table({"id": [1, 2], "v": ["a", "b"]})


def again(value, protocol):
    return pickle.loads(pickle.dumps(value, protocol))


def look(table):
    """In another process: what a table is there."""
    return table.version, table.to_arrow().to_pydict(), table.path


def raise_null_key(_):
    raise errors.NullKeyError("a null", hint="drop it", column="id", count=1, rows=[3])


@pytest.fixture
def path(tmp_path):
    for rows in (ROWS, pa.table({"id": [2, 3], "v": ["B", "c"]})):
        tx.write(rows, tmp_path / "t", mode="upsert", keys="id")
    return tmp_path / "t"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_table_keeps_its_version(path, protocol):
    """A table unpickles at the version it had, whatever was committed since, and moves on as before."""
    older, newest = tx.Table(path, version=0), tx.Table(path)
    tx.write(ROWS, path, mode="append")
    for table in (older, newest, older.at(version=1)):
        found = again(table, protocol)
        assert (found.version, found.path) == (table.version, table.path)
        assert found.to_arrow().equals(table.to_arrow())
        assert copy.copy(table).version == copy.deepcopy(table).version == table.version
    assert again(newest, protocol).refresh().version == 2
    with pytest.raises(errors.OptionError, match="pinned to version 0"):
        again(older, protocol).refresh()


def test_spawned_processes_get_tables_results_and_errors(path, monkeypatch):
    """A spawned process reads a pickled table, though its path was relative; its errors come back whole."""
    monkeypatch.chdir(path.parent)
    tables = [tx.Table("t", version=0), tx.Table("t")]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(look, tables) == [look(table) for table in tables]
        result = tx.write(ROWS, path, mode="append")
        assert pool.apply(again, (result, 5)) == result
        with pytest.raises(errors.NullKeyError) as raised:
            pool.apply(raise_null_key, (0,))
    assert (raised.value.column, raised.value.rows, raised.value.hint) == ("id", [3], "drop it")


def test_a_table_that_was_created_anew_is_not_the_one_that_was_pickled(path):
    """Where another table has taken the path, unpickling says so."""
    kept = pickle.dumps(tx.Table(path, version=0))
    shutil.rmtree(path)
    with pytest.raises(errors.TableNotFoundError):
        pickle.loads(kept)
    tx.write(ROWS, path, mode="append")
    with pytest.raises(errors.TableNotFoundError, match="not the one that was pickled"):
        pickle.loads(kept)


def test_an_expired_version_says_so(path):
    """Where a vacuum removed the version's files meanwhile, unpickling raises what opening it would."""
    kept = pickle.dumps(tx.Table(path, version=0))
    tx.Table(path).vacuum("0s", keep_versions=1)
    with pytest.raises(errors.SnapshotExpiredError):
        pickle.loads(kept)


def test_a_secret_is_not_pickled(path):
    """A Table with an option that may be secret does not pickle, and the error names the option, not its value; copies
    in this process do."""
    table = tx.Table(path)
    given = replace(table._opened.given, storage_options={"endpoint_url": "http://h", "secret": "CANARY-1"})
    table._opened = replace(table._opened, given=given)
    for protocol in PROTOCOLS:
        with pytest.raises(errors.OptionError, match=r"cannot be pickled with storage options .*: 'secret'") as raised:
            pickle.dumps(table, protocol)
        assert "CANARY" not in f"{raised.value!r} {raised.value.hint}"
        assert "${NAME}" in raised.value.hint
    for found in (copy.copy(table), copy.deepcopy(table)):
        assert (found.path, found.version, found.to_arrow()) == (table.path, table.version, table.to_arrow())


@contextmanager
def held():
    yield


class Guard:
    """A lock that pickles not: it holds a thread's lock."""

    def __init__(self):
        self.inner = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_a_lock_pickles_as_a_path_and_else_is_an_error_of_ours(path, tmp_path, monkeypatch):
    """The path of a lock goes along, made absolute; a lock that cannot be pickled is named, with the way out."""
    monkeypatch.chdir(tmp_path)
    again(tx.Table(path, lock="some.lock"), 2).set(compression="zstd")
    for lock in (Guard(), held()):
        with pytest.raises(errors.OptionError, match="cannot be pickled") as raised:
            pickle.dumps(tx.Table(path, lock=lock))
        assert "the path of the lock file" in raised.value.hint
    with pytest.raises(errors.OptionError, match="FileLock cannot be pickled"):
        pickle.dumps(tx.Table(path, lock=filelock.FileLock(tmp_path / "some.lock")))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_results_pickle(path, tmp_path, protocol):
    """Results, plans, commits, compactions, indexes, vacuums and resolutions come back equal."""
    (tmp_path / "in.csv").write_text("id,v\n9,x\n")
    table = tx.Table(path)
    found = [
        tx.plan(ROWS, path, mode="append"),
        tx.write(tmp_path / "in.csv", tmp_path / "new", mode="append", user_metadata={"a": "b"}),
        *table.history(),
        table.compact(),
        table.index(),
        table.vacuum("0s"),
        tx.resolve(path, table.history()[0].commit_id),
    ]
    assert found[1].schema_inferred is not None
    for one in found:
        assert again(one, protocol) == one


ERRORS = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, errors.TxFilesError)]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_pickle_with_all_they_carry(kind, protocol):
    """Message, hint, committed, evidence and notes survive."""
    error = kind("what", hint="how", committed="unknown", column="c", rows=[1, 2])
    error.add_note("beside")
    found = again(error, protocol)
    assert type(found) is kind
    assert (str(found), found.hint, found.committed) == ("what", "how", "unknown")
    assert (found.column, found.rows, found.evidence) == ("c", [1, 2], error.evidence)
    assert found.__notes__ == ["beside"]
    assert found.args == error.args
