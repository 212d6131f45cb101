"""Feed changed bytes to the targets: from valid ones, by bytes and by structure, from a seed that repeats a run.

    python -m tests.hostile.fuzz --seconds 60              every target, a minute each
    python -m tests.hostile.fuzz --seconds 600 csv_file    one of them
    python -m tests.hostile.fuzz --guided manifest         by atheris where it is installed, led by the code's branches

Exit code 1, and the bytes that did it, where a target raises what it should not.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.fuzz_seeds import JSON_VALUES, PIECES, seeds
from tests.hostile.fuzz_targets import TARGETS

MEMORY_BYTES = 8 * 1024**3
"""Address space of the fuzzing process, most of which Arrow and numpy only reserve."""

HANG_SECONDS = 30
"""One execution takes about a millisecond; this is no limit of the library, only when we stop waiting."""

FAILURES = 5
"""So many of one target are told, each at another place."""

SIZE_LIMIT = 64 * 1024


class Hang(BaseException):
    """A target did not come back."""


@dataclass
class Record:
    """What became of a target."""

    target: str
    executions: int = 0
    failures: dict[str, bytes] = field(default_factory=dict)
    """The end of a traceback → the bytes that led there."""


def run(targets: Iterable[str], *, seconds: float, seed: int, executions: int | None = None) -> list[Record]:
    """Fuzz targets one after the other.

    Args:
        targets: names in `TARGETS`.
        seconds: for each of them; or
        executions: so many of each, whatever time it takes: such a run is the same for the same seed.
        seed: of all choices.
    """
    corpora = seeds()
    records = []
    for name in targets:
        record = Record(name)
        chance = random.Random(f"{seed} {name}")
        corpus = corpora[name]
        for data in corpus:
            _execute(TARGETS[name], data, record)
        end = time.monotonic() + seconds
        while record.executions < executions if executions is not None else time.monotonic() < end:
            _execute(TARGETS[name], mutated(chance, corpus), record)
        records.append(record)
    return records


def _execute(target: Callable[[bytes], None], data: bytes, record: Record) -> None:
    record.executions += 1
    previous = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(HANG_SECONDS)
    try:
        target(data)
    except (Exception, Hang) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
        known = any(told.startswith(place) for told in record.failures)
        if len(record.failures) < FAILURES and not known:
            record.failures[f"{place}: {str(error)[:200]!r}"] = data
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _hang(*_: object) -> None:
    raise Hang


# ---------------------------------------------------------------- changing bytes


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one place or in several."""
    data = chance.choice(corpus)
    if chance.random() < 0.5:
        data = _json(chance, data)
        if chance.random() < 0.7:
            return data
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(CHANGES)(chance, data, corpus)
    return data[:SIZE_LIMIT]


def _cut(chance: random.Random, size: int) -> tuple[int, int]:
    start = chance.randint(0, size)
    return start, min(size, start + chance.choice((0, 1, 1, 2, 4, 8, 32, 1_000)))


def _flip(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _byte(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _cut(chance, len(data))
    return data[:start] + chance.randbytes(min(end - start, 8)) + data[end:]


def _delete(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _cut(chance, len(data))
    return data[:start] + data[end:]


def _repeat(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _cut(chance, len(data))
    return data[:end] + data[start:end] * chance.choice((1, 2, 50)) + data[end:]


def _piece(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _cut(chance, len(data))
    return data[:start] + chance.choice(PIECES) + data[end:]


def _splice(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = chance.choice(corpus)
    start, end = _cut(chance, len(other))
    at = chance.randint(0, len(data))
    return data[:at] + other[start : chance.choice((end, len(other)))] + data[at:]


def _number(chance: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """A little-endian number on its edges, as footers and page headers have them."""
    width = chance.choice((1, 2, 4, 8))
    at = chance.randint(0, len(data))
    edge = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1))
    return data[:at] + (edge % 2 ** (8 * width)).to_bytes(width, "little") + data[at + width :]


CHANGES = (_flip, _byte, _delete, _repeat, _piece, _splice, _number)


# ---------------------------------------------------------------- changing documents


def _json(chance: random.Random, data: bytes) -> bytes:
    """The same document with some values, keys or items changed; other bytes as they are."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 2, 4))):
        document = _changed(chance, document)
    text = json.dumps(document)
    if chance.random() < 0.1:
        text = _doubled(chance, text)
    return text.encode()


def _changed(chance: random.Random, node: Any) -> Any:
    """A document with a change somewhere in it."""
    if isinstance(node, dict) and node and chance.random() < 0.85:
        key = chance.choice(list(node))
        other = dict(node)
        what = chance.random()
        if what < 0.1:
            del other[key]
        elif what < 0.15:
            other[chance.choice(("x", "", "extra", "sha256", "\0", key + "x"))] = other.pop(key)
        else:
            other[key] = _changed(chance, node[key])
        return other
    if isinstance(node, list) and node and chance.random() < 0.85:
        at = chance.randrange(len(node))
        what = chance.random()
        if what < 0.1:
            return node[:at] + node[at + 1 :]
        if what < 0.2:
            return [*node, node[at]]
        return [*node[:at], _changed(chance, node[at]), *node[at + 1 :]]
    if isinstance(node, str) and node and chance.random() < 0.5:
        start, end = _cut(chance, len(node))
        return node[:start] + chance.choice(PIECES).decode("utf-8", "replace") + node[end:]
    return chance.choice(JSON_VALUES)


def _doubled(chance: random.Random, text: str) -> str:
    """One key stands twice."""
    at = [place for place in range(len(text)) if text.startswith('{"', place)]
    if not at:
        return text
    place = chance.choice(at) + 1
    key = text[place : text.index('"', place + 1) + 1]
    return f"{text[:place]}{key}: {json.dumps(chance.choice(JSON_VALUES))}, {text[place:]}"


# ---------------------------------------------------------------- by hand


def _guided(name: str, seconds: float) -> None:
    """Leave it to atheris, which ends the process."""
    import atheris  # type: ignore[import-not-found]

    atheris.instrument_all()
    corpus = seeds()[name]
    chance = random.Random(0)

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        return mutated(chance, [data, *corpus])[:most] if seed % 2 else atheris.Mutate(data, most)

    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], TARGETS[name], custom_mutator=mutator)
    atheris.Fuzz()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all unless said")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {min(unknown)!r}; there are {', '.join(TARGETS)}")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if options.guided:
        _guided((options.targets or parser.error("--guided wants a target"))[0], options.seconds)
    found = []
    for name in options.targets or TARGETS:
        [record] = run([name], seconds=options.seconds, seed=options.seed, executions=options.executions)
        found.append(record)
        print(f"{name:16} {record.executions:>12,} executions  {len(record.failures)} failures", flush=True)
        for place, data in record.failures.items():
            print(f"    {place}\n    {data!r}")
    return 1 if any(record.failures for record in found) else 0


if __name__ == "__main__":
    sys.exit(main())
