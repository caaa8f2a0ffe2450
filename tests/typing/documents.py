"""A mesh from a document in code: type checkers see each key, and refuse one that there is not."""

from typing import assert_type

from meshlib import Mesh, Snapshot

mesh = Mesh.from_dict(
    {
        "services": {"users": {"timeout": "2s", "split": {"v1": 90, "v2": 10}, "retry": {"attempts": 3}}},
        "clusters": {
            "v1": {"endpoints": ["127.0.0.1:8001", {"address": "127.0.0.1:8002", "weight": 2}], "breaker": False},
            "v2": {"endpoints": ["127.0.0.1:8003"], "balancer": "ring_hash", "outlier": True},
        },
        "egress": "refuse",
    }
)
assert_type(mesh, Mesh)
assert_type(mesh.update({"services": {}, "clusters": {}}), Snapshot)
Mesh.from_dict({"services": {"users": {"timeoutt": 2}}})  # type: ignore[typeddict-unknown-key]  # pyright: ignore
Mesh.from_dict({"clusters": {"v1": {"breaker": True}}})  # type: ignore[typeddict-item]  # pyright: ignore
