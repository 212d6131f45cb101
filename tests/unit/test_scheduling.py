"""Which worker of pytest-xdist gets which tests."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from tests import scheduling

SPARK = [f"tests/spark/test_a.py::test_{number}" for number in range(9)]
OTHERS = [f"tests/unit/test_b.py::test_{number}" for number in range(90)]


class Worker:
    """Takes what it is sent, and runs nothing."""

    def __init__(self, name: str) -> None:
        self.gateway = mock.Mock(id=name)
        self.sent: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        """Called by the scheduler."""
        self.sent += indices

    def shutdown(self) -> None:
        """Likewise."""
        self.shutting_down = True


def dealt(collection: list[str], workers: int) -> list[list[str]]:
    """What each worker is given in the end, if they all run their tests at the same pace."""
    options = {"dist": "load", "maxschedchunk": None, "tx": ["popen"] * workers}
    config: Any = mock.Mock(getoption=options.get, getvalue=options.get, rootpath=None)
    scheduler = scheduling.pytest_xdist_make_scheduler(config, None)
    nodes = [Worker(f"gw{number}") for number in range(workers)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, collection)
    scheduler.schedule()
    done = dict.fromkeys(range(workers), 0)
    while any(len(node.sent) > done[number] for number, node in enumerate(nodes)):
        for number, node in enumerate(nodes):
            if len(node.sent) > done[number]:
                scheduler.mark_test_complete(node, node.sent[done[number]])
                done[number] += 1
    return [[collection[index] for index in node.sent] for node in nodes]


@pytest.mark.parametrize("collection", [OTHERS[:45] + SPARK + OTHERS[45:], OTHERS + SPARK, SPARK, OTHERS[:1] + SPARK])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_tests_of_spark_share_a_worker(collection: list[str], workers: int) -> None:
    """One worker runs all tests of Spark, and begins with them; each test is run once."""
    given = dealt(collection, workers)
    assert sorted(one for tests in given for one in tests) == sorted(collection)
    with_spark = [tests for tests in given if set(tests) & set(SPARK)]
    assert len(with_spark) == 1
    assert with_spark[0][: len(SPARK)] == SPARK


def test_the_others_are_dealt_as_ever() -> None:
    """A worker busy with Spark is given fewer of the other tests; the rest get them in runs of neighbours."""
    first, *others = dealt(OTHERS + SPARK, 4)
    assert all(len(tests) > len(first) - len(SPARK) for tests in others)
    assert all(tests[:5] == OTHERS[OTHERS.index(tests[0]) :][:5] for tests in others)


def test_another_way_to_deal_is_left_alone() -> None:
    """`--dist` chooses xdist's own scheduler."""
    assert scheduling.pytest_xdist_make_scheduler(mock.Mock(getvalue=lambda name: "loadfile"), None) is None
