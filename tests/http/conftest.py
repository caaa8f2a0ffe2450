"""The four doors: httpx and httpx2, async and sync. Over sockets they are six: the async ones without fast lane too."""

from __future__ import annotations

import pytest
from doors import DOORS, WIRED, Door


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.param
    return found


@pytest.fixture(params=WIRED, ids=lambda door: door.name)
def wired(request: pytest.FixtureRequest) -> Door:
    found: Door = request.param
    return found
