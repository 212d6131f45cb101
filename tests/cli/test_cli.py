"""The frame of the command line: help, errors, exit codes, output, whatever the verbs do."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import txfiles as tx
from txfiles import errors, options
from txfiles.cli import failure, output, params, progress
from txfiles.cli import main as cli_main
from txfiles.cli import read as cli_read
from txfiles.cli.main import cli

VERBS = sorted(cli.commands)
WRITE = ["write", "in.csv", "--to", "lake", "--mode", "append"]


def run(*args: str, **more: Any) -> Result:
    """One command line, in this process."""
    return CliRunner().invoke(cli, list(args), **more)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the library's `write` raise a given error."""

    def set_error(error: BaseException) -> None:
        def write(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(tx, "write", write)

    return set_error


# ---------------------------------------------------------------- help


def test_verbs() -> None:
    """The verbs of this release are all there."""
    assert set(VERBS) >= {
        "write",
        "log",
        "show",
        "files",
        "read",
        "plan",
        "delete",
        "set",
        "compact",
        "index",
        "vacuum",
        "resolve",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_whole(verb: str) -> None:
    """Each command says what it is for, each option what it does, and an example that uses the command is there."""
    command = cli.commands[verb]
    assert command.help
    assert command.short_help
    assert "..." not in command.get_short_help_str()
    assert command.epilog is not None
    assert f"txfiles {verb} " in command.epilog
    for param in command.params:
        assert isinstance(param, click.Argument) or (param.help or "").endswith("."), param.name
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert result.stderr == ""
    assert "--json" in result.stdout


def test_examples_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example in a help text is a command line that parses."""
    for verb, command in cli.commands.items():
        lines = [line.split("|")[-1].strip() for line in (command.epilog or "").splitlines() if "txfiles " in line]
        assert lines
        for line in lines:
            words = shlex.split(line)
            assert words[:2] == ["txfiles", verb]
            command.make_context(verb, words[2:])


def test_group_help_names_every_verb_and_exit_code() -> None:
    """`txfiles --help` lists the verbs and the exit codes."""
    text = run("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in text
    for code in {code for _, code in failure.EXIT_CODES}:
        assert f"{code}  " in text


def test_no_arguments_shows_help_as_a_usage_error() -> None:
    """`txfiles` alone shows the help on stderr and exits 2."""
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Commands:" in result.stderr


def test_version() -> None:
    """`--version` prints name and version."""
    assert run("--version").stdout == f"txfiles {tx.__version__}\n"


def test_words_are_the_librarys() -> None:
    """The choices that the shell offers are those that the library knows."""
    choices = {
        param.name: param.type.choices for param in cli.commands["write"].params if isinstance(param.type, click.Choice)
    }
    assert choices == {
        "mode": options.MODES,
        "format": options.FORMATS,
        "dedup_strategy": options.STRATEGIES,
        "stale": options.STALE,
        "schema_mode": options.SCHEMA_MODES,
    }


def test_plan_takes_what_write_takes() -> None:
    """`plan` has exactly the words of `write`."""
    plan, write = ([param.to_info_dict() for param in cli.commands[verb].params] for verb in ("plan", "write"))
    assert plan == write


# ---------------------------------------------------------------- what reaches the library


def test_every_option_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options arrive as the library's arguments, those not given as its defaults."""
    calls: list[tuple[Any, Any, dict[str, Any]]] = []

    def record(data: Any, path: Any, **options: Any) -> tx.WriteResult:
        calls.append((data, path, options))
        return tx.WriteResult(version=0, committed=True, already_committed=False, mode="append")

    monkeypatch.setattr(tx, "write", record)
    line = """write a.csv b.csv --to lake --mode overwrite --format csv --key a --key b --dedup-strategy newest_wins
        --timestamp-col t --stale apply --batch-id x --schema-mode merge --schema a=b=int64 --partition-by p
        --csv sep=; --csv null=NA,- --csv header=false
        --overwrite-partitions --replace-where n > -1 --replace-where s is null --replace-where i not-in 1,"2,3"
        --rekey --property compression=zstd --metadata k=v=w --timeout 5 --lock l
        --storage-option anon=True --storage-option region=eu=1 --storage-option client_kwargs={"verify":false}"""
    assert run(*line.split()).exit_code == 0
    assert run(*WRITE).exit_code == 0
    full, plain = ((data, path, options | {"progress": None}) for data, path, options in calls)
    assert full == (
        ["a.csv", "b.csv"],
        "lake",
        {
            "mode": "overwrite",
            "format": "csv",
            "keys": ("a", "b"),
            "dedup_strategy": "newest_wins",
            "timestamp_col": "t",
            "stale": "apply",
            "batch_id": "x",
            "schema_mode": "merge",
            "schema": {"a=b": "int64"},
            "csv": {"sep": ";", "null": ["NA", "-"], "header": False},
            "partition_by": ("p",),
            "overwrite_partitions": True,
            "replace_where": [("n", ">", "-1"), ("s", "is null", None), ("i", "not in", ["1", "2,3"])],
            "rekey": True,
            "properties": {"compression": "zstd"},
            "user_metadata": {"k": "v=w"},
            "timeout": 5.0,
            "storage_options": {"anon": True, "region": "eu=1", "client_kwargs": {"verify": False}},
            "lock": "l",
            "progress": None,
        },
    )
    nothing = (
        "format",
        "keys",
        "timestamp_col",
        "batch_id",
        "schema",
        "csv",
        "partition_by",
        "replace_where",
        "properties",
    )
    assert plain[0] == "in.csv"
    assert all(plain[2][name] is None for name in (*nothing, "user_metadata", "storage_options", "lock"))


@given(name=st.text(min_size=1).filter(lambda text: "=" not in text), value=st.text())
def test_pair_is_cut_once(name: str, value: str) -> None:
    """NAME=VALUE is cut at the first equals sign, whatever the value holds."""
    assert params.pair(f"{name}={value}") == (name, value)


@given(name=st.text(min_size=1), kind=st.sampled_from(["int64", "decimal128(10, 2)", "timestamp[us, UTC]"]))
def test_typed_is_cut_at_the_last(name: str, kind: str) -> None:
    """NAME=TYPE is cut at the last equals sign, so that a name may hold one."""
    assert params.typed(f"{name}={kind}") == (name, kind)


# ---------------------------------------------------------------- errors


def _all_errors() -> Iterator[type[errors.TxFilesError]]:
    stack: list[type[errors.TxFilesError]] = [errors.TxFilesError]
    while stack:
        found = stack.pop()
        yield found
        stack += found.__subclasses__()


EXPECTED = {
    errors.TxFilesError: 1,
    errors.InputError: 2,
    errors.TableNotFoundError: 10,
    errors.TableDetachedError: 10,
    errors.CommitConflictError: 11,
    errors.CommitStateUnknownError: 12,
    errors.CorruptTableError: 13,
    errors.UnsupportedTableError: 13,
    errors.StoreError: 14,
    errors.EngineError: 14,
    errors.SnapshotExpiredError: 15,
    errors.ConfirmationRequiredError: 16,
}


@pytest.mark.parametrize("kind", sorted(_all_errors(), key=str))
def test_exit_code_by_cause(kind: type[errors.TxFilesError], failing: Any) -> None:
    """Each error ends with its cause's exit code and says error and hint on stderr, nothing on stdout."""
    failing(kind("it went\nwrong", hint="do better", committed="unknown", rows=[1]))
    code = next(EXPECTED[parent] for parent in kind.__mro__ if parent in EXPECTED)
    result = run(*WRITE)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "txfiles: error: it went\\nwrong\ntxfiles: hint: do better\n"
    result = run(*WRITE, "--json")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert json.loads(result.stderr) == {
        "kind": kind.kind,
        "message": "it went\nwrong",
        "hint": "do better",
        "committed": "unknown",
        "evidence": {"rows": [1]},
    }


def test_error_without_hint(failing: Any) -> None:
    """Where there is no hint there is no hint line."""
    failing(errors.InputError("no"))
    assert run(*WRITE).stderr == "txfiles: error: no\n"


def test_unexpected_exception_is_told_without_traceback(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends with exit 1 and one sentence; the traceback is there for who asks, and the commit's fate is open."""
    failing(ZeroDivisionError("by zero"))
    result = run(*WRITE)
    assert result.exit_code == 1
    assert result.stderr.startswith("txfiles: error: internal error: ZeroDivisionError: by zero\ntxfiles: hint: ")
    assert "TXFILES_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(run(*WRITE, "--json").stderr)["committed"] == "unknown"
    monkeypatch.setenv("TXFILES_DEBUG", "1")
    assert "Traceback (most recent call last)" in run(*WRITE).stderr
    assert "ZeroDivisionError" in json.loads(run(*WRITE, "--json").stderr)["traceback"]


def test_interrupt_is_one_line(failing: Any) -> None:
    """Ctrl-C exits 130 with one line, which says where to look after a write."""
    failing(KeyboardInterrupt())
    result = run(*WRITE)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "txfiles: error: interrupted; 'txfiles log PATH' shows whether it was committed\n"
    assert failure.explain(KeyboardInterrupt(), ["read", "x"]).message == "interrupted"
    assert failure.explain(KeyboardInterrupt(), ["read", "x"]).committed == "no"


def test_an_interrupted_verb_that_commits_is_unknown() -> None:
    """Whatever takes a lock commits, except for a plan: interrupted, it does not know whether it did."""
    takes_lock = {name for name, verb in cli.commands.items() if any(one.name == "lock" for one in verb.params)}
    unknown = {
        name for name in cli.commands if failure.explain(KeyboardInterrupt(), [name, "x"]).committed == "unknown"
    }
    assert takes_lock - {"plan"} == unknown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["wrte"], "there is no command 'wrte' (did you mean 'write'?)"),
        (["zzz"], "there is no command 'zzz'"),
        (["--nope"], "there is no option '--nope'"),
        (["log"], "the argument 'PATH' is missing"),
        (["log", "x", "--jsn"], "there is no option '--jsn' (did you mean '--json'?)"),
        (["log", "x", "-n"], "option '-n' requires an argument"),
        (["log", "x", "-n", "0"], "'-n': 0 is not in the range x>=1"),
        (["log", "x", "y"], "got unexpected extra argument (y)"),
        (["read", "x", "--where", "a", "="], "option '--where' requires 3 arguments"),
        (["write", "i", "--to", "x", "--mode", "zz"], "'--mode': 'zz' is not 'overwrite', 'append', 'append_once' or"),
        (["read", "x", "--where", "a", "in", '"1'], "'--where': '\"1' is not a line of CSV"),
        (["write", "i", "--mode", "append"], "the option '--to' is missing"),
    ],
)
def test_usage_errors(args: list[str], message: str) -> None:
    """A usage error is told in the same shape as any other, with exit 2 and the way to the help."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"txfiles: error: {message}")
    assert second.startswith("txfiles: hint: 'txfiles")
    assert second.endswith("--help' shows the options and an example")


# ---------------------------------------------------------------- output


@dataclass(frozen=True)
class Record:
    """Any frozen record."""

    name: str
    when: datetime


class Odd:
    """Something JSON never heard of."""

    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (b"\x00\xff", "AP8="),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime.fromisoformat("2026-01-02T03:04:05.000006"), "2026-01-02T03:04:05.000006"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:00:00Z"),
        (timedelta(seconds=90), "90.0s"),
        (Decimal("1.10"), "1.10"),
        (np.int64(7), 7),
        (np.array([1, 2]), [1, 2]),
        (np.float64("nan"), "NaN"),
        (Record("a", datetime(2026, 1, 1, tzinfo=UTC)), {"name": "a", "when": "2026-01-01T00:00:00Z"}),
        ({1: (b"", {2})}, {"1": ["", [2]]}),
        (Path("a") / "b", str(Path("a") / "b")),
        (Odd(), "odd"),
        (2**70, 2**70),
        (True, True),
    ],
)
def test_jsonable(value: Any, expected: Any) -> None:
    """Every value has a JSON form that says what it is."""
    assert output.jsonable(value) == expected
    assert type(output.jsonable(value)) is type(expected)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals()
)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner)))
def test_json_is_one_valid_line(value: Any) -> None:
    """Whatever an error's evidence holds, it comes out as one line of strict JSON, in UTF-8."""
    line = output.to_json(value).encode("utf-8", "backslashreplace")
    assert b"\n" not in line

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(line, parse_constant=refuse)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_text_for_a_terminal_is_harmless(text: str) -> None:
    """A line for a person holds no control character, and plain text stays as it is."""
    shown = output.one_line(text)
    assert shown.isprintable()
    assert not text.isprintable() or shown == text


