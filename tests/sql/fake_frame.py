"""A frame that looks like Spark's, whose tasks run here: as often and as late as a test wants, and without Java."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

NAMES = {"int32": "integer", "int64": "long", "string": "string", "double": "double", "timestamp[us]": "timestamp_ntz"}


@dataclass
class Type:
    """One of Spark's types without parameters."""

    name: str

    def typeName(self) -> str:  # noqa: N802 - Spark's name
        """Spark's name of it."""
        return self.name

    simpleString = typeName  # noqa: N815 - Spark's name


@dataclass
class Field:
    """A column of a frame."""

    name: str
    dataType: Type  # noqa: N815 - Spark's name


@dataclass
class DataFrame:
    """Some partitions, each an Arrow table.

    Attributes:
        parts: the partitions.
        wasted: attempts of each task that run to their end before the one that counts.
        late: the same, after it.
        first: called before a job's tasks.
        then: called after a job's tasks.
        jobs: how many there were.
    """

    parts: Sequence[pa.Table]
    wasted: int = 0
    late: int = 0
    first: Callable[[], object] = lambda: None
    then: Callable[[], object] = lambda: None
    jobs: int = 0
    _task: Task | None = field(default=None)

    @property
    def schema(self) -> Any:
        """As Spark gives it."""
        fields = [Field(one.name, Type(NAMES[str(one.type)])) for one in self.parts[0].schema]
        return type("StructType", (), {"fields": fields})

    def mapInArrow(self, task: Task, schema: str) -> DataFrame:  # noqa: N802 - Spark's name
        """What `collect` runs."""
        del schema
        self._task = task
        return self

    def collect(self) -> list[tuple[Any, ...]]:
        """Run the job, and return what the attempts that count return."""
        assert self._task is not None
        self.jobs += 1
        self.first()
        found: list[tuple[Any, ...]] = []
        for part in self.parts:
            attempts = [
                [tuple(row.values()) for answer in self._task(batches(part)) for row in answer.to_pylist()]
                for _ in range(self.wasted + 1 + self.late)
            ]
            found += attempts[self.wasted]
        self.then()
        return found


DataFrame.__module__ = "pyspark.sql.fake"  # by which frames are known


def batches(part: pa.Table) -> Iterator[pa.RecordBatch]:
    """Two rows at a time."""
    return iter(part.to_batches(max_chunksize=2))
