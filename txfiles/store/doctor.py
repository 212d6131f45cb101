"""Does a store do what txfiles needs? Tried with a few small objects of an own prefix, which are deleted again.

Each check is tried on its own, so that one that fails or is denied says nothing of the others. Nothing is taken from
the docs of a store: several servers accept the condition of a put, and ignore it.

Source: specs/16-verify.md, "Doctor"; specs/5-commit.md, "Stores".
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from txfiles.core.environment import Environment
from txfiles.core.names import TABLE_FILE
from txfiles.errors import NoAtomicCreateError, StoreError, TxFilesError
from txfiles.store import doctor_local, port
from txfiles.store.diagnosis import Check, DoctorResult
from txfiles.store.local import LocalStore
from txfiles.store.objects import ObjectStore
from txfiles.store.port import Put, Store

PREFIX = "_txfiles_doctor-"
"""What all names begin with, before an id of the call."""

RACERS = 8
"""Writers that create one name together."""

ROUNDS = 3
"""Races: a server that is only lucky wins some."""

LOOKS = 5
"""Requests of which the median is told."""

CLOCK_US = 5 * 60 * 1_000_000
"""S3 refuses requests from a clock that is 15 minutes off; a third of that is time to mend it."""

LIMIT_BYTES = 1 << 20

NO_CREATE = "two writers could commit the same version there, and one commit would be lost: keep tables elsewhere"
BROKEN = "keep tables on another store, or look for a proxy or gateway in between that changes answers"
DENIED_ERRNOS = (1, 13, 30)
"""EPERM, EACCES and EROFS."""

Trial = Callable[[], str | Check]


def examine(store: Store, environment: Environment) -> DoctorResult:
    """Try what txfiles needs of a store.

    Cost: about a hundred small requests. What was created is deleted, however the call ends, unless that is denied.
    """
    return _Examination(store, environment).result()


class _Examination:
    """The checks of one call, and the names that they have created."""

    def __init__(self, store: Store, environment: Environment) -> None:
        self._store, self._environment = store, environment
        self._folder = f"{PREFIX}{environment.new_id()}/"
        self._created: set[str] = set()
        self._checks: list[Check] = []

    def result(self) -> DoctorResult:
        store = self._store
        before = doctor_local.existing(store) if isinstance(store, LocalStore) else None
        try:
            self._try("backend", self._backend)
            self._try("list", self._list_nothing)
            may_write = self._try("create", self._create)
            dependent: dict[str, Trial] = {
                "read-back": self._read,
                "order": self._order,
                "replace": self._replace,
                "ranges": self._ranges,
                "race": self._race,
                "abandon": self._abandon,
            }
            for name, trial in dependent.items():
                if may_write:
                    self._try(name, trial)
                else:
                    self._checks.append(Check(name=name, status="skipped", found="nothing can be created there"))
            if not may_write:
                self._try("read", self._read_nothing)
            self._try("clock", self._clock)
            self._try("latency", self._latency)
            if isinstance(store, LocalStore) and may_write:
                self._checks += doctor_local.checks(store, self._folder, self._created)
        finally:
            self._try("delete", self._delete)
            if isinstance(store, LocalStore) and before is not None:
                doctor_local.remove_folders(store, self._folder, before)
        return DoctorResult(
            ok=not any(check.status in ("failed", "denied") for check in self._checks),
            url=store.root,
            backend=port.backend(store),
            checks=tuple(self._checks),
        )

    def _try(self, name: str, trial: Trial) -> bool:
        """Make a check; whether it did not fail."""
        try:
            found = trial()
        except TxFilesError as error:
            status = "denied" if _is_denied(error) else "failed"
            found = Check(name=name, status=status, found=error.message, hint=error.hint)
        self._checks.append(found if isinstance(found, Check) else Check(name=name, status="ok", found=found))
        return self._checks[-1].status in ("ok", "warning")

    def _name(self, last: str) -> str:
        name = self._folder + last
        self._created.add(name)
        return name

    # ------------------------------------------------------------ the checks

    def _backend(self) -> str:
        backend, why = port.backend(self._store), port.backend_reason(self._store)
        return (backend or "txfiles itself") + (f" ({why})" if why else "")

    def _list_nothing(self) -> str:
        found = sum(1 for _ in self._store.list_from(self._folder))
        return f"a listing of a new prefix has {found} names"

    def _read_nothing(self) -> str:
        """Nothing can be created, but perhaps a table can be read."""
        self._store.get(TABLE_FILE, limit=LIMIT_BYTES)
        return "what is there can be read"

    def _create(self) -> str | Check:
        name, store = self._name("once"), self._store
        first = store.put_if_absent(name, b"first")
        if first is Put.UNKNOWN:
            raise StoreError(f"it is unknown whether {store.url(name)} was created", hint="try again")
        second = store.put_if_absent(name, b"second")
        if second is Put.CREATED:
            return _failed("create", "a name that was taken was created again", NO_CREATE)
        return "a name that is taken is not created again"

    def _read(self) -> str | Check:
        name = self._name("once")
        data, entry = self._store.get(name, limit=LIMIT_BYTES), self._store.stat(name)
        if data is None or entry is None:
            return _failed("read-back", "an object that was created a moment ago is not found", BROKEN)
        if data != b"first" or entry.bytes != len(data):
            return _failed("read-back", f"an object reads as {data[:40]!r}, and was created as b'first'", BROKEN)
        if self._store.get(self._folder + "none", limit=LIMIT_BYTES) is not None:
            return _failed("read-back", "an object that was never created is found", BROKEN)
        return "an object is read as it was created, at once"

    def _order(self) -> str | Check:
        names = [self._name(f"list/{number:02}") for number in (3, 1, 10, 2)]
        for name in names:
            self._store.put_if_absent(name, b"")
        wanted = sorted(names)
        found = [entry.name for entry in self._store.list_from(self._folder + "list/")]
        if found != wanted:
            return _failed("order", f"a listing has {_last(found)}, not {_last(wanted)}", BROKEN)
        rest = [entry.name for entry in self._store.list_from(self._folder + "list/", wanted[1])]
        if rest != wanted[2:]:
            return _failed("order", f"a listing after {_last(wanted[1:2])} has {_last(rest)}", BROKEN)
        how = "at" if self._store.capabilities.lists_from_a_name else "from the beginning, and is then cut at"
        return f"names are listed in order, at once; a listing begins {how} a name"

    def _replace(self) -> str | Check:
        name = self._name("replaced")
        for data in (b"old", b"newer"):
            self._store.put(name, data)
        found = self._store.get(name, limit=LIMIT_BYTES)
        if found != b"newer":
            return _failed("replace", f"an object that was replaced reads as {found!r}", BROKEN)
        return "an object can be replaced"

    def _ranges(self) -> str | Check:
        name, data = self._name("ranges"), bytes(range(256))
        self._store.put(name, data)
        found = self._store.read_ranges(name, [(200, 20), (0, 3)], len(data))
        if list(map(bytes, found)) != [data[200:220], data[:3]]:
            return _failed("ranges", "a range of an object is not what was asked for", BROKEN)
        return "ranges of an object can be read"

    def _race(self) -> str | Check:
        for number in range(ROUNDS):
            name = self._name(f"race-{number}")
            bodies = [f"writer {racer}".encode() for racer in range(RACERS)]
            with ThreadPoolExecutor(RACERS) as pool:
                puts = list(pool.map(lambda body: self._store.put_if_absent(name, body), bodies))  # noqa: B023
            winners = [body for body, put in zip(bodies, puts, strict=True) if put is Put.CREATED]
            stored = self._store.get(name, limit=LIMIT_BYTES)
            in_doubt = Put.UNKNOWN in puts
            if len(winners) > 1 or (not winners and not in_doubt):
                found = f"{len(winners)} of {RACERS} writers were told that they created one name"
                return _failed("race", found, NO_CREATE)
            if winners and stored != winners[0]:
                return _failed("race", "another writer's object took the place of the winner's", NO_CREATE)
        return f"of {RACERS} writers that create one name together, one does"

    def _abandon(self) -> str | Check:
        name = self._name("abandoned")
        sink = self._store.create(name)
        sink.write(b"half of it")
        sink.abort()
        if self._store.stat(name) is not None:
            return _failed("abandon", "a file that was given up is there", BROKEN)
        if isinstance(self._store, ObjectStore):
            return self._abandon_upload(self._store, self._name("upload"))
        return "a file that is given up leaves nothing"

    def _abandon_upload(self, store: ObjectStore, name: str) -> str | Check:
        """The same for an upload in parts, which is aborted whatever happens."""
        client, key = store.client, store.key(name)
        upload = store.request("begin an upload of", name, lambda: client.upload(key))
        try:
            store.request("upload a part of", name, lambda: upload.part(1, b"part"))
        finally:
            store.request("abort the upload of", name, upload.abort)
        if any(begun.key == key for begun in store.request("list uploads of", name, lambda: client.uploads(key))):
            hint = "have the bucket's lifecycle rules delete unfinished uploads, which cost storage"
            return Check(name="abandon", status="warning", found="an upload that was aborted is still there", hint=hint)
        return "a file or an upload that is given up leaves nothing"

    def _clock(self) -> str | Check:
        ahead = self._environment.now_us() - self._store.now_us()
        seconds = abs(ahead) / 1_000_000
        if abs(ahead) < CLOCK_US:
            return f"this machine's clock and the store's differ by {seconds:.0f} s"
        return Check(
            name="clock",
            status="warning",
            found=f"this machine's clock is {seconds:.0f} s {'ahead of' if ahead > 0 else 'behind'} the store's",
            hint="set this machine's clock (NTP): commits carry its time, and stores refuse requests that are 15 "
            "minutes off",
        )

    def _latency(self) -> str:
        clock, name = self._environment.monotonic, self._folder + "once"
        took = []
        for _ in range(LOOKS):
            begun = clock()
            self._store.stat(name)
            took.append(clock() - begun)
        return f"a request takes {statistics.median(took) * 1_000:.1f} ms"

    def _delete(self) -> str | Check:
        """Delete all that was created; what stays is named."""
        names = sorted(self._created)
        self._store.delete_many(names)
        left = [name for name in names if self._store.stat(name) is not None]
        if left:
            return _failed("delete", f"objects that were deleted are still there: {_last(left)}", BROKEN)
        return f"{len(names)} names were deleted; nothing is left"


def _failed(name: str, found: str, hint: str) -> Check:
    return Check(name=name, status="failed", found=found, hint=hint)


def _is_denied(error: TxFilesError) -> bool:
    """Whether what is missing is a permission."""
    evidence = error.evidence
    return not isinstance(error, NoAtomicCreateError) and (
        evidence.get("failure") == "denied" or evidence.get("errno") in DENIED_ERRNOS
    )


def _last(names: list[str]) -> str:
    return ", ".join(name.rpartition("/")[2] for name in names) or "nothing"
