"""Cluster limits: what they count and refuse, and how a mesh file sets them. Over sockets: tests/http."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshlib import BulkheadFull, ClusterLimits, ConfigError, Mesh
from meshlib.config.envoy_export_clusters import cluster as exported
from meshlib.config.models import ClusterModel


def test_each_limit_counts_by_itself() -> None:
    limits = ClusterLimits(max_connections=2, max_requests=1, max_retries=1, name="users")
    assert limits.requests is not None and limits.take_retry()
    limits.requests.enter()
    with pytest.raises(BulkheadFull, match=r"^users: all 1 requests of the cluster are under way$"):
        limits.requests.enter()
    assert not limits.take_retry()
    assert limits.remaining() == {"connections": 2, "requests": 0, "retries": 0}
    assert limits.overflows() == {"connections": 0, "requests": 1, "retries": 1}


def test_what_is_left_out_is_not_limited() -> None:
    limits = ClusterLimits()
    assert (limits.connections, limits.requests, limits.retries) == (None, None, None)
    assert all(limits.take_retry() for _ in range(1000))
    assert limits.maxima() == limits.remaining() == {}


def test_with_max_retries_0_there_is_no_retry() -> None:
    limits = ClusterLimits(max_retries=0)
    assert not limits.take_retry()
    assert limits.maxima() == {"max_retries": 0}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_connections": 0}, "max_connections=0: expected a whole number of at least 1"),
        ({"max_requests": 1.5}, "max_requests=1.5: expected a whole number of at least 1"),
        ({"max_retries": -1}, "max_retries=-1: expected a whole number of at least 0"),
        ({"max_connections": 1, "max_pending": -1}, "max_pending=-1: expected a whole number of at least 0"),
        ({"max_pending": 5}, "max_pending=5: expected max_connections beside it"),
        ({"name": ""}, "name=''"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ClusterLimits(**settings)


CLUSTER = "clusters:\n  users: {{endpoints: [h:1], limits: {limits}}}\n"


def written(folder: Path, limits: str) -> Path:
    file = folder / "mesh.yaml"
    file.write_text(CLUSTER.format(limits=limits))
    return file


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ("{max_pending: 5}", "clusters.users.limits: max_pending: expected max_connections beside it"),
        ("{max_requests: 0}", "clusters.users.limits.max_requests: expected at least 1, found 0"),
        ("{max_retry: 1}", "clusters.users.limits.max_retry"),
    ],
)
def test_nonsense_in_a_mesh_file_is_refused_with_its_place(tmp_path: Path, limits: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Mesh.from_file(written(tmp_path, limits), watch=False)


def test_the_gate_of_max_requests_is_the_innermost(tmp_path: Path) -> None:
    mesh = Mesh.from_file(written(tmp_path, "{max_requests: 3}, bulkhead: {max_concurrent: 9}"), watch=False)
    cluster = mesh.current.clusters["users"]
    assert cluster.limits is not None and cluster.gates[-1] is cluster.limits.requests
    assert len(cluster.gates) == 3  # the breaker, the bulkhead, and this one
    told: list[Any] = []
    mesh.subscribe(told.append)
    for _ in range(3):
        cluster.gates[-1].enter(0.0)
    with pytest.raises(BulkheadFull):
        cluster.gates[-1].enter(0.0)
    assert [event.name for event in told] == ["users"]


def test_envoy_is_told_the_limits() -> None:
    limits = {"max_connections": 20, "max_pending": 50, "max_requests": 100, "max_retries": 3}
    said: list[str] = []
    model = ClusterModel.model_validate({"balancer": "round_robin", "breaker": False, "limits": limits})
    [found] = exported("users", model, (), 0.2, said.append)["circuit_breakers"]["thresholds"]
    assert found == {"max_connections": 20, "max_pending_requests": 50, "max_requests": 100, "max_retries": 3}
    assert said == ["users: max_retries is written without the retry budget, for Envoy knows one of the two"]


def test_a_bulkhead_beside_the_limits_lowers_them_for_envoy() -> None:
    settings = {"breaker": False, "bulkhead": {"max_concurrent": 10}, "limits": {"max_requests": 100}}
    model = ClusterModel.model_validate({"balancer": "round_robin", **settings})
    [found] = exported("users", model, (), None, print)["circuit_breakers"]["thresholds"]
    assert found["max_requests"] == 10
