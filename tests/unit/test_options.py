"""Options exist once: the calls' signatures and the shell's words are those of one frozen type."""

from __future__ import annotations

import dataclasses
import inspect
import string

import click
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import txfiles as tx
from txfiles.cli.main import cli
from txfiles.core import foreign
from txfiles.errors import ArgumentError, OptionError
from txfiles.options import DEFAULTS, OPTIONS, Request, WriteOptions, read_options

ROWS = pa.table({"id": [1]})


def _defaults(call: object) -> dict[str, object]:
    found = inspect.signature(call).parameters.values()
    return {one.name: one.default for one in found if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize("call", [tx.write, tx.plan])
def test_a_call_takes_the_options_in_their_order_with_their_defaults(call):
    """`write` and `plan` have exactly the options of the one type, and what they default to means the same."""
    taken = _defaults(call)
    assert list(taken) == list(OPTIONS)
    assert taken.pop("mode") is inspect.Parameter.empty
    assert read_options({"mode": "append", **taken}) == read_options({"mode": "append"})
    assert read_options({"mode": "append"}) == WriteOptions(mode="append", **DEFAULTS)


def test_each_argument_is_documented():
    """Each argument of `write` stands in its docstring."""
    for name in OPTIONS:
        assert f"\n        {name}: " in (tx.write.__doc__ or ""), name


@pytest.mark.parametrize("verb", ["write", "plan"])
def test_the_shell_has_the_same_options(verb):
    """Each option that a shell can use is there, with the same help, choices and default."""
    params = {param.name: param for param in cli.commands[verb].params if isinstance(param, click.Option)}
    shell = {name: facts for name, facts in OPTIONS.items() if facts.kind != "library"}
    assert set(params) - set(shell) == {"path", "config", "as_json"}
    for name, facts in shell.items():
        param = params[name]
        assert param.help.startswith(facts.help)
        assert tuple(getattr(param.type, "choices", ())) == facts.choices
        assert ("Required without --config" in param.help) == (name == "mode")
        default = DEFAULTS.get(name)
        told = default if isinstance(default, str | float) and default is not False else None
        assert (param.default if param.show_default else None) == told, name


def test_a_request_adds_the_data_and_nothing_else():
    """What targets get is the options and a source."""
    names = {one.name for one in dataclasses.fields(Request)}
    assert names - {one.name for one in dataclasses.fields(WriteOptions)} == {"source"}


def test_secrets_are_not_shown():
    """The text of options holds neither storage options nor a lock."""
    options = read_options({"mode": "append", "storage_options": {"key": "sesame"}, "lock": "sesame"})
    assert "sesame" not in repr(options)


# ---------------------------------------------------------------- other libraries' words


@pytest.mark.parametrize(
    ("option", "word", "ours"),
    [
        (option, *pair)
        for option, words in foreign.WORDS.items()
        for pair in words.items()
        if option != "operator"  # of a filter; see test_rows_given.py
    ],
)
def test_a_foreign_word_is_told_the_nearest_meaning(option, word, ours, tmp_path):
    """A mode or strategy in another library's words is refused with ours of that meaning, in any spelling of it."""
    assert ours in OPTIONS[option].choices
    assert word not in OPTIONS[option].choices
    for spelling in (word, word.upper(), word.replace("_", "-"), word.replace("_", "+")):
        with pytest.raises(OptionError, match=f"did you mean '{ours}'") as raised:
            tx.write(ROWS, tmp_path / "t", **{"mode": "overwrite", option: spelling})
        assert raised.value.kind == "bad-option"
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(("name", "ours"), foreign.OPTIONS.items())
@pytest.mark.parametrize("call", [tx.write, tx.plan])
def test_a_foreign_option_is_told_ours(call, name, ours, tmp_path):
    """An option in another library's name is a TypeError of ours that names the option meant; nothing is written."""
    assert ours in OPTIONS
    assert name not in OPTIONS
    with pytest.raises(ArgumentError, match=f"has no argument '{name}' \\(did you mean '{ours}'\\?\\)") as raised:
        call(ROWS, tmp_path / "t", mode="append", **{name: "x"})
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, OptionError)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("name", foreign.NOT_NEEDED)
def test_a_foreign_option_without_a_counterpart_is_told_what_to_do(name, tmp_path):
    """An option that we do not have is refused with what to do in its place."""
    with pytest.raises(ArgumentError) as raised:
        tx.write(ROWS, tmp_path / "t", mode="append", **{name: False})
    assert raised.value.hint == foreign.NOT_NEEDED[name]


