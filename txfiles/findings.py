"""What `verify` finds in a table: frozen facts, and what each kind of problem means.

Source: specs/16-verify.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from txfiles.options import Progress, no_progress

DAMAGE, UNREADABLE, WARNING, INFO = "damage", "unreadable", "warning", "info"

SEVERITY: dict[str, str] = {
    "table-file": DAMAGE,
    "log-lost": DAMAGE,
    "manifest-missing": DAMAGE,
    "manifest": DAMAGE,
    "checkpoint": DAMAGE,
    "checkpoint-lost": WARNING,
    "hint": WARNING,
    "file-missing": DAMAGE,
    "file-size": DAMAGE,
    "file-content": DAMAGE,
    "old-file": DAMAGE,
    "vector": DAMAGE,
    "bounds": DAMAGE,
    "key-range": DAMAGE,
    "null-key": DAMAGE,
    "duplicate-keys": WARNING,
    "repeated-keys": DAMAGE,
    "partition": WARNING,
    "index": WARNING,
    "not-checked": DAMAGE,
    "unreadable": UNREADABLE,
    "leftovers": INFO,
    "foreign-files": INFO,
}
"""How bad a kind of problem is. `damage`: rows or versions are lost or wrong. `unreadable`: it is not known."""

KEPT_PER_KIND = 1_000
"""Problems of one kind that a result holds: those of a folder that is lost are alike, and may be a million."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that `verify` found.

    Attributes:
        kind: a stable word, for programs.
        severity: ``damage``, ``unreadable``, ``warning`` or ``info``.
        message: what is wrong.
        hint: what to do about it; None if there is nothing to do.
        version: of the table, where the problem is.
        file: name below the table's root.
        column: the column.
        count: how many rows, or files, it is about.
    """

    kind: str
    severity: str
    message: str
    hint: str | None = None
    version: int | None = None
    file: str | None = None
    column: str | None = None
    count: int | None = None


def problem(
    kind: str,
    message: str,
    hint: str | None = None,
    *,
    version: int | None = None,
    file: str | None = None,
    column: str | None = None,
    count: int | None = None,
) -> Problem:
    """A problem, as severe as its kind."""
    return Problem(
        kind=kind,
        severity=SEVERITY[kind],
        message=message,
        hint=hint,
        version=version,
        file=file,
        column=column,
        count=count,
    )


@dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What `Table.verify` checked and found.

    Attributes:
        ok: there is neither damage nor anything that could not be read.
        version: whose files were checked; None if no version could be read.
        deep: whether the files were read.
        problems: in the order in which they were found: at most `KEPT_PER_KIND` of a kind.
        omitted: how many more there were.
        versions: manifests that were read, with the chain that leads from one to the next.
        files: live data files.
        bytes: their size, as the log says.
        rows: live rows; of a deep check those that were read.
        vectors: live files some of whose rows are marked.
        index_runs: runs of the key index.
    """

    ok: bool
    version: int | None
    deep: bool
    problems: tuple[Problem, ...]
    omitted: int = 0
    versions: int = 0
    files: int = 0
    bytes: int = 0
    rows: int = 0
    vectors: int = 0
    index_runs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """What a caller may ask of a verification. See `Table.verify`."""

    deep: bool = False
    progress: Callable[[Progress], None] = no_progress
