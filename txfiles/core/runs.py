"""Which runs of the key index are merged: a rule on their sizes.

Runs have tiers: tier t holds those of up to 64k · 8ᵗ entries. Once a tier has eight, the next commit for which that is
little work makes them one; once it has sixteen, any commit does. So each row is merged about once a tier, most often by
a commit of as many rows, and a batch asks few runs, however long a table grows.

Source: specs/8-index.md, "Merging"; specs/decisions/0086-merges-in-proportion-to-the-commit.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from txfiles.core.manifest import RunRef

RUNS_OF_A_TIER = 8

WAITING_RUNS_MOST = 16
"""So many runs of a tier wait for a large commit, no more: a batch has to ask each of them."""

FIRST_TIER_ENTRIES = 65_536

MERGED_ENTRIES_MOST = 8_000_000
"""A commit merges no more than this, which takes about a second; larger runs wait for `txfiles index --build`."""

MERGED_FOOTERS_MOST_BYTES = 32 * 1024 * 1024
"""Of runs that are merged, together: half of what the footer of a run may have."""


def tier(entries: int) -> int:
    """The tier of a run with so many entries."""
    found, most = 0, FIRST_TIER_ENTRIES
    while entries > most:
        found, most = found + 1, most * RUNS_OF_A_TIER
    return found


def most_entries(*, changed: int, written: int) -> int:
    """How many entries a commit may merge: in proportion to its own work, and what takes no time in any case.

    Args:
        changed: rows that it inserts or updates. Eight equal commits fit, so that large ones do not leave their runs
            to small ones.
        written: entries of its own runs, among them those of rows that were only moved to another file.
    """
    return max(RUNS_OF_A_TIER * changed, written, RUNS_OF_A_TIER * FIRST_TIER_ENTRIES)


def to_merge(runs: Iterable[RunRef], *, most: int | None) -> Sequence[RunRef]:
    """The runs that the next commit should merge: the smallest of the lowest tier that is due; none if none is.

    The smallest, since runs that are too large to be merged must not hold up those that are not.

    Args:
        runs: of one key.
        most: so many entries are merged at once, unless too many runs wait; None: any number, as by a build.
    """
    tiers: dict[int, list[RunRef]] = {}
    for run in runs:
        tiers.setdefault(tier(run.entries), []).append(run)
    for _, found in sorted(tiers.items()):
        smallest = sorted(found, key=lambda run: run.entries)[:RUNS_OF_A_TIER]
        fits = most is None or sum(run.entries for run in smallest) <= _limit(most, len(found))
        fits = fits and sum(run.footer_bytes for run in smallest) <= MERGED_FOOTERS_MOST_BYTES
        if len(smallest) == RUNS_OF_A_TIER and fits:
            return smallest
    return ()


def _limit(most: int, waiting: int) -> int:
    """How many entries are merged at once in a tier with so many runs."""
    return MERGED_ENTRIES_MOST if waiting >= WAITING_RUNS_MOST else min(most, MERGED_ENTRIES_MOST)
