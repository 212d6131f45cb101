"""What a library for object stores does for one bucket, as `ObjectStore` needs it.

A `Client` adapts one library to one bucket or container. Each method is one request, sent once: the library's own
retries are switched off if possible. A request that fails raises whatever the library raises, and `Client.failed` says
what that means, by a table of the answers that this kind of server gives. The same status means different things: S3's
409 says that nothing was decided, Azure's that the name is taken.

`ObjectStore` does everything else, the same for all: names, retries, deadlines, parallel reads, sinks, errors.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from weakref import WeakSet

from txfiles.store.port import Capabilities, Entry

SECOND_US = 1_000_000

CONNECT_SECONDS = 10.0
"""A server that is there accepts a connection sooner."""


class Failure(enum.Enum):
    """How a request failed."""

    ABSENT = "absent"
    """There is no such object, but the bucket exists."""
    EXISTS = "exists"
    """The condition did not hold: the name is taken, perhaps by an earlier copy of this request."""
    UNDECIDED = "undecided"
    """Nothing was applied; the same request may succeed."""
    SHORT = "short"
    """The object ends before the range begins."""
    ARCHIVED = "archived"
    """The object is in a tier from which it has to be brought back before it can be read. Nothing was applied."""
    DENIED = "denied"
    """Credentials are missing, wrong, expired, or do not reach so far. Nothing was applied."""
    REFUSED = "refused"
    """The same request will not succeed: no such bucket, a bad request. Nothing was applied."""
    UNSUPPORTED = "unsupported"
    """The server does not implement what the request asks for. Nothing was applied."""
    THROTTLED = "throttled"
    """Too many requests; applied or not."""
    UNREACHABLE = "unreachable"
    """No connection; applied or not, since a lost connection may have been tried again below us."""
    UNCLEAR = "unclear"
    """A time-out, a 5xx, a lost connection, an answer that makes no sense: applied, or not, or yet to be."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure and how the server described it.

    Attributes:
        failure: which.
        said: status, code and message for an error's text; no credentials.
        retry_after: seconds that the server wants us to wait.
        resent: whether the request may have been sent before, though the client's `capabilities` say that none is.
        final: whether the same request cannot be made again: it belonged to something that is over.
    """

    failure: Failure
    said: str
    retry_after: float | None = None
    resent: bool = False
    final: bool = False


MAY_PASS = frozenset({Failure.UNDECIDED, Failure.THROTTLED, Failure.UNREACHABLE, Failure.UNCLEAR})
"""Failures after which the same request may succeed."""

DATED = frozenset({Failure.ABSENT, Failure.REFUSED, Failure.DENIED, Failure.UNSUPPORTED})
"""Failures of a request for the server's clock that are an answer all the same: the server is there, and says when."""

Answers = Mapping[str | int, Failure]
"""What a server's error codes and statuses mean; a code is looked up first."""


def meaning(answers: Answers, code: str | None, status: int | None) -> Failure:
    """What an answer means: by its code, otherwise by its status. An unknown one is unclear, except for a 4xx."""
    for known in (code, status):
        if known is not None and known in answers:
            return answers[known]
    return Failure.REFUSED if status is not None and 400 <= status < 500 else Failure.UNCLEAR  # noqa: PLR2004


def described(status: int | None, code: str | None, message: str | None, tier: str | None = None) -> str:
    """An answer for an error's text, without what it did not say: `503 SlowDown: Please reduce your request rate`."""
    head = " ".join(str(known) for known in (status, code) if known)
    told = ": ".join(known for known in (head, message) if known)
    return f"it is in the archive tier {tier}: {told}" if tier else told


def http_time_us(text: str) -> int:
    """The time in a `Date` header, in microseconds: the end of its second, so that no object seems newer than now.

    Raises:
        ValueError: it is not a time.
    """
    from email.utils import parsedate_to_datetime  # here: few calls need it

    return int(parsedate_to_datetime(text).astimezone(UTC).timestamp()) * SECOND_US + SECOND_US - 1


def seconds_us(time: datetime) -> int:
    """Whole seconds, as HTTP tells them, in microseconds; some servers' listings say more."""
    return int(time.timestamp()) * SECOND_US


def retry_after_seconds(text: str | None) -> float | None:
    """The seconds in a `Retry-After` header; None for a date, which clients' clocks are too wrong for."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Body:
    """An object's bytes and its whole size; if it is larger than the limit, the bytes may be left out."""

    data: bytes
    size: int


denied: WeakSet[Client] = WeakSet()
"""Clients that were denied something: their credentials may have expired, and been renewed where they are found."""


class Upload(Protocol):
    """A large object being written. Invisible until `complete`."""

    def part(self, number: int, data: bytes) -> None:
        """Send a part; numbers count from 1 and a number may be sent again."""

    def complete(self) -> None:
        """Publish the parts in order of number."""

    def abort(self) -> None:
        """Give up; the store forgets the parts."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that is neither completed nor aborted.

    Attributes:
        key: of its object.
        began_us: when, by the store's clock.
        upload: to abort it.
    """

    key: str
    began_us: int
    upload: Upload


class Client(Protocol):
    """One bucket or container through one library. A *key* is a whole key in it. Safe for several threads.

    Attributes:
        root: the bucket as a person writes it, without credentials or a slash at the end: `s3://bucket`.
        backend: the library's name, for people.
        reason: why another library serves it after all, for people; None if none does.
        identity: tells this bucket on this server from any other.
        capabilities: of a store on this client.
        deletes_at_once: the most keys of one `delete_many`.
        parts_at_once: how many parts of an upload may be under way; 1 if they have to come in order.
    """

    reason: str | None

    @property
    def root(self) -> str: ...  # noqa: D102  # see above
    @property
    def backend(self) -> str: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    @property
    def capabilities(self) -> Capabilities: ...  # noqa: D102
    @property
    def deletes_at_once(self) -> int: ...  # noqa: D102
    @property
    def parts_at_once(self) -> int: ...  # noqa: D102

    def failed(self, error: Exception) -> Failed:
        """What an exception of the library means."""

    def get(self, key: str, limit: int) -> Body:
        """The object, whole if it has at most `limit` bytes."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """A range, shorter if the object ends within it."""

    def stat(self, key: str) -> Entry:
        """Size and last change."""

    def create(self, key: str, data: bytes) -> None:
        """Create the object only if there is none: one conditional put."""

    def put(self, key: str, data: bytes) -> None:
        """Create or replace the object."""

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        """The objects whose keys begin with `prefix`, and sort after `after` if the store lists from a name.

        One request for each page, when it is needed. In order of key if the store lists from a name.
        """

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Failed]:
        """Delete objects; returns those that were not deleted. A missing one counts as deleted."""

    def upload(self, key: str) -> Upload:
        """Begin a large object."""

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """The uploads of keys with a prefix that were begun and not ended; none if the store drops them itself."""

    def now_us(self) -> int:
        """The store's clock."""
