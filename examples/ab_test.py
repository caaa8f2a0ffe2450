"""A/B test: a header chooses the variant for testers, a cookie keeps every other user on one variant."""

from __future__ import annotations

from _servers import named, serving

from meshlib import Mesh, SyncMeshClient


def main() -> None:
    with serving(named("a")) as a, serving(named("b")) as b:
        mesh = Mesh.from_dict(
            {
                "services": {
                    "page": {
                        "routes": [{"match": {"headers": {"x-variant": "b"}}, "split": "page-b"}],
                        "split": {"page-a": 50, "page-b": 50},
                        "sticky": {"cookie": "user"},
                    }
                },
                "clusters": {"page-a": {"endpoints": [a]}, "page-b": {"endpoints": [b]}},
            }
        )
        with mesh, SyncMeshClient(mesh=mesh) as client:

            def variant(**headers: str) -> str:
                return str(client.get("http://page/", headers=headers).json()["server"])

            assert variant(**{"x-variant": "b"}) == "b"
            seen = {}
            for user in range(20):
                cookie = {"cookie": f"user={user}"}
                first = variant(**cookie)
                assert all(variant(**cookie) == first for _ in range(2)), "a user must stay on one variant"
                seen[user] = first
            print(f"20 users: {list(seen.values()).count('a')} on a, {list(seen.values()).count('b')} on b")
            assert set(seen.values()) == {"a", "b"}


if __name__ == "__main__":
    main()
