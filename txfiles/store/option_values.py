"""What a storage option may be called, and what its value may be; no error shows one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from txfiles.errors import OptionError

_SWITCHES = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}


def by_own_name(claims: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
    """Options by the names that a library has for them; one that is None counts only if nothing else is said.

    Args:
        claims: the library's name for an option, the name that was used, and the value.
    Raises:
        OptionError: two names of one option have different values.
    """
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for own, name, value in claims:
        if value is None:
            found.setdefault(own, None)
        elif own in said and found[own] != value:
            raise OptionError(
                f"{said[own]!r} and {name!r} are two names of one storage option, and have different values",
                hint="leave one of them out",
            )
        else:
            found[own], said[own] = value, name
    return found


def check_case(given: Iterable[str], known: Collection[str]) -> None:
    """Check that no name of an option differs from a known one only in case, as those of variables do.

    Raises:
        OptionError: says the right spelling.
    """
    for name in given:
        if name not in known and name.lower() in known:
            raise OptionError(
                f"{name!r} is not a storage option (did you mean {name.lower()!r}?)",
                hint="storage options are written in lower case; in upper case they are variables of the environment",
            )


def switch(name: str, value: Any) -> bool:
    """A value that is true or false; as text it means what it says: libraries take any text for yes.

    Raises:
        OptionError: it is neither.
    """
    found = _SWITCHES.get(str(value).lower())
    if found is None:
        raise OptionError(f"storage option {name!r} must be true or false")
    return found


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A value that holds options of its own.

    Raises:
        OptionError: it does not.
    """
    if not isinstance(value, Mapping):
        raise OptionError(f"storage option {name!r} must be a mapping of names to values")
    return value
