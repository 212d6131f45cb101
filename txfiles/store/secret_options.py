"""Storage options that may be secret: they are not shown and not pickled; `${NAME}` is read from the environment.

Source: specs/decisions/0042-secrets-are-referred-to.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from txfiles.core.messages import listed, one_line
from txfiles.errors import OptionError

SECRET_CHARACTERS = 4
"""Shorter values are not looked for in what is shown."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PUBLIC = frozenset(
    {"backend", "request_timeout", "anon", "use_ssl", "signature_version", "addressing_style"}
    | {"endpoint_url", "endpoint", "aws_endpoint", "aws_endpoint_url", "region", "region_name", "aws_region"}
    | {"profile", "aws_profile", "ServerSideEncryption", "SSEKMSKeyId", "StorageClass", "RequestPayer"}
    | {"account_name", "account_host", "location_mode", "authority", "tenant_id", "client_id"}
    | {"azure_storage_account_name", "azure_storage_tenant_id", "azure_tenant_id"}
    | {"azure_storage_client_id", "azure_client_id", "managed_identity_client_id", "workload_identity_client_id"}
)
"""Options whose values may be known to everybody; all others may be secret."""
_USER = re.compile(r"//([^/]*)@")
_SUSPECT = "@?#"
"""What stands in the URL of an endpoint only beside a user, a password or a signature."""


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options; for each whole value `${NAME}`, what the environment variable NAME says now.

    Raises:
        OptionError: there is no such variable, or it is empty.
    """
    return {name: _resolved(name, value) for name, value in options.items()}


def _resolved(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return resolved(value)
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    if not os.environ.get(found[1]):
        raise OptionError(
            f"storage option {name!r} refers to the environment variable {found[1]}, which is not set",
            hint=f"set {found[1]} in the environment of this process",
        )
    return os.environ[found[1]]


def is_reference(value: str) -> bool:
    """Whether a value is `${NAME}` as a whole."""
    return _REFERENCE.fullmatch(value) is not None


def secret_names(options: Mapping[str, Any]) -> list[str]:
    """Options with a value that may be secret. A reference to the environment is none."""
    return [name for name, value in options.items() if _may_be_secret(name, value)]


def _may_be_secret(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float):
        return False
    if isinstance(value, Mapping):
        return bool(secret_names(value))
    if isinstance(value, str):
        return not (_REFERENCE.fullmatch(value) or _is_public(name, value))
    return True


def _is_public(name: str, value: str) -> bool:
    return name in _PUBLIC and not any(mark in value for mark in _SUSPECT)


def require_none(options: Mapping[str, Any], what: str) -> None:
    """Refuse to pickle options that may be secret: a pickle goes to queues, disks and other machines.

    Raises:
        OptionError: names them.
    """
    found = secret_names(options)
    if found:
        raise OptionError(
            f"{what} cannot be pickled with storage options that may be secret: {listed(found)}",
            hint=f"open it with storage_options={{{found[0]!r}: '${{NAME}}'}}: each process reads the environment "
            "variable NAME; or leave credentials out, for the environment, a profile or the machine's role",
        )


def shown(text: str, *options: Mapping[str, Any]) -> str:
    """A server's or library's words on one line, with no value of an option that may be secret in them."""
    return one_line(hidden(text, *options))


def hidden(text: str, *options: Mapping[str, Any]) -> str:
    """A text without any value of an option that may be secret."""
    secrets = {secret for some in options for secret in _texts(some) if len(secret) >= SECRET_CHARACTERS}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _texts(options: Mapping[str, Any]) -> Iterator[str]:
    """Every text in the options that may be a secret, and the parts of those that are made of parts."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _texts(value)
        elif isinstance(value, str) and not _is_public(name, value):
            yield value
            yield from (part.partition("=")[2] for part in re.split(r"[;&?]", value))
            user = _USER.search(value)
            yield from (user[1], user[1].partition(":")[2]) if user else ()
