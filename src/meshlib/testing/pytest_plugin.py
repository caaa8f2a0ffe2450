"""pytest plugin: a manual clock, instant retries, and scripted services with faults, for sync and async tests.

    pytest_plugins = ["meshlib.testing.pytest_plugin"]  # in conftest.py

The fixtures are synchronous, so they serve plain tests and those of pytest-asyncio, anyio and pytest-trio alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from ..runtime import System
from .clock import ManualClock

if TYPE_CHECKING:
    from ..http.client.clients import MeshClient, SyncMeshClient
    from ..mesh import Mesh
    from .transport import ScriptedTransport


class ScriptedServices:
    """A mesh whose services answer from a script, without a socket.

    `mesh` is a mesh of its own for each test, so no breaker or budget of another test is left in it. `transport` keeps
    the requests. `client()` and `async_client()` make clients of it.
    """

    def __init__(self, mesh: Mesh, transport: ScriptedTransport, addresses: Mapping[str, str]) -> None:
        self.mesh = mesh
        self.transport = transport
        self._addresses = addresses

    def client(self, **arguments: Any) -> SyncMeshClient:
        """A `SyncMeshClient` over the scripted services; `arguments` are those of the client."""
        from ..http.client.clients import SyncMeshClient

        return SyncMeshClient(mesh=self.mesh, transport=self.transport, **arguments)

    def async_client(self, **arguments: Any) -> MeshClient:
        """A `MeshClient` over the scripted services; `arguments` are those of the client."""
        from ..http.client.clients import MeshClient

        return MeshClient(mesh=self.mesh, transport=self.transport, **arguments)

    def calls(self, service: str) -> int:
        """How many requests this service got, retries included."""
        return len(self.transport.to(self._addresses[service]))

    def inject(self, service: str, *faults: Any) -> None:
        """Answer the next requests of `service` by `faults` (a status, a response, an exception), then as before."""
        address = self._addresses[service]
        answered = len(self.transport.to(address))
        script = self.transport.answers[address]
        last = script[min(answered, len(script) - 1)]
        self.transport.answers[address] = [*([last] * answered), *faults, *(script[answered:] or [last])]


@pytest.fixture
def manual_clock() -> ManualClock:
    """A runtime whose time is a number: give it to policies and meshes as `runtime=`."""
    return ManualClock()


@pytest.fixture
def instant_retries(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits of the real runtime (backoff, `Retry-After`, rate limits) end at once; the list has their seconds."""
    waits: list[float] = []

    def sleep(self: System, seconds: float) -> None:
        waits.append(seconds)

    async def sleep_async(self: System, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(System, "sleep", sleep)
    monkeypatch.setattr(System, "sleep_async", sleep_async)
    return waits


@pytest.fixture
def scripted_services() -> Iterator[Callable[..., ScriptedServices]]:
    """Make a mesh of scripted services: `scripted_services({"users": [503, 200]}, timeout="2s")`.

    Each service has one endpoint, whose answers are the list (a status, a response, an exception, or a function of the
    request); the last one repeats. Keywords are keys of the service in the mesh file; `runtime=` is a clock.
    """
    made: list[Mesh] = []

    def make(
        answers: Mapping[str, Sequence[Any]], *, runtime: ManualClock | None = None, **keys: Any
    ) -> ScriptedServices:
        from ..mesh import Mesh
        from ..runtime import SYSTEM
        from .transport import ScriptedTransport

        addresses = {service: f"{service}.test:80" for service in answers}
        document: Any = {
            "services": {service: dict(keys) for service in answers},
            "clusters": {service: {"endpoints": [address]} for service, address in addresses.items()},
        }
        run = runtime or SYSTEM
        mesh = Mesh.from_dict(document, runtime=run)
        made.append(mesh)
        transport = ScriptedTransport({addresses[name]: script for name, script in answers.items()}, runtime=run)
        return ScriptedServices(mesh, transport, addresses)

    yield make
    for mesh in made:
        mesh.close()
