"""`${NAME}` in a text of a configuration: the environment variable NAME. `$${` means the characters `${`.

Source: specs/11-configuration.md, "Variables".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"(?<=[/:@])\$\{\w+\}(?=[:@])|(?<=[/@])\$\{\w+\}(?=[:/?]|$)")
"""A whole user, password or host in the authority of a URL."""


def referred(text: str) -> list[str]:
    """The names of the variables in a text."""
    return [found[1] for found in _REFERENCE.finditer(text) if found[1]]


@dataclass(frozen=True)
class Variables:
    """What the environment says, and what was asked of it.

    Attributes:
        used: the name of each variable that was read.
    """

    used: set[str] = field(default_factory=set)

    def expanded(self, text: str) -> str:
        """A text with the values of its variables.

        Raises:
            ValueError: a reference is malformed, or its variable is missing or empty; it says which.
        """
        return _REFERENCE.sub(lambda found: "${" if found[0] == "$${" else self._value(found), text)

    def expanded_url(self, url: str) -> str:
        """The URL of a database: a user, password or host that is a reference stays one, for it is read at each use."""
        self.expanded(url)  # every variable must be there
        head, slashes, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        kept = {found.start() for found in _CREDENTIAL.finditer(f"/{authority}{slash}")}
        parts = _REFERENCE.sub(
            lambda found: found[0] if found.start() in kept else self.expanded(found[0]), f"/{authority}{slash}"
        )
        return f"{self.expanded(head)}{slashes}{parts[1:]}{self.expanded(path)}"

    def _value(self, found: re.Match[str]) -> str:
        name = found[1]
        if not found[2] or not _NAME.fullmatch(name):
            raise ValueError("has a '${' that does not begin '${NAME}'; '$${' means the characters '${'")
        value = os.environ.get(name)
        if not value:
            raise ValueError(
                f"refers to the environment variable {name}, which is {'empty' if value == '' else 'not set'}"
            )
        self.used.add(name)
        return value
