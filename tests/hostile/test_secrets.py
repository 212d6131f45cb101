"""A secret in an option, a URL or the environment comes back nowhere: no error, log, repr, pickle, output or file."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import txfiles as tx
from txfiles import errors
from txfiles.cli.main import cli

pytestmark = pytest.mark.guarantees("S19")

CANARY = "CANARY-5f1c"
ROWS = pa.table({"id": [1, 2]})

URLS = (
    f"https://user:{CANARY}@host/table",
    f"s3://key:{CANARY}@bucket/table",
    f"abfs://box@account.example/table?sig={CANARY}",
    f"s3://bucket/table?X-Amz-Signature={CANARY}#x",
    f"file://user:{CANARY}@host/table",
    f"memory://{CANARY}@x",
    f"s3:/key:{CANARY}@bucket/table",
)
OPTIONS: tuple[Any, ...] = ({"secret": CANARY}, {"key": {"nested": CANARY}}, {"sas_token": CANARY.encode()}, CANARY)

CALLS: dict[str, Callable[..., Any]] = {
    "write": lambda path, **options: tx.write(ROWS, path, mode="append", **options),
    "plan": lambda path, **options: tx.plan(ROWS, path, mode="append", **options),
    "exists": tx.exists,
    "resolve": lambda path, **options: tx.resolve(path, "0" * 32, **options),
    "Table": tx.Table,
}

VERBS = ("show", "log", "files", "read", "compact", "vacuum", "set", "resolve", "plan", "write")


def told(error: BaseException | None) -> str:
    """All that an error says, and the errors behind it; with what it becomes in another process."""
    if error is None:
        return ""
    own = [str(error), repr(error), repr(error.args), repr(vars(error)), repr(pickle.loads(pickle.dumps(error)))]
    return "\n".join([*own, told(error.__cause__), told(error.__context__)])


@pytest.fixture
def everything_said(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], str]:
    """Make a call that fails, and give all that it said in any way."""
    caplog.set_level(logging.DEBUG)

    def say(call: Callable[[], Any]) -> str:
        with warnings.catch_warnings(record=True, action="always") as warned, pytest.raises(tx.TxFilesError) as caught:
            call()
        said = [told(caught.value), caplog.text, *(str(one.message) for one in warned)]
        return "\n".join(said)

    return say


@pytest.mark.parametrize("name", CALLS)
def test_urls(name: str, everything_said: Callable[[Callable[[], Any]], str]) -> None:
    """A URL that holds a secret is refused, and is not repeated."""
    for url in URLS:
        said = everything_said(lambda url=url: CALLS[name](url))
        assert CANARY not in said, url
        assert "hint" in said


@pytest.mark.parametrize("name", CALLS)
def test_options(name: str, tmp_path: Path, everything_said: Callable[[Callable[[], Any]], str]) -> None:
    """Storage options are refused by name, never by value; nothing of them is written."""
    for options in OPTIONS:
        said = everything_said(lambda options=options: CALLS[name](tmp_path / "t", storage_options=options))
        assert CANARY not in said, options
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_shell(verb: str, tmp_path: Path) -> None:
    """The command line says nothing of a secret either, with and without --json."""
    rows = tmp_path / "rows.csv"
    rows.write_text("id\n1\n")
    for url in (URLS[0], URLS[2]):
        words = {
            "set": [url, "row_group_rows=9"],
            "resolve": [url, "0" * 32],
            "write": [str(rows), "--to", url, "--mode", "append"],
            "plan": [str(rows), "--to", url, "--mode", "append"],
        }.get(verb, [url])
        done = subprocess.run(
            [sys.executable, "-m", "txfiles", verb, *words, "--json"], capture_output=True, text=True, check=False
        )
        assert done.returncode not in (0, 1), done
        assert CANARY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    "word",
    [
        f"--storage-option=secret={CANARY}",
        "--storage-option=secret=${LAKE_SECRET}",
        f'--storage-option=client_kwargs={{"x": "{CANARY}"}}',
        '--storage-option=client_kwargs={"x": "${LAKE_SECRET}"}',
        f"--storage-option=endpoint_url=http://user:{CANARY}@host",
    ],
)
def test_shell_unexpected(word: str, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected may say anything; what the shell tells of it holds no storage option's value."""

    def fail(*_: Any, **given: Any) -> None:
        inner = RuntimeError(f"inside: user:{CANARY}@host, {given}")
        raise KeyError(f"it was {CANARY}") from inner

    monkeypatch.setenv("LAKE_SECRET", CANARY)
    monkeypatch.setenv("TXFILES_DEBUG", "1")
    monkeypatch.setattr(tx, "Table", fail)
    option, _, value = word.partition("=")
    for words in ([word], [option, value]):
        result = CliRunner().invoke(cli, ["show", "s3://bucket/t", *words, *more])
        assert result.exit_code == 1, result.output
        assert "internal error: KeyError" in result.output
        assert "RuntimeError" in result.output
        assert CANARY not in result.output


