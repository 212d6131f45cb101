"""Configuration files: read strictly, every error in its place, variables from the environment, nothing secret told."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.config import blocks, references
from txfiles.config.document import parse
from txfiles.options import OPTIONS

ROWS = pa.table({"customer_id": [1, 2], "updated_at": [10, 20]})
SCHEMA = json.loads((Path(__file__).parents[2] / "specs" / "config.schema.json").read_text())
BLOCK = """
write:
  connection: my_datalake
  format: delta
  path: "silver/customers"
  mode: upsert
  keys: ["customer_id"]
  dedup_strategy: "newest_wins"
  timestamp_col: "updated_at"
"""


def load(folder: Path, text: str) -> tx.Config:
    """A configuration of that text."""
    (folder / "pipeline.yaml").write_text(text)
    return tx.load_config(folder / "pipeline.yaml")


def refused(folder: Path, text: str) -> tx.ConfigError:
    """Why a configuration is none."""
    with pytest.raises(tx.ConfigError) as caught:
        load(folder, text)
    return caught.value


@pytest.mark.parametrize("url", ["lake", "lake/", "{folder}/lake", "file://{folder}/lake"])
def test_the_block_runs_as_it_stands(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs of the same load, from whatever folder, commit one version of one table."""
    text = "connections:\n  my_datalake: {url: '" + url.format(folder=tmp_path) + "'}\n" + BLOCK
    done = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        done.append(load(tmp_path, text).write(ROWS))
    assert [(one.committed, one.version, one.rows_unchanged) for one in done] == [(True, 0, 0), *[(False, 0, 2)] * 2]
    config = load(tmp_path, text)
    assert config.plan(ROWS).committed is False
    table = tx.Table(tmp_path / "lake" / "silver" / "customers", format="delta")
    assert table.to_arrow().equals(config.table().to_arrow())
    assert (table.version, table.keys, table.timestamp_col) == (0, ("customer_id",), "updated_at")


@pytest.mark.parametrize("format_name", ["parquet", "csv", "delta", "sqlite", "duckdb"])
def test_every_target(tmp_path: Path, format_name: str) -> None:
    """The same file for each kind of table: a path below a folder, or a table in a database."""
    place = "path: gold/t, format: " + format_name
    url = "lake"
    if format_name in ("sqlite", "duckdb"):
        place, url = "table: t", f"{format_name}:///data.{format_name}"
    config = load(
        tmp_path,
        f"connections: {{c: {{url: '{url}'}}}}\nwrite: {{connection: c, {place}, mode: upsert, keys: customer_id}}",
    )
    assert [config.write(ROWS).committed for _ in range(3)] == [True, False, False]
    assert config.table().row_count == 2
    assert os.listdir(tmp_path / "lake" if url == "lake" else tmp_path)


def test_arguments_replace_the_files(tmp_path: Path) -> None:
    """What a call says holds; with another path neither the connection nor its options are used; None says nothing."""
    config = load(tmp_path, "write: {path: t, mode: upsert, keys: customer_id, user_metadata: {job: nightly}}")
    config.write(ROWS, user_metadata={"job": "by hand"})
    config.write(ROWS, mode="append_once", batch_id="b", user_metadata=None)
    history = config.table().history()
    assert [(one.operation, one.user_metadata) for one in history] == [
        ("append_once", {"job": "nightly"}),
        ("upsert", {"job": "by hand"}),
    ]
    assert config.write(ROWS, path=tmp_path / "other").version == 0
    with pytest.raises(tx.ArgumentError, match=r"'mod' .did you mean 'mode'"):
        config.write(ROWS, mod="append")


