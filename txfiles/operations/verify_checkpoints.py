"""Checkpoints against the log: whole, and the same as the manifests that they stand for.

Source: specs/16-verify.md; specs/3-manifest.md, "Checkpoints".
"""

from __future__ import annotations

from collections.abc import Iterable

from txfiles.core import names
from txfiles.core.manifest import CheckpointRef
from txfiles.core.replay import State
from txfiles.errors import CorruptTableError, StoreError
from txfiles.findings import Problem, problem
from txfiles.log import checkpoint, parts
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot

NEW_ONE = (
    "nothing is lost but time; to have a new one written, run `txfiles set PATH checkpoint_interval=1`, and then set "
    "it back to what it was"
)

OLDER = "only older versions use it, and open slower without it; leave it"


def stored(session: Session, refs: Iterable[CheckpointRef], *, deep: bool) -> list[Problem]:
    """Those that are missing or damaged: they cost time. Cost: the newest is read; if `deep`, all of them."""
    listed = list(refs)
    found = session.each(
        lambda ref: _lost(session, ref, NEW_ONE if ref == listed[-1] else OLDER), listed if deep else listed[-1:]
    )
    return [one for some in found for one in some]


def against(session: Session, ref: CheckpointRef, snapshot: Snapshot) -> list[Problem]:
    """What a checkpoint says otherwise than the manifests up to its version do."""
    name = names.checkpoint(ref.version, ref.id)
    try:
        data = checkpoint.read(session.store, ref)
        if data is None:
            return []  # `stored` tells
        saved = checkpoint.decode(data, ref, where=name, session=session)
        why = _differs(saved.state, snapshot.state)
        if why is None and not saved.files.equals(snapshot.files):
            why = "its list of files"
    except CorruptTableError as error:
        return [problem("checkpoint", error.message, _delete(name), version=ref.version, file=name)]
    except (parts.PartLost, StoreError):
        return []  # `stored` tells
    if why is None:
        return []
    message = f"{name} differs from the manifests that it stands for: {why}"
    return [problem("checkpoint", message, _delete(name), version=ref.version, file=name)]


def _delete(name: str) -> str:
    return (
        f"keep a copy of {name} and delete it: readers then go by the manifests, and lose only time; "
        "processes that have the table open must start again"
    )


def _differs(saved: State, replayed: State) -> str | None:
    """The first fact that differs. What an older release leaves out of a checkpoint is not missed."""
    for name in ("version", "table_id", "commit_id", "sha256", "time_us", "table", "oldest_readable_version"):
        if getattr(saved, name) != getattr(replayed, name):
            return name
    if list(saved.batch_ids.items()) != list(replayed.batch_ids.items()):
        return "batch_ids"
    if saved.columns_since not in (0, replayed.columns_since):
        return "columns_since"
    if saved.unique_keys and not replayed.unique_keys:
        return "unique_keys"
    if not {run.name for run in saved.runs} <= {run.name for run in replayed.runs}:
        return "index"
    return None


def _lost(session: Session, ref: CheckpointRef, hint: str) -> list[Problem]:
    """What is wrong with the bytes of a checkpoint; its parts are read with it."""
    store, problems = session.store, list[Problem]()
    name = names.checkpoint(ref.version, ref.id)
    try:
        data = checkpoint.read(store, ref)
        if data is None:
            return [_is_lost(ref, name, hint)]
        for part in checkpoint.saved_parts(data, name):
            where = names.CHECKPOINT_DIR + part.name
            if parts.vouched(store, where, part.bytes, part.sha256) is None:
                problems.append(_is_lost(ref, where, hint))
    except CorruptTableError as error:
        problems.append(problem("checkpoint", error.message, _delete(name), version=ref.version, file=name))
    except StoreError as error:
        problems.append(problem("unreadable", error.message, error.hint, version=ref.version, file=name))
    return problems


def _is_lost(ref: CheckpointRef, name: str, hint: str) -> Problem:
    message = f"{name} is missing or damaged, and is not used"
    return problem("checkpoint-lost", message, hint, version=ref.version, file=name)
