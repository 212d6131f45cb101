"""Parts of messages: the nearest valid name; lists, values and URLs, shortened and redacted; what can be stored."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

LISTED = 5
"""How many items a message names before it says how many more there are."""

URL_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+):/"
"""How a URL begins. One letter is a Windows drive. pathlib turns two slashes into one."""

_URL = re.compile(rf"\s*{URL_SCHEME}")
_CONTAINER = re.compile(r"\s*(?i:abfss?|az)://[a-z0-9$-]+@[a-z0-9]+\.(?:dfs|blob)\.[a-z0-9.]+(?=/|$)")
"""An Azure container and its account, which stand where other URLs have a user and a host."""

NAMED = 50
"""How many valid names a hint lists: enough for the columns of most tables."""

SHOWN = 100
"""Characters of a value that a message shows: enough to find it."""

TOLD = 200
"""How many characters of another library's message are shown."""


def url_scheme(text: str) -> str | None:
    """The scheme of a URL, in lower case; None if a text is none."""
    found = _URL.match(text)
    return None if found is None else found[1].lower()


def nearest(word: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'upsert'?)``, or nothing if no valid name is near; one that differs only in case is nearest."""
    words, folded = list(valid), str(word).casefold()
    same = [one for one in words if one.casefold() == folded]
    found = same or difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def one_of(valid: Iterable[str]) -> str:
    """``'a', 'b' or 'c'``."""
    words = [repr(word) for word in valid]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def listed(items: Sequence[object], most: int = LISTED) -> str:
    """``'a', 'b' and 17 more``."""
    shown = ", ".join(repr(item) for item in items[:most])
    return shown + (f" and {len(items) - most} more" if len(items) > most else "")


def few(valid: Sequence[str]) -> str:
    """``a, b and 17 more``: what there is, for a hint."""
    shown = ", ".join(name[:SHOWN] for name in valid[:NAMED])
    return shown + (f" and {len(valid) - NAMED} more" if len(valid) > NAMED else "")


def short(text: str, most: int = SHOWN) -> str:
    """A text for a message, cut if it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def shown(value: object) -> str:
    """A value's repr for a message, cut if it is long."""
    return short(_written(repr, value))


def one_line(value: object) -> str:
    """An expression, or another library's message, on one line, cut if it is long."""
    return short(" ".join(text(value).split()), TOLD)


def text(value: object) -> str:
    """A value's text; `str` itself refuses to write a number of many thousand digits."""
    return _written(str, value)


def _written(write: Callable[[object], str], value: object) -> str:
    try:
        return write(value)
    except ValueError:
        return "a number of many thousand digits"
    except RecursionError:
        return f"a {type(value).__name__} that nests very deep"


def json_number(value: float) -> float | str:
    """A float as JSON has it, or as text if JSON cannot express it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def redact(path: str) -> str:
    """A path or URL for a message: complete if it cannot contain a credential, otherwise the URL's scheme alone.

    A secret may itself contain `@`, `/` or `?`, so no rule for cutting out just the secret is safe.
    """
    found, container = _URL.match(path), _CONTAINER.match(path)
    rest = path[container.end() :] if container else path
    return f"{found[1]}://…" if found and any(mark in rest for mark in "@?#") else path


def plain(value: Any) -> Any:
    """A text of a subclass (numpy's, an enum's) as plain text; other values unchanged."""
    return str.__str__(value) if isinstance(value, str) else value


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: one decoded from invalid bytes (a lone surrogate) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
