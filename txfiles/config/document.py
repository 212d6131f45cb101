"""A YAML file as values that know their lines. The one module that imports PyYAML.

What YAML would change without a word is an error instead: a key that occurs twice or is not text, an anchor, an alias
or a tag (a secret may begin with `&`, `*` or `!`). No error shows a part of the file, which may be secret.

Source: specs/11-configuration.md, "The file".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from txfiles.core.messages import redact
from txfiles.errors import ConfigError, StoreError

MOST_BYTES = 1 << 16
"""Of a file: a configuration is a page or two."""

DEEPEST = 20
"""How deep a file may nest: three times what a configuration needs, and far below what recursion can take."""

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "date": "a date",
    "datetime": "a time",
    "dict": "a mapping",
    "list": "a list",
}


@dataclass(frozen=True)
class Node:
    """A value of the file, and where it is. Its repr does not show it: it may be secret.

    Attributes:
        value: a dict or list of nodes, or a scalar.
        line: from 1.
        text: of a scalar, as the file has it, without quotes.
    """

    value: Any = field(repr=False)
    line: int
    text: str = field(default="", repr=False)

    @property
    def kind(self) -> str:
        """What YAML takes it for."""
        return _WORDS.get(type(self.value).__name__, "binary data")


def parse(data: bytes, file: str) -> Node:
    """The document in a file.

    Raises:
        ConfigError: it is not one YAML document of plain mappings, lists and scalars.
        StoreError: PyYAML is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise StoreError(
            "configuration files need the package pyyaml, which is not installed", hint="pip install 'txfiles[config]'"
        ) from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{file} is larger than {MOST_BYTES:,} bytes: it is not a configuration", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8, at byte {error.start}", hint="save it as UTF-8", file=file) from None
    try:
        _check_events(yaml, text, file)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML's scanner lets Python's errors through
        mark = getattr(error, "problem_mark", None)
    else:
        return _Reader(yaml, file).node(root) if root is not None else Node({}, 1)
    # Not within the handler: PyYAML's error shows the line, which may hold a secret, and would be the context.
    line = mark.line + 1 if mark else None
    raise ConfigError(
        f"{file}:{line}: this is not valid YAML" if line else f"{file} is not valid YAML",
        hint="check the indentation, and put texts with special characters in quotes",
        file=file,
        line=line,
    )


def _check_events(yaml: Any, text: str, file: str) -> None:
    """Refuse what `compose` would resolve or recurse into."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        documents += kind == "DocumentStartEvent"
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            raise ConfigError(
                f"{file}:{line}: anchors (&), aliases (*) and tags (!) are not supported",
                hint="put a text that begins with such a character in quotes",
                file=file,
                line=line,
            )
        if depth > DEEPEST or documents > 1:
            what = "nests too deep" if depth > DEEPEST else "has more than one document"
            raise ConfigError(f"{file}:{line}: the file {what}", file=file, line=line)


class _Reader:
    """From PyYAML's nodes to ours."""

    def __init__(self, yaml: Any, file: str) -> None:
        self._scalars = yaml.constructor.SafeConstructor()
        self._file = file

    def node(self, given: Any) -> Node:
        line = given.start_mark.line + 1
        if given.id == "mapping":
            return Node(dict(self._pairs(given)), line)
        if given.id == "sequence":
            return Node([self.node(one) for one in given.value], line)
        if given.tag in {"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"}:  # << and =
            return Node(given.value, line, given.value)
        try:
            return Node(self._scalars.construct_object(given), line, given.value)
        except (ValueError, OverflowError):  # a date such as 2026-02-30, a number beyond all floats
            return Node(given.value, line, given.value)

    def _pairs(self, given: Any) -> Iterator[tuple[str, Node]]:
        seen: dict[str, int] = {}
        for key, value in given.value:
            found = self.node(key)
            if not isinstance(found.value, str):
                raise ConfigError(
                    f"{self._file}:{found.line}: YAML takes the name {found.text!r} for {found.kind}",
                    hint="put it in quotes",
                    file=self._file,
                    line=found.line,
                )
            if found.value in seen:
                name, first = redact(found.value), seen[found.value]
                raise ConfigError(
                    f"{self._file}:{found.line}: {name!r} occurs twice; first in line {first}",
                    hint="leave one of them out",
                    file=self._file,
                    line=found.line,
                )
            seen[found.value] = found.line
            yield found.value, self.node(value)
