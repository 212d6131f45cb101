"""What S3's error codes and statuses mean, the same through every library.

Source: specs/decisions/0027-s3-through-s3fs.md; docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from __future__ import annotations

from collections.abc import Callable

from txfiles.store import client
from txfiles.store.client import Failure

ARCHIVED = ("InvalidObjectState",)

ANSWERS: client.Answers = {
    "NoSuchKey": Failure.ABSENT,
    "NoSuchUpload": Failure.ABSENT,
    "PreconditionFailed": Failure.EXISTS,
    412: Failure.EXISTS,
    "ConditionalRequestConflict": Failure.UNDECIDED,
    "OperationAborted": Failure.UNDECIDED,
    409: Failure.UNDECIDED,
    "InvalidRange": Failure.SHORT,
    416: Failure.SHORT,
    **dict.fromkeys(("AccessDenied", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"), Failure.DENIED),
    **dict.fromkeys(ARCHIVED, Failure.ARCHIVED),
    401: Failure.DENIED,
    403: Failure.DENIED,
    **dict.fromkeys(("SlowDown", "Throttling", "TooManyRequests", "RequestLimitExceeded"), Failure.THROTTLED),
    429: Failure.THROTTLED,
    503: Failure.THROTTLED,
    **dict.fromkeys(("InternalError", "RequestTimeout", "IncompleteBody"), Failure.UNCLEAR),
    408: Failure.UNCLEAR,
    **dict.fromkeys(("PermanentRedirect", 301, 307), Failure.REFUSED),
    501: Failure.UNSUPPORTED,
}
"""S3's error codes and statuses. A missing bucket is none of them: a 4xx that is not here is refused."""


def tier(code: str | None, said: Callable[[str], str | None]) -> str | None:
    """The tier that an object is archived in, if an error says that it is; `said` is what it says by name."""
    if code not in ARCHIVED:
        return None
    return said("AccessTier") or said("StorageClass") or "of the object's storage class"
