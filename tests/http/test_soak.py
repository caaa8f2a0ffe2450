"""Servers are killed, restarted, stopped, and misbehave: every request ends, in time, and nothing is left over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.client_kinds import CLIENT_KINDS, ClientKind, mesh_of
from support.soaking import soak


@pytest.mark.parametrize("fast", [False, True], ids=["httpx", "fast"])
@pytest.mark.parametrize(
    "client_kind",
    [client_kind for client_kind in CLIENT_KINDS if client_kind.is_async],
    ids=lambda client_kind: client_kind.name,
)
def test_every_request_ends_typed_and_in_time_and_nothing_is_sent_twice(
    client_kind: ClientKind, fast: bool, tmp_path: Path
) -> None:
    run = asyncio.run(
        soak(client_kind, tmp_path, lambda requests, blows: requests >= 150 and blows >= 3, mesh_of, fast=fast)
    )
    assert run.complaints == []
    assert run.outcomes["answer"] >= 50
