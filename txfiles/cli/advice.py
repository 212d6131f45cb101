"""What `plan` and `show` say of a compaction that is worth it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from txfiles.cli import output

if TYPE_CHECKING:
    import txfiles as tx


def compaction(path: str, found: tx.CompactResult) -> str:
    """The figures, and the command to run."""
    all_rows = found.rows + found.rows_dropped
    dropped = f", without {found.rows_dropped:,} deleted rows of {all_rows:,}" if found.rows_dropped else ""
    return (
        f"worth it: about {found.files_after:,} in place of {output.counted(found.files_before, 'file')}{dropped}; "
        f"run: txfiles compact {shlex.quote(path)}"
    )
