"""What the tests of SQL tables share: a raw connection beside txfiles, and a proxy that cuts one at its commit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from txfiles.targets.protocol import Place
from txfiles.targets.sql import address
from txfiles.targets.sql.database import Database

LATE_SECONDS = 0.5


@contextmanager
def beside(url: str) -> Iterator[Database]:
    """A connection of another program to the same database."""
    with Database(address.read(Place(url)), 5.0) as db:
        yield db


def target_of(url: str, db: Database) -> str:
    """The table of a URL in a statement."""
    found = address.read(Place(url))
    schema = found.schema if found.schema is not None else db.dialect.schema(db)
    return f"{db.dialect.quote(schema)}.{db.dialect.quote(found.table)}"


@dataclass
class Proxy:
    """Stands between a client and a server, and cuts the connection at the first commit that changes the ledger.

    Attributes:
        port: where it listens.
        forward: whether the commit still reaches the server.
        late: whether it does so only after the client has lost the connection, and has asked what became of it.
        then_refuse: whether it refuses every connection after that.
        cuts: how often it has cut.
    """

    server_port: int
    forward: bool
    late: bool = False
    then_refuse: bool = False
    cuts: int = 0
    port: int = 0
    _listener: socket.socket = field(default_factory=socket.socket)
    _over: bool = False

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.cuts and self.then_refuse:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.server_port))
            state: dict[str, Any] = {"ledger": False}
            threading.Thread(target=self._up, args=(client, server, state), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client, state), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                state["ledger"] |= b"INSERT INTO" in data and b"txfiles_commits" in data
                if state["ledger"] and not self.cuts and b"COMMIT" in data:
                    self.cuts += 1
                    state["cut"] = True
                    if self.late:
                        _close(client)
                        time.sleep(LATE_SECONDS)
                    if self.forward:
                        server.sendall(data)
                        server.settimeout(1)
                        server.recv(1)  # its reply: the commit is over
                    break
                server.sendall(data)
        _close(client, server)

    def _down(self, server: socket.socket, client: socket.socket, state: dict[str, Any]) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if state.get("cut"):
                    break
                client.sendall(data)
        if not state.get("cut"):
            _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


Url = Callable[[str], str]
