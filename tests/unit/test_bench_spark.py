"""What `tools/bench spark` promises: a wrong table or count is refused, and ratios are to Delta's better side."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_spark as bench  # noqa: E402
from bench_rows import Scale, changed, large_rows  # noqa: E402

SCALE = Scale(rows=4_000, files=4, batch=400)


def told(load: bench.Load, **other: object) -> bench.Turn:
    """What a process tells after a right turn, but for this."""
    return {"figures": {"seconds": 1.0}, "counts": load.counts, "sums": load.sums} | other


@pytest.mark.parametrize(
    ("workload", "counts"),
    [
        ("append", [400, 0]),
        ("W1", [400, 0]),
        ("W3", [200, 0]),
        ("W4", [0, 400]),
        ("W5", [0, 400]),
        ("W5-uid", [200, 200]),
    ],
)
def test_a_right_result_is_a_figure(workload: str, counts: list[int]) -> None:
    """Each workload says itself how many rows are added and replaced; a system that does not tell is believed."""
    load = bench.Load(workload, SCALE)
    assert (load.counts, load.batch.num_rows, load.sums[0]) == (counts, 400, 4_000 + counts[0])
    assert bench.judged(told(load), load) == {"seconds": 1.0}
    assert bench.judged(told(load, counts=[None, None]), load) == {"seconds": 1.0}


@pytest.mark.parametrize("workload", bench.TITLES)
def test_a_wrong_count_is_refused(workload: str) -> None:
    """One row more or fewer that a system says it has added or replaced is an error."""
    load = bench.Load(workload, SCALE)
    for place in range(2):
        wrong = [count + (at == place) for at, count in enumerate(load.counts)]
        assert bench.judged(told(load, counts=wrong), load)["fault"].startswith("WRONG")


def of_rows(rows: list[tuple[int, float]]) -> list[float]:
    """The sums over rows, by another way than `sums` takes: one after the other."""
    ids = [id_ for id_, _ in rows]
    uids = dict(zip(ids, large_rows(np.array(ids))["uid"].to_pylist(), strict=True))
    mix = {id_: id_ * 2_654_435_761 % 1_000_003 for id_ in ids}
    return [
        len(ids),
        sum(ids),
        sum(mix[id_] for id_ in ids),
        sum(x for _, x in rows),
        sum(mix[id_] for id_, x in rows if x == -1),
        sum(bench.zlib.crc32(uids[id_].encode()) for id_ in ids if id_ % 997 == 0),
    ]


def test_a_wrong_table_is_refused() -> None:
    """A row that is lost, doubled, another's or not updated makes other sums; the right ones are those of all rows."""
    load = bench.Load("W5", SCALE)
    ids = load.ids.tolist()
    held = {id_: id_ * 0.25 for id_ in range(4_000)} | dict(zip(ids, changed(load.ids)["x"].to_pylist(), strict=True))
    right = list(held.items())
    assert bench.judged(told(load, sums=of_rows(right)), load) == {"seconds": 1.0}
    first = ids[0]
    for wrong in (
        right[1:],
        [*right, right[5]],
        [*right[:-1], (10**6, right[-1][1])],
        [*(held | {first: first * 0.25}).items()],
        [*(held | {first: first * 0.25, first + 1: -1.0}).items()],
    ):
        assert bench.judged(told(load, sums=of_rows(wrong)), load)["fault"].startswith("WRONG")


def test_ratios_are_taken_turn_by_turn_to_the_better_side_of_delta() -> None:
    """A side of Delta that failed is not the one to compare with, and what failed has no figures."""
    found = {
        "txfiles": [{"seconds": 3.0, "jobs": 3}, {"seconds": 4.0, "jobs": 3}, {"seconds": 10.0, "jobs": 4}],
        "txfiles-mor": [{"fault": "WRONG: 1"}],
        "delta": [{"seconds": 6.0}, {"seconds": 2.0}, {"seconds": 10.0}],
        "delta-best": [{"seconds": 0.1}, {"fault": "FAILED: it"}],
    }
    rows = {row["system"]: row for row in bench.rows_of(found)}
    assert (rows["txfiles"]["seconds"], rows["txfiles"]["to Delta"], rows["txfiles"]["jobs"]) == (4.0, 1.0, 3)
    assert rows["delta"]["to Delta"] == 1.0
    assert rows["delta-best"] == {"system": "delta-best", "fault": "FAILED: it"}
    assert rows["txfiles-mor"] == {"system": "txfiles-mor", "fault": "WRONG: 1"}
    (alone,) = bench.rows_of({"txfiles": found["txfiles"]})
    assert alone["to Delta"] is None


def test_sizes() -> None:
    """A batch is a number or a share of the table; files have the same number of rows, about that of other benches."""
    assert (bench.rows_in("100000", 30_000_000), bench.rows_in("1%", 30_000_000)) == (100_000, 300_000)
    assert bench.scale_of(10_000_000, "1%") == Scale(batch=100_000)
    assert bench.scale_of(1_000_003, "5").files == 1
    assert bench.options_of(["--only", "W5,W1"]).only == ["W5", "W1"]
    with pytest.raises(SystemExit):
        bench.options_of(["--only", "W9"])


def test_a_process_that_tells_nothing_is_a_fault() -> None:
    """No answer is no figure."""
    assert bench.judged(None, bench.Load("W1", SCALE)) == {"fault": "FAILED: it told nothing"}
