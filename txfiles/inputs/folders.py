"""The files behind the paths that a caller names, and the format of each.

Partition folders (`country=DE/`) are not interpreted: a folder that has them is refused, since its files lack the
partition columns.

Source: specs/4-semantics.md, "Inputs".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from txfiles.core.messages import redact
from txfiles.errors import UnreadableInputError
from txfiles.rows import looks

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".tsv": "csv", ".tsv.gz": "csv"}

_LOGS = {
    "_txfiles": "pass txfiles.Table({folder!r}).dataset() or .to_arrow()",
    "_delta_log": "pass deltalake.DeltaTable({folder!r}).to_pyarrow_table()",
}
_DATASET_HINT = "pass pyarrow.dataset.dataset({path!r}, partitioning='hive')"


def expand(paths: Iterable[str]) -> list[str]:
    """The files behind paths; a folder stands for all files of known formats below it, sorted by name.

    Raises:
        UnreadableInputError: nothing is there, or the folder is itself a table.
    """
    return [file for path in map(_home, paths) for file in (_below(path) if _is_folder(path) else [_existing(path)])]


def _home(path: str) -> str:
    """A path with a leading ``~`` or ``~name`` spelled out, as the shell does; unchanged if there is no such home."""
    return os.path.expanduser(path)


def _is_folder(path: str) -> bool:
    return bool(path) and Path(path).is_dir()


def _kind(path: str) -> str:
    name = Path(path).name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), "")


def kind_of(path: str) -> str:
    """The format of a file that was named: by its suffix, or by its content."""
    try:
        return _kind(path) or looks.kind_of_content(_head(path), path)
    except OSError as error:
        raise UnreadableInputError(f"{path!r} cannot be read: {error.strerror}", path=path) from error


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(looks.HEAD_BYTES)


def _existing(path: str) -> str:
    told = redact(path)
    if "://" in path:
        raise UnreadableInputError(f"{told!r} is not a local path", hint="write a file's plain path", path=told)
    if not path or not Path(path).exists():
        raise UnreadableInputError(f"there is no file or folder {told!r}", hint="check the path", path=told)
    return path


def _below(root: str) -> list[str]:
    found = []
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        refuse_table(folder, folders)
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [str(Path(folder, name)) for name in names if is_input(name)]
    found.sort(key=lambda file: Path(file).relative_to(root).parts)
    if not found:
        raise UnreadableInputError(
            f"folder {root!r} has no input files", hint=f"their names end in {', '.join(SUFFIXES)}", path=root
        )
    for file in found:
        if any("=" in part for part in Path(file).relative_to(root).parts[:-1]):
            raise UnreadableInputError(
                f"folder {root!r} has partition folders, whose columns are not in the files: {file!r}",
                hint=_DATASET_HINT.format(path=root),
                path=file,
            )
    return found


def refuse_table(folder: str, folders: list[str]) -> None:
    """Raise `UnreadableInputError` if one of the folders in a folder is a table's log."""
    for log, hint in _LOGS.items():
        if log in folders:
            raise UnreadableInputError(
                f"folder {folder!r} is a table with a log ({log}): reading its files would include superseded ones",
                hint=hint.format(folder=folder),
                path=folder,
            )


def is_input(path: str) -> bool:
    """Whether a file of a folder is read: by its suffix, or because Hadoop's tools name a table's parts so."""
    name = path.rpartition("/")[2]
    return not is_hidden(name) and (_kind(name) != "" or _PART.fullmatch(name) is not None)


_PART = re.compile(r"part-[-0-9a-z]+")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is for tools, not for readers, by its name."""
    return name.startswith(("_", "."))


def _unreadable(error: OSError) -> None:
    raise UnreadableInputError(f"{error.filename!r} cannot be read: {error.strerror}", path=error.filename) from error
