"""SQL Server: how statements are written. None of them was ever run; `sql_server.sql` has them, for people to read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

import txfiles as tx
from tests.sql.fake_server import Server
from txfiles.targets.protocol import Place
from txfiles.targets.sql import address, database, statements
from txfiles.targets.sql.dialects.mssql import SQLServer

URL = "mssql://user:geheim@host/shop?table=customers"
GOLDEN = Path(__file__).with_name("sql_server.sql")
AT = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)
SECRET = "S3NT'INEL"
"""Stands for a value wherever there is one."""
MSSQL = SQLServer()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """What a connection to SQL Server reaches."""
    server = Server()
    monkeypatch.setattr(database, "_connect", server.connect)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "txfiles has never been run")
        yield server


def batch(*extra: str) -> pa.Table:
    """Two rows, with the first of two keys a text."""
    rows = {"name": [SECRET, "b"], "n": pa.array([987654321, 2], pa.int32()), "at": [AT, AT], "note": [SECRET, None]}
    rows["m"] = pa.array([987654321, None], pa.int32())
    return pa.table({**rows, **{name: pa.array([1.5, 2.5]) for name in extra}})


KEYED = {"keys": ["name", "n"], "timestamp_col": "at"}


def calls(server: Server) -> Iterator[str]:
    """Do everything that SQL tables do, one call after the other; yields what each one is."""
    both = [("i", 1, 1), ("c", 1, 1)]
    yield "the first write makes ledger, table and index"
    tx.write(batch(), URL, mode="upsert", **KEYED, batch_id=SECRET, user_metadata={"by": SECRET})
    server.fates = both
    yield "upsert, newest wins"
    tx.write(batch(), URL, mode="upsert", dedup_strategy="newest_wins", batch_id="another")
    yield "upsert whatever its age, of some columns"
    tx.write(batch().drop_columns(["note"]), URL, mode="upsert", stale="apply", schema_mode="merge")
    server.fates = [("i", 1, 1), ("k", 1, 1)]
    yield "append_once"
    tx.write(batch(), URL, mode="append_once")
    yield "append"
    tx.write(batch(), URL, mode="append")
    yield "overwrite"
    tx.write(batch(), URL, mode="overwrite")
    yield "overwrite a part"
    tx.write(batch(), URL, mode="overwrite", replace_where=[("name", "in", [SECRET, "b"])])
    server.indexed, server.fates = False, [*both[:1], ("c", 2, 3)]
    yield "upsert without the index: one key is there twice"
    tx.write(batch(), URL, mode="upsert")
    server.fates = [("i", 1, 1), ("k", 1, 1)]
    yield "append_once without the index"
    tx.write(batch(), URL, mode="append_once")
    server.indexed, server.fates = True, both
    yield "columns are added and widened, and the keys are replaced"
    wider = batch("extra").set_column(4, "m", pa.array([1, 2], pa.int64()))
    tx.write(wider, URL, mode="upsert", keys=["n"], rekey=True, schema_mode="merge")
    yield "plan"
    tx.plan(wider, URL, mode="upsert")
    table = tx.Table(URL)
    yield "delete by a filter that the database knows"
    table.delete([("note", "!=", SECRET), ("at", "<", AT), ("extra", "==", 1.5)])
    table.refresh()
    server.answer = lambda sql, _: [(SECRET,), (None,)] if sql.startswith("SELECT t.[note]") else None
    yield "delete by a filter that Arrow knows"
    table.delete([("note", "<", "zzz")])
    table.refresh()
    server.answer = lambda sql, _: [(SECRET,), (None,)] if sql.startswith("SELECT t.[note]") else None
    yield "delete by keys"
    table.delete(keys=[987654321])
    yield "read, look up, count, history, resolve"
    table = tx.Table(URL)
    table.to_arrow(columns=["name", "at"], filter=[("n", ">=", 987654321), ("note", "is not null")])
    table.lookup([987654321])
    _ = table.row_count
    table.history(limit=2)
    tx.resolve(URL, "0" * 32)


def told(server: Server) -> str:
    """All statements, call by call; those that begin each connection are told once."""
    lines: list[str] = []
    for title in calls(server):
        lines += [*_taken(server), "", f"-- {title}"]
    lines += _taken(server)
    last = next(number for number, line in enumerate(lines) if line.startswith("SET LOCK_TIMEOUT"))
    beginning = set(lines[2 : last + 1])
    return "\n".join([*lines[: last + 1], *(line for line in lines[last:] if line not in beginning)]).strip() + "\n"


def _taken(server: Server) -> list[str]:
    taken = [sql for sql, _ in server.said]
    server.said.clear()
    return taken


def test_statements(server: Server) -> None:
    """Each statement of each mode is as it was read and agreed on."""
    text = told(server)
    if os.environ.get("TXFILES_REWRITE"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert "987654321" not in text
    assert SECRET not in text
    assert "S3NT" not in text


def test_statements_are_of_the_language() -> None:
    """A parser of T-SQL understands them; what it does not take apart is only what is named here."""
    unknown = ("SET TRANSACTION ISOLATION LEVEL ", "DECLARE @got INT; EXEC @got = ")
    seen = 0
    for line in filter(None, GOLDEN.read_text().splitlines()):
        if line.startswith(("--", *unknown)):
            continue
        for one in sqlglot.parse(line, dialect="tsql"):
            assert one is not None or line.startswith("MERGE"), line
            assert not isinstance(one, exp.Command) or line.startswith("SET "), line
        seen += 1
        if line.startswith("MERGE"):
            assert line.endswith(";")
        # What makes a temporary table has no parameters: it would be gone with them.
        assert not (line.startswith("CREATE TABLE #") or " INTO #txfiles_f" in line) or "?" not in line
    assert seen > 100


def naming(name: str) -> list[str]:
    """Statements with a name everywhere, and what is left of them without it."""
    shape = statements.Shape(
        dialect=MSSQL, schema=name, table=name, columns=pa.schema([(name, pa.int64()), ("", pa.string())]), keys=(name,)
    )
    quoted = "[" + name.replace("]", "]]") + "]"
    told = (
        statements.create(shape),
        statements.upsert(shape, everything=False),
        statements.insert_unknown(shape),
        *statements.change(shape),
        statements.repeated_key(shape),
        MSSQL.create_if_absent(shape.target, f"{quoted} INT"),
    )
    assert all(quoted in sql for sql in told)
    literal = "'" + shape.target.replace("'", "''") + "'"
    return [sql.replace(literal, "''").replace(quoted, "NAME") for sql in told]


@given(st.text(st.sampled_from("[]'\";-\n?{}#%a "), min_size=1, max_size=8))
def test_no_name_is_sql(name: str) -> None:
    """Brackets, quotes, comments, line ends and parameters in a name stay in the name."""
    assert naming(name) == naming("plain")


def test_it_says_that_it_was_never_run(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens such a URL is warned, also if nothing comes of it."""
    with pytest.warns(UserWarning, match="never been run against a database of 'mssql'"):
        assert not tx.exists(URL)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="never been run"), pytest.raises((tx.OptionError, tx.StoreError)) as caught:
        tx.exists("mssql://user:geheim@127.0.0.1:1/shop?table=customers&LoginTimeout=1")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("t", "plain", "key"),
    [
        (pa.bool_(), "BIT", "BIT"),
        (pa.int8(), "SMALLINT", "SMALLINT"),
        (pa.uint8(), "TINYINT", "TINYINT"),
        (pa.uint16(), "INT", "INT"),
        (pa.uint32(), "BIGINT", "BIGINT"),
        (pa.int64(), "BIGINT", "BIGINT"),
        (pa.uint64(), "DECIMAL(20, 0)", "DECIMAL(20, 0)"),
        (pa.float32(), "FLOAT(53)", "FLOAT(53)"),
        (pa.decimal128(38, 10), "DECIMAL(38, 10)", "DECIMAL(38, 10)"),
        (
            pa.string(),
            "NVARCHAR(MAX) COLLATE Latin1_General_100_BIN2",
            "NVARCHAR(190) COLLATE Latin1_General_100_BIN2",
        ),
        (pa.binary(), "VARBINARY(MAX)", "VARBINARY(190)"),
        (pa.date32(), "DATE", "DATE"),
        (pa.timestamp("ns"), "DATETIME2(6)", "DATETIME2(6)"),
        (pa.timestamp("s", "Europe/Berlin"), "DATETIMEOFFSET(6)", "DATETIMEOFFSET(6)"),
        (pa.time64("us"), "TIME(6)", "TIME(6)"),
        (pa.duration("s"), "BIGINT", "BIGINT"),
    ],
    ids=str,
)
def test_types(t: pa.DataType, plain: str, key: str) -> None:
    """Each type has one of SQL Server's that holds all its values; a key has a length."""
    assert MSSQL.column_type(t, "c", key=False) == plain
    assert MSSQL.column_type(t, "c", key=True) == key


