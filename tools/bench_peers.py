"""A retry on S3 by txfiles and by its peers: `tools/bench stores retry`."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bench_rows import BATCH, large_part, rows_from
from bench_servers import ROOT, Child, Row, counted, say, server_of, timed

from tests.services import proxy as proxies
from tests.services import servers

if TYPE_CHECKING:
    import pyarrow as pa

PEERS = {"deltalake": "deltalake==1.6.6", "lance": "pylance==14.0.2"}
PEERS_VENV = ".venv-peers"
RETRY_FILES = 40


def _url(table: str) -> str:
    return f"s3://{servers.BUCKET}/{table}"


def retry(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """See tools/bench_stores.py."""
    sides = {"txfiles": sys.executable} | install_peers()
    with server_of(kind) as server, proxies.running(server) as proxy:
        proxy.delay_seconds = options.delay / 1e3
        for side, python in sides.items():
            print(f"{kind}: making {options.rows:,} rows of {side}", file=sys.stderr)
            assert Child("make", server, side, options.rows, python=python).hear() == "made"
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.runs):
            for side, python in sides.items():
                ((_, row),) = counted(Child("retry", server, side, options.rows, python=python), proxy)
                seconds[side].append(float(row["seconds"]))
        for side, python in sides.items():
            ((_, row),) = counted(Child("retry", proxy.url, side, options.rows, python=python), proxy)
            ratios = [ours / theirs for ours, theirs in zip(seconds["txfiles"], seconds[side], strict=True)]
            yield (
                {"server": kind, "rows": options.rows, "side": side}
                | row
                | {"seconds": statistics.median(seconds[side]), "ours_to_it": statistics.median(ratios)}
            )


def install_peers() -> dict[str, str]:
    """The peers and their Python, which has none of ours in it."""
    subprocess.run([ROOT / "tools/venv", *PEERS.values()], check=True, env=os.environ | {"VENV": PEERS_VENV})
    return dict.fromkeys(PEERS, str(ROOT / PEERS_VENV / "bin/python"))


def make_child(server: str, side: str, rows: str) -> None:
    """The table of one side, in 40 files, and a small one for warmth."""
    for table, count, files in ((f"warm-{side}", BATCH, 1), (side, int(rows), RETRY_FILES)):
        for number in range(files):
            APPENDS[side](large_part(number, count // files), table, server)
        if side == "lance":
            index_lance(table, server)
    say("made")


def retry_child(server: str, side: str, rows: str) -> None:
    """The rows again: first some of a small table, for warmth; none is inserted."""
    batch = rows_from(int(rows) * 9 // 16, BATCH)
    assert RETRIES[side](large_part(0, BATCH), f"warm-{side}", server) == 0
    assert timed("retry", lambda: RETRIES[side](batch, side, server)) == 0


def peer_options(server: str) -> dict[str, str]:
    """The storage options of the peers."""
    return {
        "aws_endpoint": server,
        "aws_access_key_id": servers.KEY,
        "aws_secret_access_key": servers.SECRET,
        "aws_region": "us-east-1",
        "allow_http": "true",
    }


def append_txfiles(rows: pa.Table, table: str, server: str) -> None:
    """Ours: with the keys, which are indexed."""
    retry_txfiles(rows, table, server)


def retry_txfiles(rows: pa.Table, table: str, server: str) -> int:
    """Ours."""
    import txfiles as tx

    options = servers.s3_options(server)
    inserted = tx.write(rows, _url(table), mode="append_once", keys=["id"], storage_options=options).rows_inserted
    assert inserted is not None
    return inserted


def append_deltalake(rows: pa.Table, table: str, server: str) -> None:
    """Ordinary appends."""
    import deltalake

    deltalake.write_deltalake(_url(table), rows, mode="append", storage_options=peer_options(server))


def retry_deltalake(rows: pa.Table, table: str, server: str) -> int:
    """A merge that inserts only, with the batch's key range, by which files are pruned."""
    import deltalake

    ids = rows["id"]
    result = (
        deltalake.DeltaTable(_url(table), storage_options=peer_options(server))
        .merge(
            rows,
            f"t.id = s.id AND t.id >= {ids[0].as_py()} AND t.id <= {ids[-1].as_py()}",
            source_alias="s",
            target_alias="t",
        )
        .when_not_matched_insert_all()
        .execute()
    )
    return int(result["num_target_rows_inserted"])


def append_lance(rows: pa.Table, table: str, server: str) -> None:
    """Ordinary appends."""
    import lance

    first = rows["id"][0].as_py() == 0
    mode = "create" if first else "append"
    lance.write_dataset(rows, _url(table), mode=mode, storage_options=peer_options(server))


def index_lance(table: str, server: str) -> None:
    """Lance's own index of the keys."""
    import lance

    lance.dataset(_url(table), storage_options=peer_options(server)).create_scalar_index("id", "BTREE")


def retry_lance(rows: pa.Table, table: str, server: str) -> int:
    """A merge that inserts only."""
    import lance

    dataset = lance.dataset(_url(table), storage_options=peer_options(server))
    return int(dataset.merge_insert("id").when_not_matched_insert_all().execute(rows)["num_inserted_rows"])


APPENDS: dict[str, Callable[[pa.Table, str, str], None]] = {
    "txfiles": append_txfiles,
    "deltalake": append_deltalake,
    "lance": append_lance,
}
RETRIES: dict[str, Callable[[pa.Table, str, str], int]] = {
    "txfiles": retry_txfiles,
    "deltalake": retry_deltalake,
    "lance": retry_lance,
}
