"""Index runs (specs/8-index.md): what is found, what is refused, and what a merge keeps."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core.manifest import RunKey
from txfiles.errors import CorruptTableError, StoreError
from txfiles.formats import index_merge, index_run, run_source
from txfiles.formats.index_run import Cover, Run, RunWriter, open_run, write_run
from txfiles.formats.run_source import Held, Mapped, Ranged, UnusableRunError
from txfiles.log import cache
from txfiles.rows import digests as digests_module
from txfiles.rows import keys
from txfiles.rows.digests import Digester, Digests

SPEC = Path(__file__).parents[3] / "specs" / "8-index.md"
KEY = RunKey(columns=(1, 4), kinds=("text", "integer"), code=1, secret="5" * 32)
RUN = "0123456789abcdef" * 2

Pair = tuple[int, int]
"""The two parts of a digest."""
File = tuple[str, list[Pair | None]]
"""A path, and the key of each row; None is null."""


class Sink:
    """A file being written, in memory."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.state = "open"

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)

    def close(self) -> None:
        self.state = "published"

    def abort(self) -> None:
        self.state = "aborted"


def digests(pairs: list[Pair]) -> Digests:
    return Digests(np.array([h for h, _ in pairs], np.uint64), np.array([low for _, low in pairs], np.uint32))


def cover_of(files: list[File]) -> Cover:
    return Cover(pa.array([path for path, _ in files], pa.string()), np.array([len(r) for _, r in files], np.int64))


def run_of(files: list[File], run: str = RUN) -> bytes:
    """A run of all rows of some files."""
    rows = [pair for _, found in files for pair in found]
    held = [(row, pair) for row, pair in enumerate(rows) if pair is not None]
    sink = Sink()
    facts = write_run(
        sink,
        run,
        KEY,
        cover_of(files),
        digests=digests([pair for _, pair in held]),
        rows=np.array([row for row, _ in held], np.int64),
    )
    content = bytes(sink.content)
    assert (sink.state, facts.bytes, facts.entries) == ("published", len(content), len(held))
    assert hashlib.sha256(content[len(content) - facts.footer_bytes :]).hexdigest() == facts.footer_sha256
    return content


def ranged(content: bytes) -> Ranged:
    return Ranged(lambda ranges: [content[at : at + n] for at, n in ranges], len(content))


def answers(run: Run, needles: list[Pair]) -> list[tuple[Pair, str, int]]:
    """What a run finds: for each match the needle, the file and the row in it."""
    at, rows = run.probe(digests(needles))
    files, positions = run.locate(rows)
    paths = run.cover.paths.take(pa.array(files)).to_pylist()
    return sorted(zip((needles[i] for i in at), paths, positions.tolist(), strict=True))


def expected(files: list[File], needles: list[Pair]) -> list[tuple[Pair, str, int]]:
    return sorted(
        (pair, path, row)
        for path, rows in files
        for row, pair in enumerate(rows)
        if pair is not None and pair in needles
    )


# Few values of each part, so that keys repeat, share their high part, and lie at both ends.
HIGHS = st.sampled_from([0, 1, 7, 2**32, 2**63, 2**64 - 2, 2**64 - 1]) | st.integers(0, 2**64 - 1)
LOWS = st.sampled_from([0, 1, 2**32 - 1])
PAIRS = st.tuples(HIGHS, LOWS)


@st.composite
def tables(draw, least: int = 0) -> list[File]:
    """Files of a few keys, some of them many times."""
    pool = draw(st.lists(PAIRS, min_size=1, max_size=8))
    rows = st.lists(st.none() | st.sampled_from(pool) | PAIRS, max_size=40)
    many = st.builds(lambda pair, n: [pair] * n, st.sampled_from(pool), st.integers(20, 70))
    found = draw(st.lists(rows | many, min_size=least, max_size=4))
    return [(f"k={number}/f{'o' * number}", each) for number, each in enumerate(found)]


@st.composite
def needles_for(draw, files: list[File]) -> list[Pair]:
    """Different keys, some of them there."""
    pool = [pair for _, rows in files for pair in rows if pair is not None]
    there = st.sampled_from(pool) if pool else PAIRS
    near = there.map(lambda pair: (pair[0], pair[1] ^ 1)) | there.map(lambda pair: (min(pair[0] + 1, 2**64 - 1), 0))
    return draw(st.lists(there | near | PAIRS, max_size=20, unique=True))


