"""The same clients over httpx2, the maintained successor of httpx: `pip install meshlib-client[httpx2]`.

from meshlib.httpx2 import MeshClient

async with MeshClient(mesh=mesh) as client:
    response = await client.query("http://users/v1/search", json={"name": "Ada"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, TypedDict

import httpx2

from .http.client.client_mixins import AsyncMeshed, SyncMeshed
from .http.client.client_state import arguments_of, sends_as
from .http.client.fast_entry import with_fast_entry
from .http.family import Family
from .mesh import Mesh

if TYPE_CHECKING:
    from typing import Unpack

    from httpx2._types import AuthTypes, CertTypes, CookieTypes, HeaderTypes, ProxyTypes, QueryParamTypes, TimeoutTypes

    class Arguments(TypedDict, total=False):
        """What httpx2's clients may be told."""

        auth: AuthTypes | None
        params: QueryParamTypes | None
        headers: HeaderTypes | None
        cookies: CookieTypes | None
        verify: SSLContext | str | bool
        cert: CertTypes | None
        http1: bool
        http2: bool
        proxy: ProxyTypes | None
        timeout: TimeoutTypes
        follow_redirects: bool
        limits: httpx2.Limits
        max_redirects: int
        event_hooks: Mapping[str, list[Callable[..., Any]]] | None
        base_url: httpx2.URL | str
        trust_env: bool
        default_encoding: str | Callable[[bytes], str | None]

    class AsyncArguments(Arguments, total=False):
        mounts: Mapping[str, httpx2.AsyncBaseTransport | None] | None
        transport: httpx2.AsyncBaseTransport | None

    class SyncArguments(Arguments, total=False):
        mounts: Mapping[str, httpx2.BaseTransport | None] | None
        transport: httpx2.BaseTransport | None


__all__ = ["MeshClient", "SyncMeshClient"]


@with_fast_entry
@sends_as(httpx2.AsyncClient)
class MeshClient(AsyncMeshed, httpx2.AsyncClient):
    """An `httpx2.AsyncClient` in every other respect; see `meshlib.MeshClient`."""

    _family = Family(httpx2)

    @arguments_of(httpx2.AsyncClient)
    def __init__(
        self, *, mesh: Mesh | None = None, fast: bool = True, **httpx2_arguments: Unpack[AsyncArguments]
    ) -> None:
        self.mesh = mesh
        self.fast = fast
        super().__init__(**httpx2_arguments)


@sends_as(httpx2.Client)
class SyncMeshClient(SyncMeshed, httpx2.Client):
    """An `httpx2.Client` in every other respect; see `meshlib.SyncMeshClient`."""

    _family = MeshClient._family

    @arguments_of(httpx2.Client)
    def __init__(self, *, mesh: Mesh | None = None, **httpx2_arguments: Unpack[SyncArguments]) -> None:
        self.mesh = mesh
        super().__init__(**httpx2_arguments)
