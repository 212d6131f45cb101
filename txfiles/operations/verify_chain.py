"""The log against itself: no number is missing, each manifest continues the one before, checkpoints say the same.

Manifests are read from the newest back, until a vacuum's tells the oldest readable version, then replayed forwards from
there. A manifest that cannot be read ends the replay, not the check: the links between the others are still compared,
and the files of the last version before it, or of a later one with a checkpoint, are checked.

Source: specs/16-verify.md; specs/5-commit.md, "Replay".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise

import msgspec

from txfiles.core import names
from txfiles.core.manifest import CheckpointRef, Manifest
from txfiles.errors import CorruptTableError, StoreError, TableNotFoundError
from txfiles.findings import Problem, problem
from txfiles.log import identity, manifests, newest, versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Loaded, Snapshot, extend
from txfiles.operations import verify_checkpoints
from txfiles.operations.vacuum import live_paths

HELD = 1_000
"""Manifests that are kept between reading them backwards and replaying them; others are read again."""

AT_ONCE = 100
"""Manifests that are replayed together: one by one, each would build the list of files anew."""

GAP_LOOKS = 100
"""Missing numbers that are looked for once more: a folder that is written to may list a later one first."""

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
class _Read:
    """A manifest, or why there is none."""

    version: int
    loaded: Loaded | None = None
    problem: Problem | None = None


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
        _Replay(session, walked, table_id, wanted, found).run(taken, held, first=0 if deep else walked.oldest)
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
) -> deque[_Read]:
    """Read manifests until the oldest readable version is known and reached; the last ones read, oldest first."""
    held: deque[_Read] = deque(maxlen=HELD)
    oldest: int | None = None
    for one in session.together(lambda version: _read(session, version), reversed(taken)):
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


def _read(session: Session, version: int) -> _Read:
    where = names.manifest(version)
    try:
        loaded = manifests.load(session.store, version)
    except CorruptTableError as error:
        return _Read(version, problem=of_error("manifest", error, file=where, version=version))
    except StoreError as error:
        return _Read(version, problem=of_error("unreadable", error, file=where, version=version))
    if loaded is None:
        gone = problem("manifest-missing", f"manifest {version} is missing", f"restore {where} from a backup")
        return _Read(version, problem=gone)
    return _Read(version, loaded)


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


class _Replay:
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

    def run(self, taken: list[int], held: deque[_Read], *, first: int) -> None:
        """Replay the versions from `first` on."""
        walked = self._walked
        by_version = {one.version: one for one in held}
        mine = [version for version in taken if version >= first]
        wanted = by_version.get(self._wanted) or _read(self._session, self._wanted)
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

    def _forwards(self, mine: list[int], by_version: dict[int, _Read]) -> Iterator[_Read]:
        return self._session.together(
            lambda version: by_version.pop(version, None) or _read(self._session, version), mine
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