def test_storage_options_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the connection, of the block and of the call, name by name; none of them for another path."""
    monkeypatch.setenv("KEY", "sesame")
    config = load(
        tmp_path,
        "connections: {c: {url: 's3://b/lake', storage_options: {key: '${KEY}', a: 1, nested: {b: 'x-${KEY}'}}}}\n"
        "write: {connection: c, path: t, mode: append, storage_options: {a: 2}}",
    )
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tx.config.api, "write", lambda data, **said: found.append(said))
    config.write(ROWS, storage_options={"z": True})
    config.write(ROWS, path="elsewhere")
    assert [one["storage_options"] for one in found] == [
        {"key": "${KEY}", "a": 2, "nested": {"b": "x-sesame"}, "z": True},
        None,
    ]
    assert [one["path"] for one in found] == ["s3://b/lake/t", "elsewhere"]


C = "connections: {lake: {url: lake}}\n"
WRONG: dict[str, tuple[str, str]] = {
    "empty": ("", "'write' is missing"),
    "a list": ("[1]", "must be a mapping of names to values, not a list"),
    "unknown block": ("writes: {}", "1: writes: there is no such name .did you mean 'write'"),
    "unknown option": ("write:\n  path: t\n  mode: append\n  key: id", "4: write.key: .* .did you mean 'keys'"),
    "misspelt option": ("write: {path: t, mode: append, timestmp_col: x}", "write.timestmp_col: .*'timestamp_col'"),
    "library option": ("write: {path: t, mode: append, progress: x}", "write.progress: there is no such name"),
    "unknown in a connection": ("connections: {c: {urll: x}}\nwrite: {path: t}", r"connections.c.urll: .*'url'"),
    "no url": ("connections: {c: {}}\nwrite: {path: t}", "connections.c: 'url' is missing"),
    "no mode": ("write: {path: t}", "1: write: 'mode' is missing"),
    "no path": ("write: {mode: append}", "write: 'path' is missing"),
    "no value": ("write:\n  path: t\n  mode: append\n  batch_id:", "4: write.batch_id: it has no value"),
    "wrong word": ("write: {path: t, mode: upsrt}", "write.mode: mode must be .*did you mean 'upsert'"),
    "another library's": ("write: {path: t, mode: merge}", "write.mode: .*did you mean 'upsert'"),
    "wrong format": ("write: {path: t, mode: append, format: parket}", "write.format: .*did you mean 'parquet'"),
    "wrong property": (
        "write: {path: t, mode: append, properties: {compresion: zstd}}",
        "write.properties: .*'compression'",
    ),
    "wrong type": ("write: {path: t, mode: append, schema: {id: int6}}", "write.schema: .*int6"),
    "wrong dialect": ("write: {path: t, mode: append, csv: {sepp: x}}", "write.csv: .*did you mean 'sep'"),
    "wrong filter": ("write: {path: t, mode: overwrite, replace_where: day}", "write.replace_where: .*list of cond"),
    "not together": ("write: {path: t, mode: append, keys: id}", "write: keys is not used by mode 'append'"),
    "not of the target": (
        "write: {path: t, mode: append, format: delta, properties: {compression: zstd}}",
        "write: Delta tables do not take 'properties'",
    ),
    "unknown connection": (C + "write: {connection: lakes, path: t, mode: append}", "2: .*did you mean 'lake'"),
    "no connections": ("write: {connection: lake, path: t, mode: append}", "there is no connection 'lake'"),
    "table in a folder": (
        C + "write: {connection: lake, table: t, mode: append}",
        "write.table: .* needs a connection to it",
    ),
    "path in a database": (
        "connections: {db: {url: 'sqlite:///x.db'}}\nwrite: {connection: db, path: t, mode: append}",
        "write.path: the connection is to a database",
    ),
    "two tables": (
        "connections: {db: {url: 'sqlite:///x.db?table=a'}}\nwrite: {connection: db, table: t, mode: append}",
        "names a table already",
    ),
    "delta in a database": (
        "connections: {db: {url: 'sqlite:///x.db'}}\nwrite: {connection: db, table: t, mode: append, format: delta}",
        "write.format: 'delta' does not go with",
    ),
    "sql in a folder": ("write: {path: t, mode: append, format: sql}", "write.format: 'sql' takes the URL"),
    "another database": ("write: {path: 'oracle://h/d?table=t', mode: append}", "oracle databases are not supported"),
    **{
        f"path {path}": (C + f"write: {{connection: lake, path: '{path}', mode: append}}", "not a path below")
        for path in ("../t", "/t", "s3://b/t", "a//b", "./t", "~/t")
    },
    # what YAML 1.1 takes for something else
    "a date": ("write: {path: t, mode: append, batch_id: 2026-11-24}", "YAML takes '2026-11-24' for a date"),
    "a number": ("write: {path: t, mode: append, batch_id: 0123}", "YAML takes '0123' for a whole number"),
    "a minute": ("write: {path: t, mode: append, batch_id: 12:30}", "YAML takes '12:30' for a whole number"),
    "a switch": ("write: {path: t, mode: on}", "write.mode: .* YAML takes 'on' for true or false"),
    "Norway": ("write: {path: t, mode: append, user_metadata: {land: no}}", "write.user_metadata.land: .* 'no' for"),
    "a column": ("write: {path: t, mode: upsert, keys: [id, no]}", r"write.keys\[1\]: .* 'no' for true or false"),
    "a name": ("write: {path: t, mode: append, schema: {on: string}}", "YAML takes the name 'on' for true or false"),
    "a date in csv": ("write: {path: t, mode: append, csv: {sep: 2026-11-24}}", "write.csv.sep: .* a date"),
    "an account": (
        "connections: {c: {url: 's3://b', storage_options: {secret: 0123}}}\nwrite: {path: t}",
        "YAML takes the value for a whole number",
    ),
    # numbers that are not decimal stay what the file says
    "an octal number": ("write: {path: t, mode: append, timeout: 010}", "a number of seconds, not '010'"),
    "an hour": ("write: {path: t, mode: append, timeout: 1:00:00}", "a number of seconds, not '1:00:00'"),
    "beyond floats": (
        f"write: {{path: t, mode: append, timeout: 1{':00' * 400}.0}}",
        "a number of seconds, not '1:00:",
    ),
    "beyond Unicode": ('write: {path: "\\UFFFFFFFF", mode: append}', "is not valid YAML"),
    "a retention": ("write: {path: t, mode: append, properties: {vacuum_retain: 12:30}}", "a duration .* not '12:30'"),
    # no bucket
    **{
        f"no bucket {url}": (
            f"connections: {{c: {{url: '{url}'}}}}\nwrite: {{path: t}}",
            r"connections.c.url: it names no",
        )
        for url in ("s3://", "s3:///", "abfs:", "s3://?x")
    },
    **{
        f"no folder {url}": (
            f"connections: {{c: {{url: '{url}'}}}}\nwrite: {{path: t}}",
            "not the URL of a local folder",
        )
        for url in ("file:", "file:lake", "file://lake")
    },
    "twice": ("write: {path: t, mode: append, mode: upsert}", "1: 'mode' occurs twice"),
    "an alias": ("connections: {}\nwrite: &w {path: t}\n", "2: anchors .* are not supported"),
    "a tag": ("write: !w {path: t}", "are not supported"),
    "an object": ("write: !!python/object/apply:os.getcwd []", "are not supported"),
    "two documents": ("---\n{}\n---\n{}", "more than one document"),
    "deep": ("[" * 50 + "]" * 50, "nests too deep"),
    "not YAML": ("write: [", "1: this is not valid YAML"),
    "a tab": ("write:\n\tpath: t", "2: this is not valid YAML"),
    # variables
    "missing variable": (
        "write: {path: 't/${TXFILES_NOWHERE}', mode: append}",
        "write.path: it refers to the environment variable TXFILES_NOWHERE, which is not set",
    ),
    "missing secret": (
        "connections: {c: {url: 's3://b', storage_options: {k: '${TXFILES_NOWHERE}'}}}\nwrite: {path: t}",
        "connections.c.storage_options.k: .* TXFILES_NOWHERE",
    ),
    "missing password": (
        "connections: {c: {url: 'postgresql://u:${TXFILES_NOWHERE}@h/d'}}\nwrite: {path: t}",
        "connections.c.url: .* TXFILES_NOWHERE",
    ),
    "not a reference": ("write: {path: '${A-B}', mode: append}", "begin '\\$\\{NAME\\}'"),
    "left open": ("write: {path: 't${', mode: append}", "write.path: .* '\\$\\{NAME\\}'"),
    "a reference that is none": (
        "connections: {c: {url: 's3://b', storage_options: {k: '$${X}'}}}\nwrite: {path: t}",
        "cannot be a text of the form",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    """An error names file, line and place, what is wrong, and the nearest valid word; nothing was made."""
    text, said = WRONG[case]
    error = refused(tmp_path, text)
    assert isinstance(error, tx.InputError)
    assert re.search(said, str(error)), str(error)
    assert str(error).startswith(str(tmp_path / "pipeline.yaml"))
    assert error.line or case in ("deep", "beyond Unicode")
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is missing is told apart from one that cannot be read, is not text, or is far too large."""
    for path, said in (("none.yaml", "there is no file"), ("", "cannot be read: Is a directory")):
        with pytest.raises(tx.ConfigError, match=said):
            tx.load_config(tmp_path / path)
    for data, said in (
        (b"write: \xff", "not UTF-8"),
        (b"#" * ((1 << 16) + 1), "larger than"),
        (b"a: \x00", "not valid YAML"),
    ):
        (tmp_path / "c.yaml").write_bytes(data)
        with pytest.raises(tx.ConfigError, match=said):
            tx.load_config(tmp_path / "c.yaml")
    with pytest.raises(tx.InputError, match="path of a file, not dict"):
        tx.load_config({})
    with pytest.raises(tx.ConfigError, match="not the path of a file"):
        tx.load_config("a\0b")


