"""What a target declares that it refuses, it must refuse, with the error that it names; what is no case of that passes.

Every outcome is a property of the report, from which `tools/conformance` prints its table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.suite import ConformanceCases, Refusal, Target
from txfiles.errors import TxFilesError


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Note of which target each case is: also of one that does not come to run. Leave out what takes too long."""
    if not os.environ.get("TXFILES_CONFORMANCE"):
        left_out = [item for item in items if item.get_closest_marker("whole_suite")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("whole_suite")]
    for item in items:
        given = getattr(item, "callspec", None) and item.callspec.params.get("target")
        known = any(name == "conformance" for name, _ in item.user_properties)  # two folders have these hooks
        if given and not known and issubclass(item.cls or object, ConformanceCases):
            name, *inputs = (given,) if isinstance(given, str) else given
            column = getattr(item.module, "COLUMN", "{}").format(name)
            item.user_properties.append(("conformance", [column, item.originalname, *(inputs or ["arrow"])]))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> Iterator[None]:
    """Run a case; a refusal that was declared takes the place of success."""
    target = pyfuncitem.funcargs.get("target")
    if not (isinstance(target, Target) and issubclass(pyfuncitem.cls or object, ConformanceCases)):
        return (yield)
    declared = _declared(pyfuncitem, target)
    if declared is None:
        return (yield)
    try:
        yield
    except TxFilesError as error:
        if not isinstance(error, declared.error) or re.search(declared.match, str(error)) is None:
            raise
        pyfuncitem.user_properties.append(("refused", f"{type(error).__name__}: {declared.match}"))
        return True
    pytest.fail(f"declared as refused ({declared.error.__name__}), but it passes: take it out of the declaration")


def _declared(item: Any, target: Target) -> Refusal | None:
    """The refusal of a case, if one is declared for it."""
    refusal = target.refuses.get(item.originalname)
    return refusal if refusal is not None and re.search(refusal.only, item.name) else None
