"""Replaying a log for `verify`: as far as versions follow each other, and the links between those that do not.

Source: specs/16-verify.md; specs/5-commit.md, "Replay".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from txfiles.core import names
from txfiles.core.manifest import CheckpointRef, Manifest
from txfiles.errors import CorruptTableError, StoreError
from txfiles.findings import Problem, problem
from txfiles.log import manifests, versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded, Snapshot, extend
from txfiles.operations import verify_checkpoints
from txfiles.operations.vacuum import live_paths

AT_ONCE = 100
"""Manifests that are replayed together: one by one, each would build the list of files anew."""

RESTORE_LOG = "restore all of _txfiles/ from one backup"

Add = Callable[[Iterable[Problem]], None]


@dataclass
class Chain:
    """What the log leads to.

    Attributes:
        head: the newest version.
        oldest: the oldest readable one.
        snapshot: the version whose files are checked; None if none can be read.
        versions: how many manifests were read.
        is_whole: whether all of them could be replayed.
        known: paths of data files, vectors and runs that a readable version has.
        removed: path → the version that removed it, for data files that only older versions have.
        sizes: of those whose size is known.
        checkpoints: those that readable versions name.
    """

    head: int
    oldest: int = 0
    snapshot: Snapshot | None = None
    versions: int = 0
    is_whole: bool = True
    known: set[str] = field(default_factory=set)
    removed: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    checkpoints: dict[CheckpointRef, None] = field(default_factory=dict)

    def take(self, manifest: Manifest) -> None:
        """Note the files that a manifest of a readable version names."""
        for add in manifest.add:
            self.removed.pop(add.path, None)
            self.sizes[add.path] = add.bytes
            self.known.add(add.path)
        vectors = chain(
            (mark.vector for mark in manifest.mark), (add.vector for add in manifest.add if add.vector is not None)
        )
        self.known.update(names.encode_path(names.VECTOR_DIR + vector.file) for vector in vectors)
        self.known.update(action.add.path for action in manifest.index if action.add is not None)
        if manifest.version > self.oldest:  # the versions before have the file
            self.removed.update((action.path, manifest.version) for action in manifest.remove)
        if manifest.checkpoint is not None:
            self.checkpoints.setdefault(manifest.checkpoint)


@dataclass(frozen=True, slots=True)
class Read:
    """A manifest, or why there is none."""

    version: int
    loaded: Loaded | None = None
    problem: Problem | None = None


def read(session: Session, version: int) -> Read:
    """A manifest, or why there is none."""
    where = names.manifest(version)
    try:
        loaded = manifests.load(session.store, version)
    except CorruptTableError as error:
        return Read(version, problem=of_error("manifest", error, file=where, version=version))
    except StoreError as error:
        return Read(version, problem=of_error("unreadable", error, file=where, version=version))
    if loaded is None:
        gone = problem("manifest-missing", f"manifest {version} is missing", f"restore {where} from a backup")
        return Read(version, problem=gone)
    return Read(version, loaded)


class Replay:
    """The versions, one after the other, as far as they follow each other.

    Args:
        session: where the table is.
        walked: what is found out.
        table_id: of the table.
        wanted: the version whose files are to be checked.
        found: takes problems.
    """

    def __init__(self, session: Session, walked: Chain, table_id: str, wanted: int, found: Add) -> None:
        self._session, self._walked, self._table_id = session, walked, table_id
        self._wanted, self._found = wanted, found
        self._snapshot: Snapshot | None = None
        self._before: Loaded | None = None
        self._checkpoint: CheckpointRef | None = None

    def run(self, taken: list[int], held: deque[Read], *, first: int) -> None:
        """Replay the versions from `first` on."""
        walked = self._walked
        by_version = {one.version: one for one in held}
        mine = [version for version in taken if version >= first]
        wanted = by_version.get(self._wanted) or read(self._session, self._wanted)
        self._checkpoint = wanted.loaded.manifest.checkpoint if wanted.loaded is not None else None
        if first:
            mine = mine[1:] if self._begin(first) else mine
        walked.is_whole = walked.is_whole and (not first or self._snapshot is not None)
        together: list[Loaded] = []
        for one in self._forwards(mine, by_version):
            if one.problem is not None:
                self._follow(together)
                together = []
                self._broken([one.problem])
                continue
            assert one.loaded is not None
            if one.version >= walked.oldest:
                walked.take(one.loaded.manifest)
            together.append(one.loaded)
            if len(together) >= AT_ONCE or one.version in self._cuts:
                self._follow(together)
                together = []
        self._follow(together)
        if walked.snapshot is None or walked.snapshot.state.version != self._wanted:
            self._from_a_checkpoint()

    @property
    def _cuts(self) -> set[int]:
        cuts = {self._wanted, self._walked.oldest}
        return cuts | {self._checkpoint.version} if self._checkpoint is not None else cuts

    def _forwards(self, mine: list[int], by_version: dict[int, Read]) -> Iterator[Read]:
        return self._session.together(
            lambda version: by_version.pop(version, None) or read(self._session, version), mine
        )

    def _begin(self, first: int) -> bool:
        """The version to start from, with the files that it has; False if it cannot be read."""
        try:
            self._snapshot = versions.replayed(self._session, self._table_id, first)
            self._reached(self._snapshot)
        except CorruptTableError as error:
            self._broken([of_error("manifest", error, version=first)])
            return False
        return True

    def _follow(self, loaded: list[Loaded]) -> None:
        """Replay some manifests; if that fails, one by one, so that the one at fault is named."""
        if not loaded:
            return
        if self._snapshot is None and loaded[0].manifest.version > 0:
            self._compare_links(loaded)
            return
        try:
            reached = extend(self._snapshot, loaded, table_id=self._table_id)
            self._reached(reached)
        except CorruptTableError as error:
            if len(loaded) > 1:
                for one in loaded:
                    self._follow([one])
                return
            version = loaded[0].manifest.version
            self._broken([of_error("manifest", error, file=names.manifest(version), version=version)])
            self._before = loaded[0]
            return
        self._snapshot, self._before = reached, loaded[-1]

    def _reached(self, snapshot: Snapshot) -> None:
        """Note what a version has. Raises `CorruptTableError` if its list of files contradicts itself."""
        version, walked = snapshot.state.version, self._walked
        if version in (self._wanted, walked.oldest) or version % AT_ONCE == 0:
            snapshot.listing  # noqa: B018 - raises
        if version == walked.oldest:
            walked.known |= live_paths(snapshot) | {run.path for run in snapshot.state.runs}
        if version <= self._wanted:
            walked.snapshot = snapshot
        if self._checkpoint is not None and version == self._checkpoint.version:
            self._found(verify_checkpoints.against(self._session, self._checkpoint, snapshot))

    def _compare_links(self, loaded: list[Loaded]) -> None:
        """What can be said of manifests whose predecessor's state is not known."""
        for one in loaded:
            before = self._before
            if before is not None and one.manifest.version == before.manifest.version + 1:
                why = _broken_link(before, one)
                if why is not None:
                    self._found([_manifest(one.manifest.version, why)])
            self._before = one

    def _broken(self, problems: list[Problem]) -> None:
        self._found(problems)
        self._snapshot, self._before, self._walked.is_whole = None, None, False

    def _from_a_checkpoint(self) -> None:
        """The wanted version as readers open it, if a checkpoint spares them what is damaged."""
        try:
            found = versions.replayed(self._session, self._table_id, self._wanted)
            found.listing  # noqa: B018 - raises
        except (CorruptTableError, StoreError):  # the damage has been reported
            return
        self._walked.snapshot = found


def _broken_link(before: Loaded, after: Loaded) -> str | None:
    """Why a manifest does not continue its predecessor; None if it does."""
    if after.manifest.table_id != before.manifest.table_id:
        return f"it belongs to table {after.manifest.table_id}"
    if after.manifest.parent_sha256 != before.sha256:
        return "its predecessor is not the one that it was written after"
    if after.manifest.time_us <= before.manifest.time_us:
        return "it is not later than its predecessor"
    return None


def _manifest(version: int, why: str) -> Problem:
    where = names.manifest(version)
    return problem("manifest", f"{where} does not continue the log: {why}", RESTORE_LOG, version=version, file=where)


def of_error(kind: str, error: CorruptTableError | StoreError, **place: object) -> Problem:
    """An error as a problem of a kind; `place` says where, as `problem` takes it."""
    return problem(kind, error.message, error.hint, **place)  # type: ignore[arg-type]
