"""Where a Delta table is and how to get there, in deltalake's words.

The storage options are those of txfiles' own tables, so that one spelling serves every format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from txfiles.core.messages import redact
from txfiles.errors import InputError, OptionError
from txfiles.store import obstore_azure_options, obstore_options, remote, secret_options

_S3 = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
    "region_name": "AWS_REGION",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "anon": "AWS_SKIP_SIGNATURE",
}
_AZURE = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "endpoint": "AZURE_STORAGE_ENDPOINT",
    "anon": "AZURE_SKIP_SIGNATURE",
}
_OURS = ("backend", "request_timeout")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_SCHEMES = {"s3": "s3", "s3a": "s3", "abfs": "azure", "abfss": "azure", "az": "azure"}


def location(path: str | os.PathLike[str]) -> str:
    """The table's folder as an absolute path, or its URL.

    Raises:
        InputError: it is neither, or a folder that deltalake would take for another, or may have a credential in it.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"a table's path must be text or a pathlib.Path, not {text!r}", hint="name the table's folder")
    scheme, found, rest = text.partition("://")
    if not found and redact(text) == text:  # pathlib turns the two slashes of a URL into one
        return _folder(text)
    if scheme.lower() == "file":
        return _folder(unquote(rest))
    if scheme.lower() not in _SCHEMES:
        raise InputError(
            f"this release does not support Delta tables at {redact(text)}",
            hint=f"give a folder, or a URL that begins with {', '.join(f'{one}://' for one in _SCHEMES)}",
        )
    remote.check_url(text, scheme.lower(), rest.partition("/")[0])
    return text.rstrip("/")


def _folder(path: str) -> str:
    """An absolute path. deltalake reads an escape in it as the character that it stands for: another folder."""
    found = os.path.abspath(path)
    if _ESCAPE.search(found):
        raise InputError(
            f"deltalake would take {found} for {unquote(found)}: the path holds a %-escape",
            hint="rename the folder, or name the table's folder without escapes",
        )
    return found


def delta_options(url: str, given: Mapping[str, Any]) -> dict[str, str]:
    """The storage options in deltalake's words, with what the environment says where they are silent.

    Raises:
        OptionError: an option that deltalake would not take as txfiles' other tables do.
    """
    scheme = _SCHEMES.get(url.partition("://")[0].lower()) if "://" in url else None
    if scheme is None:
        if given:
            raise OptionError(f"{url} takes no storage options; these were given: {', '.join(sorted(map(str, given)))}")
        return {}
    known = secret_options.resolved({name: value for name, value in given.items() if name not in _OURS})
    rules, names = (obstore_options, _S3) if scheme == "s3" else (obstore_azure_options, _AZURE)
    why = rules.unmapped(known)
    if why is not None:
        raise OptionError(
            f"deltalake does not take these storage options: {why}", hint="leave it to the environment of the process"
        )
    config = rules.config_of(known)
    found = {theirs: str(config[ours]) for ours, theirs in names.items() if config.get(ours)}
    if found.get(names.get("endpoint_url", names.get("endpoint", "")), "").startswith("http://"):
        found["AWS_ALLOW_HTTP" if scheme == "s3" else "AZURE_STORAGE_ALLOW_HTTP"] = "true"
    if given.get("request_timeout") is not None:
        found["timeout"] = f"{given['request_timeout']}s"
    return found
