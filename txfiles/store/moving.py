"""How the local store takes a whole folder away: one rename, then the removal of what is in it.

Whoever comes after the rename finds the folder complete or not at all.

Source: rename(2); specs/17-detach.md.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from stat import S_ISDIR

from txfiles.errors import StoreError
from txfiles.store.folders import Folders, sync, telling
from txfiles.store.port import MOVED


class MovesLocalFolders:
    """The part of the local store that moves and removes folders; see `port.MovesFolders`."""

    _folders: Folders

    def top_folders(self) -> list[str]:
        """The names of the folders directly below the root, links aside; none if there is no root."""
        with (
            telling("list", self._folders.url("")),
            suppress(FileNotFoundError),
            self._folders.opened([]) as root,
            os.scandir(root) as entries,
        ):
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return []

    def move_folder(self, folder: str, to: str) -> bool:
        """Give a folder another name, durably; False if there is no such folder.

        Raises:
            StoreError: the name is taken by something that is not an empty folder, or the system refused.
        """
        with telling("move", self._folders.url(folder)), suppress(FileNotFoundError), self._folders.opened([]) as root:
            if S_ISDIR(os.stat(folder, dir_fd=root, follow_symlinks=False).st_mode):
                os.rename(folder, to, src_dir_fd=root, dst_dir_fd=root)
                sync(root)
                return True
        return False

    def remove_folders(self, folder: str) -> bool:
        """Remove a folder and those below it, except those that hold anything else. Returns whether it is gone."""
        with telling("delete", self._folders.url(folder)):
            return self._remove(folder.split("/"))

    def _remove(self, folders: list[str]) -> bool:
        try:
            with self._folders.opened(folders) as folder, os.scandir(folder) as entries:
                inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return True
        for name in inner:
            self._remove([*folders, name])
        with self._folders.opened(folders[:-1]) as parent:
            try:
                os.rmdir(folders[-1], dir_fd=parent)
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return False
            sync(parent)
        return True


def moved(where: str) -> StoreError:
    """The error for a name that was to be created in a folder which is not at its place any more."""
    return StoreError(
        f"{where} was moved away or deleted meanwhile; nothing was written",
        hint="the table was detached or deleted: look at the folder",
        path=where,
        failure=MOVED,
    )
