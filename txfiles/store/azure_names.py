"""What Azure's storage options and containers are called, the same for every library.

Source: specs/decisions/0012-azure-through-adlfs.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from txfiles.errors import OptionError
from txfiles.store import option_values

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