INPUTS = (*URLS[:4], f" https://user:{CANARY}@host/rows.csv", f"https:/user:{CANARY}@host/rows.csv", URLS[0] + ".csv")


@pytest.mark.parametrize("call", [tx.write, tx.plan])
def test_inputs(call: Callable[..., Any], tmp_path: Path, everything_said: Callable[[Callable[[], Any]], str]) -> None:
    """A URL given as data is refused as a table's URL is, alone or in a list, and is not repeated."""
    for url in INPUTS:
        for data in (url, Path(url), [url, url]):
            said = everything_said(lambda data=data: call(data, tmp_path / "t", mode="append"))
            assert CANARY not in said, data
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [f" https://user:{CANARY}@host/t", f"\ns3://key:{CANARY}@bucket/t"])
def test_a_blank_before_a_url(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_said: Callable[[Callable[[], Any]], str]
) -> None:
    """A URL out of a file or a variable, with a blank before it, is a URL, and no folder of that name is made."""
    monkeypatch.chdir(tmp_path)
    for call in CALLS.values():
        assert CANARY not in everything_said(lambda call=call: call(path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["write", URLS[0], "--to", "t", "--mode", "append"],
        ["plan", URLS[2], "--to", "t", "--mode", "append"],
        ["write", "rows.csv", URLS[0] + ".csv", "--to", "t", "--mode", "append"],
        ["read", "table", "--to", URLS[0] + ".csv"],
        ["read", "table", "--to", URLS[0]],
        ["read", "table", URLS[0]],
        ["log", "table", URLS[2]],
        [URLS[0]],
        ["--table", URLS[0]],
    ],
)
def test_shell_elsewhere(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where a URL has no business: as an input, as the file to write to, as a word too many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TXFILES_DEBUG", "1")
    (tmp_path / "rows.csv").write_text("id\n1\n")
    tx.write(ROWS, "table", mode="append")
    for more in ([], ["--json"]):
        result = CliRunner().invoke(cli, [*words, *more])
        assert result.exit_code == 2, result.output
        assert CANARY not in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "table"}


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the environment goes into no file of a table, and into no repr."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    result = tx.write(ROWS, tmp_path / "t", mode="append", user_metadata={"job": "load"})
    table = tx.Table(tmp_path / "t")
    assert CANARY not in f"{result!r} {table!r} {table.history()!r} {table.properties!r}"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert all(CANARY.encode() not in path.read_bytes() for path in written)


def test_every_error_is_pickled_whole() -> None:
    """An error says the same in another process: message, hint, evidence and whether it is committed."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, tx.TxFilesError)]
    assert len(kinds) > 15
    for kind in kinds:
        error = kind("what", hint="next", committed="unknown", version=7)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        facts = ("message", "hint", "committed", "evidence")
        assert [getattr(again, name) for name in facts] == [getattr(error, name) for name in facts]


# ---- configuration files

CONFIG = f"""
connections:
  bucket:
    url: "s3://lake/silver"
    storage_options: {{key: "{CANARY}", secret: "${{LAKE_SECRET}}", nested: {{token: "x-${{LAKE_SECRET}}"}}}}
  azure: {{url: "abfs://box/x", storage_options: {{connection_string: "AccountKey=${{LAKE_SECRET}};a=b"}}}}
  database: {{url: "postgresql://me:${{LAKE_SECRET}}@127.0.0.1:1/db?sslpassword=${{LAKE_SECRET}}"}}
  clear: {{url: "postgresql://me:{CANARY}@127.0.0.1:1/db"}}
