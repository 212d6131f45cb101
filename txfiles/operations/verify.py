"""Verify: compare a table with its log, and the log with itself. It writes nothing, and trusts no cache.

    chain    the manifests and what they lead to (`verify_chain`)
    files    one listing: what the log names is there, in its size (`verify_files`)
    deep     what is in the files is what the log says of them (`verify_deep`), keys are unique (`verify_keys`)

What other calls would end with a `CorruptTableError` becomes a problem here, and the verification goes on.

Source: specs/16-verify.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pyarrow.compute as pc

from txfiles.errors import CorruptTableError, TableDetachedError, TableNotFoundError
from txfiles.findings import DAMAGE, KEPT_PER_KIND, UNREADABLE, Problem, VerifyResult, problem
from txfiles.log import versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.operations import verify_chain, verify_deep, verify_files
from txfiles.operations.verify_replay import Chain
from txfiles.rows import filelist

Report = Callable[[str, int, int | None], None]


class Found:
    """Problems, up to `KEPT_PER_KIND` of a kind."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._counts: Counter[str] = Counter()

    def add(self, problems: Iterable[Problem]) -> None:
        """Take in some more."""
        for one in problems:
            self._counts[one.kind] += 1
            if self._counts[one.kind] <= KEPT_PER_KIND:
                self._kept.append(one)

    @property
    def kept(self) -> tuple[Problem, ...]:
        """Those that a result holds."""
        return tuple(self._kept)

    @property
    def omitted(self) -> int:
        """How many more there were."""
        return sum(self._counts.values()) - len(self._kept)


def verify(session: Session, version: int | None, *, deep: bool, report: Report) -> VerifyResult:
    """Check the log since the oldest readable version, and the files of one version.

    Args:
        session: where the table is.
        version: whose files; None: the newest that can be read.
        deep: read the data files, vectors and index, too, and all of the log.
        report: told the stage, how far it is, and of how much.
    Raises:
        TableNotFoundError: there is no table.
        UnsupportedTableError: it needs a feature that this release does not know.
        SnapshotExpiredError: a vacuum has deleted files of the version.
        StoreError: the store cannot be listed.
    Cost: two listings, and each manifest since the oldest readable version (of a long history, most of them twice);
        nothing for each file. Deep: each manifest, each byte of the version's files, which are read twice, and as
        `verify_keys.repeated`.
    """
    session = replace(session, cache=None)
    found = Found()
    chain = verify_chain.walk(session, version, deep=deep, found=found.add, report=report)
    snapshot = chain.snapshot
    if snapshot is None:
        found.add([problem("not-checked", "no version can be read, so no data file was checked", _AGAIN)])
    else:
        wanted = chain.head if version is None else version
        if wanted != snapshot.state.version:
            found.add([_not_that(wanted, snapshot)])
        listing = verify_files.Listing.read(session.store)
        lost = verify_files.problems(chain, snapshot, listing)
        found.add(_still_true(session, chain, snapshot, lost))
        if deep:
            missing = {one.file for one in lost if one.file is not None and one.severity == DAMAGE}
            found.add(verify_deep.problems(session, snapshot, missing, report))
    return _result(found, chain, deep=deep)


_AGAIN = "restore what is named above, and verify again"


def _not_that(version: int, snapshot: Snapshot) -> Problem:
    return problem(
        "not-checked",
        f"version {version} cannot be read: the files of version {snapshot.state.version} were checked instead",
        _AGAIN,
        version=version,
    )


def _still_true(session: Session, chain: Chain, snapshot: Snapshot, lost: list[Problem]) -> list[Problem]:
    """Problems without those that are the work of a vacuum that ran beside this call."""
    if not any(one.severity == DAMAGE for one in lost):
        return lost
    try:
        newest = versions.require_head(session).state
    except (CorruptTableError, TableDetachedError, TableNotFoundError):  # it has been reported, or is gone by now
        return lost
    if snapshot.state.version < newest.oldest_readable_version:
        raise versions.expired(session.store, snapshot.state.version, newest.oldest_readable_version)
    expired = range(chain.oldest, newest.oldest_readable_version + 1)
    return [one for one in lost if one.kind != "old-file" or one.version not in expired[1:]]


def _result(found: Found, chain: Chain, *, deep: bool) -> VerifyResult:
    snapshot = chain.snapshot
    files = None if snapshot is None else snapshot.files
    return VerifyResult(
        ok=not any(one.severity in (DAMAGE, UNREADABLE) for one in found.kept),
        version=None if snapshot is None else snapshot.state.version,
        deep=deep,
        problems=found.kept,
        omitted=found.omitted,
        versions=chain.versions,
        files=0 if files is None else files.num_rows,
        bytes=0 if files is None else int(pc.sum(files["bytes"]).as_py() or 0),
        rows=0 if files is None else filelist.total_rows(files),
        vectors=0 if files is None else filelist.marked(files).num_rows,
        index_runs=0 if snapshot is None else len(snapshot.state.runs),
    )
