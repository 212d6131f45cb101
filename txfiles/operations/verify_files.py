"""What the log names against one listing of the folder: is it there, in its size, and what else is there.

Source: specs/16-verify.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from txfiles.core import names, strangers
from txfiles.findings import Problem, problem
from txfiles.log.snapshot import Snapshot
from txfiles.operations.verify_replay import Chain
from txfiles.rows import filelist
from txfiles.rows.filelist import DataFile
from txfiles.store.port import Store

NAMES_SHOWN = 3

NEW_INDEX = "rows are found without it, slower; `txfiles index PATH --drop` and then --build make it anew"


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing of the folder: size by path, in the spelling of manifests."""

    sizes: dict[str, int]

    @classmethod
    def read(cls, store: Store) -> Listing:
        """Cost: one request a page. Memory: all names."""
        return cls({names.encode_path(entry.name): entry.bytes for entry in store.list_from("")})


def problems(chain: Chain, snapshot: Snapshot, listing: Listing) -> list[Problem]:
    """What the log names and the folder does not have, or in another size; and what the folder has besides."""
    found = [
        *_live(chain, snapshot, listing),
        *_vectors(snapshot, listing),
        *_runs(snapshot, listing),
        *_old(chain, snapshot, listing),
    ]
    if chain.is_whole:
        found += _others(chain, snapshot, listing)
    return found


def way_out(chain: Chain, file: DataFile, added: int) -> str:
    """How a table gets on without a data file that is lost."""
    digest = f" and sha256 {file.sha256}" if file.sha256 else ""
    from_backup = f"restore it from a backup: the file has {file.bytes} bytes{digest}"
    if added - 1 < chain.oldest:
        return f"{from_backup}; without one its {file.live_rows} rows are lost, and the table has to be loaded again"
    return (
        f"{from_backup}; without one its {file.live_rows} rows are lost: version {added - 1} does not have the file, "
        f"and can still be read with version={added - 1}"
    )


def _live(chain: Chain, snapshot: Snapshot, listing: Listing) -> Iterator[Problem]:
    listed = snapshot.files
    sizes = zip(listed["path"].to_pylist(), listed["bytes"].to_pylist(), strict=True)
    at = [number for number, (path, size) in enumerate(sizes) if listing.sizes.get(path) != size]
    added = listed["added_version"]
    for number, file in zip(at, filelist.data_files(listed, at), strict=True):
        version, name = added[number].as_py(), names.decode_path(file.path) or file.path
        size, hint = listing.sizes.get(file.path), way_out(chain, file, version)
        if size is None:
            message = f"{name} is missing, or is not a regular file"
            yield problem("file-missing", message, hint, version=version, file=name, count=file.live_rows)
        else:
            message = f"{name} has {size} bytes, the log says {file.bytes}"
            yield problem("file-size", message, hint, version=version, file=name, count=file.live_rows)


def _vectors(snapshot: Snapshot, listing: Listing) -> Iterator[Problem]:
    needed: dict[str, int] = {}
    for file in filelist.data_files(filelist.marked(snapshot.files)):
        assert file.vector is not None
        path, end = names.encode_path(names.VECTOR_DIR + file.vector.file), file.vector.offset + file.vector.bytes
        needed[path] = max(needed.get(path, 0), end)
    for path, size in needed.items():
        there = listing.sizes.get(path)
        if there is None or there < size:
            state = "is missing" if there is None else f"has {there} bytes, and at least {size} are needed"
            hint = "restore it from a backup; without it, deleted rows cannot be told from live ones"
            yield problem("vector", f"{path} {state}", hint, file=path)


def _runs(snapshot: Snapshot, listing: Listing) -> Iterator[Problem]:
    runs = snapshot.state.runs
    for run in runs:
        if listing.sizes.get(run.path) != run.bytes:
            state = "is missing" if run.path not in listing.sizes else "has another size than the log says"
            yield problem("index", f"the index run {run.path} {state}", NEW_INDEX, file=run.path)
    if runs and names.INDEX_SEED_FILE not in listing.sizes:
        message = f"{names.INDEX_SEED_FILE} is missing: no run of the index can be used"
        yield problem("index", message, NEW_INDEX, file=names.INDEX_SEED_FILE)


def _old(chain: Chain, snapshot: Snapshot, listing: Listing) -> Iterator[Problem]:
    """Files that only older readable versions have."""
    live = set(snapshot.files["path"].to_pylist()) if chain.removed else set()
    for path, removed in chain.removed.items():
        if path in live:
            continue
        size, known = listing.sizes.get(path), chain.sizes.get(path)
        name = names.decode_path(path) or path
        if size is None or (known is not None and known != size):
            state = "is missing" if size is None else f"has {size} bytes, the log says {known}"
            hint = (
                "restore it from a backup; the newest version does not need it, and a vacuum with a shorter --retain "
                "ends the versions that do"
            )
            message = f"{name}, which versions before {removed} have, {state}"
            yield problem("old-file", message, hint, version=removed, file=name)


def _others(chain: Chain, snapshot: Snapshot, listing: Listing) -> Iterator[Problem]:
    table_id = snapshot.state.table_id
    live = set(snapshot.files["path"].to_pylist())
    left, foreign = list[str](), list[str]()
    nested = _nested(listing.sizes)
    for path in listing.sizes:
        if path in live or path in chain.known:
            continue
        name = names.decode_path(path) or path
        if names.is_temporary(name, table_id) or any(
            is_own(name, table_id) for is_own in (names.is_data_name, names.is_vectors, names.is_index_run)
        ):
            left.append(name)
        elif _is_foreign(name) and not any(name.startswith(folder) for folder in nested):
            foreign.append(name)
    if left:
        message = f"{len(left)} files belong to no readable version: {_some(left)}"
        hint = (
            "they are of writes that run, failed or were superseded; `txfiles vacuum PATH` deletes those that are old"
        )
        yield problem("leftovers", message, hint, file=left[0], count=len(left))
    if foreign:
        message = f"{len(foreign)} data files are not the table's: {_some(foreign)}"
        hint = "txfiles neither reads nor deletes them, but tools that read the whole folder do: move them elsewhere"
        yield problem("foreign-files", message, hint, file=foreign[0], count=len(foreign))


def _is_foreign(name: str) -> bool:
    return not name.startswith(names.LOG_DIR) and name.endswith(strangers.SUFFIXES)


def _nested(paths: Iterable[str]) -> set[str]:
    """Folders below the root that are tables of their own."""
    return {path.partition(f"/{names.LOG_DIR}")[0] + "/" for path in paths if f"/{names.LOG_DIR}" in path}


def _some(found: list[str]) -> str:
    more = len(found) - NAMES_SHOWN
    return ", ".join(sorted(found)[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
