"""Runs of the key index for the files of one pass, written beside them.

What goes wrong here never fails a write: its files are then covered by no run, and are searched as before.

Source: specs/8-index.md; specs/decisions/0052-how-runs-join-a-table.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txfiles.core import names
from txfiles.core.manifest import RunKey, RunRef, TableMetadata
from txfiles.core.plan import RunMerge
from txfiles.errors import StoreError
from txfiles.formats.index_merge import merge_runs
from txfiles.formats.index_run import Cover, Run, RunFacts, write_run
from txfiles.formats.run_source import UnusableRunError
from txfiles.log import index
from txfiles.log.session import Session
from txfiles.rows.bytewise import Positions
from txfiles.rows.digests import Digester, Digests

logger = logging.getLogger("txfiles")

RUN_ENTRIES = 4_000_000
"""Files with more keys than this together get a run at once, so that the memory of a long write is bounded."""

RUN_FILES = 100_000
"""Likewise more files than this: a run's footer names each."""


class FileKeys:
    """The digests of one data file's keys, in the order of its rows."""

    def __init__(self, path: str, digester: Digester, cover: Callable[[_Covered], None]) -> None:
        self._path = path
        self._digester = digester
        self._cover = cover
        self._parts: list[tuple[Digests, Positions]] = []
        self._rows = 0

    def add(self, codes: pa.Array) -> None:
        """Append the codes of rows; one that is null is no entry."""
        positions = np.flatnonzero(np.asarray(codes.is_valid())) + self._rows
        self._parts.append((self._digester.digest(codes.drop_null()), positions))
        self._rows += len(codes)

    def complete(self) -> None:
        """These are all rows of the file: the next run covers it."""
        digests = Digests.join([digests for digests, _ in self._parts])
        positions = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in self._parts)])
        self._cover(_Covered(self._path, self._rows, digests, positions))


@dataclass(frozen=True, eq=False)
class _Covered:
    """A file that is to be covered by the next run."""

    path: str
    rows: int
    digests: Digests
    positions: Positions


