"""Real database servers for the tests: PostgreSQL and MariaDB, from Debian's packages, which `tools/test` installs.

Each is started once a session on a port that the system chooses, on the loopback interface only, keeps its data in a
temporary folder, and is ended by its handle. Where a server is not installed, the tests that need it are skipped with
the reason, or fail if `CI=true`. SQLite and DuckDB need no server.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.services.servers import PORT_TRIES, START_SECONDS, Unavailable, free_port

USER, PASSWORD = "tests", "testing12345"
SERVERS = ("postgresql", "mariadb")
DATABASES = ("sqlite", "duckdb", *SERVERS)


@dataclass
class DatabaseServer:
    """A running server.

    Attributes:
        kind: one of `SERVERS`.
        port: on the loopback interface.
        process: its handle.
        folder: its data, removed with it.
    """

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    stopped: bool = field(default=False)

    def url(self, place: str, port: int | None = None) -> str:
        """Of a table in a schema (PostgreSQL) or database (MariaDB) of its own, perhaps through a proxy's port."""
        at = f"{USER}:{PASSWORD}@127.0.0.1:{port or self.port}"
        if self.kind == "postgresql":
            return f"postgresql://{at}/postgres?table={place}.customers"
        return f"mariadb://{at}/{place}?table=customers"

    def admin(self) -> str:
        """A URL for SQLAlchemy."""
        driver, name = {"postgresql": ("postgresql+psycopg", "postgres"), "mariadb": ("mariadb+pymysql", "mysql")}[
            self.kind
        ]
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """End the server and remove its data. Again: does nothing."""
        if self.stopped:
            return
        self.stopped = True
        # PostgreSQL leaves at once on SIGQUIT, and takes its processes and shared memory with it.
        self.process.send_signal(signal.SIGQUIT if self.kind == "postgresql" else signal.SIGKILL)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(kind: str) -> DatabaseServer:
    """Start a server.

    Raises:
        Unavailable: it is not installed, or does not answer in time.
    """
    make = {"postgresql": _postgresql, "mariadb": _mariadb}[kind]
    for attempt in range(PORT_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=f"txfiles-{kind}-"))
        port = free_port()
        try:
            process = make(port, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        server = DatabaseServer(kind, port, process, folder)
        if _answers(server):
            return server
        said = (folder / "server.log").read_text(errors="replace")[-1_000:]
        server.stop()
        if attempt == PORT_TRIES - 1:
            raise Unavailable(f"{kind} does not answer: {said}")
    raise AssertionError("unreachable")


def _postgresql(port: int, folder: Path) -> subprocess.Popen[bytes]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        raise Unavailable("postgresql is not installed (Debian: apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "postgres"
        shutil.chown(folder, user)
    (folder / "password").write_text(PASSWORD)
    if user:
        shutil.chown(folder / "password", user)
    data = folder / "data"
    auth = ["--auth=scram-sha-256", f"--pwfile={folder}/password"]
    _run([initdb, "-D", data, "-U", USER, "-N", "-E", "UTF8", "--locale=C.UTF-8", *auth], folder, user)
    fast = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]
    listen = ["-h", "127.0.0.1", "-p", port, "-k", folder]
    return _spawn([Path(initdb).resolve().parent / "postgres", "-D", data, *listen, *fast], folder, user)


def _mariadb(port: int, folder: Path) -> subprocess.Popen[bytes]:
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    if server is None:
        raise Unavailable("mariadb is not installed (Debian: apt-get install mariadb-server-core)")
    data = folder / "data"
    data.mkdir()
    as_root = ["--user=root"] if os.geteuid() == 0 else []
    share = Path("/usr/share/mysql")
    tables = [
        (share / f"mysql_{name}.sql").read_text()
        for name in ("system_tables", "performance_tables", "system_tables_data")
    ]
    begin = "create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\nset @current_hostname='localhost';\n"
    (folder / "boot.sql").write_text(begin + "".join(tables))
    with (folder / "boot.sql").open("rb") as script:
        own = [f"--datadir={data}", f"--tmpdir={folder}"]  # /tmp has the temporary tables of all servers
        bootstrap = [server, "--no-defaults", *as_root, "--bootstrap", *own, "--log-warnings=0"]
        done = subprocess.run(bootstrap, stdin=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"mariadb cannot make its tables: {done.stderr[-1_000:]}")
    (folder / "init.sql").write_text(
        f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO '{USER}'@'127.0.0.1';\n"
    )
    files = [f"--datadir={data}", f"--tmpdir={folder}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    listen = [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve", f"--init-file={folder}/init.sql"]
    fast = ["--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M", "--sync-binlog=0"]
    return _spawn([server, "--no-defaults", *as_root, *files, *listen, *fast], folder, None)


def _run(command: Sequence[object], folder: Path, user: str | None) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        user=user,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"{command[0]} ended with {done.returncode}: {done.stderr[-1_000:]}")


def _spawn(command: Sequence[object], folder: Path, user: str | None) -> subprocess.Popen[bytes]:
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [str(word) for word in command], cwd=folder, user=user, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _answers(server: DatabaseServer) -> bool:
    """Whether the server takes a connection before the time is up."""
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    engine = sa.create_engine(server.admin(), poolclass=NullPool)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1), suppress(sa.exc.DBAPIError):
            engine.connect().close()
            return True
        time.sleep(0.1)
    return False


_unavailable: dict[str, str] = {}


@pytest.fixture(scope="session")
def database_server() -> Iterator[Callable[[str], DatabaseServer]]:
    """A function from a kind of server to one that runs."""
    running: dict[str, DatabaseServer] = {}

    def get(kind: str) -> DatabaseServer:
        if kind not in running and kind not in _unavailable:
            try:
                running[kind] = start(kind)
            except Unavailable as error:
                _unavailable[kind] = f"no {kind} here: {error}"
        if kind in _unavailable:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(_unavailable[kind])
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture
def sql_url(database_server: Callable[[str], DatabaseServer], tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A function from a kind of database to the URL of a table that is not there, in a place of its own."""
    made: list[tuple[DatabaseServer, str]] = []

    def get(kind: str) -> str:
        if kind not in SERVERS:
            return f"{kind}:///{tmp_path}/{uuid.uuid4().hex}.{kind}?table=customers"
        server = database_server(kind)
        place = f"t{uuid.uuid4().hex[:12]}"
        administer(server, f"CREATE SCHEMA {place}")
        made.append((server, place))
        return server.url(place)

    yield get
    for server, place in made:
        administer(server, f"DROP SCHEMA {place}" + (" CASCADE" if server.kind == "postgresql" else ""))


def administer(server: DatabaseServer, statement: str) -> None:
    """Run a statement as the server's administrator."""
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    engine = sa.create_engine(server.admin(), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
