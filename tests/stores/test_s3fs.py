"""What s3fs makes of S3's answers, and what it would do if it were asked in another way."""

from __future__ import annotations

import pytest
from botocore import exceptions as boto
from s3fs.errors import translate_boto_error

from tests.services.servers import BUCKET
from txfiles.store.client import Failure
from txfiles.store.s3 import S3Client


def answered(code, status, operation="PutObject", **said):
    error = boto.ClientError(
        {"Error": {"Code": code, "Message": "m", **said}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )
    return translate_boto_error(error)


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (answered("PreconditionFailed", 412, Condition="If-None-Match"), Failure.EXISTS),  # AWS: FileExistsError
        (answered("PreconditionFailed", 412), Failure.EXISTS),  # others: OSError 22
        (answered("ConditionalRequestConflict", 409), Failure.UNDECIDED),
        (answered("OperationAborted", 409), Failure.UNDECIDED),
        (answered("NoSuchKey", 404), Failure.ABSENT),
        (answered("404", 404, "HeadObject"), Failure.ABSENT),
        (answered("404", 404, "GetObject"), Failure.REFUSED),
        (answered("NoSuchBucket", 404), Failure.REFUSED),
        (answered("NoSuchUpload", 404), Failure.ABSENT),
        (answered("InvalidRange", 416), Failure.SHORT),
        (answered("AccessDenied", 403), Failure.DENIED),
        (answered("403", 403, "HeadObject"), Failure.DENIED),
        (answered("ExpiredToken", 400), Failure.DENIED),
        (answered("InvalidToken", 400), Failure.DENIED),
        (answered("SignatureDoesNotMatch", 403), Failure.DENIED),
        (answered("RequestTimeTooSkewed", 403), Failure.DENIED),
        (answered("SlowDown", 503), Failure.THROTTLED),
        (answered("ServiceUnavailable", 503), Failure.THROTTLED),
        (answered("TooManyRequests", 429), Failure.THROTTLED),
        (answered("RequestTimeout", 400), Failure.UNCLEAR),
        (answered("InternalError", 200), Failure.UNCLEAR),
        (answered("InternalError", 500), Failure.UNCLEAR),
        (answered("Odd", 502), Failure.UNCLEAR),
        (answered("Odd", 504), Failure.UNCLEAR),
        (answered("EntityTooLarge", 400), Failure.REFUSED),
        (answered("PermanentRedirect", 301), Failure.REFUSED),
        (answered("NotImplemented", 501), Failure.UNSUPPORTED),
        (boto.EndpointConnectionError(endpoint_url="http://x"), Failure.UNREACHABLE),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), Failure.UNREACHABLE),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Failure.UNCLEAR),
        (boto.ConnectionClosedError(endpoint_url="http://x"), Failure.UNCLEAR),
        (boto.HTTPClientError(error="x"), Failure.UNCLEAR),
        (boto.NoCredentialsError(), Failure.DENIED),
        (boto.CredentialRetrievalError(provider="p", error_msg="e"), Failure.DENIED),
        (boto.ParamValidationError(report="r"), Failure.REFUSED),
        (OSError("anything"), Failure.UNCLEAR),
    ],
    ids=lambda value: value.value if isinstance(value, Failure) else f"{type(value).__name__}",
)
def test_what_answers_mean(error, means):
    """Every answer of S3 has one meaning, whatever s3fs raises for it; a missing bucket is not an absent key."""
    assert S3Client(BUCKET, {}, 1.0).failed(error).failure is means


@pytest.mark.guarantees("S19")
def test_a_server_that_repeats_the_secret():
    """A server's message is told without any value of an option that may be secret."""
    client = S3Client(BUCKET, {"key": "k" * 9, "secret": "s" * 9, "client_kwargs": {"x": "y" * 9}}, 1.0)
    failed = client.failed(answered("InvalidToken", 400, Message=f"a{'k' * 9}b{'s' * 9}c{'y' * 9}d"))
    assert failed.said == "400 InvalidToken: a…b…c…d"


@pytest.mark.slow
@pytest.mark.parametrize("way", [("ministack", "s3fs")], indirect=True)
def test_pages(proxy, store, monkeypatch):
    """A listing is one request a page, and a page that nobody needs is not asked for."""
    for number in range(5):
        store.put(f"l/{number}", b"")
    proxy.reset()
    call = store.client._call
    monkeypatch.setattr(store.client, "_call", lambda method, **given: call(method, MaxKeys=2, **given))
    assert next(store.list_from("l/")).name == "l/0"
    assert len(proxy.seen) == 1
    assert [entry.name for entry in store.list_from("l/")] == [f"l/{number}" for number in range(5)]
    assert len(proxy.seen) == 1 + 3
