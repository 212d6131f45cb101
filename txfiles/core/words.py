"""Words: the nearest valid one, lists that stay short, text that can be stored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

LISTED = 5
"""How many items a message names before it says how many more there are."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'upsert'?)``, or nothing where no valid word is near."""
    found = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def one_of(valid: Iterable[str]) -> str:
    """``'a', 'b' or 'c'``."""
    words = [repr(word) for word in valid]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def listed(items: Sequence[object], most: int = LISTED) -> str:
    """``'a', 'b' and 17 more``."""
    shown = ", ".join(repr(item) for item in items[:most])
    return shown + (f" and {len(items) - most} more" if len(items) > most else "")


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
