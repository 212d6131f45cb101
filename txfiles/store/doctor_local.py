"""What only folders have: an advisory lock, names that fold case, folders to be removed afterwards.

Source: specs/16-verify.md, "Doctor".
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from txfiles.store.diagnosis import Check
from txfiles.store.local import LocalStore
from txfiles.store.locks import file_lock

LOCK_SECONDS = 1.0


def existing(store: LocalStore) -> Path:
    """The nearest folder that is there: the root, or the one above it in which the root would be created."""
    root = Path(store.root)
    return next(folder for folder in (root, *root.parents) if folder.is_dir())


def checks(store: LocalStore, folder: str, created: set[str]) -> list[Check]:
    """The checks of a folder; names that they create are added to `created`."""
    return [_fsync(store, folder), _lock(store, folder, created), _case(store, folder, created)]


def _fsync(store: LocalStore, folder: str) -> Check:
    # Creating a name with `link` and fsync of file and folder has succeeded, or nothing would get here.
    opened = os.open(store.url(folder.rstrip("/")), os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        found = f"the names in a folder cannot be made durable ({os.strerror(error.errno or 0)})"
        return Check(
            name="fsync", status="warning", found=found, hint="a power failure may undo the last commits there"
        )
    finally:
        os.close(opened)
    return Check(name="fsync", status="ok", found="hard links and fsync work")


def _lock(store: LocalStore, folder: str, created: set[str]) -> Check:
    name = folder + "lock"
    created.add(name)
    try:
        with file_lock(store.url(name)).acquire(timeout=LOCK_SECONDS):
            return Check(name="lock", status="ok", found="a lock file can be locked")
    except (OSError, NotImplementedError) as error:
        hint = "writers that meet lose more races, and nothing else"
        return Check(name="lock", status="warning", found=f"a lock file cannot be locked ({error})", hint=hint)


def _case(store: LocalStore, folder: str, created: set[str]) -> Check:
    name = folder + "case"
    created.add(name)
    store.put(name, b"")
    if store.stat(folder + "CASE") is None:
        return Check(name="case", status="ok", found="names differ by case")
    found = "names do not differ by case: partition folders of values such as 'a' and 'A' are one folder"
    return Check(name="case", status="ok", found=found)


def remove_folders(store: LocalStore, folder: str, before: Path) -> None:
    """Remove the folders that the examination created, up to one that was there before; others stay if not empty."""
    made = Path(store.url(folder.rstrip("/")))
    while made not in {before, made.parent}:
        for inner in sorted(made.glob("*")) if made.is_dir() else ():
            with suppress(OSError):
                inner.rmdir()
        with suppress(OSError):
            made.rmdir()
        made = made.parent