class IndexRuns:
    """The runs for the files of one pass. Safe for threads.

    Args:
        session: where the table is.
        name: gives a new run its name, and remembers it.

    Attributes:
        failure: why a run was not written, if one was not.
    """

    def __init__(self, session: Session, name: Callable[[], str]) -> None:
        self._session = session
        self._name = name
        self._guard = threading.Lock()
        self._key: RunKey | None = None
        self._digester: Digester | None = None
        self._pending: list[_Covered] = []
        self._under_way: list[Callable[[], RunRef | None]] = []
        self.failure: StoreError | ValueError | None = None

    def begin(self, table: TableMetadata, table_id: str, path: str) -> FileKeys | None:
        """What collects the keys of a new file, by its path; None if the table's secret is not to be had.

        Cost: one request if this process does not know the secret, two if there is none.
        """
        with self._guard:
            if self._digester is None:
                try:
                    secret = index.made_secret(self._session, table_id)
                except StoreError as error:
                    logger.warning("the key index of %s is not kept: %s", self._session.store.root, error)
                    return None
                if secret is None:
                    return None
                self.use(table, secret)
            digester = self._digester
        assert digester is not None
        return FileKeys(path, digester, self._cover)

    def use(self, table: TableMetadata, secret: bytes) -> None:
        """Say which keys the runs hold, and the secret of their digests."""
        self._key, self._digester = index.run_key(table, secret), Digester(secret)

    def adopt(self, table: TableMetadata, table_id: str, runs: Sequence[RunRef]) -> None:
        """Take over runs that other processes have written for files of this pass."""
        try:
            secret = index.secret(self._session, table_id) if runs else None
        except StoreError as error:
            logger.warning("the key index of %s is not kept: %s", self._session.store.root, error)
            return
        if secret is not None:
            self.use(table, secret)
            self._under_way += [lambda run=run: run for run in runs]  # type: ignore[misc]

    def _cover(self, file: _Covered) -> None:
        with self._guard:
            self._pending.append(file)
            full = sum(len(file.digests) for file in self._pending) >= RUN_ENTRIES or len(self._pending) >= RUN_FILES
            before = self._under_way[-1:]
        if full:
            for wait in before:  # one run is written beside the next, no more
                wait()
            self.start()

    def start(self) -> None:
        """Write a run for what is pending, on a slow store beside what follows."""
        with self._guard:
            files, self._pending = self._pending, []
            if not files:
                return
            environment, run = self._session.environment, self._session.environment.new_id()
            name = self._name()
            if self._session.is_parallel:
                self._under_way.append(environment.start(lambda: self._written(name, run, files)))
                return
        found = self._written(name, run, files)
        with self._guard:
            self._under_way.append(lambda: found)

    def drop(self, paths: Collection[str]) -> None:
        """Files that no commit will name are not covered, if their run is not written yet."""
        with self._guard:
            self._pending = [file for file in self._pending if file.path not in paths]

    def finished(self) -> tuple[RunRef, ...]:
        """The runs of all files, complete and durable."""
        self.start()
        found = [wait() for wait in self._under_way]
        return tuple(run for run in found if run is not None)

    def abandon(self) -> None:
        """Write no more runs, and wait for those that are being written: somebody is about to delete them."""
        self._pending.clear()
        for wait in self._under_way:
            wait()

    def merged(
        self, refs: Sequence[RunRef], files: pa.ChunkedArray, gone: Collection[str], others: Sequence[RunRef] = ()
    ) -> RunMerge | None:
        """Merge runs that hold the keys of this pass; None if that cannot be done now.

        Args:
            refs: the runs.
            files: the paths of the live files.
            gone: those of them that this commit removes.
            others: runs of the same keys that are not merged, but go if no file that they cover is live.
        Cost: about 80 ns an entry, in slices; a look-up of the paths that they cover. One round trip to read small
            runs and the ends of others, and one to write the result.
        """
        try:
            return self._merged(refs, files, gone, others)
        except (StoreError, ValueError) as error:  # ValueError: it would cover more files than a run can
            logger.warning("runs of the key index of %s are not merged now: %s", self._session.store.root, error)
            return None

    def _merged(
        self, refs: Sequence[RunRef], files: pa.ChunkedArray, gone: Collection[str], others: Sequence[RunRef]
    ) -> RunMerge | None:
        opened = self._opened([*refs, *others], whole=len(refs))
        if not {*refs} <= opened.keys():
            return None
        live = _live(opened, files, gone)
        runs = {ref: opened[ref] for ref in refs if live[ref]}
        inputs = (*(ref.name for ref in refs), *(ref.name for ref in others if ref in opened and not live[ref]))
        paths = {path for ref in runs for path in live[ref]}
        if not runs:
            return RunMerge(inputs, None)
        name, run_id = self._name(), self._session.environment.new_id()
        try:
            facts = merge_runs(self._session.store.create(name), run_id, list(runs.values()), paths)
        except UnusableRunError as error:
            self._forget_damaged(runs, error)
            return None
        return RunMerge(inputs, self._ref(name, run_id, len(paths), facts))

    def _opened(self, refs: Sequence[RunRef], *, whole: int) -> dict[RunRef, Run]:
        """Some runs, the first few to be read to their end; without those that turn out to be no use."""

        def one(numbered: tuple[int, RunRef]) -> Run | UnusableRunError:
            number, ref = numbered
            try:
                return index.opened(self._session, ref, whole=number < whole, held=number >= whole)
            except UnusableRunError as error:
                return error

        found: dict[RunRef, Run] = {}
        for ref, run in zip(refs, self._session.together(one, enumerate(refs)), strict=True):
            if isinstance(run, UnusableRunError):
                index.forget(self._session, ref, run)
            else:
                found[ref] = run
        return found

    def _forget_damaged(self, runs: Mapping[RunRef, Run], error: UnusableRunError) -> None:
        """One of these runs is damaged: find out which."""
        for ref, run in runs.items():
            try:
                for _ in run.pieces():
                    pass
            except UnusableRunError:
                index.forget(self._session, ref, error)

    def _written(self, name: str, run: str, files: list[_Covered]) -> RunRef | None:
        assert self._key is not None
        counts = np.array([file.rows for file in files], np.int64)
        starts = np.cumsum(counts) - counts
        rows = np.concatenate([file.positions + start for file, start in zip(files, starts, strict=True)])
        cover = Cover(pa.array([file.path for file in files], pa.string()), counts)
        digests = Digests.join([file.digests for file in files])
        try:
            facts = write_run(self._session.store.create(name), run, self._key, cover, digests=digests, rows=rows)
        except (StoreError, ValueError) as error:  # ValueError: it would cover more files than a run can
            logger.warning("no run of the key index of %s for this commit: %s", self._session.store.root, error)
            self.failure = error
            return None
        return self._ref(name, run, len(files), facts)

    def _ref(self, name: str, run: str, files: int, facts: RunFacts) -> RunRef:
        assert self._key is not None
        return RunRef(
            name=name.removeprefix(names.INDEX_DIR),
            run=run,
            bytes=facts.bytes,
            entries=facts.entries,
            files=files,
            footer_bytes=facts.footer_bytes,
            footer_sha256=facts.footer_sha256,
            key=self._key,
        )


def _live(runs: Mapping[RunRef, Run], files: pa.ChunkedArray, gone: Collection[str]) -> dict[RunRef, list[str]]:
    """Of each run the paths of the files that are live after a commit that removes some. Cost: one look-up of paths."""
    covers = pa.concat_arrays([run.cover.paths for run in runs.values()])
    live = pc.and_not(pc.is_in(covers, value_set=files), pc.is_in(covers, value_set=pa.array([*gone], pa.string())))
    found, start = {}, 0
    for ref, run in runs.items():
        paths = run.cover.paths
        found[ref] = paths.filter(live.slice(start, len(paths))).to_pylist()
        start += len(paths)
    return found
