"""A redis-server of our own: nothing on disk, nothing but the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .server import Server, answers


def _command(port: int, folder: Path) -> Sequence[str]:
    return ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]


REDIS = Server(
    name="redis-server",
    binary="redis-server",
    package="redis-server",
    command=_command,
    ready=lambda port: answers(port, b"PING\r\n", b"+PONG"),
)


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """The port of a redis-server that all tests share: use keys of your own."""
    with REDIS.running() as port:
        yield port
