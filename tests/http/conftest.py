"""Fixtures for HTTP tests: the four client kinds; over sockets six, with the async ones off the fast path too."""

from __future__ import annotations

import pytest
from support.client_kinds import CLIENT_KINDS, WIRED, ClientKind


@pytest.fixture(params=CLIENT_KINDS, ids=lambda client_kind: client_kind.name)
def client_kind(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found


@pytest.fixture(params=WIRED, ids=lambda client_kind: client_kind.name)
def wired(request: pytest.FixtureRequest) -> ClientKind:
    found: ClientKind = request.param
    return found