"""
WRITE = "write: {connection: %s, mode: append, %s}\n"
BROKEN = (
    f"connections: {{c: {{url: 's3://b', storage_options: {{secret: &{CANARY} x}}}}}}",
    f"connections: {{c: {{url: 's3://b', storage_options: {{secret: *{CANARY}}}}}}}",
    f"connections: {{c: {{url: 's3://b', storage_options: {{secret: !{CANARY} x}}}}}}",
    f"connections: {{c: {{url: 's3://b', storage_options: {{secret: '{CANARY}}}}}}}",
    f"connections: {{c: {{url: 's3://b', storage_options: {{secret: \"\\q{CANARY}\"}}}}}}",
    f"connections: {{c: {{url: 's3://b', storage_options: {CANARY}}}}}\nwrite: {{}}",
    f"connections: {{c: {{url: 's3://b', storage_options: ['{CANARY}']}}}}\nwrite: {{}}",
    f"connections: {{c: '{CANARY}'}}\nwrite: {{}}",
    f"connections: {{c: {{url: ['{CANARY}']}}}}\nwrite: {{}}",
    f"connections: {{c: {{url: 'https://user:{CANARY}@h/x', key: 1}}}}\nwrite: {{}}",
    f"connections: {{c: {{url: 'oracle://u:{CANARY}@h/d'}}}}\nwrite: {{connection: c, table: t, mode: append}}",
    f"connections: {{c: {{url: 'sqlite:///x?key={CANARY}'}}}}\nwrite: {{connection: c, table: t, mode: append}}",
    *(WRITE % ("bucket", f"path: x, {name}: '${{LAKE_SECRET}}'") for name in ("stale", "schema_mode", "format", "x")),
    WRITE % ("'${LAKE_SECRET}'", "path: x"),
    WRITE % (f"'postgresql://etl:{CANARY}@host/d'", "table: t"),
    WRITE % ("bucket", f"path: 's3://key:{CANARY}@bucket/x'"),
    WRITE % ("database", f"table: 'postgresql://etl:{CANARY}@host/d?table=t'"),
    f"connections: {{'s3://key:{CANARY}@bucket': 1}}\nwrite: {{}}",
    f"connections: {{'s3://key:{CANARY}@bucket': {{x: 1}}, 's3://key:{CANARY}@bucket': 1}}",
    f"connections: {{'s3://key:{CANARY}@bucket': {{url: x}}}}\nwrite: {{connection: x, path: t, mode: append}}",
    WRITE % ("bucket", "path: '../${LAKE_SECRET}'"),
    WRITE % ("bucket", "path: x, timeout: '${LAKE_SECRET}'"),
    WRITE % ("bucket", "path: x, properties: {compression: '${LAKE_SECRET}'}"),
)


UGLY = {
    "short": "k9",
    "long": f"{CANARY}{'x' * 300}",
    "with a backslash": f"{CANARY}\\x",
    "with lines and quotes": f"{CANARY}'\n\"{CANARY}",
}
"""Values that a message would cut or escape before anybody could look for them."""

HOLES = (
    *(f"{name}: '${{S}}'" for name in ("stale", "schema_mode", "format", "dedup_strategy", "timeout", "rekey", "csv")),
    "properties: {compression: '${S}'}",
    "schema: {a: '${S}'}",
    "csv: {sep: '${S}'}",
    "csv: {encoding: '${S}'}",
    "partition_by: ['${S}', '${S}']",
    "user_metadata: '${S}'",
    "overwrite_partitions: true, batch_id: '${S}', partition_by: '${S}', timestamp_col: '${S}'",
    "keys: ['${S}'], user_metadata: {a: '${S}'}",
    "replace_where: [['${S}', '=', '${S}']]",
)


@pytest.mark.parametrize("ugly", UGLY)
def test_no_form_of_a_variable_is_told(
    ugly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_said: Callable[[Callable[[], Any]], str]
) -> None:
    """Neither the beginning of a long value, nor a short or an escaped one; the error names the variable."""
    monkeypatch.setenv("S", UGLY[ugly])
    head = "connections: {c: {url: lake}, d: {url: 'sqlite:///x.db?${S}=1'}}\nwrite: {connection: "
    texts = [f"{head}c, path: t, mode: append, {hole}}}" for hole in HOLES]
    texts += [f"{head}c, path: '../${{S}}', mode: append}}", f"{head}c, path: t, mode: '${{S}}'}}"]
    texts += [f"{head}'${{S}}', path: t, mode: append}}", f"{head}d, table: 'a.b.c${{S}}', mode: append}}"]
    for text in texts:
        (tmp_path / "c.yaml").write_text(text)
        said = everything_said(lambda: tx.load_config(tmp_path / "c.yaml"))
        assert CANARY not in said, text
        assert UGLY[ugly] not in said.replace(str(tmp_path), ""), text
    (tmp_path / "c.yaml").write_text(f"{head}c, path: t, mode: '${{S}}'}}")
    with pytest.raises(tx.ConfigError, match=r"write.mode: the value of \$\{S\} is not valid here") as caught:
        tx.load_config(tmp_path / "c.yaml")
    assert "'upsert'" in (caught.value.hint or "")


def test_an_unexpected_error_is_told_even_if_the_file_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is loaded again to look for its secrets; whatever that raises, the first error is reported."""

    def fail(*_: Any) -> None:
        raise RecursionError("of the file")

    monkeypatch.setattr("txfiles.load_config", fail)
    monkeypatch.setattr("txfiles.config.load_config", fail)
    (tmp_path / "rows.csv").write_text("id\n1\n")
    result = CliRunner().invoke(cli, ["write", str(tmp_path / "rows.csv"), "--config", str(tmp_path / "c.yaml")])
    assert result.exit_code == 1
    assert "internal error: RecursionError: of the file" in result.output


