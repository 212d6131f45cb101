"""A batch id for each micro-batch of a Structured Streaming query.

Source: specs/13-spark-source.md, "Streaming".
"""

from __future__ import annotations

from typing import Any

from txfiles.arguments import public
from txfiles.errors import InputError

QUERY_ID = "sql.streaming.queryId"
"""The local property in which Spark tells the jobs of a micro-batch whose they are."""


@public
def streaming_batch_id(frame: Any, epoch: int) -> str:
    """The `batch_id` of a micro-batch, to be called in the function given to `foreachBatch`.

    It consists of the query's id, which its checkpoint keeps, and of the epoch: a query that starts again from its
    checkpoint delivers the same rows under the same id, and one that starts with a new checkpoint has other ids. A name
    of your own would be the same for both, and the new query's first rows would count as delivered.

    Args:
        frame: the micro-batch.
        epoch: its number.
    Raises:
        InputError: it is not called from a micro-batch.
    """
    try:
        query = frame.sparkSession.sparkContext.getLocalProperty(QUERY_ID)
    except Exception as error:
        raise InputError(f"Spark does not tell which query this is: {error}", hint=_BY_HAND) from error
    if not query:
        raise InputError("this frame is not a micro-batch of a query", hint=_BY_HAND)
    return f"{query}-{epoch}"


_BY_HAND = "call it in the function given to foreachBatch, or pass a batch_id that changes with the checkpoint"
