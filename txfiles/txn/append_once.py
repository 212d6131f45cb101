"""`append_once`: add the rows whose key is not in the table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from txfiles.txn.commit import Work
from txfiles.txn.prepare import prepare
from txfiles.txn.probe import candidates, needle, probe
from txfiles.txn.story import Found, Pass, chosen, work


def append_once(here: Pass) -> Work:
    """Add the rows of unknown keys; a known key is skipped, whatever its row says.

    Cost: the key columns of those row groups in whose key range a batch key lies; the new rows written once.
    """
    batch = prepare(here.request, here.table)
    files = here.files(batch.table)
    keys = needle(batch.table, batch.rows, batch.keys)
    looked_in = chosen(files, candidates(keys, files))
    hits = probe(here.session, keys, looked_in, (), here.progress("looking for keys", len(looked_in)))
    new = np.ones(batch.rows.num_rows, bool)
    for hit in hits:
        new[hit.batch_rows] = False
    added = here.stage.rows(batch.table, batch.rows.filter(pa.array(new)))

    def meets(others: pa.Table) -> bool:
        """Whether files that others added since hold a key of a row that is about to be added."""
        mine = batch.rows.filter(pa.array(new))
        found = needle(batch.table, mine, batch.keys.filter(pa.array(new)))
        return bool(probe(here.session, found, chosen(others, candidates(found, others)), ()))

    return work(
        here,
        Found(
            batch,
            add=added,
            relies_on=[hit.file.path for hit in hits],
            scanned=len(looked_in),
            inserted=int(new.sum()),
            skipped=int((~new).sum()),
        ),
        kind="append_once",
        meets=meets,
    )
