"""The log against itself: no number is missing, each manifest continues the one before, checkpoints say the same.

Manifests are read from the newest back, until a vacuum's tells the oldest readable version, then replayed forwards from
there. A manifest that cannot be read ends the replay, not the check: the links between the others are still compared,
and the files of the last version before it, or of a later one with a checkpoint, are checked.

Source: specs/16-verify.md; specs/5-commit.md, "Replay".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

import msgspec

from txfiles.core import names
from txfiles.errors import CorruptTableError, StoreError, TableNotFoundError
from txfiles.findings import Problem, problem
from txfiles.log import identity, newest
from txfiles.log.session import Session
from txfiles.operations import verify_checkpoints
from txfiles.operations.verify_replay import Add, Chain, Read, Replay, of_error, read

HELD = 1_000
"""Manifests that are kept between reading them backwards and replaying them; others are read again."""

GAP_LOOKS = 100
"""Missing numbers that are looked for once more: a folder that is written to may list a later one first."""


def walk(
    session: Session, version: int | None, *, deep: bool, found: Add, report: Callable[[str, int, int | None], None]
) -> Chain:
    """Check the log, and find the version whose files are to be checked. See `verify.verify`."""
    taken, gaps = _numbers(session)
    if not taken:
        return _without_log(session, found)
    found(gaps)
    walked = Chain(taken[-1])
    table_id = _table_id(session, found)
    held = _backwards(session, walked, taken, deep=deep, report=report)
    table_id = table_id or next((one.loaded.manifest.table_id for one in held if one.loaded is not None), None)
    wanted = walked.head if version is None else version
    found(_hint(session, walked.head))
    if table_id is not None:
        Replay(session, walked, table_id, wanted, found).run(taken, held, first=0 if deep else walked.oldest)
        found(verify_checkpoints.stored(session, walked.checkpoints, deep=deep))
    return walked


def _numbers(session: Session) -> tuple[list[int], list[Problem]]:
    """The numbers of the manifests, in order, and those that are missing before the last one."""
    store = session.store
    listed = (names.manifest_version(entry.name) for entry in store.list_from(names.MANIFEST_DIR))
    taken = [version for version in listed if version is not None]
    late, gaps = list[int](), list[Problem]()
    for before, after in pairwise([-1, *taken]):
        missing = range(before + 1, after)
        there = [one for one in missing[:GAP_LOOKS] if store.stat(names.manifest(one)) is not None]
        late += there
        if len(there) < len(missing):
            first = next(one for one in missing if one not in there)
            count = len(missing) - len(there)
            gaps.append(
                problem(
                    "manifest-missing",
                    f"manifest {first} is missing" if count == 1 else f"{count} manifests from {first} on are missing",
                    f"restore {names.manifest(first)} from a backup"
                    + ("" if count == 1 else " with those after it")
                    + f"; if only {names.manifest(after)} is not this table's, remove that",
                    version=first,
                    file=names.manifest(first),
                    count=count,
                )
            )
    return sorted([*taken, *late]), gaps


def _without_log(session: Session, found: Add) -> Chain:
    """There is no manifest: no table, or one whose log is lost.

    Raises:
        TableNotFoundError: no commit has left anything.
    """
    store = session.store
    left = [entry.name for folder in (names.CHECKPOINT_DIR, names.LOG_DIR) for entry in store.list_from(folder)]
    if names.HINT_FILE not in left and not any(names.checkpoint_version(name) is not None for name in left):
        raise TableNotFoundError(
            f"there is no txfiles table at {store.root}", hint="check the path; the first write creates a table"
        )
    found(
        [
            problem(
                "log-lost",
                "the log is lost: there is a hint or a checkpoint, but no manifest",
                f"restore {names.MANIFEST_DIR} from a backup; nothing is read or written until then",
                file=names.MANIFEST_DIR,
            )
        ]
    )
    return Chain(-1, is_whole=False)


def _table_id(session: Session, found: Add) -> str | None:
    try:
        table_id = identity.table_id(session.store)
    except CorruptTableError as error:
        found([of_error("table-file", error, file=names.TABLE_FILE)])
        return None
    if table_id is None:
        found(
            [
                problem(
                    "table-file",
                    f"{names.TABLE_FILE} is missing",
                    f"restore {names.TABLE_FILE} from a backup; its whole content is format_version 1 and the table_id "
                    "that each manifest repeats",
                    file=names.TABLE_FILE,
                )
            ]
        )
    return table_id


def _backwards(
    session: Session, walked: Chain, taken: list[int], *, deep: bool, report: Callable[[str, int, int | None], None]
) -> deque[Read]:
    """Read manifests until the oldest readable version is known and reached; the last ones read, oldest first."""
    held: deque[Read] = deque(maxlen=HELD)
    oldest: int | None = None
    for one in session.together(lambda version: read(session, version), reversed(taken)):
        vacuum = one.loaded.manifest.vacuum if one.loaded is not None else None
        if oldest is None and vacuum is not None:
            oldest = vacuum.oldest_readable_version
        if not deep and oldest is not None and one.version < oldest:
            break
        held.appendleft(one)
        walked.versions += 1
        report("reading the log", walked.versions, None)
    walked.oldest = oldest or 0
    return held


def _hint(session: Session, head: int) -> list[Problem]:
    """A hint is never trusted: what is wrong with it costs a listing, but may be all that tells of a lost end."""
    name = names.HINT_FILE
    try:
        data = session.store.get(name, limit=newest.HINT_LIMIT_BYTES)
        hint = None if data is None else msgspec.json.decode(data, type=newest.Hint)
    except (CorruptTableError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        why = f"{name} is damaged; it is not used, and a later commit replaces it"
        return [problem("hint", why, f"delete {name}, or leave it", file=name)]
    except StoreError as error:
        return [of_error("unreadable", error, file=name)]
    if hint is None or hint.version <= head:
        return []
    return [
        problem(
            "hint",
            f"{name} says that there was a version {hint.version}, but the newest is {head}",
            f"if versions after {head} were committed, restore {names.MANIFEST_DIR} from a backup; if not, delete "
            f"{name}, which does no harm",
            version=hint.version,
            file=name,
        )
    ]
