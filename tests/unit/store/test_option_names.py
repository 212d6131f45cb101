"""Names of storage options: two for one option must agree, and one in upper case is told the right spelling."""

from __future__ import annotations

import pytest

from txfiles.errors import OptionError
from txfiles.store import open_store

CANARY = "CANARY-61b3"
S3, AZURE = "s3://bucket/t", "abfs://lake/t"
ACCOUNT = {"account_name": "account", "account_key": "S0VZ"}


@pytest.mark.parametrize("more", [{}, {"backend": "obstore"}, {"backend": "s3fs"}])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": "a", "aws_access_key_id": CANARY, "secret": "s"}, ("'key'", "'aws_access_key_id'")),
        (
            {"aws_access_key_id": CANARY, "access_key_id": "b", "secret": "s"},
            ("'aws_access_key_id'", "'access_key_id'"),
        ),
        ({"token": CANARY, "aws_session_token": "b"}, ("'token'", "'aws_session_token'")),
        ({"endpoint_url": "http://a", "endpoint": "http://b"}, ("'endpoint_url'", "'endpoint'")),
        ({"region": "eu-west-1", "aws_region": "us-east-1"}, ("'region'", "'aws_region'")),
        (
            {"region": "eu-west-1", "client_kwargs": {"region_name": "us-east-1"}},
            ("'region'", "client_kwargs['region_name']"),
        ),
        (
            {"key": "a", "client_kwargs": {"aws_access_key_id": CANARY}},
            ("'key'", "client_kwargs['aws_access_key_id']"),
        ),
    ],
)
def test_two_names_of_one_option(options, named, more):
    """Two names of one option with different values are refused, whichever library would have taken which."""
    with pytest.raises(OptionError, match="two names of one storage option") as raised:
        open_store(S3, {**options, **more})
    assert all(name in str(raised.value) for name in named)
    assert CANARY not in f"{raised.value} {raised.value.hint} {raised.value.evidence}"


@pytest.mark.parametrize("backend", ["obstore", "adlfs"])
@pytest.mark.parametrize("other", ["azure_storage_account_key", "access_key"])
def test_two_names_of_one_option_of_azure(backend, other):
    """The same for Azure."""
    with pytest.raises(OptionError, match=f"'account_key' and '{other}' are two names") as raised:
        open_store(AZURE, {**ACCOUNT, other: CANARY, "backend": backend})
    assert CANARY not in f"{raised.value} {raised.value.hint} {raised.value.evidence}"


@pytest.mark.parametrize("backend", ["obstore", "s3fs"])
def test_two_names_with_one_value(backend):
    """Two names with one value are one option; one that is None says nothing, wherever it stands."""
    given = {
        "aws_access_key_id": "k",
        "key": "k",
        "access_key_id": None,
        "secret": None,
        "aws_secret_access_key": "s",
        "region": "us-east-1",
        "endpoint_url": "http://127.0.0.1:1",
        "client_kwargs": {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:1", "aws_access_key_id": "k"},
    }
    client = open_store(S3, {**given, "backend": backend}).client
    assert client.identity == "s3 http://127.0.0.1:1 bucket"
    if backend == "s3fs":
        assert (client._fs.key, client._fs.secret) == ("k", "s")
    else:
        assert (client._config["key"], client._config["secret"]) == ("k", "s")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        *((S3, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")),
        (S3, "Key"),
        (AZURE, "AZURE_STORAGE_ACCOUNT_KEY"),
        (AZURE, "AZURE_CLIENT_ID"),
        (AZURE, "Account_Name"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"backend": "obstore"}])
def test_a_name_in_upper_case(url, name, more):
    """An option that is spelled as a variable is refused with the name that works."""
    with pytest.raises(OptionError, match=f"'{name}' is not a storage option .did you mean '{name.lower()}'") as raised:
        open_store(url, {name: CANARY, **more})
    assert "lower case" in raised.value.hint
    assert CANARY not in f"{raised.value} {raised.value.hint} {raised.value.evidence}"
