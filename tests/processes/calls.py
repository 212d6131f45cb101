"""Calls of the library as plain data, so that they can be sent to another process and be played again on the model."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

import txfiles as tx
from tests.model import Model, Row, bag
from txfiles.errors import TxFilesError

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string()), ("n", pa.int64()), ("time", pa.int64())])

Call = dict[str, Any]
"""`do` says what, `path` where, `pause` how many seconds to wait first; the rest are its arguments."""


def row(number: int, part: str = "a", n: int = 0, at: int = 0) -> Row:
    """One row of the tests' table."""
    return {"id": number, "part": part, "n": n, "time": at}


def arrow(rows: Sequence[Row]) -> pa.Table:
    """Rows as the library gets them."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


def digest(rows: Sequence[Row]) -> str:
    """A short form of rows without an order."""
    return hashlib.sha256(repr(bag(rows)).encode()).hexdigest()


def perform(call: Call) -> dict[str, Any]:
    """Do it; an error is an answer too, and one that the library does not own up to begins with '!'."""
    options = {name: value for name, value in call.items() if name not in ("do", "pause")}
    time.sleep(call.get("pause", 0.0))
    try:
        return _CALLS[call["do"]](**options)
    except TxFilesError as error:
        return {"error": error.kind, "message": error.message, "hint": error.hint, "committed": error.committed} | {
            name: error.evidence[name] for name in ("commit_id", "smallest", "path") if name in error.evidence
        }
    except Exception as error:
        return {"error": f"!{type(error).__name__}", "message": traceback.format_exc()}


def play(model: Model, call: Call) -> None:
    """What the call means."""
    rows = call.get("rows", [])
    if call["do"] == "delete":
        [(column, operator, value)] = call.get("where") or [("id", "in", call.get("keys"))]
        assert operator in ("==", "in")
        model.delete(lambda known: known[column] in (value if operator == "in" else [value]))
    if call["do"] == "transaction":
        for part in call["parts"]:
            play(model, part)
    if call["do"] == "restore":
        model.rows = [dict(known) for known in call["rows"]]
    if call["do"] != "write":
        return
    if call["mode"] == "overwrite" and call.get("overwrite_partitions"):
        parts = {given["part"] for given in rows}
        model.replace(rows, lambda known: known["part"] in parts)
    elif call["mode"] == "overwrite" and call.get("replace_where"):
        [(column, operator, value)] = call["replace_where"]
        assert operator == "=="
        model.replace(rows, lambda known: known[column] == value)
    elif call["mode"] == "overwrite":
        model.replace(rows, lambda known: True)
    else:
        model.keys = tuple(call.get("keys") or model.keys)
        model.timestamp_col = call.get("timestamp_col") or model.timestamp_col
        getattr(model, call["mode"])(rows)


def _write(path: str, rows: Sequence[Row], mode: str, **options: Any) -> dict[str, Any]:
    if "replace_where" in options:  # JSON has no tuples
        options["replace_where"] = [tuple(condition) for condition in options["replace_where"]]
    result = tx.write(arrow(rows), path, mode=mode, **options)
    names = ("version", "committed", "already_committed", "commit_id", "rows_in", "rows_inserted", "attempts")
    return {name: getattr(result, name) for name in names}


def _delete(
    path: str, lock: str | None = None, storage_options: Any = None, where: Any = None, **options: Any
) -> dict[str, Any]:
    conditions = None if where is None else [tuple(condition) for condition in where]
    result = tx.Table(path, lock=lock, storage_options=storage_options).delete(conditions, **options)
    names = ("version", "committed", "already_committed", "commit_id", "rows_deleted", "attempts")
    return {name: getattr(result, name) for name in names}


def _transaction(
    path: str, parts: Sequence[Call], lock: str | None = None, storage_options: Any = None, **options: Any
) -> dict[str, Any]:
    with tx.Table(path, lock=lock, storage_options=storage_options).transaction(**options) as transaction:
        for part in parts:
            more = {name: value for name, value in part.items() if name not in ("do", "rows", "mode")}
            if part["do"] == "write":
                transaction.write(arrow(part["rows"]), mode=part["mode"], **more)
            else:
                transaction.delete(**more)
    result = transaction.result
    assert result is not None
    names = ("version", "committed", "already_committed", "commit_id", "rows_in", "rows_inserted", "attempts")
    return {name: getattr(result, name) for name in names}


def _set(path: str, lock: str | None = None, storage_options: Any = None, **properties: Any) -> dict[str, Any]:
    table = tx.Table(path, lock=lock, storage_options=storage_options)
    table.set(properties)
    return {"version": table.version}


def _vacuum(path: str, lock: str | None = None, storage_options: Any = None, **options: Any) -> dict[str, Any]:
    result = tx.Table(path, lock=lock, storage_options=storage_options).vacuum(**options)
    return {"version": result.version, "committed": result.committed, "deleted": list(result.deleted)}


def _compact(path: str, lock: str | None = None, storage_options: Any = None, **options: Any) -> dict[str, Any]:
    result = tx.Table(path, lock=lock, storage_options=storage_options).compact(**options)
    return {"version": result.version, "committed": result.committed, "groups": result.groups}


def _index(path: str, lock: str | None = None, storage_options: Any = None, **options: Any) -> dict[str, Any]:
    result = tx.Table(path, lock=lock, storage_options=storage_options).index(**options)
    return {"version": result.version, "committed": result.committed, "covered": result.files_covered}


def _restore(
    path: str, rows: Any, lock: str | None = None, storage_options: Any = None, **options: Any
) -> dict[str, Any]:
    """Restore a version, which has these rows."""
    del rows
    result = tx.Table(path, lock=lock, storage_options=storage_options).restore(**options)
    return {"version": result.version, "committed": result.committed, "commit_id": result.commit_id}


def _read(
    path: str, version: int | None = None, back: int = 0, wait: float = 0.0, storage_options: Any = None
) -> dict[str, Any]:
    """Read a version, by number or some versions back from the newest; `wait` seconds after opening it."""
    table = tx.Table(path, storage_options=storage_options)
    if version is not None or back:
        table = table.at(version=max(0, table.version - back) if version is None else version)
    time.sleep(wait)
    return {"version": table.version, "digest": digest(table.to_arrow().to_pylist())}


def _detach(path: str, lock: str | None = None, storage_options: Any = None, **options: Any) -> dict[str, Any]:
    result = tx.detach(path, lock=lock, storage_options=storage_options, **options)
    return {"version": result.version, "committed": result.committed, "rows": result.rows, "files": result.files}


_CALLS = {
    "write": _write,
    "delete": _delete,
    "transaction": _transaction,
    "restore": _restore,
    "set": _set,
    "compact": _compact,
    "index": _index,
    "vacuum": _vacuum,
    "read": _read,
    "detach": _detach,
}
