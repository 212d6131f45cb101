"""Which storage options may be secret, what is shown of them and pickled, and what is read from the environment."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.errors import OptionError
from txfiles.store import open_store, secret_options
from txfiles.store.secret_options import hidden, resolved, secret_names

CANARY = "CANARY-8e1f"


def test_references(monkeypatch):
    """A whole value `${NAME}` is that variable, at any depth; anything else stays as it is."""
    monkeypatch.setenv("LAKE_A", CANARY)
    options = {
        "secret": "${LAKE_A}",
        "client_kwargs": {"x": {"y": "${LAKE_A}"}},
        "key": "a${LAKE_A}",
        "token": "$LAKE_A",
        "anon": False,
    }
    assert resolved(options) == {
        **options,
        "secret": CANARY,
        "client_kwargs": {"x": {"y": CANARY}},
    }


@pytest.mark.parametrize("value", [None, ""])
def test_a_reference_to_nothing(value, monkeypatch):
    """A variable that is not set, or is empty, is an error that names both: never a call with other credentials."""
    monkeypatch.delenv("LAKE_A", raising=False)
    if value is not None:
        monkeypatch.setenv("LAKE_A", value)
    for url in ("s3://bucket/t", "abfs://container/t"):
        with pytest.raises(OptionError, match=r"'key' refers to the environment variable LAKE_A, which is not set"):
            open_store(url, {"key": "${LAKE_A}"})


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, []),
        ({"key": "k", "secret": "s", "endpoint_url": "http://h"}, ["key", "secret"]),
        ({"key": "${A}", "secret": "x${A}"}, ["secret"]),
        ({"anon": True, "request_timeout": 5, "profile": "p", "client_kwargs": {"region_name": "r"}}, []),
        ({"client_kwargs": {"aws_session_token": "t"}}, ["client_kwargs"]),
        ({"endpoint_url": "http://u:p@h"}, ["endpoint_url"]),
        ({"endpoint_url": "http://h?sig=x"}, ["endpoint_url"]),
        ({"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}}, []),
        ({"s3_additional_kwargs": {"SSECustomerKey": "k"}}, ["s3_additional_kwargs"]),
        ({"account_name": "a", "tenant_id": "t", "client_id": "c", "client_secret": "s"}, ["client_secret"]),
        ({"connection_string": "AccountName=a"}, ["connection_string"]),
        ({"session": object(), "token": b"t"}, ["session", "token"]),
        ({"something new": "x"}, ["something new"]),
    ],
)
def test_what_may_be_secret(options, names):
    """Every value may be secret unless its option is known to hold none, or it refers to the environment."""
    assert secret_names(options) == names


@pytest.mark.parametrize(
    ("url", "option"), [("s3://bucket/t", "secret"), ("abfs://lake@account.dfs.core.windows.net/t", "account_key")]
)
@pytest.mark.parametrize("backend", ["s3fs", "obstore", None])
def test_stores_pickle_without_secrets(url, option, backend, monkeypatch):
    """A store pickles with the variable that its secret is in, and reads it where it is unpickled; with a secret in
    the clear, pickling is an error that names the option and the way out."""
    if url.startswith("abfs") and backend is not None:
        return
    monkeypatch.setenv("LAKE_SECRET", "Q0FOQVJZLTE=")
    more = {} if backend is None else {"backend": backend}
    if url.startswith("s3"):
        monkeypatch.setenv("LAKE_KEY", CANARY)
        more |= {"key": "${LAKE_KEY}", "endpoint_url": "http://127.0.0.1:1"}
    data = pickle.dumps(open_store(url, {option: "${LAKE_SECRET}", **more}))
    assert b"Q0FOQVJZLTE" not in data
    assert CANARY.encode() not in data
    assert pickle.loads(data).client.identity == open_store(url, {option: "${LAKE_SECRET}", **more}).client.identity
    monkeypatch.delenv("LAKE_SECRET")
    with pytest.raises(OptionError, match="LAKE_SECRET, which is not set"):
        pickle.loads(data)
    plain = open_store(url, {option: "Q0FOQVJZLTE=", **more})
    with pytest.raises(OptionError, match=f"cannot be pickled with .* '{option}'") as raised:
        pickle.dumps(plain)
    assert "'${NAME}'" in raised.value.hint
    assert "Q0FOQVJZ" not in f"{raised.value!r} {raised.value.hint}"


def test_clients_are_not_shared_between_values_of_a_variable(monkeypatch):
    """The same reference after the variable has changed is another client."""
    given = {"key": "${LAKE_KEY}", "secret": "${LAKE_KEY}", "endpoint_url": "http://127.0.0.1:1"}
    clients = []
    for value in ("a", "a", "b"):
        monkeypatch.setenv("LAKE_KEY", value)
        clients.append(open_store("s3://bucket/t", given).client)
    assert clients[0] is clients[1]
    assert clients[1] is not clients[2]


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="…")
SECRETS = st.text(LETTERS, min_size=secret_options.SECRET_CHARACTERS, max_size=20)


@given(
    st.dictionaries(
        st.sampled_from(["key", "secret", "token", "sas_token", "SSECustomerKey"]),
        SECRETS | st.dictionaries(st.just("x"), SECRETS),
        min_size=1,
    ),
    st.text(max_size=10),
)
def test_nothing_secret_is_shown(options, around):
    """Whatever the values are, none is left in a text that held them."""
    values = [value if isinstance(value, str) else value.get("x", "") for value in options.values()]
    text = hidden(around.join(values), options)
    for value in values:
        assert not value or value not in text


@pytest.mark.parametrize(
    ("options", "text", "left"),
    [
        ({"connection_string": "AccountName=acct;AccountKey=QUJDRA=="}, "key QUJDRA== of acct", "key … of …"),
        ({"sas_token": "?sv=1&sig=abcd%3D"}, "https://h/b?sv=1&sig=abcd%3D", "https://h/b…"),
        ({"endpoint_url": "http://user:pass@h"}, "no host user:pass@h, pass", "no host …@h, …"),
        ({"endpoint_url": "http://h", "profile": "lake"}, "http://h has no lake", "http://h has no lake"),
        ({"secret": "abc"}, "abc", "abc"),
    ],
)
def test_what_is_hidden(options, text, left):
    """Parts of a value that is made of parts are hidden too; what is public stays, as does what is too short."""
    assert hidden(text, options) == left
