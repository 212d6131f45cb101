"""A disk that can lose power: what was done to a folder is recorded, and every folder it could have become is made.

The recorder stands under `os`, so that it is the local store's own code that is recorded, down to each `fsync`. The
disk promises what POSIX does and no more. After a crash

- a file holds what it held at its last fsync, with any prefix (to a block's edge) of what was written since, or the
  right length filled with zeros;
- a folder has the names that it had at its last fsync, and of the changes since (create, mkdir, link, unlink, rename)
  any subset: each is made whole or not at all;
- to fsync a file says nothing of its name, to fsync a folder nothing of the files in it.

Source: Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), abstract persistence model.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BLOCK_BYTES = 4096

EVENTS = ("create", "mkdir", "link", "unlink", "rename", "write", "fsync", "returned")

Tree = dict[str, bytes | None]
"""What stands below the base, by path; None is a folder."""


@dataclass(frozen=True)
class Event:
    """One change of the disk, or a call that returned.

    Attributes:
        what: one of `EVENTS`.
        node: the file or folder it was done to.
        folder: the folder of the name.
        name: the name that was given, or taken away.
        old: the name it had before, of a rename.
        data: what was written.
    """

    what: str
    node: int
    folder: int = -1
    name: str = ""
    old: str = ""
    data: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.what} {self.name or self.node}"


class Recorder:
    """A frame in which changes below a folder are recorded. The folder itself is durable, and is node 0."""

    def __init__(self, base: Path) -> None:
        self.events: list[Event] = []
        self._nodes = {_identity(os.stat(base)): 0}
        self._count = itertools.count(1)
        self._guard = threading.RLock()
        self._real: dict[str, Callable[..., Any]] = {}

    def follow(self, earlier: Recorder) -> None:
        """Go on where another recorder of the same folder ended."""
        self.events = list(earlier.events)
        self._nodes = dict(earlier._nodes)
        self._count = itertools.count(1 + max(self._nodes.values()))

    def returned(self) -> None:
        """A public call has returned: what it did is acknowledged."""
        self.events.append(Event("returned", -1))

    def __enter__(self) -> Self:
        for name in ("open", "write", "fsync", "link", "unlink", "rename", "mkdir"):
            self._real[name] = getattr(os, name)
            setattr(os, name, self._guarded(getattr(self, f"_{name}")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _guarded(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            with self._guard:
                return operation(*args, **options)

        return guarded

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        folder = self._folder(path, dir_fd) if flags & os.O_CREAT else None
        there = folder is not None and _exists(path, dir_fd)
        fd: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if folder is not None and not there:
            self.events.append(Event("create", self._new(os.fstat(fd)), folder, _last(path)))
        return fd

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        folder = self._folder(path, dir_fd)
        if folder is not None:
            node = self._new(os.stat(path, dir_fd=dir_fd))
            self.events.append(Event("mkdir", node, folder, _last(path)))

    def _write(self, fd: int, data: Any) -> int:
        node = self._node(os.fstat(fd))
        count: int = self._real["write"](fd, data)
        if node is not None:
            self.events.append(Event("write", node, data=bytes(memoryview(data)[:count])))
        return count

    def _fsync(self, fd: int) -> None:
        node = self._node(os.fstat(fd))
        self._real["fsync"](fd)
        if node is not None:
            self.events.append(Event("fsync", node))

    def _link(self, source: Any, target: Any, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        self._real["link"](
            source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
        )
        self._named("link", target, dst_dir_fd)

    def _rename(self, source: Any, target: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert os.fstat(src_dir_fd) == os.fstat(dst_dir_fd)
        self._real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._named("rename", target, dst_dir_fd, old=_last(source))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        folder = self._folder(path, dir_fd)
        node = self._node(os.stat(path, dir_fd=dir_fd, follow_symlinks=False)) if folder is not None else None
        self._real["unlink"](path, dir_fd=dir_fd)
        if folder is not None and node is not None:
            self.events.append(Event("unlink", node, folder, _last(path)))

    def _named(self, what: str, target: Any, dir_fd: int, old: str = "") -> None:
        node = self._node(os.stat(target, dir_fd=dir_fd, follow_symlinks=False))
        folder = self._folder(target, dir_fd)
        if node is not None and folder is not None:
            self.events.append(Event(what, node, folder, _last(target), old))

    def _folder(self, path: Any, dir_fd: int | None) -> int | None:
        """The node of the folder that a name is in; None is outside of what is recorded."""
        status = os.fstat(dir_fd) if dir_fd is not None else os.stat(os.path.dirname(os.path.abspath(path)))
        return self._node(status)

    def _node(self, status: os.stat_result) -> int | None:
        return self._nodes.get(_identity(status))

    def _new(self, status: os.stat_result) -> int:
        # The system uses the number of a file that is gone again: it means the newest one.
        node = self._nodes[_identity(status)] = next(self._count)
        return node


class Killed(BaseException):
    """The process is no more."""


class Doomed(Recorder):
    """A recorder in whose frame the process dies before the n-th change: nothing changes the disk from there on.

    What runs on its way out of Python cannot touch the disk either; its locks are free, as if it had been killed.
    """

    def __init__(self, base: Path, at: int) -> None:
        super().__init__(base)
        self._at = at
        self._from = 0

    def follow(self, earlier: Recorder) -> None:
        """As the other, and counting from here."""
        super().follow(earlier)
        self._from = len(self.events)

    def _guarded(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            with self._guard:
                reading = operation == self._open and not args[1] & os.O_CREAT
                if len(self.events) >= self._from + self._at - 1 and not reading:
                    raise Killed
                return operation(*args, **options)

        return guarded


@dataclass
class _File:
    """Bytes that are durable, and all of them."""

    durable: int = 0
    data: bytes = b""

    def contents(self) -> list[bytes]:
        """What may be found of it, the least first."""
        if self.durable == len(self.data):
            return [self.data]
        edges = range(BLOCK_BYTES * (self.durable // BLOCK_BYTES + 1), len(self.data), BLOCK_BYTES)
        torn = [self.data[:edge] for edge in (*edges[:1], *edges[-1:])]
        zeros = self.data[: self.durable] + bytes(len(self.data) - self.durable)
        return [self.data[: self.durable], *torn, zeros, self.data]


@dataclass
class _Folder:
    """Names that are durable, and what was changed since."""

    durable: dict[str, int] = field(default_factory=dict)
    changes: list[Event] = field(default_factory=list)


class Disk:
    """What may be found after a crash, as events are applied one after the other."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[int, _Folder] = {0: _Folder()}

    def apply(self, event: Event) -> None:
        """Do to the disk what was done."""
        if event.what == "create":
            self._files[event.node] = _File()
        elif event.what == "mkdir":
            self._folders[event.node] = _Folder()
        if event.what == "write":
            self._files[event.node].data += event.data
        elif event.what == "fsync" and event.node in self._files:
            self._files[event.node].durable = len(self._files[event.node].data)
        elif event.what == "fsync":
            folder = self._folders[event.node]
            folder.durable = _names(folder, [True] * len(folder.changes))
            folder.changes = []
        elif event.folder >= 0:
            self._folders[event.folder].changes.append(event)

    @property
    def possible(self) -> int:
        """How many choices there are now; not all of them differ."""
        changes = sum(len(folder.changes) for folder in self._folders.values())
        return 2**changes * math.prod(len(file.contents()) for file in self._files.values())

    def states(self, most: int, chance: random.Random) -> Iterator[Tree]:
        """What may be found now: all of it where there are at most so many choices, else a sample.

        A sample has the extremes, and each choice alone, first.
        """
        places: list[tuple[int, int]] = [
            (node, at) for node, f in self._folders.items() for at in range(len(f.changes))
        ]
        contents = {node: file.contents() for node, file in self._files.items()}
        loose = [node for node, found in contents.items() if len(found) > 1]
        options = [*[2] * len(places), *(len(contents[node]) for node in loose)]
        for choice in _choices(options, most, chance):
            made = dict(zip(places, choice, strict=False))
            data = dict(zip(loose, choice[len(places) :], strict=True))
            names = {
                node: _names(folder, [bool(made[node, at]) for at in range(len(folder.changes))])
                for node, folder in self._folders.items()
            }
            yield dict(self._tree(0, "", names, {node: found[data.get(node, -1)] for node, found in contents.items()}))

    def _tree(
        self, node: int, path: str, names: dict[int, dict[str, int]], contents: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, child in sorted(names[node].items()):
            if child in self._folders:
                yield path + name, None
                yield from self._tree(child, f"{path}{name}/", names, contents)
            else:
                yield path + name, contents[child]


def make(tree: Tree, base: Path) -> None:
    """Put what was found into a real folder."""
    base.mkdir()
    for path, data in tree.items():
        if data is None:
            (base / path).mkdir()
        else:
            (base / path).write_bytes(data)


def _choices(options: list[int], most: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    if math.prod(options) <= most:
        yield from itertools.product(*map(range, options))
        return
    least, all_made = (0,) * len(options), tuple(count - 1 for count in options)
    yield least
    yield all_made
    for at, count in enumerate(options):
        yield (*least[:at], count - 1, *least[at + 1 :])
        yield (*all_made[:at], 0, *all_made[at + 1 :])
    for _ in range(max(0, most - 2 - 2 * len(options))):
        yield tuple(chance.randrange(count) for count in options)


def _names(folder: _Folder, made: list[bool]) -> dict[str, int]:
    """The names in a folder if just these of its changes were made."""
    names = dict(folder.durable)
    for event, kept in zip(folder.changes, made, strict=True):
        if not kept:
            continue
        if event.what == "unlink":
            names.pop(event.name, None)
        else:
            names.pop(event.old, None)
            names[event.name] = event.node
    return names


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _last(path: Any) -> str:
    return os.path.basename(os.fspath(path))


def _exists(path: Any, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
