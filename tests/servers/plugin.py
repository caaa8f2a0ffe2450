"""The pytest side of real servers: the marker `needs`, and the closing lines that say what was left out and why.

To add a server: describe it as `redis.py` does, put it into SERVERS and import its fixtures here. A test says
`@pytest.mark.needs("redis-server")`. Where the server is missing the test is skipped; with CI=true it fails.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from .envoy import ENVOY
from .etcd import ETCD, etcd, own_etcd
from .redis import REDIS, redis_port
from .server import Server

__all__ = ["etcd", "own_etcd", "redis_port"]  # fixtures

SERVERS: dict[str, Server] = {server.name: server for server in (ENVOY, ETCD, REDIS)}

_missing: dict[str, str | None] = {}
_left_out: Counter[str] = Counter()


def _wanted(item: pytest.Item) -> list[str]:
    return [name for marker in item.iter_markers("needs") for name in marker.args]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look for the servers, or install them, before any test's time runs."""
    if session.config.option.collectonly:
        return
    for name in sorted({name for item in session.items for name in _wanted(item)}):
        if name not in _missing:
            _missing[name] = SERVERS[name].missing() if name in SERVERS else f"no server is called {name!r} here"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in _wanted(item):
        reason = _missing.get(name)
        if reason is not None:
            if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
                pytest.fail(f"needs {name}: {reason}", pytrace=False)
            _left_out[f"{name}: {reason}"] += 1
            pytest.skip(f"needs {name}: {reason}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _left_out:
        terminalreporter.section("left out on this machine")
        for reason, times in sorted(_left_out.items()):
            terminalreporter.line(f"{times} tests need {reason}")
