"""A progress bar on stderr for long work; nothing if nobody would see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import TaskID

Report = Callable[[Any], None]


@contextmanager
def bar(*, as_json: bool) -> Iterator[Report | None]:
    """Yield the callback for the library's progress: None unless a person is watching.

    Args:
        as_json: a program reads stderr; the bar would be noise.
    """
    if as_json or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    ) as progress:
        stages: dict[str, TaskID] = {}

        def report(step: Any) -> None:
            if step.stage not in stages:
                stages[step.stage] = progress.add_task(step.stage, total=None)
            progress.update(stages[step.stage], completed=step.done, total=step.total)

        yield report
