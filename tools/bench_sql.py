"""`tools/bench sql`: a large upsert into SQL databases, beside scripts that do the least that could do it.

    tools/bench sql [KIND …] [--runs N] [--rows N]

A table of as many rows as the batch, half of which have new values for known keys and half new keys. In turn, each on a
table of its own, made anew:

    ours     txfiles.write(mode="upsert")
    best     the quickest script we know, in one transaction: SQLite: executemany of INSERT … ON CONFLICT; PostgreSQL:
             COPY into a temporary table and INSERT … ON CONFLICT; MariaDB: the same by LOAD DATA LOCAL, with INSERT …
             ON DUPLICATE KEY UPDATE
    sorted   the same, by one who knows that keys in order are quicker, and gives SQLite 64 MiB of cache
    temp     SQLite and MariaDB: executemany into a temporary table, and the same from there
    to_sql   pandas.DataFrame.to_sql of the batch alone, which replaces the table and is no upsert

Printed are the medians in seconds, and the median of the ratios of ours to each in the same turn. The table's rows are
checked after each. Servers are started here, from the packages that the tests use.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bench_child import ROOT

sys.path.insert(0, str(ROOT))

COLUMNS = "id BIGINT, name VARCHAR(40), x DOUBLE PRECISION, n BIGINT, day DATE"
NAMES = ("id", "name", "x", "n", "day")
SETS = ", ".join(f"{name} = excluded.{name}" for name in NAMES[1:])
KINDS = ("sqlite", "postgresql", "mariadb")


def rows_of(ids: np.ndarray, factor: float) -> pa.Table:
    """Rows of these keys."""
    return pa.table(
        {
            "id": ids,
            "name": pa.array([f"name-{n}" for n in ids.tolist()]),
            "x": ids * factor,
            "n": ids * 7 % 1_000,
            "day": pa.array((ids % 20_000).astype("int32")).cast(pa.date32()),
        }
    )


def parts(rows: int) -> tuple[pa.Table, pa.Table]:
    """The table, and the batch: its keys in no order."""
    ids = np.random.default_rng(7).permutation(np.arange(rows // 2, rows // 2 + rows))
    return rows_of(np.arange(rows), 0.25), rows_of(ids, 0.5)


def tuples(rows: pa.Table, *, text_days: bool) -> list[tuple[Any, ...]]:
    """Rows for a driver."""
    day = rows["day"].cast(pa.string()) if text_days else rows["day"]
    columns = [rows[name].to_numpy().tolist() for name in ("id", "x", "n")]
    return list(zip(columns[0], rows["name"].to_pylist(), *columns[1:], day.to_pylist(), strict=True))


def sqlite_best(path: str, rows: pa.Table, cache: str = "PRAGMA cache_size") -> None:
    """Straight into the table."""
    import sqlite3

    with sqlite3.connect(path) as db:
        db.execute(cache)
        insert = f"INSERT INTO t VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET {SETS}"
        db.executemany(insert, tuples(rows, text_days=True))
    db.close()


def sqlite_temp(path: str, rows: pa.Table) -> None:
    """By a temporary table."""
    import sqlite3

    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TEMP TABLE batch ({COLUMNS})")
        db.executemany("INSERT INTO batch VALUES (?, ?, ?, ?, ?)", tuples(rows, text_days=True))
        db.execute(f"INSERT INTO t SELECT * FROM batch WHERE true ON CONFLICT (id) DO UPDATE SET {SETS}")
    db.close()


def postgresql_best(url: str, rows: pa.Table) -> None:
    """COPY of Arrow's CSV, and one statement."""
    import io

    import psycopg
    import pyarrow.csv as pa_csv

    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE batch ({COLUMNS})")
        with cursor.copy("COPY batch FROM STDIN (FORMAT csv)") as copy:
            for part in rows.to_batches(65_536):
                out = io.BytesIO()
                pa_csv.write_csv(part, out, pa_csv.WriteOptions(include_header=False))
                copy.write(out.getvalue())
        cursor.execute(f"INSERT INTO s.t SELECT * FROM batch ON CONFLICT (id) DO UPDATE SET {SETS}")


def mariadb_with(load: Callable[[Any, pa.Table], None]) -> Callable[[dict[str, Any], pa.Table], None]:
    """A temporary table that `load` fills, and one statement."""

    def run(options: dict[str, Any], rows: pa.Table) -> None:
        import pymysql

        sets = ", ".join(f"{name} = VALUES({name})" for name in NAMES[1:])
        db = pymysql.connect(**options, local_infile=True)
        with db.cursor() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE batch ({COLUMNS})")
            cursor.execute("BEGIN")
            load(cursor, rows)
            cursor.execute(f"INSERT INTO t SELECT * FROM batch ON DUPLICATE KEY UPDATE {sets}")
        db.commit()
        db.close()

    return run


def load_data(cursor: Any, rows: pa.Table) -> None:
    """LOAD DATA LOCAL of Arrow's CSV."""
    import pyarrow.csv as pa_csv

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        pa_csv.write_csv(rows, file.name, pa_csv.WriteOptions(include_header=False))
        form = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'"
        cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE batch {form}")


