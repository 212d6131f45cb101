"""What the value of a storage option may be; no error shows one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txfiles.errors import OptionError

_SWITCHES = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}


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
