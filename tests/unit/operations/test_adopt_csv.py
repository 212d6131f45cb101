"""CSV files adopted in place have the rows that a write of them would have had, or an error says why not."""

from __future__ import annotations

import csv
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adopt_csv_help import Adopted, adopted, data_file, session_of, written
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from txfiles import inputs
from txfiles.errors import (
    CorruptTableError,
    InputError,
    LossyCastError,
    SchemaMismatchError,
    TxFilesError,
    UnreadableInputError,
    UnsupportedTypeError,
)
from txfiles.formats import csv_adopted, csv_text
from txfiles.reading.live import opened
from txfiles.reading.marked import MarkedRows
from txfiles.rows.source import TextRules


def put(folder: Path, contents: dict[str, bytes]) -> list[tuple[str, int]]:
    """Files in a folder, with their sizes."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [(name, len(content)) for name, content in contents.items()]


def as_input(folder: Path, names: list[str], given: Any = None, schema: Any = None, keys: Any = ()) -> Any:
    """What `tx.write` makes of the same files."""
    source = inputs.source([str(folder / name) for name in names], schema=schema, csv=given)
    try:
        return source.read(None, TextRules(exact=frozenset(keys)))
    finally:
        source.close()


# ---------------------------------------------------------------- the same rows as a write

POOLS = [
    ["1", "-2", "40", "9223372036854775807"],
    ["007", "8"],
    ["1.50", "-0.25", "10.10"],
    ["1,50", "-0,25"],
    [".5", "5e-04", "2.5", "2"],
    ["true", "false"],
    ["2024-02-29", "1900-01-01"],
    ["2024-02-29 10:00:00", "1999-12-31 23:59:59"],
    ["2024-02-29T10:00:00.500Z", "1999-12-31T23:59:59.000Z"],
    ["x", "é", "a;b,c|d\te", "a\nb", 'say "hi"', "it's", " x "],
]
MARKERS = ["NA", "nan", "-", "", None]


@st.composite
def folders(draw) -> tuple[dict[str, bytes], dict[str, Any], list[str]]:
    """One to three files of one dialect, the `csv=` that says so, and keys."""
    names = draw(st.lists(st.sampled_from(["a", "b", "ä c", "", "k"]), min_size=1, max_size=3, unique=True))
    pools = [draw(st.sampled_from(POOLS)) + draw(st.lists(st.sampled_from(MARKERS), max_size=2)) for _ in names]
    given: dict[str, Any] = {}
    form: dict[str, Any] = {"end": draw(st.sampled_from(["\n", "\r\n"]))}
    form["sep"] = given["sep"] = draw(st.sampled_from([",", ";", "|", "\t"]))
    form["quotechar"] = given["quotechar"] = draw(st.sampled_from(['"', "'"]))
    form["encoding"] = given["encoding"] = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]))
    form["quoting"] = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    given["decimal"] = draw(st.sampled_from([".", ","]))
    given["na_values"] = draw(st.sampled_from([[], ["-"], ["NA", "-"]]))
    has_header = draw(st.booleans())
    given["header"] = has_header
    contents = {}
    for at in range(draw(st.integers(1, 3))):
        order = draw(st.permutations(range(len(names)))) if has_header and "" not in names else range(len(names))
        rows = draw(st.lists(st.tuples(*(st.sampled_from(pools[i]) for i in order)), max_size=5))
        packed = draw(st.booleans())
        header = [names[i] for i in order] if has_header else None
        if header or rows:
            contents[f"{at}.csv{'.gz' if packed else ''}"] = written(rows, header, packed=packed, **form)
    if not contents:
        contents["0.csv"] = written([[pool[0] for pool in pools]], None, **form)
    keys = draw(st.sampled_from([[], ["k"]])) if has_header and "k" in names else []
    return contents, given, keys


@given(folders(), st.integers(1, 40))
@settings(max_examples=120)
def test_adopting_is_like_writing(tmp_path_factory, folder, block) -> None:
    """Any files in any dialect: the same rows in the same types and order as a write of them, or both refuse."""
    contents, given, keys = folder
    root = tmp_path_factory.mktemp("adopt")
    files = put(root, contents)
    try:
        expected = as_input(root, list(contents), given, keys=keys)
    except InputError as error:
        with pytest.raises(type(error)):
            adopted(session_of(root), files, given, keys=keys)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK_BYTES", block)
        found = adopted(session_of(root), files, given, keys=keys)
        rows = found.read()
        backwards = found.read(rows.column_names[::-1])
    assert rows.schema == expected.table.schema
    assert rows.to_pydict() == expected.table.to_pydict()
    assert backwards.to_pydict() == rows.to_pydict()
    assert found.folder.inferred == expected.rules
    assert set(expected.notes) <= set(found.folder.notes)
    assert sum(add.rows for add in found.adds) == rows.num_rows


TYPED = pa.table(
    {
        "sku": ["007", None, "", "a;b", 'x"y', "a\nb", "ä"],
        "n": pa.array([1, None, -3, 4, 5, 6, 7], pa.int32()),
        "price": pa.array([Decimal("1.50"), Decimal("-0.25"), None, Decimal("0.00"), *[Decimal("9.99")] * 3]),
        "x": [0.1, 1e300, None, -2.5, 3.0, 1e-7, 123456.789],
        "ok": [True, False, None, True, True, False, None],
        "day": pa.array([date(2024, 2, 29), None, *[date(1999, 12, 31)] * 5]),
        "at": pa.array(
            [datetime.fromisoformat("2024-02-29T10:00:00"), None, *[datetime(1999, 12, 31, 23, 59, 59)] * 5]
        ),
    }
)


def by_pandas(path: Path) -> dict[str, Any]:
    frame = TYPED.to_pandas(types_mapper=pd.ArrowDtype)
    frame["ok"] = frame["ok"].map({True: "true", False: "false"})
    frame.to_csv(path, sep=";", na_rep="NA", encoding="utf-16", index=True)
    return {"sep": ";", "na_values": "NA", "encoding": "utf-16"}


def by_polars(path: Path) -> dict[str, Any]:
    pl.from_arrow(TYPED).write_csv(path, separator="|", quote_char="'", null_value="-", include_header=False)
    return {"sep": "|", "quotechar": "'", "na_values": ["-"], "names": TYPED.column_names}


def by_duckdb(path: Path) -> dict[str, Any]:
    duckdb.from_arrow(TYPED).write_csv(str(path), sep="\t", na_rep="NULL", header=True)
    return {"sep": "tab", "na_values": ["NULL"]}


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_duckdb])
def test_files_of_other_tools(tmp_path, write) -> None:
    """What pandas, polars and DuckDB write comes back value for value, if its types are declared."""
    given = write(tmp_path / "t.csv")
    found = adopted(session_of(tmp_path), [("t.csv", (tmp_path / "t.csv").stat().st_size)], given, TYPED.schema)
    rows = found.read()
    expected = TYPED.to_pydict()
    if write is not by_polars:  # the others write an empty text like a null
        expected["sku"][2] = None
    if write is by_pandas:
        assert found.folder.left_out == ("column_0",)
        assert any("counts the rows" in note for note in found.folder.notes)
        assert rows.num_columns == TYPED.num_columns
    assert rows.schema == TYPED.schema
    assert rows.to_pydict() == expected
    assert rows.to_pydict() == as_input(tmp_path, ["t.csv"], given, TYPED.schema).table.to_pydict()


def test_facts_are_those_of_our_own_writer(tmp_path) -> None:
    """Rows, nulls, bounds and key range are what the log would say of the same rows in a file of the table's own."""
    import json

    import txfiles as tx

    content = 'id;s;x\n7;"a";1,5\n\n9;;NA\n8;é;-2,5'.encode("cp1252")
    given = {"sep": ";", "decimal": ",", "encoding": "cp1252"}
    found = adopted(session_of(tmp_path), put(tmp_path, {"a.csv": content}), given, keys=("id",))
    tx.write(str(tmp_path / "a.csv"), tmp_path / "t", mode="upsert", format="csv", keys="id", csv=given)
    own = json.loads((tmp_path / "t/_txfiles/log/00000000000000000000.json").read_text())["add"][0]
    (add,) = found.adds
    assert (add.rows, add.bytes, add.columns) == (3, len(content), None)
    assert own["stats"] == {
        name: {key: value for key in ("nulls", "min", "max") if (value := getattr(stats, key)) is not None}
        for name, stats in add.stats.items()
    }
    assert add.key_range is not None
    assert own["key_range"] == {"columns": [1], "min": add.key_range.min, "max": add.key_range.max}


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("contents", "given", "told"),
    [
        ({"a.csv": b'a,b\n1,2\n\n"x\ny",1\n3\n'}, {}, ["a.csv", "row 2 has 1 values", "line 6"]),
        ({"a.csv": b"a,b\n1,2\n", "b.csv": b"a\n1\n"}, {}, ["b.csv lacks b"]),
        ({"a.csv": b"a\n1\n", "b.csv": b"a,c\n1,2\n"}, {}, ["b.csv has c more"]),
        ({"a.csv": b"a,b\n1,2\n", "b.csv": b"a,B\n1,2\n"}, {}, ["b.csv lacks b and has B more"]),
        ({"a.csv": b"1,2\n", "b.csv": b"1,2,3\n"}, {"header": False}, ["b.csv has column_2 more"]),
        ({"a.csv": b"a,a\n1,2\n"}, {}, ["a.csv", "twice"]),
        ({"a.csv": b""}, {}, ["a.csv", "is empty"]),
        ({"a.csv": b'a\n"x\n'}, {}, ["a.csv", "ends within quotes"]),
        ({"a.csv": b"a;b\n1;2\n"}, {}, ["a.csv", "semicolon"]),
        ({"a.csv": b"5,7\n3,4\n"}, {}, ["a.csv", "no header"]),
        ({"a.csv": b"a\n\xff\n"}, {}, ["a.csv", "not UTF-8", "line 2"]),
        ({"a.csv": b"a\n\xff\n"}, {"encoding": "utf-8-sig"}, ["a.csv", "not UTF-8"]),
        ({"a.csv": b"PAR1" + b"\0" * 20}, {}, ["a.csv", "Parquet"]),
        ({"a.csv.gz": b"\x1f\x8b\x08\0"}, {}, ["a.csv.gz", "damaged or cut short"]),
        ({"a.csv": b"a,b\n1,2\n", "b.csv": b"a,b\n1,2\n"}, {"names": ["x"]}, ["a.csv", "2 columns, but 1 are named"]),
    ],
    ids=lambda case: "-".join(case)[:40] if isinstance(case, list) else "",
)
def test_files_that_are_no_table(tmp_path, contents, given, told) -> None:
    """What cannot be one table is refused with the file and, where there is one, the line."""
    with pytest.raises(InputError) as caught:
        adopted(session_of(tmp_path), put(tmp_path, contents), given)
    for what in told:
        assert what in caught.value.message


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("int64", "1.5", UnreadableInputError),
        ("int8", "300", LossyCastError),
        ("date32", "29.02.2024", UnreadableInputError),
        ("timestamp[us]", "2024-02-30 10:00", LossyCastError),
        ("decimal128(3, 1)", "1.55", LossyCastError),
        ("float64", "NA", UnreadableInputError),
    ],
)
def test_a_value_that_is_not_of_the_declared_type(tmp_path, kind, text, error) -> None:
    """A text that is not of its column's type is an error with file, line, column and value."""
    from txfiles.inputs.declared import declared_types

    good = {"int64": "1", "int8": "1", "date32": "2024-02-29", "timestamp[us]": "2024-02-29", "float64": "1"}.get(
        kind, "1"
    )
    contents = {"a.csv": f"a,b\n{good},x\n".encode(), "b.csv": f'a,b\n{good},"x\ny"\n{text},z\n'.encode()}
    with pytest.raises(error) as caught:
        adopted(session_of(tmp_path), put(tmp_path, contents), {}, declared_types({"a": kind}))
    told = caught.value
    assert "b.csv" in told.message
    assert "line 4" in told.message
    assert (told.column, told.row, told.line, told.value) == ("a", 1, 4, text)


