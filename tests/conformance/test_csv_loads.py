"""CSV files loaded one after the other: what was inferred from the first holds for the later ones, in any order."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txfiles as tx
from txfiles.errors import InputError, LossyCastError, OptionError, SchemaMismatchError, UnreadableInputError


def csv(folder: Path, name: str, text: str | bytes) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(table: Path) -> dict[str, list[Any]]:
    """A table's rows."""
    found: dict[str, list[Any]] = tx.Table(table).to_arrow().to_pydict()
    return found


def inferred(table: Path) -> dict[str, Any]:
    """What the log records of how columns were inferred."""
    return {c.name: c.inferred for c in tx.Table(table)._opened.snapshot.state.table.columns}


# ---- keys and the order of loads


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("mode", ["upsert", "append_once", "append"])
def test_a_later_identifier_is_not_taken_for_a_number(tmp_path: Path, format: str, mode: str) -> None:
    """'007' never meets key 7: it is refused, and the hint leads to one table of text, whatever came first."""
    one = csv(tmp_path, "1.csv", "sku,n\n7,seven\n100,c\n30,x\n")
    two = csv(tmp_path, "2.csv", "sku,n\n007,bond\n")
    keys = None if mode == "append" else ["sku"]
    tx.write(one, tmp_path / "a", mode=mode, keys=keys, format=format)
    with pytest.raises(UnreadableInputError, match="'sku', row 0: '007'") as caught:
        tx.write(two, tmp_path / "a", mode=mode, keys=keys)
    assert caught.value.types[-1] == "string"
    assert tx.Table(tmp_path / "a").version == 0
    assert len(rows(tmp_path / "a")["sku"]) == 3
    _follow(caught.value, two, tmp_path / "a", mode=mode, keys=keys)
    tx.write(two, tmp_path / "b", mode=mode, keys=keys, format=format)
    tx.write(one, tmp_path / "b", mode=mode, keys=keys)
    assert sorted(rows(tmp_path / "a")["sku"]) == sorted(rows(tmp_path / "b")["sku"]) == ["007", "100", "30", "7"]


def _follow(error: InputError, data: Any, table: Path, **options: Any) -> tx.WriteResult:
    """Do what the hint says to keep the text."""
    said = re.search(r"schema=\{'(\w+)': 'string'\} with schema_mode='merge'", error.hint or "")
    assert said, error.hint
    return tx.write(data, table, schema={said[1]: "string"}, schema_mode="merge", **options)


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_column_that_became_text_is_found_as_text(tmp_path: Path, format: str) -> None:
    """Bounds and key ranges in the order of numbers are gone with the commit: filters and keys find every old row."""
    table = tmp_path / "t"
    old = csv(tmp_path, "1.csv", "sku,d,b,p\n" + "".join(f"{n},2024-01-{n:02},true,{n}.50\n" for n in range(1, 31)))
    tx.write(old, table, mode="upsert", keys="sku", format=format)
    tx.write(old, table, mode="upsert", schema=dict.fromkeys(["sku", "d", "b", "p"], "string"), schema_mode="merge")
    for handle in (tx.Table(table), tx.Table(table).at(version=1)):
        found = handle.to_arrow()
        assert set(map(str, found.schema.types)) == {"string"}
        assert found["p"].to_pylist() == [f"{n}.50" for n in range(1, 31)]
        assert handle.lookup(["9", "10", "09"]).num_rows == 2
        for n in range(1, 31):
            assert handle.to_arrow(filter=[("sku", "=", str(n))]).num_rows == 1
            assert handle.to_arrow(filter=[("p", "=", f"{n}.50")]).num_rows == 1
            assert handle.to_arrow(filter=[("d", "=", f"2024-01-{n:02}")]).num_rows == 1
        assert handle.to_arrow(filter=[("b", "=", "true")]).num_rows == 30
    again = tx.write(old, table, mode="upsert")
    assert (again.committed, again.rows_unchanged) == (False, 30)
    assert tx.Table(table).at(version=0).to_arrow()["sku"].to_pylist() == list(range(1, 31))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("k,x\n1,.5\n2,1E5\n", {}),
        ("k,x\n1,NA\n2,3\n", {}),
        ("k,x\n1,7\n2,3\n", {"timestamp_col": "x", "keys": "k", "mode": "upsert"}),
        ("k,x\n1,7\n2,3\n", {"partition_by": "x"}),
    ],
)
def test_columns_that_never_become_text(tmp_path: Path, text: str, options: dict[str, Any]) -> None:
    """Doubles, columns with a marker, timestamp and partition columns stay; the way out is to write the table anew."""
    one = csv(tmp_path, "1.csv", text)
    tx.write(one, tmp_path / "t", **({"mode": "append"} | options))
    with pytest.raises(SchemaMismatchError, match="cannot become string") as caught:
        tx.write(one, tmp_path / "t", mode="append", schema={"x": "string"}, schema_mode="merge")
    assert "mode='overwrite', schema_mode='overwrite'" in (caught.value.hint or "")
    assert tx.Table(tmp_path / "t").version == 0
    if not options:
        tx.write(one, tmp_path / "t", mode="overwrite", schema_mode="overwrite", schema={"x": "string"})
        assert rows(tmp_path / "t")["x"] == [line.split(",")[1] for line in text.split()[1:]]


