"""What `schema=` says: the types of columns, in the terms of any of the caller's libraries.

Source: specs/4-semantics.md, "Type names".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from txfiles.core.messages import is_unicode, short, shown
from txfiles.errors import CorruptTableError, OptionError, UnsupportedTypeError
from txfiles.rows.typenames import HINT, read_type
from txfiles.rows.types import from_spec, normalise, to_spec

_PYTHON: dict[Any, Any] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us"),
    date: pa.date32(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
}


def declared_types(schema: Any) -> pa.Schema | None:
    """`schema=` as a user gives it, as an Arrow schema without encodings.

    Args:
        schema: None, an Arrow schema, or names and types (a mapping, `df.dtypes` of pandas); of some columns or all.
    Raises:
        OptionError: not one of these, an unknown type or one that no table can hold, or a duplicate name.
    """
    if schema is None:
        return None
    if not isinstance(schema, pa.Schema) and hasattr(schema, "__arrow_c_schema__"):
        schema = pa.schema(schema)
    if isinstance(schema, pa.Schema):
        items = [(field.name, field.type) for field in schema]
    elif isinstance(schema, Mapping) or _library(schema) == "pandas":
        items = list(schema.items())
    else:
        raise OptionError(
            f"schema= cannot be a {type(schema).__name__}", hint="pass a pa.Schema, or a dict such as {'id': 'int64'}"
        )
    names = [name for name, _ in items]
    for name in names:
        if not isinstance(name, str) or not is_unicode(name) or names.count(name) > 1:
            raise OptionError(f"schema= names column {name!r}, which is not text or is named twice", column=name)
    return pa.schema([pa.field(name, _declared(name, said)) for name, said in items])


def declared_type(name: str, said: Any) -> pa.DataType:
    """The type that a user gives for one column, without encodings. Raises `OptionError` as `declared_types`."""
    return _declared(name, said, "the type")


def _declared(name: str, said: Any, given_as: str = "schema=") -> pa.DataType:
    try:
        found = normalise(_type_of(said))
        to_spec(found)
    except (CorruptTableError, OptionError, UnsupportedTypeError) as error:
        hint = HINT if isinstance(error, CorruptTableError) else error.hint
        raise OptionError(f"{given_as} for column {name!r}: {error.message}", hint=hint, column=name) from error
    return found


def _type_of(said: Any) -> pa.DataType:
    """A type of Arrow's from one of any library's, or from text.

    No library is imported that the caller has not already imported for the type.
    """
    if isinstance(said, pa.DataType):
        return said
    if isinstance(said, str):
        return from_spec(_document(said)) if said.lstrip().startswith("{") else read_type(said)
    if isinstance(said, Mapping):
        return from_spec(said)
    if isinstance(said, type) and said in _PYTHON:
        return _PYTHON[said]
    if isinstance(said, np.dtype) or (isinstance(said, type) and issubclass(said, np.generic)):
        return _of_numpy(np.dtype(said))
    if _library(said) == "pandas":
        from txfiles.inputs.pandas import arrow_type

        return arrow_type(said)
    if _library(said) == "polars":
        from txfiles.inputs.polars import arrow_type

        return arrow_type(said)
    if hasattr(said, "__arrow_c_schema__"):
        return pa.field(said).type
    raise OptionError(f"{shown(said)} is not a type", hint=HINT)


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{short(text)!r} is not JSON: {error}", hint=HINT) from error


def _of_numpy(dtype: np.dtype[Any]) -> pa.DataType:
    try:
        return pa.from_numpy_dtype(dtype)
    except (pa.ArrowException, NotImplementedError) as error:
        raise OptionError(f"Arrow has no type for numpy's {dtype}", hint=HINT) from error


def _library(said: Any) -> str:
    """The package that an object's type, or a type, comes from."""
    return (said if isinstance(said, type) else type(said)).__module__.partition(".")[0]
