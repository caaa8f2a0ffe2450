"""The four doors: httpx and httpx2, async and sync. Over sockets they are six: the async ones without fast lane too."""

from __future__ import annotations

import pytest
from support.doors import CLIENT_KINDS, WIRED, ClientKind


@pytest.fixture(params=CLIENT_KINDS, ids=lambda door: door.name)
def door(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found


@pytest.fixture(params=WIRED, ids=lambda door: door.name)
def wired(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found