@given(tables(), st.data())
def test_a_probe_finds_every_row_of_a_key_and_no_other(files, data):
    """Duplicates, absent keys, keys that share half a digest: a dictionary's answer, from memory and by ranges."""
    content = run_of(files)
    needles = data.draw(needles_for(files))
    for source in (Mapped(content), ranged(content)):
        run = open_run(source)
        assert (run.id, run.key) == (RUN, KEY)
        assert run.cover.paths.to_pylist() == [path for path, _ in files]
        assert answers(run, needles) == expected(files, needles)


def test_keys_that_share_half_a_digest_share_all_their_blocks():
    """However many blocks a key fills, one with the same first half looks into the same ones."""
    files = [("k=0/f", [(0, 0)] * 61)]
    assert answers(open_run(Mapped(run_of(files))), [(0, 0), (0, 1)]) == expected(files, [(0, 0), (0, 1)])


@given(st.integers(1, 100), st.integers(0, 50), st.data())
def test_a_key_in_many_rows(count, others, data):
    """A key that fills several blocks is found in all its rows, wherever its blocks begin and end."""
    high = data.draw(HIGHS)
    files: list[File] = [("a", [(high, 5)] * count + [(2**40 * n, 0) for n in range(others)])]
    run = open_run(Mapped(run_of(files)))
    assert answers(run, [(high, 5)]) == expected(files, [(high, 5)])