@pytest.mark.parametrize("t", [pa.decimal256(39, 0), pa.decimal128(5, -2), pa.list_(pa.int64())], ids=str)
def test_types_that_it_has_not(t: pa.DataType) -> None:
    """An error that names the column."""
    with pytest.raises(tx.UnsupportedTypeError, match="'c'"):
        MSSQL.column_type(t, "c", key=False)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (pa.array([1.0, float("nan")]), False),
        (pa.array([1.0, float("-inf")]), False),
        (pa.array([1.0, -0.0]), False),
        (pa.array(["", "a\0"]), False),
        (pa.array(["a" * 190, "a" * 191]), True),
        (pa.array(["𝄞" * 95, "𝄞" * 95 + "a"]), True),
        (pa.array([b"a" * 190, b"a" * 191]), True),
    ],
    ids=["nan", "infinite", "-0.0", "nul", "long", "long in UTF-16", "long binary"],
)
def test_values_that_it_would_not_give_back(values: pa.Array, key: bool) -> None:
    """They are refused by name and row, before anything is written; the value before each one is not."""
    MSSQL.check_values(pa.chunked_array([values.slice(0, 1)]), "c", key=key)
    with pytest.raises(tx.LossyCastError, match=r"'c'.* in row 1"):
        MSSQL.check_values(pa.chunked_array([values]), "c", key=key)