def test_table_is_aligned() -> None:
    """Columns are as wide as their widest cell, numbers stand to the right, no line ends in blanks."""
    assert output.table(("n", "name"), [("1", "ab\n"), ("100", "")], right=(0,)) == "  n  name\n  1  ab\\n\n100"


def test_jsons_lone_surrogates() -> None:
    """A path that is no UTF-8 still comes out, as valid JSON or as the bytes it has on disk."""
    raw = os.fsdecode(b"a\xff")
    with CliRunner().isolation() as (stdout, *_):
        output.write_text(raw)
        output.write_json(raw)
        output.flush()
        assert stdout.getvalue() == b'a\xff\n"a\\udcff"\n'


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BrokenPipeError(), 141, ""),
        (
            OSError(28, "No space left on device"),
            1,
            "txfiles: error: cannot write to standard output: No space left on",
        ),
    ],
)
def test_stdout_that_fails(
    error: OSError, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader that has gone is silently obeyed; a full disk is told, at the latest when all is flushed."""

    class Failing(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _: Any) -> int:
            raise error

    raw = Failing()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw, 10_000)))
    assert cli_main.run(["--version"]) == code
    assert capsys.readouterr().err.startswith(told)
    monkeypatch.setattr(Failing, "write", lambda self, data: len(data))  # so that closing it is quiet


def test_rows_before_a_failure_come_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What was put on stdout before an error is handed over, since the process then leaves at once."""

    def write(*_: Any, **__: Any) -> None:
        output.write_text("row")
        raise errors.InputError("no more")

    raw = io.BytesIO()
    monkeypatch.setattr(tx, "write", write)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))
    assert cli_main.run(WRITE) == 2
    assert raw.getvalue() == b"row\n"
    assert capsys.readouterr().err == "txfiles: error: no more\n"