@pytest.mark.skipif(sys.platform == "win32", reason="a file with a hole would take its whole size there")
def test_no_more_is_read_than_a_configuration_may_have(tmp_path: Path) -> None:
    """A file that is larger than memory is refused, and not read."""
    (tmp_path / "c.yaml").touch()
    os.truncate(tmp_path / "c.yaml", 1 << 42)
    with pytest.raises(tx.ConfigError, match="larger than"):
        tx.load_config(tmp_path / "c.yaml")


def test_words_that_are_switches_for_yaml(tmp_path: Path) -> None:
    """A property takes `on` as a word; elsewhere the hint says what YAML made of it."""
    for word in ("on", "off"):
        config = load(tmp_path, f"write: {{path: t{word}, mode: append, properties: {{key_index: {word}}}}}")
        config.write(ROWS)
        assert config.table().properties["key_index"] == word
    for csv in ("na_values: [no]", "names: [id, no]", "sep: no"):
        error = refused(tmp_path, f"write: {{path: t, mode: append, csv: {{header: false, {csv}}}}}")
        assert "YAML takes 'no' for true or false" in (error.hint or "")


def test_numbers_of_a_filter(tmp_path: Path) -> None:
    """They are compared as the file has them, never as another number."""
    for text, meant in (("010", "010"), ("1_000", "1_000"), ("0x10", "0x10"), ("10", 10), ("-1.5", -1.5), ("0", 0)):
        root = parse(f"write: {{path: t, mode: overwrite, replace_where: [[n, '=', {text}]]}}".encode(), "c.yaml")
        _, write = blocks.Reader("/nowhere/c.yaml").read(root)
        assert write.options["replace_where"] == [("n", "=", meant)]


