"""A streaming query into a table, in this process or in one that is to be killed.

As a program: `streams.py INPUT TABLE CHECKPOINT EPOCH` kills itself when it has committed that epoch to the table, and
Spark has not yet noted in the checkpoint that it is done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import txfiles as tx


def run(
    spark: Any, source: Path, table: Path, checkpoint: Path, then: Callable[[int], None] = lambda _: None
) -> list[Any]:
    """Append every file of a folder that the query has not seen, one in each micro-batch.

    Returns:
        The results of its writes.
    """
    results = []

    def write(frame: Any, epoch: int) -> None:
        results.append(tx.write(frame, table, mode="append", batch_id=tx.streaming_batch_id(frame, epoch)))
        then(epoch)

    query = (
        spark.readStream.schema("id BIGINT")
        .option("maxFilesPerTrigger", 1)
        .json(str(source))
        .writeStream.foreachBatch(write)
        .option("checkpointLocation", str(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return results


def main() -> None:
    """Run until it kills itself."""
    from tests.services import spark as service

    source, table, checkpoint = map(Path, sys.argv[1:4])
    last = int(sys.argv[4])

    def then(epoch: int) -> None:
        if epoch == last:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = Path(os.environ["TMPDIR"]) / "spark"
    folder.mkdir()
    run(service.start(folder), source, table, checkpoint, then)


if __name__ == "__main__":
    main()
