"""The blocks of a configuration, read strictly: each error names file, line and place, and the nearest valid word.

The options of `write:` are those of `txfiles.options.OPTIONS`, with the same checks; there is no second list.

Source: specs/11-configuration.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from txfiles import targets
from txfiles.config.document import Node
from txfiles.config.references import Variables
from txfiles.core import foreign
from txfiles.core.messages import URL_SCHEME, few, nearest, shown
from txfiles.errors import ConfigError, InputError
from txfiles.inputs.declared import declared_types
from txfiles.inputs.dialect import dialect
from txfiles.options import OPTIONS, check_option, read_options
from txfiles.store import secret_options
from txfiles.targets.protocol import Place
from txfiles.targets.sql import address

BLOCKS = ("connections", "write")
CONNECTION = ("url", "storage_options")
PLACES = ("connection", "path", "table")
WRITE = (*PLACES, *(name for name, facts in OPTIONS.items() if facts.kind != "library"))
"""What each block may contain."""

SECRET_NAME = re.compile("pass|pwd|secret|token|key|sas|credential|connection_string", re.IGNORECASE)
"""Storage options whose value is text, although YAML may take it for a number (`0123` is 83)."""

_URL = re.compile(URL_SCHEME)
_FILE_URL = re.compile(r"((?:sqlite|duckdb)(?:\+\w+)?:///)(?![/~])(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Connection:
    """Where tables are, and how to get there. Its repr shows neither: a URL and its options may be secret.

    Attributes:
        url: a folder (absolute), the URL of a bucket's folder, or of a database.
        storage_options: as `txfiles.write` takes them; a value that is `${NAME}` as a whole is read at each use.
    """

    url: str = field(repr=False)
    storage_options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Write:
    """The block `write:`.

    Attributes:
        connection: the one that it names.
        path: of the table, complete.
        options: of `txfiles.write`, as the block gives them.
    """

    connection: Connection | None
    path: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)


def _check(name: str, kind: str, value: Any) -> None:
    """Every check of an option that needs neither the others nor the table."""
    check_option(name, value)
    if name == "format":
        targets.for_place(Place("", format=value))
    elif kind == "types":
        declared_types(value)
    elif kind == "dialect":
        dialect(value)


@dataclass(frozen=True)
class Reader:
    """Reads the blocks of one file.

    Attributes:
        file: its absolute path.
        variables: what its references mean.
    """

    file: str
    variables: Variables = field(default_factory=Variables)

    def read(self, root: Node) -> tuple[dict[str, Connection], Write]:
        """All of the file.

        Raises:
            ConfigError: see the module.
        """
        blocks = self.names(root, "", BLOCKS, required=("write",))
        connections = {
            name: self.connection(node, f"connections.{name}")
            for name, node in self.mapping(blocks.get("connections", Node({}, 1)), "connections").items()
        }
        return connections, self.write(blocks["write"], connections)

    # ---- blocks

    def connection(self, node: Node, at: str) -> Connection:
        """One of the connections."""
        found = self.names(node, at, CONNECTION, required=("url",))
        url_at = f"{at}.url"
        raw = self.text(found["url"], url_at, secret=True)
        expand = self.variables.expanded_url if address.claims(Place(raw)) else self.variables.expanded
        url = self.local(self.expanded(found["url"], url_at, expand))
        options = self.mapping(found.get("storage_options", Node({}, 1)), f"{at}.storage_options")
        return Connection(url, MappingProxyType(self.storage(options, f"{at}.storage_options")))

    def write(self, node: Node, connections: Mapping[str, Connection]) -> Write:
        """The block `write`."""
        found = self.names(node, "write", WRITE, required=("mode",))
        connection = None
        if "connection" in found:
            name = self.expanded(found["connection"], "write.connection")
            if name not in connections:
                hint = f"the connections are {few(tuple(connections))}" if connections else "the file has none"
                said = f"there is no connection {name!r}{nearest(name, connections)}"
                raise self.error(found["connection"], "write.connection", said, hint)
            connection = connections[name]
        path = self.place(node, found, connection)
        options = {name: self.option(found[name], name) for name in WRITE if name in found and name in OPTIONS}
        where = Place(path, connection.storage_options if connection else None, format=options.get("format"))
        if where.format is not None and (where.format == "sql") != address.claims(where):
            what = "takes" if where.format == "sql" else "does not go with"
            raise self.error(found["format"], "write.format", f"{where.format!r} {what} the URL of a database")
        self.checked(node, "write", lambda: targets.for_write(where, read_options(options)))
        if address.claims(where):
            self.checked(node, "write", lambda: address.read(where))
        return Write(connection, path, options)

    def place(self, node: Node, found: Mapping[str, Node], connection: Connection | None) -> str:
        """The table's path: below its connection's URL, or complete."""
        database = connection is not None and address.claims(Place(connection.url))
        ours, other = ("table", "path") if database else ("path", "table")
        if other in found:
            why = "the connection is to a database" if database else "the table of a database needs a connection to it"
            raise self.error(found[other], f"write.{other}", why, f"name the table with {ours!r}")
        if ours not in found:
            raise self.error(node, "write", f"{ours!r} is missing: it names the table")
        at = f"write.{ours}"
        name = self.expanded(found[ours], at)
        if connection is None:
            return self.local(name)
        if database:
            if re.search("[?&]table=", connection.url):
                raise self.error(found[ours], at, "the connection's url names a table already", "leave it out there")
            return f"{connection.url}{'&' if '?' in connection.url else '?'}table={quote(name)}"
        parts = name.rstrip("/").split("/")
        if _URL.match(name) or name.startswith("~") or set(parts) & {"", ".", ".."}:
            raise self.error(
                found[ours],
                at,
                f"{shown(name)} is not a path below the connection's url",
                "write it as 'silver/customers'; a complete path or URL stands without a connection",
            )
        below = quote("/".join(parts)) if connection.url.lower().startswith("file:") else "/".join(parts)
        return f"{connection.url.rstrip('/')}/{below}"

    def option(self, node: Node, name: str) -> Any:
        """One option of a write, checked as far as it can be without the others."""
        at, kind = f"write.{name}", OPTIONS[name].kind
        if node.value is None:
            raise self.error(node, at, "it has no value", "give it one, or leave the line out")
        value: Any
        match kind:
            case "word" | "text":
                value = self.expanded(node, at)
            case "lock":
                return self.local(self.expanded(node, at))
            case "columns":
                several = node.value if isinstance(node.value, list) else [node]
                value = [self.expanded(one, f"{at}[{n}]") for n, one in enumerate(several)]
            case "storage":
                return self.storage(self.mapping(node, at), at)
            case "filter":
                value = self.filter(node, at, self.plain(node, at, dates=True))
            case _ if name == "user_metadata":
                value = {key: self.expanded(one, f"{at}.{key}") for key, one in self.mapping(node, at).items()}
            case _:
                value = self.plain(node, at, dates=False)
        self.checked(node, at, lambda: _check(name, kind, value))
        return value

    def filter(self, node: Node, at: str, given: Any) -> list[tuple[Any, ...]]:
        """Conditions as a list of lists."""
        if not isinstance(given, list) or not all(isinstance(one, list) for one in given):
            raise self.error(node, at, f"it must be a list of conditions, not {node.kind}", 'write [["day", "=", "…"]]')
        return [tuple(one) for one in given]

    def storage(self, found: Mapping[str, Node], at: str) -> dict[str, Any]:
        """Storage options; a value that is a reference as a whole stays one."""
        return {name: self.storage_value(name, node, f"{at}.{name}") for name, node in found.items()}

    def storage_value(self, name: str, node: Node, at: str) -> Any:
        """One of them."""
        if isinstance(node.value, dict):
            return {inner: self.storage_value(inner, one, f"{at}.{inner}") for inner, one in node.value.items()}
        if isinstance(node.value, str):
            if secret_options.is_reference(node.value):
                self.expanded(node, at)
                return node.value
            value = self.expanded(node, at)
            if secret_options.is_reference(value):
                raise self.error(node, at, "a storage option cannot be a text of the form '${NAME}' itself")
            return value
        if isinstance(node.value, bool | int | float) and not SECRET_NAME.search(name):
            return node.value
        return self.text(node, at, secret=True)

    # ---- values

    def names(self, node: Node, at: str, valid: Collection[str], *, required: Collection[str]) -> dict[str, Node]:
        """A mapping of known names."""
        found = self.mapping(node, at or "the file")
        for name, value in found.items():
            if name not in valid:
                ours = foreign.option_meant(name, valid)
                meant = f" (did you mean {ours!r}?)" if ours else nearest(name, valid)
                place = f"{at}.{name}".lstrip(".")
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
        return node.value

    def local(self, path: str) -> str:
        """A local path of the file, which counts from its folder; a URL as it is, but for databases that are files."""
        folder = os.path.dirname(self.file)
        database = _FILE_URL.fullmatch(path)
        if database:
            return f"{database[1]}{quote(folder)}/{database[2]}"
        return path if _URL.match(path) else os.path.join(folder, os.path.expanduser(path))

    # ---- errors

    def error(self, node: Node, at: str, message: str, hint: str | None = None) -> ConfigError:
        """What is wrong with a value, and where it is; no variable's value is told."""
        return ConfigError(
            self.variables.hidden(f"{self.file}:{node.line}: {at}: {message}"),
            hint=None if hint is None else self.variables.hidden(hint),
            file=self.file,
            line=node.line,
            place=at,
        )

    def checked(self, node: Node, at: str, check: Callable[[], Any]) -> None:
        """Report what a check of the library finds as an error of this place."""
        try:
            check()
        except InputError as error:
            found = error
        else:
            return
        # Not within the handler: the error as it was, which may show a variable's value, would be its context.
        raise self.error(node, at, found.message, found.hint)
