"""The values of a configuration: read strictly, with their variables, and what is wrong with one.

Source: specs/11-configuration.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import quote

from txfiles.config.document import Node
from txfiles.config.references import Variables, referred
from txfiles.core import foreign
from txfiles.core.messages import URL_SCHEME, nearest, redact, shown
from txfiles.errors import ConfigError, InputError

IS_URL = re.compile(URL_SCHEME)
_FILE_URL = re.compile(r"((?:sqlite|duckdb)(?:\+\w+)?:///)(?![/~])(.*)", re.IGNORECASE | re.DOTALL)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?(e[-+][0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE)
"""A number that means the same to everybody; YAML takes `010` for 8 and `1:00:00` for 3600."""

UNTOLD = "it is not shown, since it may be secret"


def as_written(node: Node) -> Any:
    """A value as Python has it; a number that is not plain decimal is the file's text, so that it does not change."""
    is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return node.text if is_number and not _DECIMAL.fullmatch(node.text) else node.value


def _scalars(node: Node) -> Iterator[Node]:
    """All that is inside a value."""
    inner = (
        node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else None
    )
    if inner is None:
        yield node
    for one in inner or ():
        yield from _scalars(one)


def _taken(node: Node) -> str | None:
    """What YAML takes for true or false in a value, and is written as another word."""
    for one in _scalars(node):
        if isinstance(one.value, bool) and one.text.lower() not in ("true", "false"):
            return f"YAML takes {one.text!r} for true or false; put it in quotes if it is text"
    return None


@dataclass(frozen=True)
class Values:
    """Reads the values of one file.

    Attributes:
        file: its absolute path.
        variables: what its references mean.
    """

    file: str
    variables: Variables = field(default_factory=Variables)

    def names(self, node: Node, at: str, valid: Collection[str], *, required: Collection[str]) -> dict[str, Node]:
        """A mapping of known names."""
        found = self.mapping(node, at or "the file")
        for name, value in found.items():
            if name not in valid:
                ours = foreign.option_meant(name, valid)
                meant = f" (did you mean {ours!r}?)" if ours else nearest(name, valid)
                place = f"{at}.{redact(name)}".lstrip(".")
                raise self.error(value, place, f"there is no such name{meant}", f"it may be {', '.join(valid)}")
        for name in required:
            if name not in found:
                raise self.error(node, at or "the file", f"{name!r} is missing")
        return found

    def mapping(self, node: Node, at: str) -> dict[str, Node]:
        """A value that must be a mapping."""
        if not isinstance(node.value, dict):
            raise self.error(node, at, f"it must be a mapping of names to values, not {node.kind}")
        return node.value

    def text(self, node: Node, at: str, *, secret: bool = False) -> str:
        """A value that must be text; what YAML takes for something else is told."""
        if isinstance(node.value, str) and node.value:
            return node.value
        if isinstance(node.value, str | dict | list) or node.value is None:
            raise self.error(node, at, f"it must be text, not {'empty' if node.value == '' else node.kind}")
        taken = f"YAML takes {'the value' if secret else shown(node.text)} for {node.kind}"
        raise self.error(node, at, f"it must be text, but {taken}", "put it in quotes")

    def expanded(self, node: Node, at: str, expand: Callable[[str], str] | None = None) -> str:
        """A text, with its variables."""
        text = self.text(node, at)
        try:
            return (expand or self.variables.expanded)(text)
        except ValueError as error:
            raise self.error(
                node, at, f"it {error}", "set it for this process" if "variable" in str(error) else None
            ) from None

    def plain(self, node: Node, at: str, *, dates: bool) -> Any:
        """A value as Python has it, with its variables; dates only where a value may be one."""
        if isinstance(node.value, dict):
            return {name: self.plain(one, f"{at}.{name}", dates=dates) for name, one in node.value.items()}
        if isinstance(node.value, list):
            return [self.plain(one, f"{at}[{n}]", dates=dates) for n, one in enumerate(node.value)]
        if isinstance(node.value, str):
            return self.expanded(node, at) if node.value else ""
        if isinstance(node.value, bytes) or (isinstance(node.value, date) and not dates):
            return self.text(node, at)
        return as_written(node)

    def local(self, path: str) -> str:
        """A local path of the file, which counts from its folder; a URL as it is, but for databases that are files."""
        folder = os.path.dirname(self.file)
        database = _FILE_URL.fullmatch(path)
        if database:
            return f"{database[1]}{quote(folder)}/{database[2]}"
        return path if IS_URL.match(path) else os.path.join(folder, os.path.expanduser(path))

    # ---- errors

    def error(
        self,
        node: Node,
        at: str,
        message: str,
        hint: str | None = None,
        *,
        tells: Iterable[Node] = (),
        instead: str = UNTOLD,
    ) -> ConfigError:
        """What is wrong with a value, and where it is.

        Args:
            node: where it is.
            at: its place in the file.
            message: what is wrong.
            hint: what to do.
            tells: the values that the message may show, in whatever form. If a variable is in one of them, the error
                names the variable instead.
            instead: the hint then.
        """
        names = dict.fromkeys(
            f"${{{name}}}" for one in tells for inner in _scalars(one) for name in referred(inner.text)
        )
        if names:
            message, hint = f"the value of {' or '.join(names)} is not valid here", instead
        return ConfigError(
            f"{self.file}:{node.line}: {at}: {message}", hint=hint, file=self.file, line=node.line, place=at
        )

    def checked(
        self,
        node: Node,
        at: str,
        check: Callable[[], Any],
        *,
        tells: Iterable[Node] | None = None,
        instead: str = UNTOLD,
    ) -> None:
        """Report what a check of the library finds as an error of this place. `tells` is the value, if not given."""
        try:
            check()
        except InputError as error:
            found = error
        else:
            return
        # Not within the handler: the error as it was, which may show a variable's value, would be its context.
        tells = (node,) if tells is None else tells
        hints = [hint for hint in (found.hint, *map(_taken, tells)) if hint]
        raise self.error(node, at, found.message, "; ".join(hints) or None, tells=tells, instead=instead)
