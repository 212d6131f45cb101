"""The lock that a caller gives to exclude every other writer: an object of theirs, or a path."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from txfiles.store.port import Lock

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_POLL_SECONDS = 0.001
"""A commit holds the lock for two or three milliseconds; an attempt costs microseconds."""
GIVEN_LOCK_SECONDS = 60.0
"""How long to wait for a lock that was given as a path; a lock object has its own time-out."""


def kept_lock(given: Lock | None) -> Lock | None:
    """A lock as a store keeps it: a path is made absolute, so that a later `chdir` changes nothing, and pickles."""
    return Path(given).absolute() if isinstance(given, str | os.PathLike) else given


def lock_of(given: Lock) -> AbstractContextManager[Any]:
    """The context manager of a lock; of a path, a file lock."""
    return file_lock(given) if isinstance(given, str | os.PathLike) else given


def file_lock(path: str | os.PathLike[str]) -> BaseFileLock:
    """A lock on a file, which ends with its process."""
    from filelock import FileLock  # here: 60 ms that only a commit is worth

    # filelock's substitute on a file system without locks, a marker file, would outlive a killed holder.
    return FileLock(path, GIVEN_LOCK_SECONDS, fallback_to_soft=False, poll_interval=LOCK_POLL_SECONDS)
