"""Which of Azure's storage options mean the same to obstore as to adlfs, and what either finds outside of them.

Source: specs/decisions/0040-azure-through-obstore.md.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from txfiles.store import azure_names

_OPTIONS = frozenset({"account_name", "account_key", "sas_token", "connection_string", "account_host", "anon"})
_VARIABLES = {
    f"AZURE_STORAGE_{name.upper()}": name for name in ("account_name", "account_key", "sas_token", "connection_string")
}
"""The variables that adlfs takes for options, and obstore is given as such."""
_PARTS = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "sharedaccesssignature": "sas_token",
    "blobendpoint": "endpoint",
    "defaultendpointsprotocol": "protocol",
    "endpointsuffix": "suffix",
}
"""What a connection string is made of; its other endpoints are not those of blobs."""
_OTHER_ENDPOINT = re.compile(r"(blobsecondary|queue|queuesecondary|table|tablesecondary|file|filesecondary)endpoint")
_ENDPOINT = re.compile(r"https?://[^\s/?#:@]+(:\d{1,5})?(/[^\s?#]*)?", re.IGNORECASE)


def unmapped(given: Mapping[str, Any]) -> str | None:
    """Which storage option obstore cannot take as adlfs would; None if all map. No value is shown."""
    for name, value in _given(given).items():
        if name not in _OPTIONS:
            return f"{name!r} has no counterpart"
        if name != "anon" and not isinstance(value, str):
            return f"{name!r} is not text"
    config = config_of(given)
    if "unknown" in config:
        return "its connection string has a part that has no counterpart"
    if "connection_string" in _named(given) and "account_name" not in config:
        return "its connection string has no AccountName"
    if not config.get("endpoint", "").startswith(f"https://{config.get('account_name')}.") and "account_host" in given:
        return "'account_host' does not begin with the account"  # adlfs takes the account from there
    if "endpoint" in config and not _ENDPOINT.fullmatch(config["endpoint"]):
        return "the endpoint is not an http:// or https:// URL"
    if not (config.get("anon") or "account_key" in config or "sas_token" in config):
        return "it takes an account's key or a SAS token"  # all else would be looked for in other places
    return None


def differs(_: Mapping[str, Any]) -> str | None:
    """What adlfs would find outside of the options, and obstore would not; None if there is nothing."""
    for name in sorted(os.environ):
        if name.startswith("AZURE_") and name not in _VARIABLES:
            return f"it reads {name} differently"
    if importlib.util.find_spec("adlfs") is None:
        return "adlfs, which deletes for it, is not installed"
    return None


def config_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, and what the environment says where they are silent, as adlfs reads it.

    A connection string decides alone; a key goes before a token.
    """
    config = _named(given)
    if "connection_string" in config:
        config = _parsed(str(config["connection_string"])) | {"anon": False}
    elif "account_host" in config:
        config["endpoint"] = f"https://{config.pop('account_host')}"
    return config


def credentials(config: Mapping[str, Any]) -> Callable[[], Any] | None:
    """The credentials, apart from what obstore would read in the environment."""
    found: dict[str, Any] = {"expires_at": None}
    if "account_key" in config:
        found["access_key"] = config["account_key"]
    elif "sas_token" in config:
        found["sas_token"] = config["sas_token"].removeprefix("?")
    else:
        return None
    return lambda: found


def _given(given: Mapping[str, Any]) -> dict[str, Any]:
    """By adlfs' names; what is None is not there."""
    return {name: value for name, value in azure_names.renamed(given).items() if value is not None}


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: os.environ[variable] for variable, name in _VARIABLES.items() if os.environ.get(variable)}
    return found | _given(given)


def _parsed(text: str) -> dict[str, Any]:
    """A connection string, as the Azure SDK reads it."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(";")):
        name, _, value = part.partition("=")
        known = _PARTS.get(name.lower())
        if known is not None:
            found[known] = value
        elif not _OTHER_ENDPOINT.fullmatch(name.lower()):
            found["unknown"] = True
    protocol, suffix = found.pop("protocol", "https"), found.pop("suffix", "core.windows.net")
    if "account_name" in found:
        found.setdefault("endpoint", f"{protocol}://{found['account_name']}.blob.{suffix}")
    return found
