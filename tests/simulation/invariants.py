"""What must hold at the end of a run, found out from the objects themselves: JSON, SHA-256, and the model.

The log is read without the library. A version is compared with what the model makes of its operation on the version
before, so that state(v) = apply(op v, state(v-1)) for every v (S10). By the chain of hashes a manifest stands for its
whole history, so that this is done once for each manifest, however many runs meet it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from pyroaring import BitMap

from tests.simulation import codec
from tests.simulation.calls import EMPTY, LEAVING, Content
from tests.simulation.machine import Ended, State, Stored
from tests.simulation.process import Violation, prefix
from txfiles.core import names
from txfiles.errors import TxFilesError


@dataclass(frozen=True)
class Version:
    """A manifest, the files that are live after it, and the model's rows."""

    manifest: Mapping[str, Any]
    live: Mapping[str, Mapping[str, Any]]
    content: Content

    @property
    def commit_id(self) -> str:
        return str(self.manifest["commit_id"])


class Checker:
    """Checks runs that begin in one world; remembers what it has seen.

    Args:
        base: the state in which the runs begin.
        made: the calls that made it, one for each version.
    """

    def __init__(self, base: State, made: Sequence[Any]) -> None:
        self._known: dict[str, Version] = {}
        self._made = tuple(made)
        self._foreign = {name for name in base.objects if not name.startswith("_txfiles") and "part-" not in name}

    def check(self, state: State) -> list[Version]:
        """Everything.

        Raises:
            Violation: names the invariant.
        """
        versions = self._versions(state)
        _check_batches(versions)
        _check_files(state, versions)
        if not self._foreign <= state.objects.keys():
            raise Violation("S18", f"{self._foreign - state.objects.keys()} was deleted, and is not the table's")
        for ended in state.ended():
            _check_ended(ended, versions)
        return versions

    def _versions(self, state: State) -> list[Version]:
        versions: list[Version] = []
        parent: str | None = None
        for number in range(state.head() + 1):
            found = state.objects.get(names.manifest(number))
            if found is None:
                raise Violation("S2", f"manifest {number} of {state.head() + 1} is missing")
            sha256 = sha256_of(found.data)
            if sha256 not in self._known:
                self._known[sha256] = self._version(number, found.data, parent, versions, state)
            versions.append(self._known[sha256])
            parent = sha256
        return versions

    def _version(
        self, number: int, data: bytes, parent: str | None, before: Sequence[Version], state: State
    ) -> Version:
        manifest = manifest_of(data, state.objects)
        if manifest["commit_id"] in {version.commit_id for version in before}:
            raise Violation("S3", f"commit {manifest['commit_id']} is there twice, the second time as version {number}")
        if manifest["version"] != number or manifest.get("parent_sha256") != parent:
            raise Violation("S2", f"manifest {number} does not follow the one before it")
        if before and manifest["time"] <= before[-1].manifest["time"]:
            raise Violation("S2", f"manifest {number} is not later than the one before it")
        live = _live(number, manifest, before[-1].live if before else {})
        content = self._content(number, manifest, before, state)
        tables = [
            known["table"] for known in (manifest, *(one.manifest for one in reversed(before))) if "table" in known
        ]
        called = {column["id"]: column["name"] for column in tables[0]["columns"]}
        found = _stored_content(live, content, called, state)
        if found is not None and not found.same(content):
            raise Violation("S10", f"version {number} holds {found.bag()}, the model {content.bag()}")
        if found is not None and before and manifest["operation"]["name"] == "compact":
            earlier = _stored_content(before[-1].live, content, called, state)
            if earlier is not None and found.by_part() != earlier.by_part():
                raise Violation("S10", f"version {number} has its rows in another order: {found.by_part()}")
        return Version(manifest, live, content)

    def _content(self, number: int, manifest: Mapping[str, Any], before: Sequence[Version], state: State) -> Content:
        """What the model makes of the operation."""
        last = before[-1].content if before else EMPTY
        if number < len(self._made):
            return self._made[number].apply(last, 0)
        process, call = _maker(manifest["commit_id"], state)
        if call.name in LEAVING and manifest["operation"]["name"] == "compact":
            if last.detached:
                raise Violation("S10", f"version {number} follows one that no version may follow")
            return last
        changes = any(manifest.get(name) for name in ("add", "remove", "mark"))
        if not changes and "batch_id" in manifest["operation"] and before:
            # It only records an id. It stands where it was decided, whatever others have written since.
            planned = before[manifest["operation"]["read_version"]].content
            if not call.apply(planned, process).same(planned):
                raise Violation("S10", f"version {number} records the id of {call.name}, and leaves its rows out")
            return last
        refused = call.refuses(last) if last.columns else None
        if refused is not None:
            raise Violation("S10", f"version {number} is of {call.name}, which version {number - 1} refuses: {refused}")
        after: Content = call.apply(last, process)
        metrics = manifest["metrics"]
        grown = metrics.get("rows_inserted", 0) - metrics.get("rows_deleted", 0)
        if len(after.rows) != len(last.rows) + grown:
            raise Violation("S12", f"version {number} says that it has {grown} rows more than the one before")
        return after


