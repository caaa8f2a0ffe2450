"""The doors for users of httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ...mesh import Mesh
from ..family import Family
from .client_mixins import AsyncMeshed, SyncMeshed
from .client_state import arguments_of, sends_as
from .fast_entry import with_fast_entry

if TYPE_CHECKING:
    from typing import Unpack

    from .client_arguments import AsyncArguments, SyncArguments


@with_fast_entry
@sends_as(httpx.AsyncClient)
class MeshClient(AsyncMeshed, httpx.AsyncClient):
    """An `httpx.AsyncClient` in every other respect; requests to the services of `mesh` take the mesh's way.

    All arguments but `mesh` are those of `httpx.AsyncClient`. Hosts that the mesh does not know behave exactly as in
    httpx. What the mesh raises is also the fitting httpx exception.
    """

    _family = Family(httpx)

    @arguments_of(httpx.AsyncClient)
    def __init__(
        self, *, mesh: Mesh | None = None, fast: bool = True, **httpx_arguments: Unpack[AsyncArguments]
    ) -> None:
        self.mesh = mesh
        self.fast = fast
        super().__init__(**httpx_arguments)


@sends_as(httpx.Client)
class SyncMeshClient(SyncMeshed, httpx.Client):
    """The same over `httpx.Client`, for threads. It shares endpoints, policies and budgets with every other client
    of the same mesh, the async ones included."""

    _family = MeshClient._family

    @arguments_of(httpx.Client)
    def __init__(self, *, mesh: Mesh | None = None, **httpx_arguments: Unpack[SyncArguments]) -> None:
        self.mesh = mesh
        super().__init__(**httpx_arguments)
