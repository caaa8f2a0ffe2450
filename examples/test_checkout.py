"""Tests of code that is guarded by the mesh: no sockets, no sleeping. Run it with pytest."""

from __future__ import annotations

import httpx
import pytest

from meshlib import BreakerOpen, CircuitBreaker, Mesh, Pipeline, Retry, SyncMeshClient
from meshlib.testing import ManualClock, ScriptedStep
from meshlib.testing.transport import ScriptedTransport


def price(client: SyncMeshClient, item: str) -> int:
    """The code under test."""
    return int(client.get(f"http://prices/{item}").raise_for_status().text)


def test_a_failing_endpoint_is_covered_by_another() -> None:
    mesh = Mesh.from_dict({"services": {"prices": {}}, "clusters": {"prices": {"endpoints": ["a:80", "b:80"]}}})
    fleet = ScriptedTransport({"a:80": [503], "b:80": [httpx.Response(200, text="12")]})
    with mesh, SyncMeshClient(mesh=mesh, transport=fleet) as client:
        assert price(client, "tea") == 12


def test_the_breaker_opens_and_probes_after_its_cooldown() -> None:
    clock = ManualClock()
    server = ScriptedStep(OSError("down"), OSError("down"), "12", runtime=clock)
    breaker = CircuitBreaker(name="prices", consecutive_failures=2, cooldown=30.0, runtime=clock)
    ask = Pipeline(Retry(2, on=OSError, backoff=0.0), breaker, runtime=clock)(server.ask)
    with pytest.raises(OSError):
        ask()
    with pytest.raises(BreakerOpen):
        ask()
    clock.advance(30.0)
    assert ask() == "12"