WORDS = (
    "1 7 007 +5 1.5 2.25 1.10 1.9 .39 5e-04 2.0 NA null true x inf 2024-01-01 2024-01-01T10:00:00",
    "2024-01-01T10:00:00Z 12345678901234567890",
)
VALUES = st.sampled_from(" ".join(WORDS).split())
FILES = st.lists(VALUES, min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(FILES, FILES)
def test_the_order_of_loads_does_not_decide(tmp_path_factory: pytest.TempPathFactory, one: Any, two: Any) -> None:
    """Both orders give the same rows, or an error with a way to the other order's type, or errors with one to text."""
    folder = tmp_path_factory.mktemp("order")
    files = [csv(folder, f"{n}.csv", "v\n" + "".join(f"{v}\n" for v in values)) for n, values in enumerate((one, two))]
    outcomes = [_loaded(folder / str(n), order) for n, order in enumerate((files, files[::-1]))]
    tables = [table for table in outcomes if not isinstance(table, InputError)]
    errors = [table for table in outcomes if isinstance(table, InputError)]
    if not errors:
        assert tables[0] == tables[1]
    elif tables:
        kind = tables[0][0]
        assert kind in ("string", "double") or "na_values" in (errors[0].hint or "")
        if kind in ("string", "double"):
            kind = {"double": "float64"}.get(kind, kind)
            assert kind in errors[0].types
            tx.write(files, folder / "w", mode="overwrite", schema_mode="overwrite", schema={"v": kind})
            assert _content(folder / "w") == tables[0]
    else:
        assert all(error.types[-1] == "string" for error in errors)


def _loaded(table: Path, files: list[Path]) -> Any:
    tx.write(files[0], table, mode="append")
    try:
        tx.write(files[1], table, mode="append")
    except UnreadableInputError as error:
        assert tx.Table(table).version == 0
        return error
    return _content(table)


def _content(table: Path) -> tuple[str, list[str]]:
    found = tx.Table(table).to_arrow()
    return str(found.schema.field("v").type), sorted(map(str, found["v"].to_pylist()))


# ---- hints lead out


@pytest.mark.parametrize("declared", [False, True])
def test_no_hint_goes_in_a_circle(tmp_path: Path, declared: bool) -> None:
    """2.5 in a column of integers: each way that the hint names works at the first try."""
    one, two = csv(tmp_path, "1.csv", "n\n1\n2\n"), csv(tmp_path, "2.csv", "n\n2.5\n")
    table = tmp_path / "t"
    tx.write(one, table, mode="append", schema={"n": "int64"} if declared else None)
    with pytest.raises(UnreadableInputError) as caught:
        tx.write(two, table, mode="append", schema_mode="merge")
    hint = caught.value.hint or ""
    assert "schema={'n': 'float64'} with mode='overwrite', schema_mode='overwrite'" in hint
    if not declared:
        _follow(caught.value, two, table, mode="append")
        assert rows(table)["n"] == ["1", "2", "2.5"]
    tx.write([one, two], table, mode="overwrite", schema_mode="overwrite", schema={"n": "float64"})
    assert rows(table)["n"] == [1.0, 2.0, 2.5]
    with pytest.raises(LossyCastError) as lossy:
        tx.write(pd.DataFrame({"n": [1.5]}), tmp_path / "int", mode="append", schema={"n": "int64"})
    assert "merge" not in (lossy.value.hint or "")


def test_a_declared_type_may_be_spelt_in_any_lossless_way(tmp_path: Path) -> None:
    """`schema=` says that 007 is the number 7, now and later; the log then calls the column inferred no more."""
    one, two = csv(tmp_path, "1.csv", "n\n7\n"), csv(tmp_path, "2.csv", "n\n007\n")
    tx.write(one, tmp_path / "t", mode="append")
    assert inferred(tmp_path / "t")["n"].how == "exact"
    tx.write(two, tmp_path / "t", mode="append", schema={"n": "int64"})
    assert inferred(tmp_path / "t")["n"] is None
    tx.write(two, tmp_path / "t", mode="append")
    assert rows(tmp_path / "t")["n"] == [7, 7, 7]


def test_markers_of_later_files(tmp_path: Path) -> None:
    """A marker that the log records is null in later files too; another is an error that names csv=, which works."""
    table = tmp_path / "t"
    first = tx.write(csv(tmp_path, "1.csv", 'n,s\n1,NA\nNA,x\n2,""\n'), table, mode="append")
    assert first.notes == ("column 'n': 'NA' is null in 1 row",)
    tx.write(csv(tmp_path, "2.csv", "n,s\nNA,NA\n"), table, mode="append")
    other = csv(tmp_path, "3.csv", "n,s\nnull,y\n")
    with pytest.raises(UnreadableInputError, match="'null'") as caught:
        tx.write(other, table, mode="append")
    assert "csv={'na_values': ['null']}" in (caught.value.hint or "")
    tx.write(other, table, mode="append", csv={"na_values": ["null"]})
    assert rows(table) == {"n": [1, None, 2, None, None], "s": ["NA", "x", "", "NA", "y"]}


def test_quoted_markers_are_text_by_column(tmp_path: Path) -> None:
    """R quotes text and not NA: a quoted "NA" is text in its column, and an unquoted one null in another."""
    text = 'code,n,m\n"NA",NA,1\n"DE",2,"NA"\n'
    tx.write(csv(tmp_path, "1.csv", text), tmp_path / "t", mode="append")
    assert rows(tmp_path / "t") == {"code": ["NA", "DE"], "n": [None, 2], "m": ["1", "NA"]}


def test_pandas_reading_of_the_same_file_fits(tmp_path: Path) -> None:
    """Floats go into an inferred decimal column if their shortest text fits it, and are refused if not."""
    one = csv(tmp_path, "1.csv", "p\n10.10\n9.99\n0.00\n")
    tx.write(one, tmp_path / "t", mode="append")
    tx.write(pd.read_csv(one), tmp_path / "t", mode="append")
    assert rows(tmp_path / "t")["p"] == [Decimal("10.10"), Decimal("9.99"), Decimal("0.00")] * 2
    with pytest.raises(LossyCastError, match="row 1 holds"):
        tx.write(pd.DataFrame({"p": [1.5, 1.125]}), tmp_path / "t", mode="append")
    assert tx.Table(tmp_path / "t").version == 1


# ---- files as people have them

FRAME = pd.DataFrame({"id": [1, 2, 3], "x": [0.5, None, 1e-7], "s": ["a", None, "NA"], "b": [True, False, True]})

CORPUS = [
    ("pandas.csv", FRAME.to_csv(), {}, {"id": [1, 2, 3], "x": [0.5, None, 1e-7], "s": ["a", None, "NA"]}),
    ("R.csv", '"","n","s"\n"1",NA,"NA"\n"2",.5,"x"\n', {}, {"n": [None, 0.5], "s": ["NA", "x"]}),
    ("rownames.csv", '"","mpg"\n"Mazda RX4",21\n"Fiat",22.8\n', {}, {"column_0": ["Mazda RX4", "Fiat"]}),
    ("sas.csv", "a,b\n.,1\n2,x\n", {}, {"a": [None, 2], "b": ["1", "x"]}),
    ("excel.csv", "id;p\r\n1;1,50\r\n", {"sep": ";", "decimal": ","}, {"id": [1], "p": [Decimal("1.50")]}),
    ("x.tsv", "a\tb\n1\tx,y\n", {}, {"a": [1], "b": ["x,y"]}),
    ("part-00000", "a,b\n1,2\n", {}, {"a": [1], "b": [2]}),
    ("export.txt", "a|b\n1|2\n", {"delimiter": "|"}, {"a": [1], "b": [2]}),
    ("none.csv", "0,0,1.5\n1,2,3.5\n", {"header": False}, {"column_0": [0, 1]}),
    ("none.csv", "0,0\n1,2\n", {"names": ["a", "b"]}, {"a": [0, 1], "b": [0, 2]}),
    ("u16.csv", "a,b\n1,ä\n".encode("utf-16"), {"encoding": "utf-16"}, {"b": ["ä"]}),
    ("cp.csv", "a,b\n1,ä\n".encode("cp1252"), {"encoding": "cp1252"}, {"b": ["ä"]}),
    ("quote.csv", "a,b\n1,'x,y'\n", {"quotechar": "'"}, {"b": ["x,y"]}),
    ("null.csv", 'a,b\n1,-\n-,"-"\n', {"null": "-"}, {"a": [1, None], "b": [None, "-"]}),
    ("hole.csv", "a,,b\n1,2,3\n", {}, {"a": [1], "column_1": [2], "b": [3]}),
    ("keep.csv", ",a\n0,x\n1,y\n", {"unnamed": "keep"}, {"column_0": [0, 1], "a": ["x", "y"]}),
    ("one.csv", ",a\n0,x\n", {}, {"column_0": [0], "a": ["x"]}),
    ("drop.csv", "a,,b\n1,2,3\n", {"unnamed": "drop"}, {"a": [1], "b": [3]}),
]


@pytest.mark.parametrize(("name", "text", "dialect", "expected"), CORPUS)
def test_files_as_people_have_them(tmp_path: Path, name: str, text: Any, dialect: Any, expected: Any) -> None:
    """What pandas, R, SAS and Excel write is read with its numbers as numbers and its text as text."""
    result = tx.write(csv(tmp_path, name, text), tmp_path / "t", mode="append", csv=dialect or None)
    found = rows(tmp_path / "t")
    assert {column: found[column] for column in expected} == expected
    assert result.version == 0


LOOKS = [
    ("a.csv", "id;name\n1;Ada\n", "semicolon", "csv={'sep': ';'}"),
    ("a.csv", '"id";"name"\n1;"Ada"\n', "semicolon", "csv={'sep': ';'}"),
    ("a.csv", "id\tname\n1\tAda\n", "a tab", r"csv={'sep': '\t'}"),
    ("a.tsv", "id,name\n1,Ada\n", "a comma", "csv={'sep': ','}"),
    ("a.csv", '"a" "b"\n"r" 1 2\n', "a blank", "csv={'sep': ' '}"),
    ("a.csv", "<!DOCTYPE html><html>503</html>", "HTML", "error page"),
    ("a.csv", '{"error": "no"}', "JSON", "read_json"),
    ("a.csv", b"PAR1\0\0", "a Parquet file", ".parquet"),
    ("a.csv", b"\x1f\x8b\x08\0", "gzip", ".csv.gz"),
    ("a.csv", b"PK\x03\x04..", "Excel", "save the sheet"),
    ("a.csv", "a,b\n1,ä\n".encode("utf-16"), "UTF-16", "csv={'encoding': 'utf-16'}"),
    ("a.csv", "0,0,1.5\n1,2,3\n", "no header", "csv={'header': False}"),
    ("a.csv", "a,b\nx,1,2\ny,3,4\n", "R's row names", "row.names = FALSE"),
    ("odd", b"\x00\x01\x02", "is not text", "Parquet and CSV"),
]


@pytest.mark.parametrize(("name", "content", "looks", "hint"), LOOKS)
def test_what_a_file_looks_like(tmp_path: Path, name: str, content: Any, looks: str, hint: str) -> None:
    """A file that is not what it is taken for is refused: what it looks like, and what to do; no table is made."""
    with pytest.raises(UnreadableInputError, match=re.escape(looks)) as caught:
        tx.write(csv(tmp_path, name, content), tmp_path / "t", mode="append")
    assert hint in (caught.value.hint or "")
    assert not tx.exists(tmp_path / "t")


def test_row_numbers_of_a_later_part(tmp_path: Path) -> None:
    """A part that counts on from 1,000 has row numbers too, if the table has no such column; the notes say so."""
    table = tmp_path / "t"
    first = tx.write(csv(tmp_path, "1.csv", ",a\n0,x\n1,y\n"), table, mode="append")
    later = tx.write(csv(tmp_path, "2.csv", ",a\n1000,z\n1001,w\n"), table, mode="append")
    assert all("counts the rows" in result.notes[0] for result in (first, later))
    assert rows(table) == {"a": ["x", "y", "z", "w"]}
    with pytest.raises(UnreadableInputError, match="has no name"):
        tx.write(tmp_path / "2.csv", table, mode="append", csv={"unnamed": "error"})
    assert tx.Table(table).version == 1


@pytest.mark.parametrize(
    ("given_csv", "message"),
    [
        ({"delimeter": ";"}, "did you mean 'delimiter'"),
        ({"sep": ";;"}, "one ASCII character"),
        ({"sep": ";", "delimiter": "|"}, "twice"),
        ({"encoding": "klingon"}, "name of an encoding"),
        ({"decimal": ";"}, "'.' or ','"),
        ({"names": ["a", "a"]}, "distinct"),
        ({"unnamed": "kep"}, "did you mean 'keep'"),
        ({"header": "no"}, "True or False"),
        ("sep=;", "must be a mapping"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, given_csv: Any, message: str) -> None:
    """A wrong name or value in csv= is an error with the nearest word, before the file is looked for."""
    with pytest.raises(OptionError, match=re.escape(message)):
        tx.write(tmp_path / "missing.csv", tmp_path / "t", mode="append", csv=given_csv)
    with pytest.raises(OptionError, match="not a path"):
        tx.write(FRAME, tmp_path / "t", mode="append", csv={"sep": ";"})
