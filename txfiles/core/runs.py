"""Which runs of the key index are merged: a rule on their sizes.

Runs have tiers: tier t holds those of up to 64k · 8ᵗ entries. Once a tier has eight, they become one, of the next tier.
So each row is merged about once a tier, and a batch asks at most a dozen runs a tier, however long a table grows.

Source: specs/8-index.md, "Merging"; specs/decisions/0052-how-runs-join-a-table.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from txfiles.core.manifest import RunRef

RUNS_OF_A_TIER = 8

FIRST_TIER_ENTRIES = 65_536

MERGED_ENTRIES_MOST = 8_000_000
"""A commit merges no more than this, which takes less than a second; larger runs wait for `txfiles index --build`."""

MERGED_FOOTERS_MOST_BYTES = 32 * 1024 * 1024
"""Of runs that are merged, together: half of what the footer of a run may have."""


def tier(entries: int) -> int:
    """The tier of a run with so many entries."""
    found, most = 0, FIRST_TIER_ENTRIES
    while entries > most:
        found, most = found + 1, most * RUNS_OF_A_TIER
    return found


def to_merge(runs: Iterable[RunRef], *, most: int | None = MERGED_ENTRIES_MOST) -> Sequence[RunRef]:
    """The runs that the next commit should merge: the oldest of the lowest tier that is full; none if none is.

    Args:
        runs: of one key, oldest first.
        most: so many entries are merged at once; None: any number.
    """
    tiers: dict[int, list[RunRef]] = {}
    for run in runs:
        tiers.setdefault(tier(run.entries), []).append(run)
    for _, found in sorted(tiers.items()):
        oldest = found[:RUNS_OF_A_TIER]
        fits = most is None or sum(run.entries for run in oldest) <= most
        fits = fits and sum(run.footer_bytes for run in oldest) <= MERGED_FOOTERS_MOST_BYTES
        if len(oldest) == RUNS_OF_A_TIER and fits:
            return oldest
    return ()
