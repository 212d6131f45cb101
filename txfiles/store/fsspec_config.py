"""What fsspec's own configuration adds to the options of a scheme: variables `FSSPEC_…`, and files of its own folder.

Only libraries that are file systems of fsspec follow it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from txfiles.errors import OptionError


def configured(protocols: Iterable[str]) -> dict[str, Any]:
    """The options that fsspec gives to file systems of these protocols; those of a call go before them.

    Cost: fsspec is imported only if there is something that it would read: 50 ms.
    Raises:
        OptionError: it cannot read it.
    """
    if "fsspec" not in sys.modules and not _is_there():
        return {}
    try:
        from fsspec.config import conf
    except ImportError:  # then nobody follows it
        return {}
    except ValueError as error:
        raise OptionError(
            "the configuration of fsspec cannot be read",
            hint=f"correct the files in {_folder()}, or take them away",
        ) from error
    return {name: value for protocol in protocols for name, value in conf.get(protocol, {}).items()}


def _folder() -> str:
    return os.environ.get("FSSPEC_CONFIG_DIR", os.path.join(os.path.expanduser("~"), ".config/fsspec"))


def _is_there() -> bool:
    return any(name.startswith("FSSPEC_") for name in os.environ) or os.path.isdir(_folder())
