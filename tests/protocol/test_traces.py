"""Runs written by hand, judged by the model of the protocol: legal ones are accepted, illegal ones refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.traces import Event, accepted, verdict

pytestmark = pytest.mark.guarantees("S3 S4 S5 S6 S15")


def trace(text: str) -> list[Event]:
    """Events from lines like `1 put 3 +a -b`, `1 stage a`, `2 put 4 lists a b`, `1 readback 3 mine`."""
    events: list[Event] = []
    for line in filter(None, text.splitlines()):
        who, what, *rest = line.split()
        event: dict[str, Any] = {"p": int(who), "e": what}
        if what in ("stage", "unstage", "delete"):
            event["f"] = rest[0]
        elif rest:
            event["v"] = int(rest[0])
        if what == "readback":
            event["r"] = rest[1]
        if what == "put":
            vacuum = "lists" in rest
            event |= {"kind": "vacuum" if vacuum else "append", "base": event["v"] - 1}
            event["adds"] = [word[1:] for word in rest[1:] if word.startswith("+")]
            event["removes"] = [word[1:] for word in rest[1:] if word.startswith("-")]
            if vacuum:
                events.append(event)
                event = {"p": event["p"], "e": "list", "v": event["v"], "files": rest[rest.index("lists") + 1 :]}
        events.append(event)
    return events


GIVEN = """
0 head -1
0 stage z
0 put 0 +z
0 ack 0
"""
"""A table with one version and one file."""

LEGAL = {
    "a commit": """
1 head 0
1 stage a
1 put 1 +a
1 ack 1
""",
    "a commit of two files that replaces one": """
1 head 0
1 stage a
1 stage b
1 put 1 +a +b -z
1 ack 1
""",
    "a race is lost, and the plan stands": """
1 head 0
1 stage a
2 head 0
2 stage b
2 put 1 +b
1 exists 1
1 readback 1 other
2 ack 1
1 see 1
1 put 2 +a
1 ack 2
""",
    "what came first is seen before the first try": """
1 head 0
1 stage a
2 head 0
2 stage b
2 put 1 +b
2 ack 1
1 see 1
1 put 2 +a
1 ack 2
""",
    "a race is lost, and it is planned again": """
1 head 0
1 stage a
2 head 0
2 stage b
2 put 1 +b -z
2 ack 1
1 see 1
1 unstage a
1 stage c
1 put 2 +c -b
1 ack 2
""",
    "an answer is lost, and it is found to be committed": """
1 head 0
1 stage a
1 put 1 +a
1 lost 1
1 readback 1 mine
1 ack 1
""",
    "it exists, and it is one's own: a request came twice": """
1 head 0
1 stage a
1 lost 1
1 readback 1 absent
1 put 1 +a
1 exists 1
1 readback 1 mine
1 ack 1
""",
    "a request is lost, and sent again": """
1 head 0
1 stage a
1 lost 1
1 readback 1 absent
1 put 1 +a
1 ack 1
""",
    "a vacuum lists what a writer has staged, and it stages again": """
1 head 0
1 stage a
2 head 0
2 put 1 lists a
2 delete a
2 ack 1
1 see 1
1 unstage a
1 stage b
1 put 2 +b
1 ack 2
""",
    "a vacuum lists a file, and its writer has already deleted it": """
1 head 0
1 stage a
2 head 0
2 put 1 lists a
2 delete a
2 ack 1
1 see 1
1 stage b
1 put 2 +b
1 ack 2
""",
    "a vacuum loses a race and lists anew": """
1 head 0
1 stage a
2 head 0
1 put 1 +a -z
1 ack 1
2 exists 1
2 readback 1 other
2 see 1
2 put 2 lists z
2 delete z
2 ack 2
""",
    "a writer crashes, and a vacuum finds what it left": """
1 head 0
1 stage a
1 crash
2 head 0
2 put 1 lists a
2 delete a
2 ack 1
""",
    "a vacuum crashes, and the next one ends its work": """
1 head 0
1 stage a
1 stage b
1 abort
2 head 0
2 put 1 lists a b
2 delete a
2 crash
3 head 1
3 put 2 lists b
3 delete b
3 ack 2
""",
    "what a crashed process sent lands late": """
1 head 0
1 stage a
1 crash
2 head 0
2 stage b
1 put 1 +a
2 exists 1
2 readback 1 other
2 see 1
2 put 2 +b
2 ack 2
""",
    "it stays unknown, and lands late": """
1 head 0
1 stage a
1 lost 1
1 readback 1 absent
1 lost 1
1 readback 1 absent
1 unknown
1 put 1 +a
""",
    "a race is lost, and it gives up": """
