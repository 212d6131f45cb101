"""What `tools/bench peers` promises: a wrong result is refused, and what cannot be measured is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench_peers as peers  # noqa: E402
import bench_workloads as workloads  # noqa: E402
from bench_base import NotOfferedError, System, TxFiles, TxFilesExpression  # noqa: E402
from bench_floor import Floor, FloorHash, FloorMor  # noqa: E402
from bench_picture import growth  # noqa: E402
from bench_rows import TINY, large_rows, uuids  # noqa: E402

WITHOUT_A_PROCESS = [name for name in workloads.WORKLOADS if not name.startswith("W14")]


def run(workload: str, kind: type[System], folder: Path) -> None:
    """A workload at the tiny scale, as it warms a system up, checks and all."""
    workloads.warm_up(workload, kind(str(folder / "table"), "uid" if workload == "W3" else "id"))


@pytest.mark.parametrize("workload", WITHOUT_A_PROCESS)
@pytest.mark.parametrize("kind", [TxFiles, TxFilesExpression, Floor, FloorHash, FloorMor])
def test_ours_and_the_floor_are_right(workload: str, kind: type[System], tmp_path: Path) -> None:
    """Every workload's check passes on txfiles and on each floor."""
    if not kind.only or workload in kind.only:
        run(workload, kind, tmp_path)


class Loses(Floor):
    """Loses the last row of each batch."""

    def append_once(self, rows):
        super().append_once(rows.slice(0, rows.num_rows - 1))
        return rows.num_rows

    def upsert(self, rows):
        super().upsert(rows.slice(0, rows.num_rows - 1))
        return rows.num_rows


class Doubles(Floor):
    """Adds rows that are there."""

    def append_once(self, rows):
        self.append(rows)


class Miscounts(Floor):
    """Does the right thing, and says another."""

    def append_once(self, rows):
        return super().append_once(rows) + 1


class Forgets(Floor):
    """Reads all but the first row, and plans one file more."""

    def read(self, columns=None, within=None):
        return super().read(columns, within).slice(1)

    def plan(self, within):
        return super().plan(within) + 2


class Neighbour(Floor):
    """Updates the next row instead."""

    def upsert(self, rows):
        return super().upsert(rows.set_column(0, "id", [np.sort(rows["id"].to_numpy()) + 1]))


class Strays(Floor):
    """Adds a row of its own."""

    def upsert(self, rows):
        self.append(large_rows(np.array([10**6])))
        return super().upsert(rows)


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        (Loses, ["W1", "W3", "W4", "W5"]),
        (Doubles, ["W2", "W3"]),
        (Miscounts, ["W1", "W2", "W3"]),
        (Forgets, ["W1", "W4", "W7", "W8", "W9a", "W9b"]),
        (Neighbour, ["W4", "W5", "W6"]),
        (Strays, ["W4", "W5", "W6"]),
    ],
)
def test_a_wrong_result_is_refused(kind: type[System], refused: list[str], tmp_path: Path) -> None:
    """A lost, doubled, foreign or miscounted row is `WrongError`, never a figure."""
    for workload in refused:
        with pytest.raises(workloads.WrongError):
            run(workload, kind, tmp_path / workload)


def test_a_race_tells_what_is_lost_and_doubled(tmp_path: Path) -> None:
    """After a race, a batch that is not whole is missing, and a row that is there twice is doubled."""
    system = Floor(str(tmp_path / "table"))
    workloads.run("make W11", system, TINY, lambda call: call())
    workloads.written(system.append, [1, 2, 2, *range(4, 11)], workloads.RACE_ROWS)
    found = workloads.run("after W11", system, TINY, lambda call: call())
    assert found == {"missing": [3], "doubled": workloads.RACE_ROWS}
    assert workloads.written(Floor("/dev/null/no").append, [7], 1) == [7]