def load_many(cursor: Any, rows: pa.Table) -> None:
    """Statements of many rows, by the driver."""
    cursor.executemany("INSERT INTO batch VALUES (%s, %s, %s, %s, %s)", tuples(rows, text_days=True))


def to_sql(url: str, schema: str | None) -> Callable[[pa.Table], None]:
    """What pandas does by itself."""

    def run(rows: pa.Table) -> None:
        import sqlalchemy as sa

        engine = sa.create_engine(url)
        rows.to_pandas().to_sql("naive", engine, schema=schema, if_exists="replace", index=False)
        engine.dispose()

    return run


def ours(url: str) -> Callable[[pa.Table], None]:
    """This project."""

    def run(rows: pa.Table) -> None:
        import txfiles as tx

        result = tx.write(rows, url, mode="upsert", keys=["id"])
        half = rows.num_rows // 2
        assert (result.rows_updated, result.rows_inserted) == (half, rows.num_rows - half)

    return run


class Case:
    """A database with its scripts."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        if kind == "sqlite":
            path = str(folder / "x.db")
            self.admin, self.table = f"sqlite:///{path}", "t"
            self.url = f"sqlite:///{path}?table=t"
            self.scripts: dict[str, Callable[[pa.Table], None]] = {
                "best": lambda rows: sqlite_best(path, rows),
                "sorted": lambda rows: sqlite_best(path, rows.sort_by("id"), "PRAGMA cache_size = -65536"),
                "temp": lambda rows: sqlite_temp(path, rows),
            }
            self.stop: Callable[[], None] = lambda: None
        else:
            self._start(kind)
        self.scripts = {"ours": ours(self.url), **self.scripts}
        self.scripts["to_sql"] = to_sql(self.admin, "s" if kind == "postgresql" else None)

    def _start(self, kind: str) -> None:
        from tests.services.databases import PASSWORD, USER, administer, start

        server = start(kind)
        self.stop = server.stop
        administer(server, "CREATE SCHEMA s")
        self.url = server.url("s").replace("customers", "t")
        self.table = "s.t"
        if kind == "postgresql":
            self.admin = server.admin()
            plain = self.admin.replace("+psycopg", "")
            self.scripts = {
                "best": lambda rows: postgresql_best(plain, rows),
                "sorted": lambda rows: postgresql_best(plain, rows.sort_by("id")),
            }
            return
        self.admin = server.admin().rpartition("/")[0] + "/s"
        options = {"host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD, "database": "s"}
        self.scripts = {
            "best": lambda rows: mariadb_with(load_data)(options, rows),
            "temp": lambda rows: mariadb_with(load_many)(options, rows),
        }

    def reset(self, who: str, before: pa.Table) -> None:
        """The table as it is before the batch."""
        import sqlalchemy as sa

        import txfiles as tx

        engine = sa.create_engine(self.admin)
        with engine.begin() as db:
            db.exec_driver_sql(f"DROP TABLE IF EXISTS {self.table}")
        engine.dispose()
        if who != "to_sql":
            tx.write(before, self.url, mode="upsert", keys=["id"])

    def check(self, rows: int) -> None:
        """Every key once, those of the batch with its values."""
        import sqlalchemy as sa

        engine = sa.create_engine(self.admin)
        half = rows // 2
        with engine.connect() as db:
            found = db.exec_driver_sql(
                f"SELECT count(*), count(DISTINCT id), sum(x = id * 0.5 AND id >= {half}) FROM {self.table}"
                if self.kind != "postgresql"
                else f"SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE x = id * 0.5 AND id >= {half}) "
                f"FROM {self.table}"
            ).fetchone()
        engine.dispose()
        assert found is not None
        assert tuple(map(int, found)) == (rows + half, rows + half, rows)


def main(words: list[str]) -> None:
    """Run the turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="; ".join(KINDS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--without", action="append", default=[], metavar="WHO", help="leave a side out")
    given = parser.parse_args(words)
    before, batch = parts(given.rows)
    print(f"{'database':11} {'who':7} {'seconds':>8} {'ours/who':>9}")
    for kind in given.kinds or KINDS:
        with tempfile.TemporaryDirectory(prefix="txfiles-bench-") as folder:
            case = Case(kind, Path(folder))
            taken: dict[str, list[float]] = {who: [] for who in case.scripts if who not in given.without}
            try:
                for _ in range(given.runs):
                    for who, values in taken.items():
                        case.reset(who, before)
                        started = time.perf_counter()
                        case.scripts[who](batch)
                        values.append(time.perf_counter() - started)
                        if who != "to_sql":
                            case.check(given.rows)
            finally:
                case.stop()
        for who, values in taken.items():
            ratio = statistics.median(a / b for a, b in zip(taken["ours"], values, strict=True))
            print(f"{kind:11} {who:7} {statistics.median(values):8.2f} {ratio:9.2f}", flush=True)
