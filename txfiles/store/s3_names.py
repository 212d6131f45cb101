"""What S3's storage options are called, the same for every library.

Source: specs/decisions/0027-s3-through-s3fs.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txfiles.store import option_values

_ALIASES = {
    "aws_access_key_id": "key",
    "access_key_id": "key",
    "aws_secret_access_key": "secret",
    "secret_access_key": "secret",
    "aws_session_token": "token",
    "session_token": "token",
    "aws_endpoint_url": "endpoint_url",
    "aws_endpoint": "endpoint_url",
    "endpoint": "endpoint_url",
    "aws_profile": "profile",
}
"""What polars, delta-rs and obstore call s3fs' options."""
_REGIONS = ("region", "region_name", "aws_region")
BOTO = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
    "endpoint_url": "endpoint_url",
    "region_name": "region_name",
}
"""What of `client_kwargs` has a name among the options, too."""
_CACHES = frozenset({"skip_instance_cache", "use_listings_cache", "listings_expiry_time", "max_paths"})
"""Options that change nothing here: nothing is cached."""
_SWITCHES = frozenset({"anon", "use_ssl", "requester_pays", "cache_regions", "default_fill_cache"})
_MAPPINGS = frozenset({"client_kwargs", "config_kwargs", "s3_additional_kwargs"})

_KNOWN = frozenset({*_ALIASES, *_ALIASES.values(), *_REGIONS, *_CACHES, *_SWITCHES, *_MAPPINGS})


def renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options by s3fs' names, a region among the `client_kwargs`, without those that change nothing.

    Raises:
        OptionError: a value is not of the kind that its option takes, or two names of one option differ in it.
    """
    option_values.check_case(given, _KNOWN)
    names = {**_ALIASES, **dict.fromkeys(_REGIONS, "region_name")}
    claims = [(names.get(name, name), name, value) for name, value in given.items() if name not in _CACHES]
    options = option_values.by_own_name(claims)
    inner = options.get("client_kwargs")
    if isinstance(inner, Mapping):
        within = [(BOTO[name], f"client_kwargs[{name!r}]", value) for name, value in inner.items() if name in BOTO]
        option_values.by_own_name([*claims, *within])
        options["client_kwargs"] = {
            name: value for name, value in inner.items() if name not in BOTO or options.get(BOTO[name]) is None
        }
    region = options.pop("region_name", None)
    for name, value in list(options.items()):
        if value is None and name in _SWITCHES | _MAPPINGS:
            del options[name]
        elif name in _SWITCHES:
            options[name] = option_values.switch(name, value)
        elif name in _MAPPINGS:
            option_values.mapping(name, value)
    if region is not None:
        options["client_kwargs"] = {**options.get("client_kwargs", {}), "region_name": region}
    return options
