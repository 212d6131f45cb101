"""`tools/bench peers --only W13`: the workloads on an S3 server, behind a proxy that counts without delaying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_peers import Bench, Figures, Side
from bench_rows import Scale
from bench_servers import figures, server_of

from tests.services import proxy as proxies
from tests.services import servers


@contextmanager
def served(kind: str) -> Iterator[tuple[str, proxies.Proxy]]:
    """A server, and its proxy."""
    with server_of(kind) as server, proxies.running(server) as proxy:
        yield server, proxy


class StoreBench(Bench):
    """Tables in a bucket, put aside and copied by the server itself. Seconds are taken without the proxy.

    Args:
        server: its URL, and the proxy that stands before it.
        work: not used.
        scale: of the tables.
        patience: as in `Bench`.
    """

    def __init__(self, server: tuple[str, proxies.Proxy], work: Path, scale: Scale, patience: float | None) -> None:
        import s3fs

        super().__init__(work, scale, patience)
        self._url, self._proxy = server
        self._counts: dict[tuple[str, str], Figures] = {}
        self._system = s3fs.S3FileSystem(**servers.s3_options(self._url), use_listings_cache=False)

    def measure(self, side: Side, workload: str) -> Figures:
        """One repetition; the first is followed by one through the proxy, which counts."""
        self.s3 = self._url, servers.KEY, servers.SECRET
        found = super().measure(side, workload)
        which = side.label, workload
        if which not in self._counts and "seconds" in found:
            self.s3 = self._proxy.url, servers.KEY, servers.SECRET
            super().measure(side, workload)
        return found | self._counts.get(which, {})

    def place_of(self, name: str) -> str:
        """A URL."""
        return f"s3://{servers.BUCKET}/{name}"

    def keep(self, place: str, name: str) -> None:
        """By a copy: nothing can be renamed."""
        self._copy(place, self.place_of(name))
        self.clear(place)

    def copy(self, name: str, place: str) -> None:
        """A fresh copy."""
        self._copy(self.place_of(name), place)

    def clear(self, place: str) -> None:
        """Remove a copy, and what it was warmed up on."""
        for one in (place, f"{place}-warm"):
            if self._system.exists(one):
                self._system.rm(one, recursive=True)

    def begins(self) -> None:
        """The proxy counts from here on."""
        self._proxy.reset()

    def ended(self, side: Side, workload: str) -> None:
        """What it has seen."""
        seen = {name: float(value) for name, value in figures(self._proxy).items()}
        if seen["requests"]:
            self._counts[side.label, workload] = {
                "requests": seen["requests"],
                "round trips": seen["round_trips"],
                "sent MB": seen["sent_bytes"] / 1e6,
                "received MB": seen["received_bytes"] / 1e6,
            }

    def _copy(self, source: str, target: str) -> None:
        for path in self._system.find(source):
            self._system.cp_file(path, target + path[len(source.removeprefix("s3://")) :])