def test_the_tool_refuses_a_wrong_system(tmp_path: Path) -> None:
    """In the whole tool, a wrong system is a row that says so and an exit code of 1, and the others have figures."""
    told = tmp_path / "figures.json"
    words = ["--rows", "400", "--files", "4", "--runs", "1", "--only", "W1", "--no-as-it-comes", "--systems"]
    more = ["floor-hash", "txfiles", "wrong", "--json", told, "--picture", tmp_path / "figures.svg", "--work", tmp_path]
    done = subprocess.run(
        [sys.executable, ROOT / "tools/bench", "peers", *words, *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    rows = {row["system"]: row for row in json.loads(told.read_text())["rows"]}
    assert rows["wrong"]["fault"] == "WRONG: 499 rows, not 500; 0 of them twice"
    assert rows["txfiles"]["seconds"] > 0
    assert rows["txfiles"]["to floor"] == rows["txfiles"]["seconds"] / rows["floor-hash"]["seconds"]
    assert "WRONG: 499 rows" in done.stdout
    assert (tmp_path / "figures.svg").read_text().count("<circle") == 2, "a dot of txfiles, and its legend"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "figures.svg"], "no table is left"


def test_a_picture_of_growth_has_a_curve_for_each_system() -> None:
    """Two panels for each workload, in each a curve of as many points as there are sizes; what is wrong is missing."""
    rows = [
        {"workload": f"W12 {part}", "title": f"part {part}, {size:,} rows", "system": system, "rows": size}
        | {"seconds": size / 1e6, "peak MB": 200.0}
        | ({"but": "1 rows DOUBLED"} if system == "lance" and part == "W3" else {})
        for part in ("W2", "W3")
        for size in (10**6, 10**7, 3 * 10**7)
        for system in ("floor-hash", "txfiles", "lance")
    ]
    drawn = growth(rows)
    curves = [line for line in drawn.splitlines() if line.startswith("<polyline")]
    assert len(curves) == 2 * (3 + 2)
    assert all(line.split('"')[1].count(",") == 3 for line in curves)
    assert drawn.count("part W2: seconds") == drawn.count("part W3: peak MB") == 1
    assert ET.fromstring(drawn).tag.endswith("svg")


def test_a_system_that_cannot_be_installed_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A peer that needs another Python is not left out: its row says why, and no process is started."""
    monkeypatch.setattr(peers.SYSTEMS["deltalite"], "python", (3, 99))
    side = peers.side_of("deltalite", "snappy")
    results = peers.in_turn(peers.Bench(tmp_path, TINY), [side], "W4", 2)
    (row,) = peers.rows_of("W4", "", results, {"deltalite": "deltalite"})
    assert row["fault"] == "NOT INSTALLED: no Python >= 3.99 on this machine"


def test_ratios_are_taken_turn_by_turn_and_to_the_best_without_a_fault() -> None:
    """A peer that lost or failed anything is not the one to compare with, nor is a floor of the other kind."""
    results = {
        "floor-cow": [{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 1.0}],
        "floor-mor": [{"seconds": 0.1}] * 3,
        "txfiles": [{"seconds": 3.0}, {"seconds": 4.0}, {"seconds": 5.0}],
        "txfiles-mor": [{"not yet": "merge-on-read"}],
        "deltalake": [{"seconds": 2.0}] * 3,
        "pandas": [{"seconds": 0.5, "but": "1 batches LOST"}] * 3,
        "lance as it comes": [{"seconds": 0.5}] * 3,
    }
    systems = {label: label.removesuffix(peers.AS_IT_COMES) for label in results}
    rows = {row["system"]: row for row in peers.rows_of("W5", "", results, systems)}
    assert (rows["txfiles"]["seconds"], rows["txfiles"]["to floor"], rows["txfiles"]["to best peer"]) == (4.0, 3.0, 2.0)
    assert rows["lance as it comes"]["to floor"] == 5.0
    assert rows["txfiles-mor"]["fault"] == "not yet: merge-on-read; copy-on-write takes 4.000"
    assert rows["pandas"]["but"] == "1 batches LOST"
    assert "to best peer" not in rows["pandas"]


def test_what_a_system_does_not_offer_is_no_figure(tmp_path: Path) -> None:
    """A call that a system lacks is named, and does not pass for a result."""
    with pytest.raises(NotOfferedError, match="without the files"):
        run("W8", type("Bare", (Floor,), {"list_files": System.list_files}), tmp_path)


def test_rows_are_the_same_in_each_run() -> None:
    """The seeded values are pinned: another table would be another benchmark."""
    assert uuids(np.array([0, 12345678])).to_pylist() == [
        "afcd1d7b-39a8-20e2-f465-b9a16a9e786e",
        "79e60a5b-7bcf-d511-ba8c-020fcf042c63",
    ]
