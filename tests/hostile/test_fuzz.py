"""Changed bytes give a value or an error of ours: by hypothesis and by seeded mutation of every form that is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from tests.guarantees import DEEP
from tests.hostile import fuzz, fuzz_targets
from tests.hostile.fuzz_seeds import PIECES, seeds
from tests.hostile.fuzz_targets import NATIVE, TARGETS
from txfiles.core import codec

pytestmark = pytest.mark.guarantees("S17 S18 S20 S23")

EXECUTIONS = 1_000
SLOW = {"saved_checkpoint": 200, "csv_input": 400, "parquet_input": 400}
"""Fewer of those that take some milliseconds each."""
SEEDS = seeds()

pieces = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=4).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a stretch of them replaced."""
    data = draw(whole)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(pieces) + data[end:]


@given(damaged(strategies.manifests().map(codec.encode)))
def test_any_manifest_damaged(data: bytes) -> None:
    """A manifest of any content, changed anywhere, with its own seal or one made to fit, is read as said or refused."""
    fuzz_targets.manifest(data)
    fuzz_targets.sealed_manifest(data)


@given(damaged(strategies.actions.map(codec.encode_actions)))
def test_any_sidecar_damaged(data: bytes) -> None:
    """A sidecar of any content, changed anywhere, is read as said or refused."""
    fuzz_targets.sidecar(data)


@given(damaged(st.sampled_from([*SEEDS["path"]]) | strategies.deletable_paths.map(str.encode)))
def test_any_path_damaged(data: bytes) -> None:
    """A path of a manifest stays inside the root and is spelt in one way, or is refused."""
    fuzz_targets.path(data)


@given(st.lists(strategies.texts, min_size=2, max_size=2).map(lambda pair: "\0".join(pair).encode()) | pieces)
def test_any_partition(data: bytes) -> None:
    """A partition's folder is one segment, and gives back its column and value."""
    fuzz_targets.partition(data)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in NATIVE])
@given(data=st.data())
def test_noise(name: str, data: st.DataObject) -> None:
    """Noise, and pieces that mean something somewhere, give a value or an error of ours."""
    TARGETS[name](data.draw(damaged(st.sampled_from([b"", *SEEDS[name]]))))


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in NATIVE])
def test_seeded_mutation(name: str, cases) -> None:
    """Thousands of changed forms, always the same ones, give a value or an error of ours."""
    limit = {"seconds": 60.0} if DEEP else {"seconds": 0.0, "executions": SLOW.get(name, EXECUTIONS)}
    [record] = fuzz.run([name], seed=0, **limit)
    cases(fuzz_executions=record.executions)
    assert record.failures == {}
    assert record.executions >= SLOW.get(name, EXECUTIONS)


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_seeded_mutation_of_what_arrow_decodes(name: str, cases) -> None:
    """Likewise for Parquet, in a process of its own with its memory bounded."""
    limit = ["--seconds", "60"] if DEEP else ["--executions", str(SLOW.get(name, EXECUTIONS))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", name, *limit],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    told, executions = done.stdout.split()[:2]
    assert told == name
    cases(fuzz_executions=int(executions.replace(",", "")))


def test_a_failure_is_found_and_told(monkeypatch, capsys) -> None:
    """A target that raises what it should not fails the run, which shows the bytes; so does one that hangs."""

    def fragile(data: bytes) -> None:
        if b"9" in data:
            raise KeyError("nine")
        if b"hang" in data:
            raise fuzz.Hang

    monkeypatch.setitem(TARGETS, "hint", fragile)
    assert fuzz.main(["hint", "--executions", "200"]) == 1
    out = capsys.readouterr().out
    assert "200 executions  1 failures" in out
    assert "KeyError at " in out
    assert "9" in out.splitlines()[-1]


def test_a_run_is_the_same_for_the_same_seed(monkeypatch) -> None:
    """The seed decides all that is tried."""
    tried: list[bytes] = []
    monkeypatch.setitem(TARGETS, "path", tried.append)
    for seed in (1, 1, 2):
        fuzz.run(["path"], seconds=0, seed=seed, executions=100)
    assert tried[:100] == tried[100:200] != tried[200:]