def test_stdout_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A process started without stdout says so in place of dropping data."""
    monkeypatch.setattr(sys, "stdout", None)
    assert cli_main.run(["--version"]) == 1
    assert "it is closed" in capsys.readouterr().err


def test_export_replaces_whole_files_only(tmp_path: Path) -> None:
    """`read --to` leaves the file that stands there until the new one is whole, and no temporary file ever."""
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), cli_read._replacing(target) as file:
        file.write(b"half" * (1 // 0))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "old"
    with cli_read._replacing(target) as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "new"


def test_read_gives_each_value_or_an_error(tmp_path: Path) -> None:
    """JSON has the very values, of any year and nesting; CSV refuses what it does not hold, and writes nothing."""
    rows = pa.table(
        {
            "at": pa.array([1_200_243_744_000_000_001], pa.timestamp("us", "Europe/Berlin")),
            "days": pa.array([[3_662_645, None]], pa.list_(pa.date32())),
            "clock": pa.array([{"t": 1}], pa.struct([("t", pa.time64("ns"))])),
            "n": pa.array([2**53 + 1]),
        }
    )
    tx.write(rows, tmp_path / "t", mode="append")
    found = run("read", str(tmp_path / "t"), "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {
        "at": "+40004-03-18T00:00:00.000001Z",
        "days": ["+11997-12-25", None],
        "clock": {"t": "00:00:00.000000001"},
        "n": 2**53 + 1,
    }
    for to in ([], ["--to", str(tmp_path / "out.csv")]):
        refused = run("read", str(tmp_path / "t"), "--column", "at", *to)
        assert refused.exit_code == 2
        assert not refused.stdout
        assert "'at' holds +40004-03-18T00:00:00.000001Z in row 0" in refused.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["t"]


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    """A stderr with somebody before it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "as_json", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_progress_only_for_people(
    terminal: bool, as_json: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any
) -> None:
    """The bar is on stderr and only where a person looks on; stages of known and unknown size both show."""
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.bar(as_json=as_json) as report:
        assert (report is not None) is shown
        if report is not None:
            report(tx.Progress("reading", 1, None))
            report(tx.Progress("rewriting", 2, 3))
            report(tx.Progress("rewriting", 3, 3))
    assert ("rewriting" in stderr.getvalue()) is shown
    assert capsysbinary.readouterr().out == b""