def test_schema_names_a_column_that_is_not_there(tmp_path) -> None:
    """`schema=` with a name that the files do not have names the nearest one."""
    with pytest.raises(SchemaMismatchError, match=r"'prise'.*price"):
        adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"price\n1\n"}), {}, pa.schema([("prise", pa.int64())]))


def test_nested_types(tmp_path) -> None:
    """CSV holds no nested types, whoever declares them."""
    with pytest.raises(UnsupportedTypeError):
        adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"a\n1\n"}), {}, pa.schema([("a", pa.list_(pa.int64()))]))


def test_a_year_that_the_table_could_not_write_again(tmp_path) -> None:
    """A value is refused at once that a later rewrite would have to refuse."""
    given = pa.schema([("a", pa.date32())])
    with pytest.raises(LossyCastError, match=r"a\.csv|row 1"):
        adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"a\n2024-01-01\n0000-01-01\n"}), {}, given)


def test_a_file_that_changes_meanwhile(tmp_path, monkeypatch) -> None:
    """A file that is written between the two looks is told, not adopted as something that it never was."""
    session = session_of(tmp_path)
    files = put(tmp_path, {"a.csv": b"a\n1\n"})
    survey = adopt_csv_module().survey

    def then_changed(*given: Any) -> Any:
        found = survey(*given)
        (tmp_path / "a.csv").write_bytes(b"a\n2\n")
        return found

    monkeypatch.setattr(adopt_csv_module(), "survey", then_changed)
    with pytest.raises(UnreadableInputError, match="changed while it was read"):
        adopted(session, files)