def _maker(commit_id: str, state: State) -> tuple[int, Any]:
    """The process and the call whose commit it is."""
    for slot in state.slots:
        for position, call in enumerate(slot.life.program):
            if commit_id.startswith(prefix(slot.life.number, position)):
                return slot.life.number, call
    raise Violation("S3", f"commit {commit_id} is of no call")


def _live(number: int, manifest: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    removed = {action["path"] for action in manifest.get("remove", ())}
    if not removed <= before.keys():
        raise Violation("S2", f"version {number} removes a file that is not live")
    added = manifest.get("add", ())
    if any(add["path"] in before and add["path"] not in removed for add in added):
        raise Violation("S2", f"version {number} adds a file twice")
    live: dict[str, Any] = {}
    for path, known in before.items():
        live |= {add["path"]: add for add in added if add.get("place") == path}
        live |= {} if path in removed else {path: known}
    live |= {add["path"]: add for add in added if "place" not in add}
    for mark in manifest.get("mark", ()):
        if mark["path"] not in live:
            raise Violation("S2", f"version {number} marks rows of a file that is not live")
        live[mark["path"]] = live[mark["path"]] | {"vector": mark["vector"]}
    return live


# ---- what a call said -------------------------------------------------------------------------


def _check_ended(ended: Ended, versions: Sequence[Version]) -> None:
    outcome = ended.outcome
    who = f"{outcome.call.name} of P{outcome.process}"
    own = [
        number
        for number, version in enumerate(versions)
        if version.commit_id.startswith(outcome.prefix)
        and (outcome.call.name not in LEAVING or version.manifest["operation"]["name"] in LEAVING)
    ]
    if len(own) > 1:
        raise Violation("S3", f"{who} is in versions {own}")
    if outcome.ended == "returned":
        _check_result(who, ended, own, versions)
    elif outcome.ended == "raised":
        _check_error(who, ended, own, versions)


def _check_result(who: str, ended: Ended, own: Sequence[int], versions: Sequence[Version]) -> None:
    result, call = ended.outcome.result, ended.outcome.call
    if getattr(result, "already_committed", False):
        named = versions[result.version].manifest["operation"].get("batch_id")
        known = [ids.get(named) for ids in _batch_ids(versions)[max(0, ended.floor) : ended.head + 1]]
        if own or named != call.options["batch_id"] or result.version not in known:
            raise Violation("S11", f"{who} was told that version {result.version} has its batch id")
        return
    if result.version is None or not ended.floor <= result.version <= ended.head:
        raise Violation("S9", f"{who} answers version {result.version}; {ended.floor} had been told before")
    if hasattr(result, "rows"):
        content = versions[result.read].content
        if not Content(tuple(result.rows), content.columns).same(content):
            raise Violation("S8", f"{who} reads other rows than version {result.read} has")
    elif hasattr(result, "committed"):
        _check_committed(who, ended, own, versions[result.version].content)
    elif not own and not _has_it(result, versions[: result.version + 1]):
        raise Violation("S4", f"{who} moved to version {result.version}, and is nowhere")


def _has_it(result: Any, versions: Sequence[Version]) -> bool:
    """Whether a version had the property before, so that there was nothing to commit."""
    tables = [version.manifest["table"] for version in versions if "table" in version.manifest]
    return any(table.get("properties", {}).get("row_group_rows") == result.wanted for table in tables)


def _check_committed(who: str, ended: Ended, own: Sequence[int], content: Content) -> None:
    result, call = ended.outcome.result, ended.outcome.call
    if result.committed and list(own) != [result.version]:
        raise Violation("S4", f"{who} was told version {result.version}, and is in {own}")
    if not result.committed and own:
        raise Violation("S5", f"{who} was told that nothing was committed, and is in {own}")
    if not result.committed and not call.apply(content, ended.outcome.process).same(content):
        raise Violation("S4", f"{who} says that it has nothing to do on version {result.version}")


def _check_error(who: str, ended: Ended, own: Sequence[int], versions: Sequence[Version]) -> None:
    error, call = ended.outcome.result, ended.outcome.call
    assert isinstance(error, TxFilesError)
    if error.committed == "no" and own:
        raise Violation("S5", f"{who} was told that it is not committed ({error.kind}), and is in version {own}")
    if error.committed == "yes" and not own:
        raise Violation("S4", f"{who} was told that it is committed ({error.kind}), and is nowhere")
    if error.kind == "commit-state-unknown" and not error.commit_id.startswith(ended.outcome.prefix):
        raise Violation("S6", f"{who} was given another commit id")
    reasons = {
        "store": ended.outcome.faulted,
        "commit-state-unknown": ended.outcome.faulted or ended.outcome.unclear,
        "snapshot-expired": smallest_whole(versions) > 0,
        "not-found": ended.floor < 0,
        "conflict": (getattr(call, "gives_up", False) and len(versions) > ended.floor + 1)
        or (call.name.startswith("restore") and smallest_whole(versions) > 0),
    }
    window = range(max(0, ended.floor), ended.head + 1)
    refused = any(call.refuses(versions[number].content) == error.kind for number in window)
    if not refused and not reasons.get(error.kind, False):
        raise Violation("L1", f"{who} failed without a reason: {error.kind}: {error}")


# ---- what the log and the files say -----------------------------------------------------------


def _check_batches(versions: Sequence[Version]) -> None:
    known: Mapping[str, int] = {}
    for version, after in zip(versions, _batch_ids(versions), strict=True):
        if version.manifest["operation"].get("batch_id") in known:
            raise Violation("S11", "a batch is there twice")
        known = after


def _batch_ids(versions: Sequence[Version]) -> list[dict[str, int]]:
    """The batch ids of each version, and what committed them; a restore goes back to those of its version."""
    found: list[dict[str, int]] = []
    for number, version in enumerate(versions):
        restored = version.manifest.get("restore")
        ids = dict(found[restored["version"] if restored else -1]) if found else {}
        batch = version.manifest["operation"].get("batch_id")
        found.append(ids | ({batch: number} if batch else {}))
    return found


def _check_files(state: State, versions: Sequence[Version]) -> None:
    """S7, S15: whole versions are whole, whatever a vacuum took."""
    checked = set()
    for number in range(smallest_whole(versions), len(versions)):
        for path, add in versions[number].live.items():
            if "vector" in add and _vector(add["vector"], state) is None:
                raise Violation("S7", f"version {number} names a vector of {path}, which is gone or has other bytes")
            if path in checked:
                continue
            checked.add(path)
            found = state.objects.get(unquote(path))
            if found is None:
                raise Violation("S7", f"version {number} names {path}, which is gone")
            if (len(found.data), sha256_of(found.data)) != (add["bytes"], add["sha256"]):
                raise Violation("S7", f"version {number} names {path}, which has other bytes")
    # A lost checkpoint costs no data, but a vacuum must not take what the newest version names.
    for name in _checkpoint_files(versions[-1].manifest) if versions and not versions[-1].content.detached else ():
        if name not in state.objects:
            raise Violation("S14", f"the newest version names {name}, which is gone")


def _checkpoint_files(manifest: Mapping[str, Any]) -> list[str]:
    ref = manifest.get("checkpoint")
    if ref is None:
        return []
    return [
        names.checkpoint(ref["version"], ref["id"]),
        *(names.CHECKPOINT_DIR + part for part in ref.get("parts", ())),
    ]


def listed(manifest: Mapping[str, Any]) -> set[str]:
    """The names that a vacuum's manifest lists."""
    return {unquote(path) for path in manifest.get("vacuum", {}).get("deletes", ())}


def smallest_whole(versions: Sequence[Version]) -> int:
    """From which version on all are whole."""
    return max(
        (version.manifest.get("vacuum", {}).get("oldest_readable_version", 0) for version in versions), default=0
    )


def _stored_content(
    live: Mapping[str, Mapping[str, Any]], content: Content, called: Mapping[int, str], state: State
) -> Content | None:
    """The rows of a version; None where a vacuum has taken files of it since."""
    rows: list[dict[str, Any]] = []
    for path, add in live.items():
        found = state.objects.get(unquote(path))
        if found is None:
            return None
        partition = {"part": add["partition"][0]} if add.get("partition") else {}
        marked = _vector(add["vector"], state) if "vector" in add else frozenset()
        if marked is None:
            return None
        rows += [
            {name: (one | partition).get(name) for name in content.columns}
            for position, one in enumerate(codec.rows(found.data, called))
            if position not in marked
        ]
    return Content(tuple(rows), content.columns)


def _vector(vector: Mapping[str, Any], state: State) -> frozenset[int] | None:
    """The positions that a vector marks, as another library reads them; None if its bytes are not there."""
    found = state.objects.get(names.VECTOR_DIR + vector["file"])
    data = b"" if found is None else found.data[vector["offset"] : vector["offset"] + vector["bytes"]]
    return _bitmap(data) if sha256_of(data) == vector["sha256"] else None


@lru_cache(65_536)
def _bitmap(data: bytes) -> frozenset[int]:
    return frozenset(BitMap.deserialize(data))


@lru_cache(65_536)
def sha256_of(data: bytes) -> str:
    """Hex digits."""
    return hashlib.sha256(data).hexdigest()


def manifest_of(data: bytes, objects: Mapping[str, Stored]) -> dict[str, Any]:
    """A manifest with the actions of its sidecar.

    Raises:
        Violation: its seal does not hold.
    """
    manifest: dict[str, Any] = json.loads(data)
    if manifest["sha256"] != sha256_of(data[: data.rindex(b'"sha256"')]):
        raise Violation("S2", "a manifest's seal does not hold")
    if "sidecar" in manifest:
        actions = json.loads(objects[names.SIDECAR_DIR + manifest["sidecar"]["name"]].data)
        manifest |= {name: actions.get(name, []) for name in ("add", "remove", "mark")}
        if "vacuum" in manifest:
            manifest["vacuum"] |= {"deletes": actions["deletes"]}
    return manifest