# ---------------------------------------------------------------- real processes


def test_head_is_silent(tmp_path: Path) -> None:
    """A pipe that closes early ends the command without a word."""
    (tmp_path / "in.csv").write_text("x\n" + "".join(f"{n}{'y' * 90}\n" for n in range(20_000)))
    assert run("write", str(tmp_path / "in.csv"), "--to", str(tmp_path / "t"), "--mode", "append").exit_code == 0
    command = [sys.executable, "-m", "txfiles", "read", str(tmp_path / "t"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"x": "0y')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == failure.OUTPUT_CLOSED


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_process(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while the command waits for its input: exit 130, one line, no spool left behind."""
    command = [sys.executable, "-m", "txfiles", "write", "-", "--to", str(tmp_path / "t"), "--mode", "append"]
    spools = tmp_path / "spools"
    spools.mkdir()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(spools)}
    ) as process:
        assert process.stderr is not None
        for _ in range(500):
            if any(spools.glob("txfiles-*/stdin.csv")):
                break
            time.sleep(0.02)
        process.send_signal(number)
        told = process.stderr.read().decode()
        assert process.wait(30) == failure.INTERRUPTED
    assert told == "txfiles: error: interrupted; 'txfiles log PATH' shows whether it was committed\n"
    assert list(spools.iterdir()) == []
    assert not (tmp_path / "t").exists()


def test_warnings_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    """What the library logs as a warning is a line on stderr in the shell's own shape."""
    record = logging.LogRecord("txfiles", logging.WARNING, "", 0, "careful, %s", ("you",), None)
    cli_main._ToStderr().handle(record)
    assert capsys.readouterr().err == "txfiles: warning: careful, you\n"


def test_a_lock_where_there_are_no_hard_links(tmp_path, monkeypatch):
    """Each verb that commits takes --lock, needs it on a file system without hard links, and says so."""

    def link(*args, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "a.csv").write_text("x\n1\n")
    table, lock = str(tmp_path / "table"), ["--lock", str(tmp_path / "lock")]
    verbs = (
        ["write", str(tmp_path / "a.csv"), "--to", table, "--mode", "overwrite", "--property", "vacuum_grace=0"],
        ["write", str(tmp_path / "a.csv"), "--to", table, "--mode", "overwrite"],
        ["set", table, "row_group_rows=9"],
        ["vacuum", table, "--retain", "0"],
        ["rename", table, "x", "y"],
    )
    for version, verb in enumerate(verbs):
        refused = run(*verb)
        assert (refused.exit_code, refused.stdout) == (14, "")
        assert "no hard links" in refused.stderr
        assert "--lock" in refused.stderr
        assert run(*verb, *lock).exit_code == 0
        assert tx.Table(table).version == version
    assert tx.Table(table).to_arrow().to_pylist() == [{"y": 1}]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("write", "plan")])
def test_storage_options_reach_every_verb(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each verb hands the options of the bucket's library on, and repeats none of their values."""
    given: list[Any] = []

    def record(path: str, *_: Any, storage_options: Any = None, **__: Any) -> None:
        given.append(storage_options)
        raise tx.errors.StoreError("as far as this test goes")

    monkeypatch.setattr(tx, "Table", record)
    for name in ("resolve", "verify", "doctor", "detach", "adopt"):
        monkeypatch.setattr(tx, name, record)
    needed = {"set": ["compression=zstd"], "resolve": ["0" * 32], "delete": ["--where", "id", "=", "1"]}
    needed |= {"diff": ["0"], "restore": ["--version", "0"]}
    needed |= {"rename": ["a", "b"], "drop": ["a"], "reorder": ["a", "b"], "widen": ["a", "int64"]}
    more = needed.get(verb, [])
    result = run(verb, "s3://bucket/t", *more, "--storage-option", "secret=CANARY", "--storage-option", "anon=false")
    assert result.exit_code == 14
    assert given == [{"secret": "CANARY", "anon": False}]
    assert "CANARY" not in result.output


def test_a_storage_option_that_is_no_json() -> None:
    """A nested option is JSON; one that is not is refused without its value."""
    result = run("show", "s3://bucket/t", "--storage-option", "client_kwargs={CANARY")
    assert result.exit_code == 2
    assert "client_kwargs" in result.output
    assert "CANARY" not in result.output
