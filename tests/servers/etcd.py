"""An etcd of our own, on one port of the loopback interface; its data stay as long as its folder does."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .server import Server, free_port


def _command(port: int, folder: Path) -> Sequence[str]:
    here, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return [
        *("--data-dir", str(folder / "data"), "--listen-client-urls", here, "--advertise-client-urls", here),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"default={peers}", "--unsafe-no-fsync"),
    ]


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read()).get("health") in ("true", True))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


ETCD = Server(name="etcd", binary="etcd", package="etcd-server", command=_command, ready=_ready)


class Etcd:
    """One that can be killed and started again with its data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = ETCD.start(self.port, self._folder)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def etcd() -> Iterator[str]:
    """The address of an etcd that all tests share: use keys of your own."""
    with ETCD.running() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """One for this test alone, running."""
    server = Etcd(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()
