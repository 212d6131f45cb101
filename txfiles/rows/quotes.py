"""Which CSV text is outside quotes: the rule that splits data files and inputs into records."""

from __future__ import annotations

import numpy as np

from txfiles.rows.bytewise import Positions


def outside(positions: Positions, quotes: Positions, before: int = 0) -> Positions:
    """Those of some positions with an even number of quotes before them.

    Args:
        positions: of characters in a block of text, ascending.
        quotes: of the block's quotes, ascending, counted from the same start.
        before: how many quotes precede the block.
    """
    found: Positions = positions[(np.searchsorted(quotes, positions) + before) % 2 == 0]
    return found
