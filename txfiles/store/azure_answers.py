"""What Azure's error codes and statuses mean, the same through every library.

Source: specs/decisions/0012-azure-through-adlfs.md;
learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""

from __future__ import annotations

from collections.abc import Callable

from txfiles.store import client
from txfiles.store.client import Failure

DELETES_AT_ONCE = 16
"""Deletes under way together: batches are refused to many SAS tokens, and are priced by the delete all the same."""

ARCHIVED = ("BlobArchived", "BlobBeingRehydrated")
"""Codes for a blob in Azure's one archive tier, or on its way out of it."""

ANSWERS: client.Answers = {
    "BlobNotFound": Failure.ABSENT,
    "PathNotFound": Failure.ABSENT,
    **dict.fromkeys(("BlobAlreadyExists", "PathAlreadyExists", "BlobImmutableDueToPolicy"), Failure.EXISTS),
    412: Failure.EXISTS,
    **dict.fromkeys(
        ("ContainerBeingDeleted", "ContainerDisabled", "InvalidBlobType", "SnapshotsPresent", "ResourceTypeMismatch"),
        Failure.REFUSED,
    ),
    **dict.fromkeys(ARCHIVED, Failure.ARCHIVED),
    409: Failure.UNDECIDED,
    "InvalidRange": Failure.SHORT,
    416: Failure.SHORT,
    "PublicAccessNotPermitted": Failure.DENIED,
    401: Failure.DENIED,
    403: Failure.DENIED,
    429: Failure.THROTTLED,
    503: Failure.THROTTLED,
    408: Failure.UNCLEAR,
    **dict.fromkeys((301, 302, 307), Failure.REFUSED),
    501: Failure.UNSUPPORTED,
}
"""Azure's error codes and statuses. A missing container is none of them: a 4xx that is not here is refused.

Source: learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""


def tier(code: str | None, said: Callable[[str], str | None] | None = None) -> str | None:
    """The tier that a blob is archived in, if an error says that it is; there is one."""
    del said
    return "Archive" if code in ARCHIVED else None
