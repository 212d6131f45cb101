"""A pipeline's configuration: connections and one write, from a YAML file.

Source: specs/11-configuration.md; specs/decisions/0065-configuration-is-one-file-per-write.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from txfiles import api
from txfiles.arguments import public
from txfiles.config.blocks import Connection, Reader, Write
from txfiles.config.document import MOST_BYTES, parse
from txfiles.errors import ConfigError, InputError, OptionError
from txfiles.results import Plan, WriteResult
from txfiles.store import secret_options
from txfiles.table import Table

__all__ = ["Config", "Connection", "load_config"]


@dataclass(frozen=True, eq=False, repr=False)
class Config:
    """What a configuration file says. Made by `load_config`; it pickles as the file's path, and is loaded anew.

    Attributes:
        file: its absolute path.
        connections: by name.
    """

    file: str
    connections: Mapping[str, Connection]
    _write: Write
    _variables: tuple[str, ...]

    def write(self, data: Any, **given: Any) -> WriteResult:
        """Write a batch as the block `write` says. See `txfiles.write`.

        Args:
            data: as in `txfiles.write`.
            given: options that replace those of the file; `storage_options` are added to them, name by name. With
                `path` the table is another one: neither connection nor storage options of the file are used.
        """
        with self._named(given):
            return api.write(data, **self._arguments(given))

    def plan(self, data: Any, **given: Any) -> Plan:
        """Say what `write` with the same arguments would do. See `txfiles.plan`."""
        with self._named(given):
            return api.plan(data, **self._arguments(given))

    def table(self) -> Table:
        """The table that the block `write` names, at its newest version. See `txfiles.Table`."""
        said = self._arguments({})
        return Table(said["path"], **{name: said.get(name) for name in ("format", "lock", "storage_options")})

    def secrets(self) -> Iterator[Mapping[str, Any]]:
        """What no message may show: URLs and storage options as they are understood, and the variables' values."""
        for one in self.connections.values():
            yield {"url": one.url, "decoded": unquote(one.url), **secret_options.resolved(one.storage_options)}
        yield secret_options.resolved(self._write.options.get("storage_options", {}))
        yield {name: os.environ.get(name) for name in self._variables}

    @contextmanager
    def _named(self, given: Mapping[str, Any]) -> Iterator[None]:
        """If a call's options do not go with one of the file, the hint says that it stands there."""
        try:
            yield
        except OptionError as error:
            of_file = [name for name in self._write.options if given.get(name) is None]
            found = [name for name in of_file if re.search(rf"\b{name}\b", error.message)]
            if found:
                hints = [error.hint] if error.hint else []
                error.hint = "; ".join([*hints, f"{self.file} sets {', '.join(found)}; no call unsets what it sets"])
            raise

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `txfiles.write`."""
        given = {name: value for name, value in given.items() if value is not None}
        block = self._write
        of_file: dict[str, Any] = {}
        if "path" not in given:
            of_connection = block.connection.storage_options if block.connection else {}
            of_file = {**of_connection, **block.options.get("storage_options", {})}
        more = given.get("storage_options", {})
        storage = {**of_file, **more} if isinstance(more, Mapping) else more
        return {"path": block.path, **block.options, **given, "storage_options": storage or None}

    def __repr__(self) -> str:
        return f"Config({self.file!r}, connections={list(self.connections)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return load_config, (self.file,)


@public
def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration file. Nothing is opened.

    Args:
        path: a YAML file with the blocks `connections` and `write`; local paths in it count from its folder.
    Returns:
        A value with the methods `write`, `plan` and `table`.
    Raises:
        ConfigError: the file cannot be read, or something in it is wrong: which line, which name, and what it may be.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"a configuration is the path of a file, not {type(path).__name__}")
    file = os.path.abspath(os.path.expanduser(os.fsdecode(path)))
    try:
        with open(file, "rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}", hint="check the path", file=file) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", file=file) from None
    except ValueError:
        raise ConfigError(f"{file!r} is not the path of a file", hint="check the path", file=file) from None
    reader = Reader(file)
    connections, write = reader.read(parse(data, file))
    return Config(file, MappingProxyType(connections), write, tuple(sorted(reader.variables.used)))