1 head 0
1 stage a
2 head 0
2 stage b
2 put 1 +b
2 ack 1
1 exists 1
1 readback 1 other
1 unstage a
1 abort
""",
    "nothing is to be committed": """
1 see 0
1 head 0
1 same 0
""",
}

ILLEGAL = {
    "one commit makes two versions": """
1 head 0
1 stage a
1 put 1 +a
1 lost 1
1 see 1 !
1 put 2 +a
1 ack 2
""",
    "success without a commit": """
1 head 0
1 stage a
1 ack 1 !
""",
    "success without an answer": """
1 head 0
1 stage a
1 lost 1
1 ack 1 !
""",
    "a commit names a file that a vacuum lists": """
1 head 0
1 stage a
2 head 0
2 put 1 lists a
1 see 1
1 put 2 +a !
""",
    "a vacuum's list is not read": """
1 head 0
1 stage a
2 head 0
2 put 1 lists a
1 put 2 +a !
""",
    "a vacuum deletes before it commits": """
1 head 0
1 stage a
2 head 0
2 delete a !
2 put 1 lists a
2 ack 1
""",
    "a vacuum deletes what it has not listed": """
1 head 0
1 stage a
1 stage b
2 head 0
2 put 1 lists a
2 delete b !
""",
    "a vacuum lists a file that is live": """
2 head 0
2 put 1 lists z !
""",
    "the next number is tried before this one is settled": """
1 head 0
1 stage a
1 lost 1
1 readback 1 absent
2 head 0
2 stage b
2 put 1 +b
2 ack 1
1 see 1 !
1 put 2 +a
1 ack 2
""",
    "an abort though the commit stands": """
1 head 0
1 stage a
1 put 1 +a
1 lost 1
1 abort !
""",
    "an abort while it is unknown": """
1 head 0
1 stage a
1 lost 1
1 readback 1 absent
1 abort !
""",
    "unknown, and what was staged is deleted": """
1 head 0
1 stage a
1 lost 1
1 unstage a !
1 unknown
""",
    "a file is named before it stands": """
1 head 0
1 put 1 +a !
1 stage a
""",
    "a file is removed that is not there": """
1 head 0
1 stage a
1 put 1 +a -z
1 ack 1
2 head 1
2 stage b
2 put 2 +b -z !
""",
    "a number is left out": """
1 head 0
1 stage a
1 put 2 +a !
""",
    "a number is given twice": """
1 head 0
1 stage a
1 put 1 +a
2 head 0
2 stage b
2 put 1 +b !
""",
    "the dead act": """
1 head 0
1 crash
1 stage a !
""",
    "a list that no manifest has": """
1 head 0
1 stage a
2 head 0
2 delete a !
""",
}


@pytest.mark.parametrize("text", LEGAL.values(), ids=LEGAL)
def test_legal_runs_are_accepted(text: str) -> None:
    """The model can do what the protocol allows."""
    found = verdict(trace(GIVEN + text))
    assert found.accepted, found


@pytest.mark.parametrize("text", ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_runs_are_refused(text: str) -> None:
    """The model cannot do what the protocol forbids, and says which event it was; it can do all that came before."""
    before, _ = text.split("!")
    events = trace(GIVEN + text.replace("!", ""))
    found = verdict(events)
    assert not found.accepted
    assert found.refused == [event for event in trace(GIVEN + before) if event["e"] != "list"][-1]
    assert accepted(events[: events.index(found.refused)])


def test_two_may_create_the_table() -> None:
    """Who finds that there is a table now plans again."""
    text = "1 head -1\n1 stage a\n2 head -1\n2 stage b\n2 put 0 +b\n2 ack 0\n1 exists 0\n1 readback 0 other\n1 see 0\n"
    assert accepted(trace(text + "1 unstage a\n1 stage c\n1 put 1 +c\n1 ack 1"))
    assert not accepted(trace(text + "1 put 1 +a\n1 ack 1"))


def test_what_is_no_trace_is_told() -> None:
    """Two heads of one call, or a manifest that is not on the version before it, are errors of who recorded."""
    with pytest.raises(ValueError, match="two heads"):
        accepted(trace(GIVEN + "0 head 0"))
    event = trace(GIVEN + "1 put 1 +z")[-1]
    with pytest.raises(ValueError, match="not on top"):
        accepted([{**event, "base": 7}])
    with pytest.raises(ValueError, match="more than 31 files"):
        accepted([{"p": 1, "e": "stage", "f": number} for number in range(40)])
