"""What obstore's exceptions mean: by the status and code in their texts, never by their types.

obstore reports S3's 409, which decides nothing, as *exists*. An answer that it got after retries of its own, or to a
part of a larger request, is worded in other ways; whatever is not recognised is unclear, which decides nothing either.

Source: specs/decisions/0009-s3-through-obstore.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from obstore import exceptions as raised

from txfiles.store import client
from txfiles.store.client import Answers, Failed, Failure

_REQUEST = r"Error performing ([A-Z]+) \S+ in \S+(?:, after \d+ retries, [^-]*)? +- "
_ANSWER = re.compile(
    rf"{_REQUEST}Server returned (?:non-2xx status code: (\d{{3}}) ?([^:]*)|error response): ?"
    r"(.*?)(?:\n\nDebug source:|\Z)",
    re.DOTALL,
)
"""Of a success with an error in its body the status is not told."""
_REDIRECT = re.compile(rf"{_REQUEST}(Received redirect without LOCATION|HTTP error: error following redirect)")
_KEPT = re.compile(r"DeleteObjects request failed for key (.*): (.*) \(code: (\w+)\)", re.DOTALL)
_REFUSED = (raised.InvalidPathError, raised.NotSupportedError, raised.UnknownConfigurationKeyError, ValueError)
_METADATA_SERVERS = ("169.254.169.254", "169.254.170.2")
Tier = Callable[[str | None, Callable[[str], str | None]], str | None]

_ELSEWHERE = re.compile(r"30\d|PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException")
"""How S3 says that a bucket is in another region."""


def read(error: Exception, answers: Answers, absent: str, tier: Tier) -> Failed:
    """What an exception means.

    Args:
        error: of obstore.
        answers: of this kind of server.
        absent: the code of a missing object, which a HEAD has no body to say.
        tier: where an object is archived, by the code and the elements of an answer.
    """
    text = str(error)
    found = _ANSWER.search(text)
    if found is None:
        said = re.sub(r"^Generic \w+ error: ", "", text.partition("\n\nDebug source:")[0])
        return Failed(_without_answer(error, text), f"{type(error).__name__}: {said}")
    method, status, reason, body = found[1], int(found[2] or 200), found[3], found[4]
    code = element("Code", body)
    if method == "HEAD" and not body and isinstance(error, FileNotFoundError):
        code = absent
    where = tier(code, lambda name: element(name, body))
    told = client.described(status, code or reason, element("Message", body), where)
    return Failed(client.meaning(answers, code, status), told)


def kept_key(error: Exception) -> tuple[str, str, str] | None:
    """The first key that a DeleteObjects did not delete, the code and the message; None if the error is another."""
    found = _KEPT.search(str(error).partition("\n\nDebug source:")[0])
    return found and (found[1], found[3], found[2])


def is_redirect(error: Exception) -> bool:
    """Whether the server says that the bucket is elsewhere."""
    text = str(error)
    found = _ANSWER.search(text)
    if found is None:
        return _REDIRECT.search(text) is not None
    return _ELSEWHERE.fullmatch(element("Code", found[4]) or found[2] or "") is not None


def is_bare(error: Exception) -> bool:
    """Whether a HEAD was answered by 400, which has no body: the bucket is elsewhere, or a token has expired."""
    found = _ANSWER.search(str(error))
    return found is not None and (found[1], found[2]) == ("HEAD", "400")


def element(name: str, xml: str) -> str | None:
    """The text of an XML element."""
    found = re.search(rf"<{name}>(.*?)</{name}>", xml, re.DOTALL)
    return found and found[1]


def _without_answer(error: Exception, text: str) -> Failure:
    if isinstance(error, raised.UnauthenticatedError | raised.PermissionDeniedError):
        return Failure.DENIED
    if isinstance(error, _REFUSED) or _REDIRECT.search(text):
        return Failure.REFUSED
    if any(one in text for one in _METADATA_SERVERS):
        return Failure.DENIED  # no credentials: it looked for a machine's role
    return Failure.UNREACHABLE if "kind: Connect" in text else Failure.UNCLEAR
