"""Waiting: until a condition holds, for what another thread, task or process does; fails after 20 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

PATIENCE = 20.0  # seconds, for a slow machine; a test that passes waits only as long as it must


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not true after {PATIENCE} s"
        time.sleep(0.002)


async def wait_until_async(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.002)
