"""How a CSV file is written if it differs from RFC 4180: the `csv=` option, with pandas' names.

Source: specs/4-semantics.md, "CSV inputs".
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from txfiles.core.csv_dialect import is_text_encoding
from txfiles.core.messages import is_unicode, nearest, one_of, shown, text
from txfiles.errors import OptionError

Unnamed = Literal["auto", "keep", "drop", "error"]
ALIASES = {"delimiter": "sep", "null": "na_values"}
UNNAMED = ("auto", "keep", "drop", "error")
_SPELT = {"tab": "\t", r"\t": "\t"}


@dataclass(frozen=True)
class Dialect:
    """What `csv=` says; None and the defaults mean "not given".

    Attributes:
        sep: between values; None is a comma, and a tab in a file named .tsv.
        encoding: a name that Python knows.
        decimal: the decimal point of numbers, ``.`` or ``,``.
        na_values: unquoted texts that are null, in columns of every type.
        header: whether the first line names the columns; None is yes, unless `names` does, and refuses a first line
            that looks like data.
        names: the columns' names, instead of the header's.
        quotechar: around values.
        unnamed: what to do with columns without a name. ``auto``: a first one that counts rows is left out, others
            are named by their position; ``keep``: all are named; ``drop``: all are left out; ``error``.
    """

    sep: str | None = None
    encoding: str = "utf-8"
    decimal: str = "."
    na_values: tuple[str, ...] = ()
    header: bool | None = None
    names: tuple[str, ...] | None = None
    quotechar: str = '"'
    unnamed: Unnamed = "auto"

    @property
    def has_header(self) -> bool:
        """Whether the first line is not data."""
        return self.names is None if self.header is None else self.header


PLAIN = Dialect()


def dialect(given: Any) -> Dialect:
    """`csv=` as a user gives it.

    Args:
        given: None, or a mapping of the names above (`delimiter` and `null` are accepted too) to values.
    Raises:
        OptionError: an unknown name, with the nearest one, or a value that cannot be.
    """
    if given is None:
        return PLAIN
    if not isinstance(given, Mapping):
        raise OptionError(f"csv= must be a mapping, not {shown(given)}", hint="such as csv={'sep': ';'}")
    found: dict[str, Any] = {}
    for said, value in given.items():
        name = ALIASES.get(said, said) if isinstance(said, str) else said
        if name not in _READERS:
            raise OptionError(
                f"csv= has no option {shown(said)}{nearest(text(said), NAMES)}",
                hint=f"the options are {', '.join(NAMES)}",
            )
        if name in found:
            raise OptionError(f"csv= sets {name!r} twice: {said!r} is another name for it", hint="give it once")
        found[name] = _READERS[name](said, value)
    made = Dialect(**found)
    sep = made.sep or ","
    if sep == made.quotechar:
        raise OptionError(f"csv= uses {sep!r} both between values and around them", hint="choose two characters")
    return made


def _character(name: str, value: Any) -> str:
    found = _SPELT.get(value, value) if isinstance(value, str) else value
    if not (isinstance(found, str) and len(found) == 1 and found.isascii() and found not in "\r\n\0"):
        raise OptionError(
            f"csv= {name!r} must be one ASCII character, not {shown(value)}", hint=r"such as ';', '|' or '\t'"
        )
    return found


def _encoding(name: str, value: Any) -> str:
    if not isinstance(value, str) or not is_text_encoding(value):
        raise OptionError(
            f"csv= {name!r} must be the name of an encoding, not {shown(value)}",
            hint="such as utf-8, utf-16 or cp1252",
        )
    return codecs.lookup(value).name


def _decimal(name: str, value: Any) -> str:
    if value not in (".", ","):
        raise OptionError(f"csv= {name!r} must be '.' or ',', not {shown(value)}")
    return str(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else None
    if found is None or not all(isinstance(item, str) and is_unicode(item) for item in found):
        raise OptionError(f"csv= {name!r} must be a text or a list of texts, not {shown(value)}")
    return found


def _names(name: str, value: Any) -> tuple[str, ...]:
    found = _texts(name, value)
    if not found or "" in found or len(set(found)) < len(found):
        raise OptionError(f"csv= {name!r} must be a list of distinct column names, not {shown(value)}")
    return found


def _header(name: str, value: Any) -> bool | None:
    # pandas says 0 for the first line and None for no header.
    for words, meant in (((True, 0), True), ((False, None), False)):
        if any(value is word for word in words):
            return meant
    raise OptionError(f"csv= {name!r} must be True or False, not {shown(value)}")


def _unnamed(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in UNNAMED:
        raise OptionError(f"csv= {name!r} must be {one_of(UNNAMED)}, not {shown(value)}{nearest(text(value), UNNAMED)}")
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "sep": _character,
    "encoding": _encoding,
    "decimal": _decimal,
    "na_values": _texts,
    "header": _header,
    "names": _names,
    "quotechar": _character,
    "unnamed": _unnamed,
}

NAMES = (*_READERS, *ALIASES)
"""What `csv=` may contain."""
