"""What happens to a table besides the calls of the matrix: another table in its place, an overwrite that is undone.

Each is a call of the simulator like those of `calls`, but not one of the matrix.
"""

from __future__ import annotations

from typing import Any

import greenlet

from tests.simulation.calls import CALLS, KEYED, ROWS, Other, Restore, Write, row
from txfiles.core import names


def body() -> Any:
    """The process that runs."""
    return greenlet.getcurrent().body


def _read_and_wait(path: str, who: int) -> Any:
    result = CALLS["read"].do(path, who)
    body().ask("wait", names.TABLE_FILE)
    return result


def _made_anew(path: str, who: int) -> Any:
    """Take the table away, and put another one there that looks like it: same names, sizes and times."""
    from tests.simulation.scenes import PROPERTIES, table

    state, _ = table(PROPERTIES, first=210)
    body().ask("replace", names.TABLE_FILE, {name: held.data for name, held in state.objects.items()})
    return CALLS["read"].do(path, who)


OUTSIDE: dict[str, Any] = {
    call.name: call
    for call in (
        Other("read and wait", _read_and_wait),
        Other("another table", _made_anew),
        Restore("restore one", ROWS, 1),  # the table is as it was before an overwrite, without a change of what it is
        Write("append_once two", "append_once", lambda who: [row(2, n=who)], KEYED),
    )
}
