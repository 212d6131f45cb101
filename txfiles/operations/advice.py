"""Whether a compaction is worth it: one rule, told by `plan` and `show`.

Source: specs/4-semantics.md, "Compaction".
"""

from __future__ import annotations

import numpy as np

from txfiles.core.plan import Group
from txfiles.log.snapshot import Snapshot
from txfiles.operations.compact import Wanted, estimate, which_small, which_worn

SPARED_FILES, SPARED_SHARE = 10, 10
"""Joining small files is worth it if it leaves so many files fewer, and one in so many of the table's."""


def worthwhile(base: Snapshot, wanted: Wanted) -> list[Group]:
    """What would be joined, if that is worth it: some file is worn, or there are many small ones.

    Cost: the list of files, no file is read.
    """
    files = base.files
    least = max(SPARED_FILES, files.num_rows / SPARED_SHARE)
    worn = bool(which_worn(files).any())
    if not worn and np.count_nonzero(which_small(files, wanted)) <= least:
        return []
    groups = estimate(base, wanted)
    spared = sum(len(group.inputs) - len(group.adds) for group in groups)
    return groups if worn or spared >= least else []
