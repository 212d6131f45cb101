"""Whether a bucket honours the condition of a put. Asked once in a process, before the first write to it.

Several servers take `If-None-Match: *` and overwrite all the same: each of 16 writers of one version believes that it
won. So a name that is taken is put once more, with the bytes that it has: the answer must be *exists*. That name is
`table.json` or, if there is no table yet, a name of our own that is created first and deleted afterwards.

Source: specs/5-commit.md, "Stores".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from txfiles.core.names import LOG_DIR, TABLE_FILE
from txfiles.guard import Guard
from txfiles.store.client import Body, Client, Failed, Failure

T = TypeVar("T")

TABLE_FILE_LIMIT_BYTES = 1 << 20
"""A larger `table.json` is not ours, and is not sent."""

Ask = Callable[[Callable[[], T]], T | Failed]
"""Makes a request, again as needed."""

_guard = Guard()
_asking: dict[str, Guard] = {}
"""One for each bucket, held while it is asked: nobody waits for another's network."""
_known: dict[str, Failed | None] = {}


def not_honoured(client: Client, prefix: str, ask: Ask) -> Failed | None:  # type: ignore[type-arg]  # generic by call
    """Why no conditional put can be trusted there; None if it can. Only `UNSUPPORTED` says that none ever can.

    Args:
        client: of the bucket.
        prefix: the table's.
        ask: the store's.
    Cost: the first time for a bucket two requests, or three and a delete if there is no table; else none. Those who
        ask for the same bucket wait.
    """
    with _guard:
        asking = _asking.setdefault(client.identity, Guard())
    with asking:
        if client.identity not in _known:
            found = _probe(client, prefix, ask)
            if found is not None and found.failure is not Failure.UNSUPPORTED:
                return found  # it says nothing of conditions: the store is asked again
            _known[client.identity] = found
        return _known[client.identity]


def remember(client: Client, found: Failed | None = None) -> None:
    """Take it as known."""
    _known[client.identity] = found


def _probe(client: Client, prefix: str, ask: Ask) -> Failed | None:  # type: ignore[type-arg]
    table = ask(lambda: client.get(prefix + TABLE_FILE, TABLE_FILE_LIMIT_BYTES))
    if isinstance(table, Body) and table.size <= TABLE_FILE_LIMIT_BYTES:
        return _put_again(client, prefix + TABLE_FILE, table.data, ask)
    if isinstance(table, Failed) and table.failure is not Failure.ABSENT:
        says_nothing = table.failure is Failure.UNSUPPORTED  # a read has no condition
        return replace(table, failure=Failure.REFUSED) if says_nothing else table
    key, data = f"{prefix}{LOG_DIR}.tmp-{secrets.token_hex(16)}", b"{}"  # vacuum knows the name
    try:
        created = ask(lambda: client.create(key, data))
        if isinstance(created, Failed) and created.failure is not Failure.EXISTS:  # its own, sent twice
            return created
        return _put_again(client, key, data, ask)
    finally:
        ask(lambda: client.delete_many([key]))


def _put_again(client: Client, key: str, data: bytes, ask: Ask) -> Failed | None:  # type: ignore[type-arg]
    answer = ask(lambda: client.create(key, data))
    if answer is None:
        return Failed(Failure.UNSUPPORTED, "it overwrote an object that was to be created only if there was none")
    return None if answer.failure is Failure.EXISTS else answer
