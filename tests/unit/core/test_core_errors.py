"""Errors: one tree, told as it is; they survive a process boundary with their evidence."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from txfiles import errors
from txfiles.errors import (
    CommitStateUnknownError,
    CorruptTableError,
    InputError,
    KeyColumnNotFoundError,
    KeysRequiredError,
    StoreError,
    TableNotFoundError,
    TxFilesError,
    UnreadableInputError,
    UnsupportedTypeError,
)

CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, TxFilesError)]


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """The tree in the module's docstring: class → its parent, and the built-in that it also is."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str | None, str | None]] = {}
    way: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+Error)(?: \((?P<also>\w+)\))?", line)
        if found:
            depth = len(found["branch"]) // 4
            way[depth:] = [found["name"]]
            tree[found["name"]] = (way[depth - 1] if depth else None, found["also"])
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """What the documentation draws is what `except` catches."""
    actual = {}
    for found in CLASSES:
        ours = [base.__name__ for base in found.__bases__ if issubclass(base, TxFilesError)]
        others = [base.__name__ for base in found.__bases__ if base.__name__ not in [*ours, "Exception"]]
        actual[found.__name__] = (ours[0] if ours else None, others[0] if others else None)
    assert drawn() == actual


def test_kinds_are_words_of_their_own() -> None:
    """Programs tell errors apart by `kind`: one for each class, in one spelling."""
    kinds = [found.kind for found in CLASSES]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for kind in kinds)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_with_its_evidence(cls, again) -> None:
    """Message, hint, outcome and evidence come back in another process, whatever the class."""
    error = cls("what happened: 'x'", hint="do that", committed="unknown", rows=[1, 2], version=7)
    found = again(error)
    assert type(found) is cls
    assert (str(found), found.message, found.hint, found.committed) == (str(error), error.message, "do that", "unknown")
    assert (found.rows, found.version, found.evidence) == ([1, 2], 7, {"rows": [1, 2], "version": 7})


@pytest.mark.parametrize("cls", CLASSES)
def test_str_is_the_message(cls) -> None:
    """No class prints a repr or a tuple instead of its message; KeyError would."""
    assert str(cls("key column 'idd' not found\nin the data")) == "key column 'idd' not found\nin the data"


def test_a_key_column_that_is_missing_is_a_key_error_to_be_read() -> None:
    """It can be caught as KeyError, ValueError or TxFilesError, and reads as a sentence."""
    error = KeyColumnNotFoundError("key column 'idd' not found in the data", column="idd")
    assert isinstance(error, KeyError)
    assert isinstance(error, ValueError)
    assert str(error) == "key column 'idd' not found in the data"
    assert error.column == "idd"


def test_errors_are_what_callers_know() -> None:
    """Input errors are ValueErrors, a missing table is a LookupError."""
    assert issubclass(InputError, ValueError)
    assert issubclass(KeysRequiredError, ValueError)
    assert issubclass(TableNotFoundError, LookupError)


def test_evidence_that_is_not_there_is_an_attribute_error() -> None:
    """An error answers for what it knows only, so `hasattr` and `getattr` with a default work."""
    error = CommitStateUnknownError("unknown", commit_id="c", committed="unknown")
    assert error.commit_id == "c"
    assert not hasattr(error, "version")
    assert getattr(error, "version", None) is None
    assert InputError("x").committed == "no"
    assert InputError("x").hint is None


@pytest.mark.parametrize("cls", [CorruptTableError, StoreError, UnreadableInputError, UnsupportedTypeError])
def test_trouble_with_files_always_has_a_hint(cls) -> None:
    """Where nothing better is known, the error says what one usually does next."""
    assert cls("x").hint == cls.usual_hint
    assert cls("x").hint
    assert cls("x", hint="do that").hint == "do that"
