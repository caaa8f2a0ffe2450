"""FastAPI: a shop that calls a users service through the mesh, and passes the caller's deadline on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException

from meshlib import Mesh, MeshClient, MeshError
from meshlib.asgi import Deadlines

users = FastAPI()


@users.get("/users/{number}")
async def user(number: int) -> dict[str, object]:
    return {"id": number, "name": f"user {number}"}


def shop_app(mesh: Mesh) -> FastAPI:
    client: MeshClient

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal client
        async with MeshClient(mesh=mesh) as client:  # one client for the life of the process
            yield

    shop = FastAPI(lifespan=lifespan)
    shop.add_middleware(Deadlines)  # what the caller leaves of its time binds every call below

    @shop.get("/orders/{number}")
    async def order(number: int) -> dict[str, object]:
        try:
            buyer = await client.get(f"http://users/users/{number}")
        except MeshError as refused:
            raise HTTPException(503, str(refused)) from refused
        return {"order": number, "buyer": buyer.json()["name"]}

    return shop


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def main() -> None:
    async with running(users) as users_at:
        mesh = Mesh.from_dict(
            {
                "services": {"users": {"timeout": "2s", "retry": {"attempts": 3}}},
                "clusters": {"users": {"endpoints": [users_at]}},
            }
        )
        with mesh:
            async with running(shop_app(mesh)) as shop_at, httpx.AsyncClient() as browser:
                answer = (await browser.get(f"http://{shop_at}/orders/7")).json()
    print(answer)
    assert answer == {"order": 7, "buyer": "user 7"}


if __name__ == "__main__":
    asyncio.run(main())
