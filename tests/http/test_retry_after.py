"""`Retry-After` in seconds or as a date, from a response or from an error that carries one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from support.client_kinds import ClientKind, HandClock, Server, mesh_of

from meshlib import BreakerOpen
from meshlib.http.engine.retry_after import parse_retry_after, response_retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("Sun, 06 Nov 1994 08:49:20 GMT", 0.0),  # past
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, 784111770.0) == seconds


def test_an_error_may_carry_it() -> None:
    assert response_retry_after(BreakerOpen("users", retry_after=2.0)) == 2.0
    assert response_retry_after(httpx.ReadError("reset")) is None
    assert response_retry_after(httpx.Response(503, headers={"retry-after": "3"})) == 3.0
    assert response_retry_after(httpx.Response(503)) is None


@pytest.mark.anyio
async def test_who_is_asked_to_stay_away_too_long_gives_up_at_once(client_kind: ClientKind) -> None:
    def busy(request: Any) -> Any:
        return client_kind.lib.Response(503, headers={"retry-after": "3600"})

    server = Server(client_kind, busy, 200)
    async with client_kind.open(mesh_of(), transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 503
    assert len(server.seen) == 1


@pytest.mark.anyio
async def test_a_short_wait_is_waited(client_kind: ClientKind) -> None:
    clock = [100.0]

    def busy(request: Any) -> Any:
        return client_kind.lib.Response(503, headers={"retry-after": "7"})

    server = Server(client_kind, busy, 200)
    async with client_kind.open(mesh_of(runtime=HandClock(clock)), transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 200
    assert clock == [107.0]
