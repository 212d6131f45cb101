"""Which worker of pytest-xdist runs what: the tests of `tests/spark` all run in one, for the sake of one Spark session.

The other tests are dealt out as ever: in runs of neighbours, of which a worker gets more when it has few left. Groups
(`--dist loadgroup`) would deal them one by one, and each worker would start the servers of every module.
"""

from __future__ import annotations

from typing import Any

import pytest

TOGETHER = "tests/spark/"


@pytest.hookimpl(optionalhook=True)  # there may be no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler of a run with `-n`; `--dist` chooses another."""
    if config.getvalue("dist") != "load":
        return None
    return _scheduler()(config, log)


def _scheduler() -> type[Any]:
    from xdist.scheduler import LoadScheduling

    class TogetherScheduling(LoadScheduling):
        """Gives the first worker all tests that stay together, before it deals out the others."""

        def _send_tests(self, node: Any, num: int) -> None:
            assert self.collection is not None
            together = [one for one in self.pending if self.collection[one].startswith(TOGETHER)]
            if together:
                self.pending[:] = [one for one in self.pending if one not in set(together)]
                self.node2pending[node].extend(together)
                node.send_runtest_some(together)
                return
            super()._send_tests(node, num)

    return TogetherScheduling
