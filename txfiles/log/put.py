"""The put of a manifest or sidecar: the I/O that `core.protocol` prescribes, step by step.

Source: specs/5-commit.md, "Commit", steps 3 to 5; specs/decisions/0023-the-put-is-a-pure-step.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from txfiles.core import codec, protocol
from txfiles.core.protocol import Answer, Next, Sent
from txfiles.errors import StoreError, TxFilesError
from txfiles.log.session import Session
from txfiles.store.port import Put, Store

logger = logging.getLogger("txfiles")

BACKOFF_FIRST_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Settled:
    """How a put ended: one of `protocol.ENDS`, and the error that the store gave, if any."""

    end: Next
    error: TxFilesError | None = None


def settle(session: Session, name: str, data: bytes) -> Settled:
    """Put an object under a free name until its outcome is known, as `core.protocol` prescribes.

    Cost: one put if the store answers; at most `MOST_PUTS` puts, each read back at most `MOST_READS` times.
    """
    sent, following, error = Sent(), Next.PUT, None
    while following not in protocol.ENDS:
        if following is Next.PUT:
            answer, error = _put(session.store, name, data)
        else:
            answer, failure = _read_back(session.store, name, data)
            error = failure or error
        following, after = protocol.step(sent, answer)
        if following not in protocol.ENDS and after != sent:
            session.environment.sleep(BACKOFF_FIRST_SECONDS * 2 ** max(after.puts, after.reads))
        sent = after
    return Settled(following, None if following in (Next.COMMITTED, Next.LOST) else error)


def _put(store: Store, name: str, data: bytes) -> tuple[Answer, TxFilesError | None]:
    try:
        put = store.put_if_absent(name, data)
    except TxFilesError as error:
        return (Answer.IN_DOUBT if error.committed == "unknown" else Answer.REFUSED), error
    return {Put.CREATED: Answer.CREATED, Put.EXISTS: Answer.EXISTS, Put.UNKNOWN: Answer.UNCLEAR}[put], None


def _read_back(store: Store, name: str, data: bytes) -> tuple[Answer, TxFilesError | None]:
    """What is stored under a name after an unclear put."""
    try:
        found = store.get(name, limit=max(len(data), codec.MANIFEST_LIMIT_BYTES))
    except StoreError as error:
        logger.warning("reading back %s failed: %s", name, error)
        return Answer.UNREADABLE, error
    if found is None:
        return Answer.ABSENT, None
    return (Answer.MINE if codec.sha256(found) == codec.sha256(data) else Answer.ANOTHERS), None
