"""The four doors: httpx and httpx2, async and sync."""

from __future__ import annotations

import pytest
from doors import DOORS, Door


@pytest.fixture(params=DOORS, ids=lambda door: door.name)
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.param
    return found
