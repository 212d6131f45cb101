"""Servers that send a byte now and then: a request ends with its time, through each library."""

from __future__ import annotations

import pytest

from txfiles.errors import CorruptTableError, StoreError
from txfiles.store import open_store

pytestmark = pytest.mark.slow

BODY_BYTES = 1_000
"""An answer with this many bytes would trickle for most of a minute."""
SECONDS = 3.0

READS = {
    "get": lambda store: store.get("a", limit=BODY_BYTES),
    "range": lambda store: store.read_ranges("a", [(0, BODY_BYTES)], BODY_BYTES)[0],
    "file": lambda store: store.open_input("a", BODY_BYTES).read(),
}


@pytest.mark.parametrize("read", READS)
def test_an_answer_that_trickles(store, proxy, options, read):
    """An answer of which a byte comes now and then is given up within the time of a try, asked for again, and told as
    unclear when the time is up; no read of its own was ever slow."""
    body = bytes(range(250)) * (BODY_BYTES // 250)
    store.put("a", body)
    hasty = open_store(store.root, {**options, "request_timeout": SECONDS})
    proxy.reset(lambda _: "trickle")
    with pytest.raises(StoreError) as raised:
        READS[read](hasty)
    assert not isinstance(raised.value, CorruptTableError)
    assert raised.value.failure == "unclear"
    assert 2 <= len(proxy.seen) <= 5
    assert all(seen.answer_bytes < BODY_BYTES // 10 for seen in proxy.seen)
    proxy.reset()
    assert READS[read](store) == body


def test_a_listing_that_trickles(store, proxy, options):
    """The same of a listing; obstore gives it more time, since it does not know how long it is."""
    if store.backend == "obstore":
        pytest.skip("up to four minutes")
    for number in range(20):
        store.put(f"l/{number}", b"")
    hasty = open_store(store.root, {**options, "request_timeout": SECONDS})
    proxy.reset(lambda _: "trickle")
    with pytest.raises(StoreError):
        list(hasty.list_from("l/"))
    assert 2 <= len(proxy.seen) <= 5


def test_a_body_that_is_slow_but_comes(store, proxy, options):
    """An answer that takes a few pauses, but less than its time, is read whole at the first try."""
    store.put("a", b"12345678")
    proxy.reset(lambda _: "trickle")
    assert open_store(store.root, {**options, "request_timeout": 30}).get("a", limit=8) == b"12345678"
    assert len(proxy.seen) == 1
