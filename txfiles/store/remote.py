"""Buckets by URL: which library serves a scheme, and what is checked before it is asked.

Source: specs/decisions/0026-object-stores.md.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from txfiles.core.messages import listed, one_of, redact
from txfiles.errors import InputError, OptionError, StoreError
from txfiles.guard import Guard
from txfiles.store import client as clients
from txfiles.store import common, fsspec_config, obstore_azure_options, obstore_options, secret_options
from txfiles.store.client import Client
from txfiles.store.objects import ObjectStore
from txfiles.store.patience import REQUEST_SECONDS, Patience
from txfiles.store.port import Lock

logger = logging.getLogger("txfiles")

CLIENT_SECONDS = 300.0
CLIENTS_KEPT = 8
_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""How the names of variables begin that the libraries read."""
_OURS = frozenset({"backend", "request_timeout"})
"""Options that no library is given."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CONTAINER = re.compile(r"[a-z0-9$][a-z0-9-]{1,62}(@[a-z0-9]{3,24}\.(dfs|blob)\.[a-z0-9.]+)?")


@dataclass(frozen=True, slots=True)
class Backend:
    """A library that serves some schemes.

    Attributes:
        name: what `storage_options={"backend": …}` says.
        extra: of this package, by which it is installed.
        connect: (bucket, the library's options, seconds for one try) → a client; imports the library.
        unmapped: why it cannot take some options; None if it can.
        differs: why it is not used by itself: with these options it may do something else than the usual library.
        protocols: by which fsspec's configuration knows the usual library.
        bucket: what a bucket is called.
        written: how a URL is written, for a hint.
    """

    name: str
    extra: str
    connect: Callable[[str, Mapping[str, Any], float], Client]
    unmapped: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    differs: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    protocols: tuple[str, ...] = ("s3", "s3a")
    bucket: re.Pattern[str] = _BUCKET
    written: str = "bucket/folder, without @, ? or #"


@dataclass(frozen=True, slots=True)
class _Held:
    """A client that may be used again, and what it was made of."""

    wanted: tuple[Any, ...] = field(repr=False)
    client: Client
    since: float


_clients: list[_Held] = []
_guard = Guard()


def _s3fs(bucket: str, options: Mapping[str, Any], try_seconds: float) -> Client:
    from txfiles.store.s3 import S3Client

    return S3Client(bucket, options, try_seconds)


def _obstore(bucket: str, options: Mapping[str, Any], try_seconds: float) -> Client:
    from txfiles.store.obstore_client import ObstoreClient

    return ObstoreClient(bucket, options, try_seconds)


def _obstore_azure(bucket: str, options: Mapping[str, Any], try_seconds: float) -> Client:
    from txfiles.store.obstore_azure import ObstoreAzureClient

    return ObstoreAzureClient(bucket, options, try_seconds)


def _differs(options: Mapping[str, Any], rules: ModuleType, protocols: tuple[str, ...]) -> str | None:
    from txfiles.store import obstore_client

    forked = "this process was forked after it was used" if obstore_client.forked() else None
    added = fsspec_config.configured(protocols)
    configured = f"fsspec's configuration sets {listed(sorted(added))}" if added else None
    found: str | None = rules.unmapped(options) or forked or configured or rules.differs(options)
    return found


def _adlfs(bucket: str, options: Mapping[str, Any], try_seconds: float) -> Client:
    from txfiles.store.adls import AzureClient

    return AzureClient(bucket, options, try_seconds)


S3FS = Backend("s3fs", "s3", _s3fs)
OBSTORE = Backend(
    "obstore",
    "obstore",
    _obstore,
    obstore_options.unmapped,
    functools.partial(_differs, rules=obstore_options, protocols=S3FS.protocols),
)
S3 = (OBSTORE, S3FS)
ADLFS = Backend(
    "adlfs",
    "azure",
    _adlfs,
    protocols=("abfs", "az", "abfss"),
    bucket=_CONTAINER,
    written="container/folder or container@account.dfs.core.windows.net/folder",
)
OBSTORE_AZURE = replace(
    ADLFS,
    name="obstore",
    extra="obstore",
    connect=_obstore_azure,
    unmapped=obstore_azure_options.unmapped,
    differs=functools.partial(_differs, rules=obstore_azure_options, protocols=ADLFS.protocols),
)
AZURE = (OBSTORE_AZURE, ADLFS)

SCHEMES: dict[str, tuple[Backend, ...]] = {"s3": S3, "s3a": S3, "abfs": AZURE, "abfss": AZURE, "az": AZURE}
"""The backends of each scheme, the fastest first and the usual one last: it takes all options."""


def check_url(url: str, scheme: str, bucket: str) -> None:
    """Refuse a URL that may have a credential in it, or no bucket.

    Args:
        url: as given.
        scheme: its, one of `SCHEMES`.
        bucket: its.
    Raises:
        InputError: does not show the credential.
    """
    backend = SCHEMES[scheme][-1]
    if redact(url) != url or not backend.bucket.fullmatch(bucket):
        raise InputError(
            f"{redact(url)} is not the URL of a folder in a bucket",
            hint=f"write {scheme}://{backend.written}; credentials belong in storage_options",
        )


def open_bucket(url: str, scheme: str, rest: str, options: Mapping[str, Any], lock: Lock | None) -> ObjectStore:
    """The store of the table at a URL. Nothing is read or written yet.

    Args:
        url: as given, for messages.
        scheme: one of `SCHEMES`.
        rest: what follows `scheme://`.
        options: `storage_options`.
        lock: excludes every other writer; used if the store ignores the condition of a put.
    """
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    known = secret_options.resolved(options)
    others, resolved = ({name: value for name, value in some.items() if name not in _OURS} for some in (options, known))
    backend, why = _backend(scheme, known.get("backend"), resolved)
    check_url(url, scheme, bucket)
    if prefix:
        common.split(prefix)
    patience = Patience(_request_seconds(known.get("request_timeout", REQUEST_SECONDS)))
    try:
        client = _connected(backend, bucket, others, resolved, patience.try_seconds)
    except ImportError as error:
        raise StoreError(
            f"tables at {scheme}:// need the package {backend.name}, which cannot be imported ({error})",
            hint=f"pip install 'txfiles[{backend.extra}]'",
        ) from error
    logger.debug("%s through %s", url, backend.name)
    return ObjectStore(client, prefix, patience=patience, lock=lock, reason=why)


def _connected(
    backend: Backend, bucket: str, options: Mapping[str, Any], resolved: Mapping[str, Any], try_seconds: float
) -> Client:
    """A client, the one that was used for the same bucket and options a moment ago: it keeps its connections.

    It is used for a few minutes only, so that credentials are looked for again, and no more once it was denied
    something; what the environment and fsspec's configuration say, and when the files of AWS' tools changed, is a part
    of what must be the same.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    found = (environment, _stamps(), fsspec_config.configured(backend.protocols))
    wanted = (backend.name, bucket, dict(options), resolved, try_seconds, *found, os.getpid())
    now = time.monotonic()
    with _guard:
        _clients[:] = [held for held in _clients if now - held.since < CLIENT_SECONDS][-CLIENTS_KEPT:]
        for held in _clients:
            if held.wanted == wanted and held.client not in clients.denied:
                return held.client
    client = backend.connect(bucket, options, try_seconds)
    with _guard:
        _clients.append(_Held(wanted, client, now))
    return client


def _stamps() -> list[tuple[str, int, int]]:
    """Which of the files of AWS' tools there are, and when they changed."""
    found = []
    for variable, usual in obstore_options.FILES.items():
        path = os.path.expanduser(os.environ.get(variable) or usual)
        with contextlib.suppress(OSError):
            facts = os.stat(path)
            found.append((path, facts.st_mtime_ns, facts.st_size))
    return found


def _backend(scheme: str, wanted: object, options: Mapping[str, Any]) -> tuple[Backend, str | None]:
    """The one that is wanted; else the first that is installed and does with these options what the last would.

    With it, why a faster one is not used.
    """
    reason = None
    backends = {backend.name: backend for backend in SCHEMES[scheme]}
    if wanted is None:
        *others, usual = backends.values()
        for backend in others:
            try:
                why = backend.differs(options)
            except ImportError as error:
                why = f"it cannot be imported ({error})"
            if why is None:
                return backend, reason
            reason = f"not through {backend.name}: {why}"
            logger.debug("%s is not used for %s://: %s", backend.name, scheme, why)
        return usual, reason
    if not isinstance(wanted, str) or wanted not in backends:
        raise OptionError(f"storage option 'backend' must be {one_of(backends)} for {scheme}://")
    backend = backends[wanted]
    why = backend.unmapped(options)
    if why is not None:
        raise OptionError(
            f"{backend.name} cannot take these storage options: {why}",
            hint="leave out backend, or that option",
        )
    return backend, None


def _request_seconds(given: object) -> float:
    """How long a request may take; the shell gives it as text."""
    try:
        seconds = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise OptionError("storage option 'request_timeout' is a number of seconds above 0")
    return seconds