@pytest.mark.parametrize("now", [b"a\n1", b"a\n1\n2\n", None])
def test_a_file_that_is_not_as_it_was_listed(tmp_path, now) -> None:
    """A file that has another size than its listing, or is gone, is told."""
    files = put(tmp_path, {"a.csv": b"a\n1\n"})
    (tmp_path / "a.csv").unlink()
    if now is not None:
        (tmp_path / "a.csv").write_bytes(now)
    with pytest.raises(UnreadableInputError, match="changed while it was read"):
        adopted(session_of(tmp_path), files)


def adopt_csv_module() -> Any:
    from txfiles.operations import adopt_csv

    return adopt_csv


# ---------------------------------------------------------------- reading what was adopted


@pytest.fixture
def prices(tmp_path) -> Adopted:
    content = b'id;price\n1;"10,10"\n2;9,99\n3;NA\n'
    return adopted(session_of(tmp_path), put(tmp_path, {"a.csv": content}), {"sep": ";", "decimal": ","})


@given(st.data())
@settings(max_examples=60)
def test_any_other_byte_is_damage(tmp_path_factory, data) -> None:
    """A file that was changed, cut or extended after it was adopted is never read."""
    root = tmp_path_factory.mktemp("damage")
    content = b'id;price\n1;"10,10"\n2;9,99\n'
    found = adopted(session_of(root), put(root, {"a.csv": content}), {"sep": ";", "decimal": ","})
    changed = bytearray(content)
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "grow", "gone"]))
    if how == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        changed = changed[:at]
    else:
        changed += b"\n"
    (root / "a.csv").unlink()
    if how != "gone":
        (root / "a.csv").write_bytes(changed)
    with pytest.raises(CorruptTableError, match=r"a\.csv"):
        found.read()