def large(count: int, seed: int = 3) -> tuple[list[Pair], list[File]]:
    chance = np.random.default_rng(seed)
    pairs = list(
        zip(
            chance.integers(0, 2**64, count, np.uint64).tolist(), chance.integers(0, 2**32, count).tolist(), strict=True
        )
    )
    return pairs, [("a", list(pairs[: count // 3])), ("b", list(pairs[count // 3 :]))]


def test_a_large_run(tmp_path):
    """More keys than are read or written at a time, from a mapped file that forgets its pages, and by ranges."""
    pairs, files = large(150_000)
    content = run_of(files)
    assert len(content) <= 18 * len(pairs)
    (tmp_path / "run").write_bytes(content)
    absent = [(high ^ 1, low) for high, low in pairs[:5_000]]
    needles = pairs[::2] + absent
    with open(tmp_path / "run", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for source in (Mapped(mapped), Mapped(content), ranged(content)):
        run = open_run(source)
        at, rows = run.probe(digests(needles))
        assert sorted(at.tolist()) == list(range(len(pairs[::2])))
        assert (rows == 2 * at).all()
        few, _ = run.probe(digests(absent[:3]))
        assert len(few) == 0


def test_ranges_that_are_asked_for(monkeypatch):
    """A probe of a few keys reads the end, the list of blocks and the keys' blocks, each in one batch."""
    monkeypatch.setattr(run_source, "END_BYTES", 1_000)
    pairs, files = large(100_000)
    content = run_of(files)
    asked: list[list[tuple[int, int]]] = []

    def read(ranges: Any) -> list[bytes]:
        asked.append(list(ranges))
        return [content[at : at + n] for at, n in ranges]

    held = Held()
    run = open_run(Ranged(read, len(content), held))
    for _ in range(2):
        assert sorted(run.probe(digests(pairs[:4]))[1].tolist()) == [0, 1, 2, 3]
    assert [len(batch) for batch in asked] == [1, 1, 4, 4]
    assert sum(n for _, n in asked[2]) <= 8 * 256
    assert asked[1] == [(6_667 * 256, 6_667 * 8)]
    asked.clear()
    run = open_run(Ranged(read, len(content), held))
    assert sorted(run.probe(digests(pairs[:4]))[1].tolist()) == [0, 1, 2, 3]
    assert [len(batch) for batch in asked] == [4]
    assert held.bytes == 6_667 * 8 + 1_000


def test_a_small_run_is_read_at_once():
    """What the first read of its end has brought is not asked for again."""
    pairs, files = large(2_000)
    content = run_of(files)
    asked: list[list[tuple[int, int]]] = []

    def read(ranges: Any) -> list[bytes]:
        asked.append(list(ranges))
        return [content[at : at + n] for at, n in ranges]

    run = open_run(Ranged(read, len(content)))
    assert sorted(run.probe(digests(pairs[:4]))[1].tolist()) == [0, 1, 2, 3]
    assert asked == [[(0, len(content))]]


def test_what_is_held_of_runs_is_bounded(monkeypatch):
    """Those that were not asked for long go first."""
    monkeypatch.setattr(cache, "RUN_BYTES", 100)
    known = cache.SnapshotCache()
    for number in (1, 2, 1, 3, 4):
        known.held("root", f"{number}").end = bytes(60)
    assert known.held("root", "4").end
    assert not any(known.held("root", f"{number}").end for number in (1, 2))


def test_rows_beyond_four_thousand_million():
    """A run whose files have more than 2^32 rows numbers them with 64 bits."""
    cover = Cover(pa.array(["a", "b"]), np.array([2**33, 10]))
    rows = np.array([2**33 + 3, 5, 2**32], np.int64)
    sink = Sink()
    write_run(sink, RUN, KEY, cover, digests=digests([(9, 1), (2**60, 2), (2**63, 3)]), rows=rows)
    run = open_run(Mapped(bytes(sink.content)))
    assert answers(run, [(9, 1), (2**60, 2), (2**63, 3)]) == [
        ((9, 1), "b", 3),
        ((2**60, 2), "a", 5),
        ((2**63, 3), "a", 2**32),
    ]


def test_the_example_of_the_spec():
    """The run shown on the page is what the code writes for its keys, and reads."""
    page = SPEC.read_text(encoding="utf-8")
    found = re.search(r"```hex\n(.*?)```", page, re.DOTALL)
    assert found is not None
    content = bytearray()
    for line in re.sub(r"\*\n(\w{8})", r"* \1", found[1]).splitlines():
        _, star, at, text = re.fullmatch(r"((\*) )?(\w{8})  ([0-9a-f ]+?)  .*", line).groups()
        while star and len(content) < int(at, 16):
            content += content[-16:]
        assert len(content) == int(at, 16)
        content += bytes.fromhex(text)
    secret = bytes(range(16))
    codes = keys.encode(pa.table({"k": ["c-17", None, "c-18"]}), ["k"])
    rows = np.flatnonzero(np.asarray(codes.is_valid()))
    digested = Digester(secret).digest(codes.drop_null())
    key = RunKey(
        columns=(1,), kinds=(keys.kind(pa.string()),), code=keys.CODE_VERSION, secret=digests_module.secret_id(secret)
    )
    sink = Sink()
    write_run(sink, RUN, key, Cover(pa.array(["#0"]), np.array([3])), digests=digested, rows=rows)
    assert bytes(sink.content) == bytes(content)
    run = open_run(Mapped(bytes(content)), own=["a"])
    assert (run.key, run.entries, run.cover.paths.to_pylist()) == (key, 2, ["a"])
    at, rows = run.probe(digested)
    assert sorted(zip(at.tolist(), rows.tolist(), strict=True)) == [(0, 0), (1, 2)]


def test_own_files_are_named_by_number():
    """A file of the run's own commit is #n, which opening replaces by its path."""
    content = run_of([("#0", [(1, 1)]), ("#1", [(2, 2)]), ("x=%23/a", [(3, 3)])])
    assert open_run(Mapped(content)).cover.paths.to_pylist() == ["#0", "#1", "x=%23/a"]
    run = open_run(Mapped(content), own=["p", "q"])
    assert run.cover.paths.to_pylist() == ["p", "q", "x=%23/a"]
    assert answers(run, [(2, 2)]) == [((2, 2), "q", 0)]


def test_a_write_that_fails_publishes_nothing():
    """Entries out of order, too many paths, or an exception of the caller: the file is aborted."""
    cover = Cover(pa.array(["a"]), np.array([5]))
    sink = Sink()
    with RunWriter(sink, RUN, KEY, cover) as writer:
        writer.add(digests([(5, 0), (2, 0)]), np.array([0, 1]))
        with pytest.raises(ValueError, match="in order"):
            writer.add(digests([(4, 0)]), np.array([2]))
    assert sink.state == "aborted"
    sink = Sink()
    wordy = Cover(pa.array(["x" * 2**20] * 64), np.zeros(64, np.int64))
    with pytest.raises(ValueError, match="at most"):
        write_run(sink, RUN, KEY, wordy, digests=digests([]), rows=np.empty(0, np.int64))
    assert sink.state == "aborted"


# ---- damage


@st.composite
def changes(draw, size: int) -> Any:
    """A way to damage bytes: one flipped, some replaced, a stretch gone or doubled, the end cut off or more of it."""
    at = draw(st.integers(0, size - 1))
    stretch = draw(st.integers(1, 300))
    how = draw(st.sampled_from(["flip", "zero", "noise", "cut", "drop", "double", "more"]))
    bit, noise = draw(st.integers(0, 7)), draw(st.binary(min_size=8, max_size=8))

    def change(content: bytes) -> bytes:
        before, after = content[:at], content[at:]
        return {
            "flip": before + bytes([after[0] ^ 1 << bit]) + after[1:],
            "zero": before + bytes(min(stretch, len(after))) + after[stretch:],
            "noise": before + noise[: len(after)] + after[8:],
            "cut": before,
            "drop": before + after[stretch:],
            "double": before + after[:stretch] + after,
            "more": content + noise,
        }[how]

    return change


def tolerant(content: bytes, needles: list[Pair]) -> list[list[tuple[Pair, str, int]]]:
    """The answers from memory and by ranges of what may be damaged; a run that is refused gives none."""
    found = []
    for source in (Mapped, ranged):
        try:
            found.append(answers(open_run(source(content)), needles))
        except UnusableRunError:
            continue
    return found


@given(tables(least=1), st.data())
def test_damage_anywhere_changes_no_answer(files, data):
    """Whatever byte is changed, cut off or added, a probe gives the same answer or refuses the run."""
    content = run_of(files)
    needles = data.draw(needles_for(files))
    damaged = data.draw(changes(len(content)))(content)
    assert all(found == expected(files, needles) for found in tolerant(damaged, needles))


def test_every_single_byte_matters_or_is_not_read():
    """Each byte of a run of four blocks, changed by each bit: never another answer; all but padding is noticed."""
    files: list[File] = [("a", [(n << 58, n) for n in range(50)])]
    content = run_of(files)
    needles = [pair for pair in files[0][1] if pair is not None] + [(5, 5)]
    right = expected(files, needles)
    unnoticed = []
    for at in range(len(content)):
        for bit in (0, 3, 7):
            found = tolerant(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :], needles)
            assert all(each == right for each in found), at
            if found:
                unnoticed.append(at)
    blocks = 4 * 256
    assert not [at for at in unnoticed if not blocks <= at < blocks + 4 * 8]


def test_the_list_of_blocks_is_not_believed():
    """A list of blocks in any disorder gives the same answer, or the run is refused; and it is never expanded."""
    pairs, files = large(900)
    content = run_of(files)
    blocks = 60
    needles = pairs[:100]
    right = expected(files, needles)
    chance = np.random.default_rng(1)
    before, after = content[: blocks * 256], content[blocks * 264 :]
    honest = np.frombuffer(content, "<u8", blocks, blocks * 256)
    lists = [
        np.zeros(blocks, np.uint64),
        np.full(blocks, 2**64 - 1, np.uint64),
        honest[::-1],
        np.roll(honest, 1),
        *(chance.permutation(honest) for _ in range(20)),
        *(np.sort(chance.integers(0, 2**64, blocks, np.uint64)) for _ in range(20)),
    ]
    refused = 0
    for each in lists:
        found = tolerant(before + each.astype("<u8").tobytes() + after, needles)
        assert all(answer == right for answer in found)
        refused += not found
    assert refused == len(lists)


def test_a_key_at_the_seam_of_two_blocks():
    """If the list hides that a key begins in the block before, the run is refused, not half the rows found."""
    files: list[File] = [("a", [(100 * n, 0) for n in range(10)] + [(5_000, 0)] * 10 + [(9_000, 0)] * 10)]
    content = run_of(files)
    assert np.frombuffer(content, "<u8", 2, 512).tolist() == [0, 5_000]
    assert tolerant(content, [(5_000, 0)]) == [expected(files, [(5_000, 0)])] * 2
    assert tolerant(content[:512] + numbers(0, 4_999) + content[528:], [(5_000, 0)]) == []


def test_a_disordered_list_is_never_expanded():
    """Whatever stands in the list of blocks, a probe reads no more blocks than the run and its needles have."""
    pairs, files = large(900)
    run = open_run(Mapped(run_of(files)))
    high = np.sort(np.array([h for h, _ in pairs[:40]], np.uint64))
    chance = np.random.default_rng(4)
    accepted = 0
    for _ in range(3_000):
        listed = high[chance.integers(0, len(high), 60)]
        run._source = Mapped(bytes(60 * 256) + listed.tobytes())
        with contextlib.suppress(UnusableRunError):
            assert len(run._to_read(high)[0]) <= 60 + 2 * len(high)
            accepted += 1
    assert accepted


@pytest.mark.parametrize(
    ("high", "following", "what"),
    [
        ([5, *range(1, 15), *range(20, 35)], [20, 2**64 - 1], "entries are not in order"),
        ([*range(15), *range(20, 35)], [19, 2**64 - 1], "do not follow"),
    ],
)
def test_a_run_out_of_order_is_not_merged(high, following, what):
    """Blocks that are whole but not in order, as no writer writes them, are refused when they are read in order."""
    entries = index_run._entries(30)
    entries["high"], entries["low"], entries["row"] = high, 0, range(30)
    sink = Sink()
    with RunWriter(sink, RUN, KEY, Cover(pa.array(["a"]), np.array([30]))) as writer:
        writer._emit(entries, np.array(following, np.uint64))
        writer.close()
    content = forged(bytes(sink.content), lambda told: told | {"entries": 30})
    with pytest.raises(UnusableRunError, match=what):
        list(open_run(Mapped(content)).pieces())


def test_blocks_of_another_place_or_run_are_refused():
    """A block that is whole but stands elsewhere, or comes from another run, is damage."""
    pairs, files = large(900)
    content, other = run_of(files), run_of(files, "f" * 32)
    swapped = content[256:512] + content[:256] + content[512:]
    assert tolerant(swapped, pairs) == []
    assert tolerant(other[:256] + content[256:], pairs) == []
    assert tolerant(content[:-1], pairs) == tolerant(other[:-3000] + content[-3000:], pairs) == []


def forged(content: bytes, change: Any, cover: Any = None) -> bytes:
    """A run with another footer that is vouched for."""
    cover_bytes, head_bytes = (int.from_bytes(content[at : at + 8 or None], "little") for at in (-24, -16))
    body = content[: -56 - cover_bytes - head_bytes]
    footer = content[len(body) : -56]
    listed = footer[:cover_bytes] if cover is None else cover(footer[:cover_bytes])
    told = msgspec.json.encode(change(msgspec.json.decode(footer[cover_bytes:])))
    sizes = len(listed).to_bytes(8, "little") + len(told).to_bytes(8, "little") + index_run.MAGIC
    return body + listed + told + hashlib.sha256(listed + told + sizes).digest() + sizes


def numbers(*given: int) -> bytes:
    return np.array(given, "<u8").tobytes()


@pytest.mark.parametrize(
    ("head", "cover"),
    [
        ({"entries": 2**62}, None),
        ({"entries": -1}, None),
        ({"entries": 3}, None),
        ({"files": 2**62}, None),
        ({"files": 0}, None),
        ({"files": "1"}, None),
        ({"run": "x"}, None),
        ({"run": msgspec.Raw(b'"\xff"')}, None),
        ({"key": {}}, None),
        ({"wide": True}, None),
        ({}, lambda c: numbers(3, 2**64 - 1) + c[16:]),
        ({}, lambda c: numbers(3, 0) + c[16:]),
        ({}, lambda c: numbers(2**63, 1) + c[16:]),
        ({}, lambda c: numbers(2**40, 1) + c[16:]),
        ({}, lambda c: numbers(1, 1) + c[16:]),
        ({}, lambda c: c[:16] + b"\xff"),
        ({}, lambda c: b""),
    ],
)
def test_a_footer_that_lies_is_refused(head, cover):
    """Counts, sizes and paths that cannot be are refused before anything is allocated for them."""
    files: list[File] = [("a", [(n << 59, n) for n in range(20)])]
    content = run_of(files)
    needles = [pair for pair in files[0][1] if pair is not None]
    assert tolerant(forged(content, lambda told: told), needles) == [expected(files, needles)] * 2
    lying = forged(content, lambda told: told | head, cover)
    assert tolerant(lying, needles) == []
    if head != {"entries": 3} and cover is None:
        with pytest.raises(UnusableRunError):
            open_run(Mapped(lying))


def test_rows_that_cannot_be_counted():
    """Files with more rows than a number of 64 bits can count, one of them or all together, are refused."""
    content = run_of([("a", [(1, 1)]), ("b", [(2, 2)])])
    for counts in ((2**63, 1), (2**62, 2**62), (2**64 - 1, 2**64 - 1)):
        lying = forged(content, lambda told: told, lambda c, counts=counts: numbers(*counts) + c[16:])
        with pytest.raises(UnusableRunError, match="more rows than can be"):
            open_run(Mapped(lying))


def test_what_is_no_run_is_refused():
    """Nothing, noise, and a footer whose size is beyond the file or the limit."""
    content = run_of([("a", [(1, 1)])])
    for data in (b"\0", bytes(56), bytes(48) + index_run.MAGIC, content[:-8] + b"txindex2"):
        assert tolerant(data, [(1, 1)]) == []
    sizes = numbers(2**60, 2**63) + index_run.MAGIC
    assert tolerant(content[:-24] + sizes, [(1, 1)]) == []


def test_a_failed_read_is_not_damage():
    """A store that fails is a store that failed; a file that is missing or short is a run that cannot be used."""
    content = run_of([("a", [(1, 1)])])

    def failing(error: Exception) -> Any:
        def read(ranges: Any) -> list[bytes]:
            raise error

        return read

    with pytest.raises(StoreError):
        open_run(Ranged(failing(StoreError("down")), len(content)))
    with pytest.raises(UnusableRunError):
        open_run(Ranged(failing(CorruptTableError("missing")), len(content)))


# ---- merging


def merged(contents: list[bytes], live: set[str], run: str = "e" * 32) -> bytes:
    sink = Sink()
    facts = index_merge.merge_runs(sink, run, [open_run(Mapped(content)) for content in contents], live)
    assert (sink.state, facts.bytes) == ("published", len(sink.content))
    return bytes(sink.content)


@given(st.lists(tables(), min_size=1, max_size=4), st.data())
def test_a_merge_keeps_whole_files(lists, data):
    """Runs merged in any order and any grouping answer as they did together, without the files that are gone."""
    parts = [[(f"{number}/{path}", rows) for path, rows in files] for number, files in enumerate(lists)]
    every = [file for files in parts for file in files]
    live = set(data.draw(st.lists(st.sampled_from([path for path, _ in every]), unique=True))) if every else set()
    contents = data.draw(st.permutations([run_of(files) for files in parts]))
    cut = data.draw(st.integers(0, len(contents)))
    if data.draw(st.booleans()) and cut:
        contents = [merged(contents[:cut], live, "d" * 32), *contents[cut:]]
    run = open_run(Mapped(merged(contents, live)))
    kept = [(path, rows) for path, rows in every if path in live]
    assert sorted(run.cover.paths.to_pylist()) == sorted(path for path, _ in kept)
    assert run.entries == sum(pair is not None for _, rows in kept for pair in rows)
    needles = data.draw(needles_for(every))
    assert answers(run, needles) == expected(kept, needles)


def test_a_merge_goes_in_slices(monkeypatch):
    """However few entries are held at a time, the merged run has the same bytes."""
    contents = [run_of([(f"{n}{path}", rows) for path, rows in large(5_000, n)[1]]) for n in range(3)]
    live = {f"{n}{path}" for n in (0, 2) for path in "ab"} | {"1b"}
    whole = merged(contents, live)
    for entries in (15_000, 4_000, 100):
        monkeypatch.setattr(index_merge, "SLICE_ENTRIES", entries)
        assert merged(contents, live) == whole
    monkeypatch.setattr(index_run, "PIECE_BLOCKS", 3)
    assert merged(contents, live) == whole


def test_a_file_that_two_runs_cover_is_taken_once():
    """Entries are never doubled."""
    files: list[File] = [("a", [(1, 1), (2, 2)])]
    run = open_run(Mapped(merged([run_of(files), run_of([*files, ("b", [(1, 1)])])], {"a", "b"})))
    assert answers(run, [(1, 1)]) == [((1, 1), "a", 0), ((1, 1), "b", 0)]
    assert run.entries == 3


def test_what_cannot_be_merged():
    """Runs of other keys, and runs that name files by number only, are refused; a damaged one is unusable."""
    content = run_of(large(900)[1])
    other = forged(content, lambda told: told | {"key": told["key"] | {"columns": [2]}})
    for contents in ([content, other], [content, run_of([("#0", [(1, 1)])])]):
        with pytest.raises(ValueError, match=r"same keys|by number"):
            merged(contents, {"a", "b"})
    for at in (3, 250, 500):
        sink = Sink()
        runs = [open_run(Mapped(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]))]
        with pytest.raises(UnusableRunError):
            index_merge.merge_runs(sink, RUN, runs, {"a", "b"})
        assert sink.state == "aborted"
