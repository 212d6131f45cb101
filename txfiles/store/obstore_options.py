"""Which of S3's storage options mean the same to obstore as to s3fs, and what either finds outside of them.

Source: specs/decisions/0009-s3-through-obstore.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from txfiles.store import s3_names

_CREDENTIALS = {"key": "access_key_id", "secret": "secret_access_key", "token": "token"}
_OPTIONS = frozenset({"key", "secret", "token", "endpoint_url", "region_name", "anon"})

FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
"""The files of AWS' tools, by the variable that says where else they are; each may say an endpoint and a region."""

_ENDPOINT = re.compile(r"https?://([^\s/?#:@\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[^\s?#]*)?", re.IGNORECASE)

_REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us|us-gov)-[a-z]+-\d{1,2}")
"""A region whose endpoint is below amazonaws.com."""

_SHARED = re.compile(
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|(DEFAULT_)?REGION|ENDPOINT_URL(_S3)?"
    r"|EXECUTION_ENV|LAMBDA_\w+|MAX_ATTEMPTS|PAGER|RETRY_MODE)"
)
"""The variables that mean the same to both libraries, or nothing. `AWS_REGION` means nothing: botocore ignores it."""


def unmapped(given: Mapping[str, Any]) -> str | None:
    """Which storage option obstore cannot take as s3fs would; None if all map. No value is shown."""
    options = _flat(given)
    for name, value in options.items():
        if name not in _OPTIONS:
            return f"{name!r} has no counterpart"
        if name != "anon" and not isinstance(value, str):
            return f"{name!r} is not text"
    endpoint = config_of(given).get("endpoint_url")
    region = config_of(given).get("region_name")
    if endpoint is None and region is not None and not _REGION.fullmatch(region):
        return "the region may have an endpoint of its own"
    if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):  # obstore panics
        return "the endpoint is not a plain http:// or https:// URL"
    if ("key" in options) != ("secret" in options) or ("token" in options and "key" not in options):
        return "'key' and 'secret' come together"
    return None


def differs(given: Mapping[str, Any]) -> str | None:
    """What s3fs would find outside of the options, and obstore would not; None if there is nothing."""
    config = config_of(given)
    endpoint = config.get("endpoint_url", "")
    plain = endpoint.startswith("http://")
    for name in sorted(os.environ):
        if name.startswith("AWS_") and not _SHARED.fullmatch(name) and not (plain and name == "AWS_CA_BUNDLE"):
            return f"it reads {name} differently"
    for path in FILES.values():
        if os.path.exists(os.path.expanduser(path)):
            return f"it does not read {path}"
    if "key" not in config and not config.get("anon"):
        return "it looks for credentials in other places"
    if "region_name" not in config and not endpoint:
        return "it does not find out a bucket's region"
    return None


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options by s3fs' names, those in `client_kwargs` too; what is None is not there."""
    options = s3_names.renamed(given)
    inner = options.pop("client_kwargs", None) or {}
    flat = {s3_names.BOTO.get(name, f"client_kwargs[{name!r}]"): value for name, value in inner.items()} | options
    return {name: value for name, value in flat.items() if value is not None and value != {}}


def config_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, and what the environment says where they are silent, as botocore reads it."""
    config, env = _flat(given), os.environ
    if not config.get("anon") and "key" not in config and {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(env):
        config |= {"key": env["AWS_ACCESS_KEY_ID"], "secret": env["AWS_SECRET_ACCESS_KEY"]}
        config |= {"token": env["AWS_SESSION_TOKEN"]} if env.get("AWS_SESSION_TOKEN") else {}
    for name, variables in (
        ("region_name", ("AWS_DEFAULT_REGION",)),
        ("endpoint_url", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")),
    ):
        found = next((env[one] for one in variables if env.get(one)), None)
        config |= {name: found} if found and name not in config else {}
    return config


def credentials(config: Mapping[str, Any]) -> Callable[[], Any] | None:
    """The credentials, apart from what obstore would read in the environment: a token goes with its key."""
    if "key" not in config or config.get("anon"):
        return None
    found = {theirs: config.get(ours) for ours, theirs in _CREDENTIALS.items()} | {"expires_at": None}
    return lambda: found