@pytest.mark.parametrize("change", [{"rows": 2}, {"rows": 4}, {"sha256": "0" * 64}, {"columns": (1,)}])
def test_a_log_that_says_something_else(prices, change) -> None:
    """Rows, hash or columns that are not the file's are damage."""
    (add,) = prices.adds
    with pytest.raises(CorruptTableError, match=r"a\.csv"):
        prices.parts(replace(add, **change), ["price"] if change.get("columns") else ["id", "price"])


@given(
    st.binary(max_size=60) | st.text("ab\",;\r\n'0", max_size=40).map(str.encode), st.integers(0, 5), st.integers(1, 9)
)
@settings(max_examples=150)
def test_hostile_files(tmp_path_factory, content, rows, block) -> None:
    """Any bytes, with a log that vouches for them, give the rows that it says or damage, and no other error."""
    import hashlib

    root = tmp_path_factory.mktemp("hostile")
    good = adopted(session_of(root), put(root, {"a.csv": b"a,b\n1,x\n"}))
    (root / "a.csv").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    forged = replace(good.adds[0], bytes=len(content), sha256=sha256, rows=rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK_BYTES", block)
        try:
            found = good.parts(forged, ["b", "a"])
        except TxFilesError as error:
            assert isinstance(error, CorruptTableError)
            assert "a.csv" in error.message
            return
    assert sum(part.num_rows for part in found) == rows
    assert all(part.schema.names == ["b", "a"] for part in found)


def test_only_the_tables_own_names_are_its_own(tmp_path) -> None:
    """A file named as another table's data file is adopted, and read in the adopted form."""
    name = f"part-{'0' * 16}-{'0' * 32}-00000.csv"
    found = adopted(session_of(tmp_path), put(tmp_path, {name: b"a;b\n1;2\n"}), {"sep": ";"})
    assert found.read().to_pylist() == [{"a": 1, "b": 2}]


def test_older_types_are_read_as_they_were(tmp_path) -> None:
    """Widening a column does not change the values of adopted files; a column that became text has their texts."""
    declared = pa.schema([("x", pa.float32())])
    found = adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"x,n\n0.1,7\n"}), {}, declared)
    columns = tuple(
        replace(one, type=kind) for one, kind in zip(found.table.columns, ["float64", "string"], strict=True)
    )
    wider = replace(found.table, columns=columns)
    file = data_file(found.adds[0])
    with opened(found.session, wider, file, MarkedRows(found.session, [file])) as groups:
        (rows,) = [group.read(["x", "n"]) for group in groups]
    assert rows.to_pylist() == [{"x": 0.10000000149011612, "n": "7"}]