@pytest.mark.parametrize("text", BROKEN)
def test_configurations_that_are_wrong(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_said: Callable[[Callable[[], Any]], str]
) -> None:
    """An error shows neither a part of a connection nor a variable's value, wherever the file is wrong."""
    monkeypatch.setenv("LAKE_SECRET", CANARY)
    (tmp_path / "c.yaml").write_text(text if "connections" in text else CONFIG + text)
    assert CANARY not in everything_said(lambda: tx.load_config(tmp_path / "c.yaml"))


def test_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_said: Callable[[Callable[[], Any]], str]
) -> None:
    """What is loaded shows no secret in its repr and pickle, nor does a write that fails."""
    monkeypatch.setenv("LAKE_SECRET", CANARY)
    for name, place in (("bucket", "path: a@b"), ("database", "table: t"), ("clear", "table: t")):
        (tmp_path / "c.yaml").write_text(CONFIG + WRITE % (name, place))
        config = tx.load_config(tmp_path / "c.yaml")
        assert CANARY not in f"{config!r} {config.connections!r} {list(config.connections.values())} {config!s}"
        assert CANARY.encode() not in pickle.dumps(config)
        assert CANARY not in everything_said(lambda config=config: config.write(ROWS, timeout=0))


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_shell_unexpected_with_a_configuration(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody expected shows nothing of the configuration's connections."""

    def fail(*_: Any, **given: Any) -> None:
        raise KeyError(f"it was {given}, {CANARY}-in-a-variable")

    monkeypatch.setenv("LAKE_SECRET", f"{CANARY}-in-a-variable")
    monkeypatch.setenv("TXFILES_DEBUG", "1")
    monkeypatch.setattr("txfiles.api.write", fail)
    rows = tmp_path / "rows.csv"
    rows.write_text("id\n1\n")
    for name, place in (("bucket", "path: x"), ("azure", "path: x"), ("database", "table: t"), ("clear", "table: t")):
        (tmp_path / "c.yaml").write_text(CONFIG + WRITE % (name, place))
        for words in (["--config", str(tmp_path / "c.yaml")], [f"--config={tmp_path / 'c.yaml'}"]):
            result = CliRunner().invoke(cli, ["write", str(rows), *words, *more])
            assert result.exit_code == 1, result.output
            assert "internal error: KeyError" in result.output
            assert CANARY not in result.output
