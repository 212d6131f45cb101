"""`txfiles log --graph`: the versions as a line, newest first, with those that a restore has undone beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from txfiles.cli import output

if TYPE_CHECKING:
    import txfiles as tx

BAR_WIDTH = 20
"""Characters of the bar of the commit that changed most rows."""


def graph(commits: Sequence[tx.Commit]) -> str:
    """The picture.

    Args:
        commits: newest first, without gaps.
    """
    stands = lineage(commits)
    most = max((_changed(commit) for commit in commits), default=0)
    rows = [
        (str(commit.version), output.jsonable(commit.time), _what(commit), _bar(commit, most), commit.batch_id or "")
        for commit in commits
    ]
    told = output.table(("version", "time", "operation", "rows", "batch id"), rows, right=(0,)).splitlines()
    lines = [f"    {told[0]}"]
    beside = False
    for commit, line in zip(commits, told[1:], strict=True):
        if beside and commit.version in stands:
            lines.append("|/")
        beside = commit.version not in stands
        lines.append(f"{'| o' if beside else '*  '} {line}")
    return "\n".join(lines)


def lineage(commits: Sequence[tx.Commit]) -> frozenset[int]:
    """The versions of which the newest one is made: a restore follows the version that it restored."""
    by_version = {commit.version: commit for commit in commits}

    def walk() -> Iterator[int]:
        version = commits[0].version if commits else -1
        while version in by_version:
            yield version
            restored = by_version[version].restored_version
            version = version - 1 if restored is None else restored

    return frozenset(walk())


def _what(commit: tx.Commit) -> str:
    return commit.operation if commit.restored_version is None else f"{commit.operation} of {commit.restored_version}"


def _changed(commit: tx.Commit) -> int:
    return commit.rows_inserted + commit.rows_updated + commit.rows_deleted


def _bar(commit: tx.Commit, most: int) -> str:
    """`+` for rows inserted, `~` updated, `-` deleted, in proportion; any that there are have one at least."""
    counts = (("+", commit.rows_inserted), ("~", commit.rows_updated), ("-", commit.rows_deleted))
    return "".join(sign * max(1, round(BAR_WIDTH * count / most)) for sign, count in counts if count)