def test_later_columns_are_null(tmp_path) -> None:
    """Columns that the table has by now and the file lacks are null; those that were dropped are not read."""
    found = adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"x,n\n1,2\n"}))
    kept = (found.table.columns[1], replace(found.table.columns[0], id=3, name="new", type="string"))
    file = data_file(replace(found.adds[0], columns=(1, 2)))
    later = replace(found.table, columns=kept, last_column_id=3)
    with opened(found.session, later, file, MarkedRows(found.session, [file])) as groups:
        (rows,) = [group.read(["new", "n"]) for group in groups]
    assert rows.to_pylist() == [{"new": None, "n": 2}]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_large_files_are_not_held(tmp_path, monkeypatch, name, in_memory) -> None:
    """Beyond the limit a file is mapped, or goes through the temporary folder, and has the same rows."""
    content = written([[str(row), "x" * (row % 7)] for row in range(200)], ["n", "s"], packed=name.endswith("gz"))
    files = put(tmp_path, {name: content})
    expected = adopted(session_of(tmp_path), files).read()
    monkeypatch.setattr(csv_adopted, "KEEP_BYTES", 0)
    monkeypatch.setattr(csv_adopted, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_adopted, "in_memory", lambda source: in_memory)
    assert adopted(session_of(tmp_path), files).read().equals(expected)


@pytest.mark.parametrize("rows", [40_000, 80_000])
@pytest.mark.parametrize("in_memory", [True, False])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, rows, in_memory) -> None:
    """Neither the survey, nor the facts, nor a stream of the rows hold more of a large file than a few blocks."""
    content = written([[str(row), "x" * 50, "1.5"] for row in range(rows)], ["n", "s", "x"])
    files = put(tmp_path, {"a.csv": content})
    monkeypatch.setattr(csv_adopted, "KEEP_BYTES", 0)
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(csv_adopted, "in_memory", lambda source: in_memory)
    peak, read = [0], csv_text.CsvText.read

    def watched(self, block, columns):
        found = read(self, block, columns)
        peak[0] = max(peak[0], pa.total_allocated_bytes() - before)
        return found

    monkeypatch.setattr(csv_text.CsvText, "read", watched)
    before = pa.total_allocated_bytes()
    found = adopted(session_of(tmp_path), files)
    file = data_file(found.adds[0])
    with opened(found.session, found.table, file, MarkedRows(found.session, [file])) as groups:
        assert sum(group.read(["n", "s", "x"]).num_rows for group in groups) == rows
    assert peak[0] < 20 << 16 < len(content)


def test_a_tab_in_files_named_tsv(tmp_path) -> None:
    """Without `sep`, the name of each file says what is between its values, when it is read again too."""
    files = put(tmp_path, {"a.csv": b"x,y\n1,2\n", "b.tsv": b"x\ty\n3\t4\n"})
    assert adopted(session_of(tmp_path), files).read().to_pydict() == {"x": [1, 3], "y": [2, 4]}


def test_messages_have_one_path(tmp_path) -> None:
    """An error names the file once as its path, as inputs do."""
    with pytest.raises(UnreadableInputError) as caught:
        adopted(session_of(tmp_path), put(tmp_path, {"a.csv": b"a,b\n1\n"}))
    assert re.fullmatch(r"'.*a\.csv': row 0 has 1 values.*\(line 2 of the file\)", caught.value.message)
