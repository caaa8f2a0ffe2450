"""What all tests share."""

from __future__ import annotations

import pytest

pytest_plugins = ["servers.plugin"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
