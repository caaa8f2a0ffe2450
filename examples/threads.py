"""Threads: one mesh and one client for all of them. One of the two endpoints is dead; the callers do not notice."""

from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from _servers import named, serving

from meshlib import Mesh, SyncMeshClient


def dead_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def main() -> None:
    with serving(named("alive")) as alive:
        mesh = Mesh.from_dict(
            {
                "services": {"users": {"retry": {"attempts": 3}, "timeout": "5s"}},
                "clusters": {"users": {"endpoints": [alive, dead_address()]}},
            }
        )
        with mesh, SyncMeshClient(mesh=mesh) as client, ThreadPoolExecutor(8) as threads:
            answers = Counter(
                threads.map(lambda number: client.get(f"http://users/{number}").json()["server"], range(100))
            )
    print(f"100 calls from 8 threads: {dict(answers)}")
    assert answers == {"alive": 100}


if __name__ == "__main__":
    main()