@given(name=st.text(string.ascii_lowercase + "_", min_size=1).filter(lambda name: name not in OPTIONS))
def test_any_unknown_option_is_an_error_of_ours(name):
    """Whatever the name, it is our error, with the arguments there are or what to do."""
    assume(name not in ("data", "path"))
    with pytest.raises(ArgumentError) as raised:
        tx.write(ROWS, "nowhere", mode="append", **{name: 1})
    assert raised.value.hint
    assert raised.value.argument == name


def test_a_missing_mode_is_an_error_of_ours(tmp_path):
    """`mode` is required, and the error says what it may be."""
    with pytest.raises(ArgumentError, match="write requires 'mode'") as raised:
        tx.write(ROWS, tmp_path / "t")
    assert "'append_once' or 'upsert'" in raised.value.hint
    assert isinstance(raised.value, TypeError)


READS = {
    "filters": (lambda table, x: table.to_arrow(filters=x), "filter"),
    "where": (lambda table, x: table.to_pandas(where=x), "filter"),
    "usecols": (lambda table, x: table.to_polars(usecols=x), "columns"),
    "column": (lambda table, x: table.lookup([1], column=x), "columns"),
    "version_as_of": (lambda table, x: table.at(version_as_of=x), "version"),
    "timestamp_as_of": (lambda table, x: tx.Table(table.path, timestamp_as_of=x), "timestamp"),
    "as_of": (lambda table, x: table.at(as_of=x), "timestamp"),
    "retention_hours": (lambda table, x: table.vacuum(retention_hours=x), "retain"),
    "target_size": (lambda table, x: table.compact(target_size=x), "target_file_bytes"),
    "z_order": (lambda table, x: table.compact(z_order=x), "sort"),
    "last": (lambda table, x: table.history(last=x), "limit"),
    "predicate": (lambda table, x: table.to_batches(predicate=x), "filter"),
    "condition": (lambda table, x: table.delete(condition=x), "where"),
    "filter": (lambda table, x: table.delete(filter=x), "where"),
    "ids": (lambda table, x: table.delete(ids=x), "keys"),
    "load_id": (lambda table, x: table.delete([("id", "=", 1)], load_id=x), "batch_id"),
    "filesystem": (lambda table, x: tx.exists(table.path, filesystem=x), "storage_options"),
}


@pytest.mark.parametrize("name", READS)
def test_a_foreign_argument_of_a_read_is_told_ours(name, tmp_path):
    """Reading and maintaining calls tell the argument meant as well; the table stays as it is."""
    tx.write(ROWS, tmp_path / "t", mode="upsert", keys="id")
    call, ours = READS[name]
    with pytest.raises(ArgumentError, match=f"has no argument '{name}' \\(did you mean '{ours}'\\?\\)") as raised:
        call(tx.Table(tmp_path / "t"), "x")
    assert isinstance(raised.value, TypeError)
    assert tx.Table(tmp_path / "t").version == 0


def test_each_foreign_argument_of_a_read_is_one_of_none_of_ours():
    """No name in the table of foreign ones is an argument of the public calls that it would hide."""
    calls = (tx.exists, tx.resolve, *(call for name, call in vars(tx.Table).items() if callable(call)))
    for call in calls:
        taken = set(inspect.signature(call).parameters)
        assert not {name for name in taken if foreign.READING.get(name) in taken}, call


def test_at_with_nothing_or_both_says_what_to_give(tmp_path):
    """`at` without a version or timestamp asks for one; with both it asks for one of them."""
    tx.write(ROWS, tmp_path / "t", mode="append")
    table = tx.Table(tmp_path / "t")
    with pytest.raises(OptionError, match="needs a version or a timestamp"):
        table.at()
    for call in (table.at, lambda **both: tx.Table(tmp_path / "t", **both)):
        with pytest.raises(OptionError, match="cannot be combined"):
            call(version=0, timestamp="2026-01-01T00:00:00Z")
