"""Canary: send a tenth of the traffic to v2, then all of it, while the client runs."""

from __future__ import annotations

from collections import Counter

from _servers import named, serving

from meshlib import Mesh, SyncMeshClient


def document(v1: str, v2: str, share: int) -> dict[str, object]:
    return {
        "services": {"users": {"split": {"users-v1": 100 - share, "users-v2": share}}},
        "clusters": {"users-v1": {"endpoints": [v1]}, "users-v2": {"endpoints": [v2]}},
    }


def shares(client: SyncMeshClient, calls: int = 300) -> Counter[str]:
    return Counter(client.get("http://users/").json()["server"] for _ in range(calls))


def main() -> None:
    with serving(named("v1")) as v1, serving(named("v2")) as v2:
        mesh = Mesh.from_dict(document(v1, v2, 10))
        with mesh, SyncMeshClient(mesh=mesh) as client:
            counts = shares(client)
            print(f"10 % canary: {dict(counts)}")
            assert 5 < counts["v2"] < 75
            mesh.update(document(v1, v2, 100))  # or edit mesh.yaml, or `meshlib rollout users --to users-v2`
            counts = shares(client, 50)
            print(f"rolled out: {dict(counts)}")
            assert counts == {"v2": 50}


if __name__ == "__main__":
    main()
