"""What Azure says and what its options are called, the same through every library.

Source: specs/decisions/0012-azure-through-adlfs.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from txfiles.errors import OptionError
from txfiles.store import client, option_values
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

_ALIASES = {
    "azure_storage_account_name": "account_name",
    "azure_storage_account_key": "account_key",
    "azure_storage_access_key": "account_key",
    "access_key": "account_key",
    "azure_storage_sas_token": "sas_token",
    "azure_storage_sas_key": "sas_token",
    "sas_key": "sas_token",
    "azure_storage_connection_string": "connection_string",
    "azure_storage_client_id": "client_id",
    "azure_client_id": "client_id",
    "azure_storage_client_secret": "client_secret",
    "azure_client_secret": "client_secret",
    "azure_storage_tenant_id": "tenant_id",
    "azure_tenant_id": "tenant_id",
}
"""What polars, delta-rs and obstore call adlfs' options."""
CACHES = frozenset(
    {"skip_instance_cache", "use_listings_cache", "listings_expiry_time", "max_paths", "socket_timeout"}
    | {"default_fill_cache", "default_cache_type", "blocksize", "max_concurrency", "assume_container_exists"}
)
"""Options that change nothing here: nothing is cached, and sizes and widths are ours."""
_KNOWN = frozenset({*_ALIASES, *_ALIASES.values(), *CACHES, "account_host", "credential", "anon"})
_BUCKET = re.compile(r"([^@]+)(?:@([^.]+)\.(?:dfs|blob)\.(.+))?")


def tier(code: str | None, said: Callable[[str], str | None] | None = None) -> str | None:
    """The tier that a blob is archived in, if an error says that it is; there is one."""
    del said
    return "Archive" if code in ARCHIVED else None


def renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options by adlfs' names, without those that change nothing.

    Raises:
        OptionError: a value is not of the kind that its option takes, or two names of one option differ in it.
    """
    option_values.check_case(given, _KNOWN)
    options = option_values.by_own_name(
        (_ALIASES.get(name, name), name, value) for name, value in given.items() if name not in CACHES
    )
    for name, value in options.items():
        if value is not None and (name == "anon" or name.startswith("exclude_")):
            options[name] = option_values.switch(name, value)
    return options


def parts(bucket: str) -> tuple[str, str | None, str | None]:
    """The container, the account and the cloud's domain."""
    found = _BUCKET.fullmatch(bucket)
    assert found is not None, bucket
    return found[1], found[2], found[3]


def two_accounts(root: str) -> OptionError:
    """The URL names an account and the options another."""
    return OptionError(
        f"the URL {root} and the storage options name different accounts",
        hint="leave the account out of one of them",
    )
