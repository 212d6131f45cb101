"""Columns as the log has them: which names stand beside each other."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core.schema import Column, refuse_case_clashes
from txfiles.errors import SchemaMismatchError

NAMES = st.lists(
    st.text("aAßẞsSſİiIıσΣςkK\u212aéÉ\u0307ﬁ", min_size=1, max_size=2)
    | st.sampled_from(["straße", "STRASSE", "strasse", "ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς", "ὀδυσσεύσ", "İ", "i\u0307", "I"]),
    min_size=1,
    max_size=4,
    unique=True,
)
"""Names whose case is no matter of one letter for another: ß and SS, the final sigma, the dotted I, the kelvin sign."""


def clashes(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    """The pairs that differ in case only and did not stand beside each other before."""
    return [(a, b) for a, b in combinations(after, 2) if a.casefold() == b.casefold() and not {a, b} <= set(before)]


def columns(names: list[str], wrap: str) -> list[Column]:
    """The names as columns, or as fields of a struct somewhere in one column."""
    if not wrap:
        return [Column(id=number, name=name, type="int64") for number, name in enumerate(names, 1)]
    struct: Any = {"struct": [{"name": name, "type": "int64"} for name in names]}
    types: dict[str, Any] = {
        "c": struct,
        "c[]": {"list": struct},
        "c[].f": {"fixed_size_list": {"struct": [{"name": "f", "type": struct}]}, "size": 2},
        "c[key]": {"map": [struct, "int64"]},
        "c[][]": {"map": ["string", {"list": struct}]},
    }
    return [Column(id=1, name="c", type=types[wrap])]


@given(NAMES, NAMES, st.sampled_from(["", "c", "c[]", "c[].f", "c[key]", "c[][]"]), st.booleans())
def test_only_a_new_clash_of_case_is_refused(before: list[str], after: list[str], where: str, grows: bool) -> None:
    """Names that come to differ in case only are refused, both named, at any depth; those that did already stay."""
    after = list(dict.fromkeys([*before, *after])) if grows else after
    expected = clashes(before, after)
    if not expected:
        refuse_case_clashes(columns(before, where), columns(after, where))
        return
    with pytest.raises(SchemaMismatchError, match="differ only in case") as caught:
        refuse_case_clashes(columns(before, where), columns(after, where))
    assert caught.value.names in expected
    assert caught.value.where == where
    assert all(repr(name) in str(caught.value) for name in caught.value.names)
    assert "rename" in (caught.value.hint or "")
    assert "case_sensitive_names" in (caught.value.hint or "")


def test_a_renamed_or_retyped_column_keeps_the_names_of_its_fields() -> None:
    """A column's fields are compared with those that it had under another name, or with another id."""
    old = columns(["a", "A"], "c")
    refuse_case_clashes(old, [Column(id=1, name="renamed", type=old[0].type)])
    refuse_case_clashes(old, [Column(id=2, name="c", type=old[0].type)])
    with pytest.raises(SchemaMismatchError, match=r"fields of 'd' differ only in case: 'a' and 'A'"):
        refuse_case_clashes(old, [*old, Column(id=2, name="d", type=old[0].type)])