class DriverError(Exception):
    """As pyodbc has it: SQLSTATE, and words that end with the server's number."""


@pytest.mark.parametrize(
    ("state", "words", "verdict"),
    [
        ("40001", "[40001] … was deadlocked on lock resources … (1205) (SQLExecDirectW)", "busy"),
        ("42000", "[42000] … Lock request time out period exceeded. (1222) (SQLExecute)", "busy"),
        ("42000", "[42000] … Snapshot isolation transaction aborted … (3960) (SQLExecute)", "busy"),
        ("42S01", "[42S01] … already an object named 'txfiles_commits' … (2714) (SQLExecDirectW)", "busy"),
        ("23000", "[23000] … duplicate key value is (5). (2601) (SQLExecDirectW); [01000] … (3621)", "repeated"),
        ("23000", "[23000] … value is (a (1205) (SQLExecute). (2627) (SQLExecute); [01000] … (3621)", "repeated"),
        ("23000", "[23000] … FOREIGN KEY constraint … (547) (SQLExecDirectW)", "other"),
        ("08S01", "[08S01] … TCP Provider: Error code 0x2746 (10054) (SQLExecDirectW)", "lost"),
        ("HYT00", "[HYT00] … Login timeout expired (0) (SQLDriverConnect)", "lost"),
        ("28000", "[28000] … Login failed for user 'sa'. (18456) (SQLDriverConnect)", "other"),
    ],
)
def test_errors(state: str, words: str, verdict: str) -> None:
    """Told by the server's own number, whatever values its words have."""
    assert MSSQL.judge(DriverError(state, words)) == verdict
    assert MSSQL.judge(DriverError()) == "other"


def test_a_deadlock_is_tried_again(server: Server) -> None:
    """And a lock that is not free; the write happens once."""

    class Error(DriverError):
        pass

    def answer(sql: str, _: object) -> list[tuple[int]] | None:
        if "sp_getapplock" in sql:
            return [(next(failures),)]
        if sql.startswith("CREATE TABLE [dbo]") and next(failures) == 0 and not deadlocks:
            deadlocks.append(1)
            raise Error("40001", "[40001] deadlock (1205) (SQLExecDirectW)")
        return None

    deadlocks: list[int] = []
    failures = iter([-1, 0, 0, 0, 0])
    server.answer = answer
    result = tx.write(batch(), URL, mode="append")
    assert (result.attempts, result.committed, len(server.commits)) == (3, True, 1)


@pytest.mark.parametrize(
    ("about", "match"),
    [((14, 3, 1), "2019"), ((12, 6, 1), "2019"), ((16, 3, 0), "does not allow snapshots")],
)
def test_servers_that_are_not_taken(server: Server, about: tuple[int, int, int], match: str) -> None:
    """Older ones, warehouses, and databases in which a reader would see halves of a write."""
    server.about = about
    with pytest.raises(tx.UnsupportedTableError, match=match):
        tx.write(batch(), URL, mode="append")
    assert server.commits == []
    server.about = (12, 5, 1)  # Azure SQL
    assert tx.write(batch(), URL, mode="append").committed


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("mssql://host/db?table=%23a", "gone when the call ends"),
        ("mssql://host/db?table=a&ODBC_Connect=b", "another database"),
    ],
)
def test_urls_that_make_no_sense(url: str, match: str) -> None:
    """Temporary tables, and connections that are told twice."""
    with pytest.raises(tx.OptionError, match=match):
        address.read(Place(url))


def test_conditions_have_no_more_parameters_than_a_statement_takes(server: Server) -> None:
    """What is too much is left to Arrow."""
    tx.write(batch(), URL, mode="append")
    server.said.clear()
    many = list(range(900))
    tx.Table(URL).to_arrow(filter=[("n", "in", many), ("n", "not in", many), ("n", "in", many[1:]), ("n", ">", 1)])
    asked = [parameters for sql, parameters in server.said if "WHERE (t." in sql]
    assert [len(parameters) for parameters in asked] == [1_800]