def test_an_error_about_an_option_of_the_file_names_it(tmp_path: Path) -> None:
    """The caller did not give it, and cannot leave it out."""
    config = load(tmp_path, "write: {path: t, mode: upsert, keys: customer_id}")
    for call in (config.write, config.plan):
        with pytest.raises(tx.OptionError, match="keys is not used") as caught:
            call(ROWS, mode="append")
        assert f"{config.file} sets keys" in (caught.value.hint or "")
    with pytest.raises(tx.OptionError) as caught:
        config.write(ROWS, mode="upsrt")
    assert config.file not in (caught.value.hint or "")


def test_the_root_folder_is_a_connection() -> None:
    """Its URL keeps its slashes."""
    root = parse(b"connections: {c: {url: 'file:///'}}\nwrite: {connection: c, path: a/b, mode: append}", "c.yaml")
    assert blocks.Reader("/nowhere/c.yaml").read(root)[1].path == "file:///a/b"


def test_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "c.yaml").write_text("write: {path: t, mode: append}")
    with pytest.raises(tx.StoreError, match="pyyaml, which is not installed") as caught:
        tx.load_config(tmp_path / "c.yaml")
    assert "txfiles[config]" in (caught.value.hint or "")


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${NAME}` in any text, as a part or as a whole; `$${` and other dollars are text."""
    monkeypatch.setenv("DAY", "2026-11-24")
    config = load(
        tmp_path,
        "write: {path: 'a$b/$$c/$${DAY}/${DAY}', mode: append, batch_id: '${DAY}', user_metadata: {day: 'on ${DAY}'}}",
    )
    assert config.write(ROWS).version == 0
    assert (tmp_path / "a$b" / "$$c" / "${DAY}" / "2026-11-24" / "_txfiles").is_dir()
    assert [(one.batch_id, one.user_metadata) for one in config.table().history()] == [
        ("2026-11-24", {"day": "on 2026-11-24"})
    ]


@given(st.text(alphabet="${}AB_ "))
def test_expansion_is_one_pass(text: str) -> None:
    """A text without references is its own meaning with `$${` for `${`; what a variable holds is not read again."""
    variables = references.Variables()
    escaped = text.replace("${", "$${")
    if "$${" not in text:
        assert variables.expanded(escaped) == text


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgresql://${U}:${P}@${H}:${PORT}/${D}?x=${D}", "postgresql://${U}:${P}@${H}:5432/sales?x=sales"),
        ("postgresql://u-${U}:p${P}@h/d", "postgresql://u-me:psesame@h/d"),
        ("postgresql://${H}/d", "postgresql://${H}/d"),
        ("postgresql://h/${U}:${P}@x", "postgresql://h/me:sesame@x"),
    ],
)
def test_credentials_of_a_database_stay_references(url: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole user, password or host is read at each use, and may hold any character; the rest is text of the URL."""
    for name, value in {"U": "me", "P": "sesame", "H": "host", "PORT": "5432", "D": "sales"}.items():
        monkeypatch.setenv(name, value)
    assert references.Variables().expanded_url(url) == meant


def test_a_whole_url_may_be_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `DATABASE_URL`."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/x.db")
    config = load(
        tmp_path, "connections: {db: {url: '${DATABASE_URL}'}}\nwrite: {connection: db, table: t, mode: append}"
    )
    assert config.write(ROWS).version == 0
    assert (tmp_path / "x.db").exists()
    assert not load(tmp_path, "write: {path: 'sqlite:///x.db?table=t', mode: upsert, keys: customer_id}").table().keys


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*blocks.WRITE, *blocks.BLOCKS, *blocks.CONNECTION, "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(VALUES, st.text(alphabet="write: pahmod{}[],\n-&*!|>#$'\"01=<?\t", max_size=40))
def test_any_other_document_is_refused(document: Any, text: str) -> None:
    """Whatever a file holds, it loads or is a `ConfigError`."""
    for data in (yaml.safe_dump(document), yaml.safe_dump({"write": document}), text, f"write: {{path: t, {text}}}"):
        with suppress(tx.ConfigError):
            blocks.Reader("/nowhere/c.yaml").read(parse(data.encode(), "c.yaml"))


def test_a_config_pickles_as_its_file(tmp_path: Path) -> None:
    """Another process loads the file anew, with its own environment."""
    config = load(tmp_path, "write: {path: t, mode: append}")
    data = pickle.dumps(config)
    assert pickle.loads(data).write(ROWS).version == 0
    (tmp_path / "pipeline.yaml").unlink()
    with pytest.raises(tx.ConfigError, match="there is no file"):
        pickle.loads(data)


def test_a_config_does_not_change(tmp_path: Path) -> None:
    """It is a value, and so are its connections."""
    config = load(tmp_path, C + "write: {connection: lake, path: t, mode: append}")
    with pytest.raises(AttributeError):
        config.file = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.connections["x"] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        config.connections["lake"].storage_options["x"] = None  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        C + BLOCK.replace("my_datalake", "lake"),
        "write: {path: t, mode: append}",
        "write: {path: t, mode: '${MODE}', keys: id, csv: {sep: ;}, schema: {id: int64}, timeout: 5}",
        "write: {path: t, mode: overwrite, overwrite_partitions: false, replace_where: [[day, '=', 2026-11-24]]}",
        "write: {path: t, mode: append, properties: {compression: zstd, row_group_rows: 9}, lock: x.lock}",
        "write: {path: t, mode: append, properties: {vacuum_retain: 0, row_group_rows: '9', key_index: 'on'}}",
        "connections: {c: {url: 'sqlite:///x.db'}}\nwrite: {connection: c, table: t, mode: append, csv: {'null': x}}",
    ],
)
def test_the_schema_takes_what_is_right(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor marks nothing in a configuration that loads."""
    monkeypatch.setenv("MODE", "upsert")
    load(tmp_path, text)
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(text))


def test_the_schema_refuses_what_is_wrong() -> None:
    """An editor marks unknown names, wrong words and wrong types, and the schema itself is one."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for case in ("unknown block", "misspelt option", "library option", "no url", "no mode", "no path", "wrong word"):
        assert not validator.is_valid(yaml.safe_load(WRONG[case][0])), case
    for case in ("wrong property", "a date", "a number", "a switch", "Norway", "a column", "wrong filter", "no value"):
        assert not validator.is_valid(json.loads(json.dumps(yaml.safe_load(WRONG[case][0]), default=lambda _: 0))), case
    for wrong in (
        {"keys": ["a", "a"]},
        {"schema": {"a": 1}},
        {"csv": {"sepp": ";"}},
        {"storage_options": {"a": None}},
        {"properties": {"key_index": True}},
        {"properties": {"key_index": "maybe"}},
        {"properties": {"row_group_rows": 5.5}},
        {"properties": {"row_group_rows": 0}},
        {"properties": {"vacuum_retain": 7}},
        {"properties": {"case_sensitive_names": "on"}},
    ):
        assert validator.is_valid({"write": {"path": "t", "mode": "append"}})
        assert not validator.is_valid({"write": {"path": "t", "mode": "append", **wrong}}), wrong
    assert not validator.is_valid({"write": {"table": "t", "mode": "append"}})
    named = SCHEMA["properties"]["write"]["properties"]
    assert set(named) - {"connection", "path", "table"} == set(OPTIONS) - {"progress"}
