"""The put of a manifest, step by step: after this answer, do that. No I/O here; `log.put` does what it says.

The outcome of a put is decided by reading the object back, never by the error that the store gave: a reply may be lost
after the request was applied, and "exists" may refer to the caller's own object.

    answer        │ means                              │ next
    ──────────────┼────────────────────────────────────┼───────────────────────────────────────────────
    created       │ the store created it               │ COMMITTED
    exists        │ the name is taken, perhaps by us   │ READ_BACK
    unclear       │ applied, or not, or yet to be      │ READ_BACK
    refused       │ certainly not created by this put  │ ABORTED; UNKNOWN if an earlier put was unclear
    in doubt      │ it may exist, perhaps not durably  │ UNKNOWN
    mine          │ read back: our bytes               │ COMMITTED
    another's     │ read back: other bytes             │ LOST; our earlier puts are void, those on their way too
    absent        │ read back: nothing there           │ PUT the same bytes under the same name; UNKNOWN after MOST_PUTS
    unreadable    │ reading back failed                │ READ_BACK again; UNKNOWN after MOST_READS

No other number is tried before this one is settled.

Source: specs/5-commit.md, "Commit", steps 3 to 5.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

MOST_PUTS = 5
"""How often one manifest is sent before its outcome is called unknown: beyond that, the store is not answering."""

MOST_READS = 5
"""How often it is read back after one put."""


class Answer(enum.Enum):
    """What the store said: to a put (the first five), or to reading back."""

    CREATED = "created"
    EXISTS = "exists"
    UNCLEAR = "unclear"
    REFUSED = "refused"
    IN_DOUBT = "in doubt"
    MINE = "mine"
    ANOTHERS = "another's"
    ABSENT = "absent"
    UNREADABLE = "unreadable"


class Next(enum.Enum):
    """What to do. The last four end it."""

    PUT = "put"
    READ_BACK = "read back"
    COMMITTED = "committed"
    LOST = "lost"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """Progress so far: puts sent before the current one, and how often it was read back since."""

    puts: int = 0
    reads: int = 0


ENDS = frozenset({Next.COMMITTED, Next.LOST, Next.ABORTED, Next.UNKNOWN})


def step(sent: Sent, answer: Answer) -> tuple[Next, Sent]:
    """What to do after an answer."""
    if answer in (Answer.CREATED, Answer.MINE):
        return Next.COMMITTED, sent
    if answer is Answer.ANOTHERS:
        return Next.LOST, sent
    if answer in (Answer.EXISTS, Answer.UNCLEAR):
        return Next.READ_BACK, replace(sent, reads=0)
    if answer is Answer.REFUSED:
        return Next.UNKNOWN if sent.puts else Next.ABORTED, sent
    if answer is Answer.ABSENT and sent.puts + 1 < MOST_PUTS:
        return Next.PUT, Sent(puts=sent.puts + 1)
    if answer is Answer.UNREADABLE and sent.reads + 1 < MOST_READS:
        return Next.READ_BACK, replace(sent, reads=sent.reads + 1)
    return Next.UNKNOWN, sent
