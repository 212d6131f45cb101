"""A process that writes to Delta tables as it is told, line by line.

deltalake may hold the interpreter while it waits for an answer, so a proxy before the store cannot be in the process
that writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Writer:
    """Such a process, as its parent sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def write(
        self, rows: dict[str, list[Any]], url: str, *, one_try: bool = False, plain: bool = False, **given: Any
    ) -> dict[str, Any]:
        """What a write came to: its result, or its error, as a document.

        Args:
            rows: by column.
            url: of the table.
            one_try: whether deltalake makes each request once.
            plain: whether deltalake appends the rows by itself.
            given: arguments of `txfiles.write`.
        """
        to, answers = self._process.stdin, self._process.stdout
        assert to is not None
        assert answers is not None
        to.write(json.dumps([rows, url, one_try, plain, given]) + "\n")
        to.flush()
        found: dict[str, Any] = json.loads(answers.readline())
        return found

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Write, until nothing is asked for any more."""
    import deltalake
    import pyarrow as pa

    import txfiles as tx
    from txfiles.targets.delta import client

    usual = client.delta_options

    def once(url: str, given: Any) -> dict[str, str]:
        return usual(url, given) | {"max_retries": "0"}

    for line in sys.stdin:
        rows, url, one_try, plain, given = json.loads(line)
        if plain:
            deltalake.write_deltalake(
                url, pa.table(rows), mode="append", storage_options=usual(url, given["storage_options"])
            )
            print("{}", flush=True)
            continue
        client.delta_options = once if one_try else usual
        try:
            done = tx.write(pa.table(rows), url, format="delta", **given)
            said = {"committed": done.committed, "version": done.version, "commit_id": done.commit_id}
        except tx.TxFilesError as error:
            said = {"error": type(error).__name__, "committed": error.committed, "hint": error.hint}
            said |= {"commit_id": getattr(error, "commit_id", None), "told": told(error)}
        print(json.dumps(said), flush=True)


def told(error: BaseException | None) -> str:
    """All that an error says, with what is behind it."""
    found = []
    while error is not None:
        found += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(found)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    with suppress(KeyboardInterrupt):
        main()
