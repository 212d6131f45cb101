"""Uploads that were begun and never completed: invisible, and billed until somebody aborts them.

Source: specs/5-commit.md, "Vacuum".
"""

from __future__ import annotations

import logging

from txfiles.core import names
from txfiles.errors import StoreError
from txfiles.store import port
from txfiles.store.port import Store

logger = logging.getLogger("txfiles")

ABANDONED_US = 3_600 * 1_000_000
"""A younger upload may still be in progress, whatever the grace: aborting it would make its call fail."""


def abort_uploads(store: Store, table_id: str, grace_us: int) -> int:
    """Abort the uploads of this table's data files and staged rows that are older than the grace; returns how many.

    It never fails: not every user may list uploads, and a vacuum does not depend on it.
    Cost: a listing of uploads, if the store has them.
    """
    try:
        before_us = store.now_us() - max(grace_us, ABANDONED_US)
        return port.abort_uploads(
            store, lambda name: names.is_data_name(name, table_id) or names.is_temporary(name, table_id), before_us
        )
    except StoreError as error:
        logger.warning("uploads that were never completed stay: %s", error)
        return 0
