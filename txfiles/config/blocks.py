"""The blocks of a configuration, read strictly: each error names file, line and place, and the nearest valid word.

The options of `write:` are those of `txfiles.options.OPTIONS`, with the same checks; there is no second list.

Source: specs/11-configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from txfiles import targets
from txfiles.config.document import Node
from txfiles.config.values import IS_URL, UNTOLD, Values, as_written
from txfiles.core.messages import few, nearest, one_of, redact, shown
from txfiles.core.properties import PROPERTIES
from txfiles.inputs.declared import declared_types
from txfiles.options import OPTIONS, WriteOptions, check_common, check_option, read_options
from txfiles.rows.dialect import dialect
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

_NO_BUCKET = re.compile(r"[a-z][a-z0-9+.-]+:(/*|//[/?#].*)", re.IGNORECASE | re.DOTALL)
_IN_PLACE = "a URL stands below 'connections', as 'url'"


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
    if name == "user_metadata":
        check_common(WriteOptions(mode="append", user_metadata=value))
    elif name == "format":
        targets.for_place(Place("", format=value))
    elif kind == "types":
        declared_types(value)
    elif kind == "dialect":
        dialect(value)


def _may_be(name: str) -> str:
    """The hint for a wrong value of an option that is not shown."""
    choices = OPTIONS[name].choices
    return f"it must be {one_of(choices)}" if choices else UNTOLD


@dataclass(frozen=True)
class Reader(Values):
    """Reads the blocks of one file."""

    def read(self, root: Node) -> tuple[dict[str, Connection], Write]:
        """All of the file.

        Raises:
            ConfigError: see the module.
        """
        blocks = self.names(root, "", BLOCKS, required=("write",))
        nodes = self.mapping(blocks.get("connections", Node({}, 1)), "connections")
        connections = {name: self.connection(node, f"connections.{redact(name)}") for name, node in nodes.items()}
        return connections, self.write(blocks["write"], connections, nodes)

    def connection(self, node: Node, at: str) -> Connection:
        """One of the connections."""
        found = self.names(node, at, CONNECTION, required=("url",))
        url_at = f"{at}.url"
        raw = self.text(found["url"], url_at, secret=True)
        expand = self.variables.expanded_url if address.claims(Place(raw)) else self.variables.expanded
        said = self.expanded(found["url"], url_at, expand)
        if not address.claims(Place(said)):
            self.check_authority(found["url"], url_at, said)
        url = self.local(said)
        options = self.mapping(found.get("storage_options", Node({}, 1)), f"{at}.storage_options")
        return Connection(url, MappingProxyType(self.storage(options, f"{at}.storage_options")))

    def check_authority(self, node: Node, at: str, url: str) -> None:
        """Refuse the URL of a folder that leaves it to the path to name the bucket."""
        if url.lower().startswith("file:"):
            if not url.lower().startswith("file:///"):
                raise self.error(
                    node, at, "it is not the URL of a local folder", "write file:///folder, or the plain path"
                )
        elif _NO_BUCKET.fullmatch(url):
            raise self.error(node, at, "it names no bucket", "name the bucket in the url, as in s3://bucket")

    def write(self, node: Node, connections: Mapping[str, Connection], nodes: Mapping[str, Node]) -> Write:
        """The block `write`; `nodes` are those of the connections."""
        found = self.names(node, "write", WRITE, required=("mode",))
        connection = url = None
        if "connection" in found:
            name = self.expanded(found["connection"], "write.connection")
            if name not in connections:
                known = [redact(one) for one in connections]
                hint = f"the connections are {few(known)}" if connections else "the file has none"
                hint = _IN_PLACE if IS_URL.match(name) else hint
                said = f"there is no connection {shown(redact(name))}{nearest(redact(name), known)}"
                at = "write.connection"
                raise self.error(found["connection"], at, said, hint, tells=[found["connection"]], instead=hint)
            connection = connections[name]
            url = nodes[name].value["url"]
        path = self.place(node, found, connection)
        options = {name: self.option(found[name], name) for name in WRITE if name in found and name in OPTIONS}
        where = Place(path, connection.storage_options if connection else None, format=options.get("format"))
        if where.format is not None and (where.format == "sql") != address.claims(where):
            what = "takes" if where.format == "sql" else "does not go with"
            said = f"{where.format!r} {what} the URL of a database"
            raise self.error(found["format"], "write.format", said, tells=[found["format"]])
        self.checked(
            node,
            "write",
            lambda: targets.for_write(where, read_options(options)),
            tells=[found[name] for name in options if OPTIONS[name].kind == "word"],  # the others have been checked
            instead="it does not go with the other options, or with the table's format",
        )
        if address.claims(where):
            told = [one for one in (url, found.get("path"), found.get("table")) if one is not None]
            self.checked(node, "write", lambda: address.read(where), tells=told)
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
            if IS_URL.match(name):
                said = f"{shown(redact(name))} is not a table's name"
                raise self.error(found[ours], at, said, _IN_PLACE, tells=[found[ours]])
            return f"{connection.url}{'&' if '?' in connection.url else '?'}table={quote(name)}"
        parts = name.rstrip("/").split("/")
        is_url = IS_URL.match(name)
        if is_url or name.startswith("~") or set(parts) & {"", ".", ".."}:
            hint = "write it as 'silver/customers'; a complete path or URL stands without a connection"
            said = f"{shown(redact(name))} is not a path below the connection's url"
            raise self.error(found[ours], at, said, _IN_PLACE if is_url else hint, tells=[found[ours]])
        below = quote("/".join(parts)) if connection.url.lower().startswith("file:") else "/".join(parts)
        base = "file://" if connection.url.lower() == "file:///" else connection.url.rstrip("/")
        return f"{base}/{below}"

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
                if name == "properties" and isinstance(value, dict):
                    value = {one: self.property(one, said, node.value[one]) for one, said in value.items()}
        self.checked(node, at, lambda: _check(name, kind, value), instead=_may_be(name))
        return value

    def property(self, name: str, value: Any, node: Node) -> Any:
        """The value of a table property; `on` is a word where the property takes words."""
        takes_words = name in PROPERTIES and isinstance(PROPERTIES[name].default, str)
        return node.text if takes_words and isinstance(value, bool) else value

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
            return as_written(node)
        return self.text(node, at, secret=True)
