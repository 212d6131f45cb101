"""Words: the nearest valid one, what a message may show of lists, values and URLs, text that can be stored."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

LISTED = 5
"""How many items a message names before it says how many more there are."""

URL_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+):/"
"""How a URL begins. One letter is a Windows drive. One slash is what pathlib leaves of two."""

_URL = re.compile(rf"\s*{URL_SCHEME}")

NAMED = 50
"""How many valid words a hint names: enough for the columns of most tables."""

SHOWN = 100
"""Characters of a value that a message shows: enough to find it."""

TOLD = 200
"""Characters of what another library says."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'upsert'?)``, or nothing where no valid word is near; a word in other case is nearest."""
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
    """A text for a message, cut where it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def shown(value: object) -> str:
    """A value's repr for a message, cut where it is long."""
    return short(_written(repr, value))


def one_line(value: object) -> str:
    """An expression, or what another library says, on one line for a message, cut where it is long."""
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
    """A float as JSON has it, or as text where JSON has none."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def redact(path: str) -> str:
    """A path or URL for a message: whole where it cannot hold a credential, else the URL's scheme alone.

    A secret may itself hold `@`, `/` or `?`, so that no rule for cutting out just the secret is safe.
    """
    found = _URL.match(path)
    return f"{found[1]}://…" if found and any(mark in path for mark in "@?#") else path


def plain(value: Any) -> Any:
    """A text of a subclass (numpy's, an enumeration's) as the plain text that it is; other values as they are."""
    return str.__str__(value) if isinstance(value, str) else value


def is_unicode(text: str) -> bool:
    """Whether a text can be stored: one that came out of bytes that were none (a lone surrogate) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
