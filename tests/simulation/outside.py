"""What happens to a table that no call of this release does: another table in its place, a later release's restore.

Each is a call of the simulator like those of `calls`, but not one of the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import greenlet

from tests.simulation.calls import CALLS, EMPTY, KEYED, ROWS, Content, Other, Write, made, row
from txfiles.core import codec, names, times
from txfiles.core.manifest import Add, Manifest, Metrics, Operation, Remove
from txfiles.errors import SnapshotExpiredError
from txfiles.store.port import Put

RACES_MAX = 20
"""More than there are commits in any run."""


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


@dataclass(frozen=True)
class Restore:
    """The files of version 0 again, under their own names, as a later release's `restore` may commit them."""

    name: str = "restore"

    def do(self, path: str, who: int) -> Any:
        """Write the manifest by hand.

        Raises:
            SnapshotExpiredError: a vacuum has taken a file of version 0.
        """
        session = body().session
        for _ in range(RACES_MAX):
            log, parent_sha256 = _log(session.store)
            live, oldest = _live(log[:1]), _live(log)
            if any(manifest.vacuum is not None and manifest.vacuum.deletes for manifest in log):
                raise SnapshotExpiredError("version 0 has expired", version=0, oldest_readable=1)
            back = [add for path, add in live.items() if path not in oldest]
            gone = [add for path, add in oldest.items() if path not in live]
            if not back and not gone:
                return CALLS["read"].do(path, who)
            manifest = Manifest(
                format_version=codec.FORMAT_VERSION,
                version=len(log),
                table_id=log[0].table_id,
                commit_id=session.environment.new_id(),
                parent_sha256=parent_sha256,
                time=times.format_us(max(session.environment.now_us(), log[-1].time_us + 1)),
                operation=Operation(name="restore", read_version=len(log) - 1),
                metrics=Metrics(rows_inserted=_rows(back), rows_deleted=_rows(gone)),
                checkpoint=log[-1].checkpoint,
                add=tuple(back),
                remove=tuple(Remove(path=add.path) for add in gone),
            )
            if session.store.put_if_absent(names.manifest(len(log)), codec.encode(manifest)) is Put.CREATED:
                return SimpleNamespace(version=len(log))
        raise AssertionError("it does not end")

    def refuses(self, state: Content) -> str | None:
        """Nothing."""
        return None

    def apply(self, state: Content, who: int) -> Content:
        """The rows of version 0."""
        return replace(state, rows=made(ROWS)[0].apply(EMPTY, who).rows)


def _log(store: Any) -> tuple[list[Manifest], str]:
    log: list[Manifest] = []
    data = b""
    while (found := store.get(names.manifest(len(log)), limit=codec.MANIFEST_LIMIT_BYTES)) is not None:
        log.append(codec.decode(found, version=len(log), where="restore"))
        data = found
    return log, codec.sha256(data)


def _live(log: list[Manifest]) -> Mapping[str, Add]:
    live: dict[str, Add] = {}
    for manifest in log:
        for action in manifest.remove:
            del live[action.path]
        live |= {add.path: add for add in manifest.add}
    return live


def _rows(adds: list[Add]) -> int:
    return sum(add.rows for add in adds)


OUTSIDE: dict[str, Any] = {
    call.name: call
    for call in (
        Other("read and wait", _read_and_wait),
        Other("another table", _made_anew),
        Restore(),
        Write("append_once two", "append_once", lambda who: [row(2, n=who)], KEYED),
    )
}
