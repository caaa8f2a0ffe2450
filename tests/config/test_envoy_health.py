"""Outlier detection and health checks go into an Envoy's bootstrap under Envoy's names."""

from __future__ import annotations

from typing import Any

from meshlib.config.envoy_export_clusters import cluster
from meshlib.config.models import ClusterModel


def exported(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    model = ClusterModel.model_validate({"balancer": "round_robin", "breaker": False, **fields})
    return cluster("users", model, (), None, said.append), said


def test_outlier_detection_keeps_its_numbers() -> None:
    found, said = exported(outlier={"consecutive_5xx": 3, "enforce": ["5xx"], "max_ejected": "20%", "ejection_time": 7})
    outlier = found["outlier_detection"]
    assert (outlier["consecutive_5xx"], outlier["enforcing_consecutive_5xx"]) == (3, 100)
    assert outlier["enforcing_success_rate"] == outlier["enforcing_consecutive_local_origin_failure"] == 0
    assert (outlier["max_ejection_percent"], outlier["base_ejection_time"]) == (20, "7.000000s")
    assert (outlier["max_ejection_time"], outlier["success_rate_stdev_factor"]) == ("300.000000s", 1900)
    assert said == []


def test_a_run_of_none_is_not_enforced() -> None:
    outlier = exported(outlier={"consecutive_5xx": 0})[0]["outlier_detection"]
    assert (outlier["consecutive_5xx"], outlier["enforcing_consecutive_5xx"]) == (5, 0)


def test_health_checks_keep_their_way_and_rhythm() -> None:
    http = exported(health_check={"http": {"path": "/healthz", "statuses": [204]}, "edge_interval": "1s"})[0]
    (check,) = http["health_checks"]
    assert check["http_health_check"] == {
        "host": "users",
        "path": "/healthz",
        "method": "GET",
        "expected_statuses": [{"start": 204, "end": 205}],
    }
    assert (check["interval"], check["unhealthy_edge_interval"]) == ("10.000000s", "1.000000s")
    assert exported(health_check={"tcp": True})[0]["health_checks"][0]["tcp_health_check"] == {}


def test_linkerds_accrual_becomes_failures_and_a_share() -> None:
    outlier = exported(accrual={"kind": "unified"})[0]["outlier_detection"]
    assert (outlier["consecutive_5xx"], outlier["failure_percentage_threshold"]) == (7, 20)
    assert (outlier["failure_percentage_request_volume"], outlier["max_ejection_time"]) == (5, "60.000000s")


def test_settings_that_envoy_does_not_know_are_told() -> None:
    _, said = exported(balancer={"kind": "ring_hash", "bound": 1.25, "slow_start": "5s", "zone": "a"})
    assert said == ["users: slow_start, zone of the balancer is left to Envoy's own"]
