"""What a cluster's lines say about choosing an endpoint reaches the objects, and stays through reloads."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from meshlib import ConfigError, Mesh
from meshlib.balancing import NAMES, LeastRequest, LocalityBalancer, RingHash, make_balancer
from meshlib.balancing.health_check import HealthCheck
from meshlib.balancing.outlier_criteria import EjectionTime, FailurePercentageEjection, SuccessRateEjection
from meshlib.balancing.outlier_detection import OutlierDetection
from meshlib.config.balancing_models import (
    EVERY,
    OWN,
    BalancerModel,
    EjectionTimeModel,
    FailurePercentageModel,
    GrpcCheckModel,
    HealthCheckModel,
    HttpCheckModel,
    OutlierModel,
    SuccessRateModel,
    UnifiedModel,
)
from meshlib.config.reader import MeshReader
from meshlib.http.health.health_checks import GrpcCheck, HttpCheck, TcpCheck
from meshlib.mesh import Cluster
from meshlib.policies.breaker.accrual import UnifiedAccrual


class Watched:
    """A mesh on a file that is read again by hand."""

    def __init__(self, file: Path, *lines: str) -> None:
        self._file = file
        self.mesh = Mesh()
        self._reader = MeshReader(self.mesh, file)
        self.write(*lines)

    def write(self, *lines: str) -> Cluster:
        body = "".join(f"    {line}\n" for line in ("endpoints: [h:1, h:2]", *lines))
        self._file.write_text(f"clusters:\n  a:\n{body}services: {{a: {{}}}}\n")
        self._reader.load()
        return self.cluster

    @property
    def cluster(self) -> Cluster:
        return self.mesh.current.clusters["a"]


def cluster(tmp_path: Path, *lines: str) -> Cluster:
    return Watched(tmp_path / "mesh.yaml", *lines).cluster


def arguments(kind: Any) -> dict[str, Any]:
    found = inspect.signature(kind).parameters.values()
    return {one.name: one.default for one in found if one.default is not one.empty}


# --- The models and the constructors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind", "without"),
    [
        (OutlierModel, OutlierDetection, {"ejection_time", "success_rate", "failure_percentage"}),
        (EjectionTimeModel, EjectionTime, set[str]()),
        (SuccessRateModel, SuccessRateEjection, set[str]()),
        (FailurePercentageModel, FailurePercentageEjection, set[str]()),
        (HealthCheckModel, HealthCheck, {"http", "tcp", "grpc", "timeout"}),
        (UnifiedModel, UnifiedAccrual, {"kind", "backoff"}),
        (HttpCheckModel, HttpCheck, {"host"}),
    ],
)
def test_fields_and_defaults_are_those_of_the_constructor(model: Any, kind: Any, without: set[str]) -> None:
    fields = {name: field.default for name, field in model.model_fields.items() if name not in without}
    known = arguments(kind)
    assert fields == {name: known[name] for name in fields}
    assert set(known) - set(fields) - without <= {"host", "timeout", "tls", "tls_name"}


@pytest.mark.parametrize("kind", NAMES)
def test_each_kind_of_balancer_takes_the_settings_of_its_constructor(kind: str) -> None:
    own = set(arguments(type(make_balancer(kind)))) if kind in OWN else set()
    assert own - {"cluster", "health", "panic", "probing"} - set(EVERY) == set(OWN.get(kind, ()))


def test_every_setting_of_the_model_belongs_to_some_kind() -> None:
    assert set(BalancerModel.model_fields) - {"kind"} == {*EVERY, *(name for names in OWN.values() for name in names)}
    assert GrpcCheckModel().service == ""


def test_an_edit_of_the_connections_age_takes_effect(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", "max_connection_duration: 10m")
    assert watched.cluster.max_connection_duration == 600.0
    assert watched.write("max_connection_duration: 90").max_connection_duration == 90.0
    assert watched.write().max_connection_duration is None


# --- The balancer ----------------------------------------------------------------------------------------------------


def test_a_balancer_is_a_name_or_a_kind_with_settings(tmp_path: Path) -> None:
    assert isinstance(cluster(tmp_path, "balancer: ring_hash").balancer, RingHash)
    balancer: Any = cluster(tmp_path, "balancer: {kind: least_request, choices: 3, slow_start: 30s}").balancer
    assert isinstance(balancer, LeastRequest)
    assert (balancer.choices, balancer.slow_start) == (3, 30.0)


def test_the_settings_of_zones_put_the_balancer_below_them(tmp_path: Path) -> None:
    balancer: Any = cluster(tmp_path, "balancer: {zone: a, min_cluster_size: 2, callers: {a: 60%, b: 40%}}").balancer
    assert isinstance(balancer, LocalityBalancer)
    assert (balancer.zone, balancer.min_cluster_size, balancer.callers) == ("a", 2, {"a": 0.6, "b": 0.4})


def test_priorities_count_from_the_first_reading_and_can_come_and_go(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", "panic: 0.5")
    first = watched.cluster
    assert not isinstance(first.balancer, LocalityBalancer)
    spare = "endpoints: [h:1, {address: 'h:2', priority: 1}]"
    watched.write("panic: 0.5")
    assert watched.cluster is first
    (tmp_path / "mesh.yaml").write_text(f"clusters:\n  a:\n    {spare}\nservices: {{a: {{}}}}\n")
    watched._reader.load()
    second = watched.cluster
    assert {second.balancer.pick(lambda: 0.9, float(now)).address for now in range(20)} == {"h:1"}
    assert second.balancer.endpoints == first.balancer.endpoints
    assert not isinstance(watched.write().balancer, LocalityBalancer)


@pytest.mark.parametrize(
    ("line", "where", "expected"),
    [
        ("balancer: best", "clusters.a.balancer", "expected one of default"),
        ("balancer: {kind: maglev, choices: 3}", "clusters.a.balancer", "choices: no setting of maglev"),
        ("balancer: {kind: maglev, size: 4}", "clusters.a.balancer", "a prime"),
        ("balancer: {knd: maglev}", "clusters.a.balancer.knd", "did you mean 'kind'"),
        ("outlier: {enforce: [6xx]}", "clusters.a.outlier", "expected some of"),
        ("outlier: {ejection_time: {base: 10m, max_time: 1m}}", "clusters.a.outlier", "at least base"),
        ("outlier: {consecutive_5x: 3}", "clusters.a.outlier.consecutive_5x", "did you mean 'consecutive_5xx'"),
        ("accrual: {kind: unified, backoff: [4s, 1s]}", "clusters.a.accrual", ""),
        ("accrual: {kind: unify}", "clusters.a.accrual.kind", "'unified'"),
        (
            "accrual: {consecutive_failure: 3}",
            "clusters.a.accrual.consecutive_failure",
            "did you mean 'consecutive_failures'",
        ),
        ("health_check: {interval: 3s}", "clusters.a.health_check", "expected one of http, tcp and grpc"),
        ("health_check: {http: /, tcp: true}", "clusters.a.health_check", "expected one of http, tcp and grpc"),
        ("health_check: {http: healthz}", "clusters.a.health_check.http.path", "begins with /"),
        ("health_check: {http: '/a b'}", "clusters.a.health_check", ""),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, line: str, where: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster(tmp_path, line)
    assert caught.value.where == where
    assert expected in str(caught.value)


def test_a_grpc_check_without_grpcio_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    with pytest.raises(ConfigError, match=r"health_check\.grpc: gRPC health checks need grpcio"):
        cluster(tmp_path, "health_check: {grpc: {service: users}}")
    with pytest.raises(ImportError, match="grpcio"):
        GrpcCheck()


# --- Outlier detection, accrual, health checks -----------------------------------------------------------------------


def test_outlier_detection_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert cluster(tmp_path).outlier is None
    assert cluster(tmp_path, "outlier: off").outlier is None
    usual, strict = cluster(tmp_path, "outlier: on").outlier, cluster(tmp_path, "outlier: {interval: 5s}").outlier
    assert usual is not None and strict is not None
    assert (usual.interval, strict.interval) == (10.0, 5.0)


def test_outlier_detection_keeps_its_counts_while_its_lines_stay_and_frees_whom_it_held_when_they_go(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path / "mesh.yaml", "outlier: {consecutive_5xx: 1}")
    outlier = watched.cluster.outlier
    assert outlier is not None
    bad = watched.cluster.balancer.endpoints[0]
    outlier.record(bad, 500, 1.0, lambda: 0.0)
    assert not bad.healthy
    assert watched.write("outlier: {consecutive_5xx: 1}", "panic: 0").outlier is outlier
    assert not bad.healthy
    assert watched.write("outlier: {consecutive_5xx: 2}").outlier is not outlier
    assert bad.healthy


def test_unified_accrual_judges_each_endpoint_by_itself(tmp_path: Path) -> None:
    ends = cluster(tmp_path, "accrual: {kind: unified, consecutive_failures: 2, backoff: [1s, 8s]}").balancer.endpoints
    assert all(isinstance(one.accrual, UnifiedAccrual) and one.accrual.consecutive_failures == 2 for one in ends)
    assert ends[0].accrual is not ends[1].accrual


def test_health_checks_survive_a_reload_and_release_everybody_when_they_go(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", "health_check: {tcp: true, initially: false, initial_jitter: 1h}")
    with watched.mesh:
        one = watched.cluster.balancer.endpoints[0]
        assert not one.healthy
        assert one.ejection is not None and one.ejection.held == ("health check",)
        watched.write("health_check: {tcp: true, initially: false, initial_jitter: 1h}", "panic: 0")
        assert watched.cluster.balancer.endpoints[0] is one and not one.healthy
        watched.write()
        assert one.healthy


def test_the_three_ways_to_check(tmp_path: Path) -> None:
    from meshlib.config.build_clusters import checks

    def way(**asked: Any) -> Any:
        from meshlib.config.models import ClusterModel

        found = checks("users", ClusterModel.model_validate({"health_check": asked, "tls": True}))
        assert found is not None
        return found.way

    assert isinstance(way(tcp=True), TcpCheck)
    http = way(http={"path": "/healthz", "statuses": [200, 204]}, timeout="250ms")
    assert (http.statuses, http.timeout) == ({200, 204}, 0.25)
    assert http._head.startswith(b"GET /healthz HTTP/1.1\r\nHost: users\r\n")
