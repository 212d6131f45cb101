"""The commit step: what follows each answer, tried out over every sequence of answers that a store can give."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from txfiles.core import protocol
from txfiles.core.protocol import ENDS, MOST_PUTS, MOST_READS, Answer, Next, Sent, step

TO_A_PUT = (Answer.CREATED, Answer.EXISTS, Answer.UNCLEAR, Answer.REFUSED, Answer.IN_DOUBT)
TO_A_READ = (Answer.MINE, Answer.ANOTHERS, Answer.ABSENT, Answer.UNREADABLE)


@pytest.mark.parametrize(
    ("sent", "answer", "expected"),
    [
        (Sent(), Answer.CREATED, Next.COMMITTED),
        (Sent(), Answer.EXISTS, Next.READ_BACK),
        (Sent(), Answer.UNCLEAR, Next.READ_BACK),
        (Sent(), Answer.REFUSED, Next.ABORTED),
        (Sent(puts=1), Answer.REFUSED, Next.UNKNOWN),
        (Sent(), Answer.IN_DOUBT, Next.UNKNOWN),
        (Sent(), Answer.MINE, Next.COMMITTED),
        (Sent(puts=3, reads=2), Answer.MINE, Next.COMMITTED),
        (Sent(), Answer.ANOTHERS, Next.LOST),
        (Sent(puts=3), Answer.ANOTHERS, Next.LOST),
        (Sent(), Answer.ABSENT, Next.PUT),
        (Sent(puts=MOST_PUTS - 2), Answer.ABSENT, Next.PUT),
        (Sent(puts=MOST_PUTS - 1), Answer.ABSENT, Next.UNKNOWN),
        (Sent(), Answer.UNREADABLE, Next.READ_BACK),
        (Sent(reads=MOST_READS - 1), Answer.UNREADABLE, Next.UNKNOWN),
    ],
)
def test_each_answer(sent: Sent, answer: Answer, expected: Next) -> None:
    """What follows an answer is what the table says."""
    assert step(sent, answer)[0] is expected


def test_the_table_lists_every_answer() -> None:
    """The table at the head of the module has one line for each answer."""
    listed = re.findall(r"^    ([a-z' ]+?) +│", protocol.__doc__ or "", re.MULTILINE)
    assert listed == ["answer", *(answer.value for answer in Answer)]


def runs(sent: Sent, following: Next, path: tuple[Answer, ...] = ()) -> Iterator[tuple[tuple[Answer, ...], Next]]:
    """Every sequence of answers up to its end; states that were met on the way are not met again."""
    for answer in TO_A_PUT if following is Next.PUT else TO_A_READ:
        after, now = step(sent, answer)
        if after in ENDS:
            yield (*path, answer), after
        else:
            yield from runs(now, after, (*path, answer))


def test_every_sequence_ends_rightly() -> None:
    """Whatever a store answers, it ends; and no end claims more than the answers allow."""
    count = 0
    for answers, end in runs(Sent(), Next.PUT):
        count += 1
        unclear = [answer for answer in answers[:-1] if answer in (Answer.EXISTS, Answer.UNCLEAR)]
        assert len(unclear) < MOST_PUTS + 1
        if end is Next.COMMITTED:
            assert answers[-1] in (Answer.CREATED, Answer.MINE)
        elif end is Next.LOST:
            assert answers[-1] is Answer.ANOTHERS
        elif end is Next.ABORTED:
            assert answers == (Answer.REFUSED,)  # nothing was sent before that could yet land
        else:
            assert end is Next.UNKNOWN
            assert Answer.CREATED not in answers
            assert Answer.MINE not in answers
    assert count > 1_000
