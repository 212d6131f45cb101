"""What somebody else keeps in a folder: data files, or a table of another kind."""

from __future__ import annotations

from txfiles.core import names, strangers
from txfiles.errors import FolderNotEmptyError, TableNotFoundError
from txfiles.log import detached, identity, versions
from txfiles.log.session import Session
from txfiles.log.snapshot import Snapshot
from txfiles.store.port import Store

HINTS = {"a Delta table": "give format='delta' (--format delta): then it is a table like others"}


def refuse_foreign_files(session: Session) -> None:
    """Refuse to create a table among somebody's data files.

    Raises:
        FolderNotEmptyError: names the first such file.
    """
    store = session.store
    own: str | None = None
    for entry in store.list_from(""):
        if entry.name.startswith(names.LOG_DIR) or not (_log_of(entry.name) or entry.name.endswith(strangers.SUFFIXES)):
            continue
        # Read only now: another creation writes its id before the first of its files that the listing could show.
        own = own or identity.table_id(store)
        if own is not None and (names.is_data_name(entry.name, own) or names.is_temporary(entry.name, own)):
            continue
        name, what = _foreign_log(store) or (entry.name, "data files")
        raise FolderNotEmptyError(
            f"{store.root} has no txfiles log and holds {what} ({name}); nothing was written",
            hint=HINTS.get(
                what, f"`txfiles adopt {store.root}` makes a table of Parquet or CSV files; or write to a new folder"
            ),
            file=name,
        )


def require_table(session: Session) -> Snapshot:
    """The newest version.

    Raises:
        TableNotFoundError: there is no table of this kind; says so if there is one of another.
    """
    try:
        return versions.require_head(session)
    except TableNotFoundError:
        moved = detached.moved_logs(session.store)
        if moved:
            raise TableNotFoundError(
                f"there is no table at {session.store.root} any more: it was detached, and {moved[0][0]} is left of it",
                hint="`txfiles detach` run again removes that; the data files can be read with any reader",
            ) from None
        found = _foreign_log(session.store)
        if found is None:
            raise
    name, what = found
    raise TableNotFoundError(
        f"{session.store.root} has no txfiles log and holds {what} ({name})",
        hint=HINTS.get(what, f"open it with a reader of {what.split()[1]} tables"),
    )


def _log_of(name: str) -> str | None:
    """The kind of table in this folder to whose log a name belongs."""
    found = strangers.log_of(name)
    return found[0] if found and not found[1] else None


def _foreign_log(store: Store) -> tuple[str, str] | None:
    """A file of the log of another kind of table, and which kind. Its data files may be listed before it."""
    for folder in ("_delta_log/", ".hoodie/", "metadata/"):
        for entry in store.list_from(folder):
            what = _log_of(entry.name)
            if what:
                return entry.name, what
    return None
