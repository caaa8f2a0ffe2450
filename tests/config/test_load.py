"""A mesh.yaml that makes no sense says where, what was found and what was expected; a good one becomes a mesh."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

from meshlib import CircuitBreaker, ConfigError, Cooldown, FailureRate, Mesh, Probes, SlowCallRate, State
from meshlib.config.policy_models import BreakerModel, CooldownModel, ProbesModel
from meshlib.policies.concurrency.bulkhead import Bulkhead

GOOD = """
services:
  users:
    split: {users-v1: 90, users-v2: 10}
    timeout: 2s
    retry: {attempts: 4, statuses: [503]}
    budget: {ratio: 50%}
clusters:
  users-v1:
    endpoints: [127.0.0.1:8001, {address: "[::1]:8002", weight: 2, labels: {version: v1}}]
    breaker: {failure_rate: 30%, minimum_calls: 7, cooldown: 250ms}
  users-v2:
    endpoints_from: {file: endpoints.yaml, labels: {version: v2}}
    breaker: off
"""
ENDPOINTS = """
- targets: [10.0.0.1:80, 10.0.0.2:80]
  labels: {version: v2}
- {address: 10.0.0.3:80, labels: {version: v1}}
- unix:/run/users.sock
"""


A = "clusters: {a: {endpoints: [h:1]}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(GOOD)
    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS)
    return tmp_path


def load(folder: Path) -> Mesh:
    return Mesh.from_file(folder / "mesh.yaml", watch=False)


def test_services_clusters_and_policies_are_what_the_file_says(folder: Path) -> None:
    now = load(folder).current
    v1, v2 = now.clusters["users-v1"], now.clusters["users-v2"]
    assert [e.address for e in v1.balancer.endpoints] == ["127.0.0.1:8001", "[::1]:8002"]
    assert v1.balancer.endpoints[1].weight == 2
    assert v1.breaker is not None and v1.breaker.name == "users-v1"
    trip = v1.breaker.trip
    assert isinstance(trip, FailureRate) and (trip.failure_rate, trip.minimum_calls) == (0.3, 7)
    assert v2.breaker is None
    assert now.services["users"].statuses == {503}
    budget = now.services["users"].budget
    assert budget is not None and budget.ratio == 0.5


def test_endpoints_from_a_file_are_picked_by_their_labels(folder: Path) -> None:
    cluster = load(folder).current.clusters["users-v2"]
    assert [e.address for e in cluster.balancer.endpoints] == ["10.0.0.1:80", "10.0.0.2:80"]


def test_prometheus_json_is_read_as_endpoints(folder: Path) -> None:
    (folder / "endpoints.yaml").write_text('[{"targets": ["10.1.1.1:9"], "labels": {"version": "v2"}}]')
    assert [e.address for e in load(folder).current.clusters["users-v2"].balancer.endpoints] == ["10.1.1.1:9"]


def test_a_mesh_without_services_says_so(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("services: {}\n")
    assert dict(load(tmp_path).current.services) == {}


@pytest.mark.parametrize(
    ("text", "where", "expected", "line"),
    [
        ("services:\n  users:\n    splitt: {}\n", "services.users.splitt", "did you mean 'split'", 3),
        ("services:\n  users:\n    split: {v9: 1}\n", "services.users.split.v9", "no such cluster", 3),
        ("services: {users: {}}\n", "services.users", "no cluster of this name", 1),
        ("clusters:\n  a:\n    endpoints: [nonsense]\n", "clusters.a.endpoints[0]", "expected host:port", 3),
        ("clusters:\n  a:\n    endpoints: ['h:70000']\n", "clusters.a.endpoints[0]", "found 'h:70000'", 3),
        ("clusters:\n  a:\n    breaker:\n      failure_rate: 3\n", "clusters.a.breaker.failure_rate", "found 3", 4),
        ("clusters:\n  a:\n    breaker: {cooldown: soon}\n", "clusters.a.breaker.cooldown.seconds", "such as 250ms", 3),
        ("clusters:\n  a: {balancer: best}\n", "clusters.a.balancer", "expected one of", 2),
        ("services:\n  a: {}\n  a: {}\n", "services.a", "found twice", 3),
        ("services: [1]\n", "services", "expected a mapping, found [1]", 1),
        ("- 1\n", "(the whole file)", "found list", 1),
        ("a: [1\n", "(the whole file)", "not YAML", 2),
        ("egress: maybe\n", "egress", "expected 'allow'", 1),
        ("clusters: {a: {}}\nservices: {a: {split: {a: 0}}}\n", "services.a.split", "weight above 0", 2),
        ("clusters:\n  a:\n    endpoints: [h:1]\n    endpoints_from: {file: x}\n", "clusters.a", "one of the two", 2),
        (
            "services:\n  a:\n    retry: {backoff: 1s, max_backoff: 200ms}\n" + A,
            "services.a.retry",
            "backoff: expected at most max_backoff (0.2), found 1",
            3,
        ),
        (
            "services:\n  a: {timeout: 1s, per_try_timeout: 2s}\n" + A,
            "services.a",
            "per_try_timeout: expected at most timeout (1), found 2",
            2,
        ),
        ("pipelines:\n  a: {timeout: 1s, per_try_timeout: 2s}\n", "pipelines.a", "per_try_timeout: expected", 2),
        ("services:\n  a: {hedge: {delay: 1s, percentile: 95%}}\n" + A, "services.a.hedge", "one of the two", 2),
        ("services:\n  a:\n    retry: {statuses: [99999]}\n" + A, "services.a.retry.statuses[0]", "found 99999", 3),
        (
            "clusters:\n  a:\n    breaker: {cooldown: {seconds: 10s, max_cooldown: 5s}}\n",
            "clusters.a.breaker.cooldown",
            "seconds: expected at most max_cooldown (5), found 10",
            3,
        ),
        (
            "clusters:\n  a:\n    breaker: {probes: {calls: 1, successes: 2}}\n",
            "clusters.a.breaker",
            "successes=2: expected at most calls=1",
            3,
        ),
        (
            "clusters:\n  a:\n    breaker: {failure_rate: null, window: 5s}\n",
            "clusters.a.breaker",
            "window: expected a failure_rate or a slow_call_rate",
            3,
        ),
        (
            "clusters:\n  a:\n    adaptive_limit: {by: vegas, min_limit: 500}\n",
            "clusters.a.adaptive_limit",
            "min_limit: expected at most max_limit (200), found 500",
            3,
        ),
        (
            "clusters:\n  a:\n    adaptive_limit: {by: vegas, min_limit: 5}\n",
            "clusters.a.adaptive_limit",
            "min_limit: expected none",
            3,
        ),
        (
            "clusters:\n  a:\n    adaptive_limit: {initial: 50, max_limit: 30}\n",
            "clusters.a.adaptive_limit",
            "initial: expected at most max_limit (30), found 50",
            3,
        ),
        ("services:\n  a:\n    retry: {max_retry_after: .inf}\n" + A, "services.a", "max_retry_after=inf", 2),
        ("services:\n  a:\n    budget: {min_per_second: .inf}\n" + A, "services.a.budget", "min_per_second=inf", 3),
        (
            "services:\n  a:\n    timeout: 1s\n    routes:\n    - {split: {a: 1}, per_try_timeout: 5s}\n" + A,
            "services.a.routes[0]",
            "expected at most seconds=1",
            5,
        ),
        ("clusters:\n  a:\n    accrual: {backoff: [4s, 1s]}\n", "clusters.a.accrual", "no shorter than the first", 3),
        ("clusters:\n  a:\n    bulkhead: {max_wait: .nan}\n", "clusters.a.bulkhead.max_wait", "found nan", 3),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path: Path, text: str, where: str, expected: str, line: int) -> None:
    (tmp_path / "mesh.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.where == where
    assert expected in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{tmp_path / 'mesh.yaml'}:{line}: ")


@pytest.mark.parametrize(
    "cluster",
    [
        "breaker: {cooldown: 2m}",
        "adaptive_limit: {max_limit: 10}",
        "adaptive_limit: {by: vegas, max_limit: 10}",
        "adaptive_limit: {by: aimd, max_limit: 10, initial: 5}",
    ],
)
def test_a_default_gives_way_to_what_was_written_beside_it(tmp_path: Path, cluster: str) -> None:
    (tmp_path / "mesh.yaml").write_text(
        f"services: {{a: {{retry: {{backoff: 1s}}}}}}\nclusters:\n  a:\n    {cluster}\n"
    )
    gate: Any = load(tmp_path).current.clusters["a"].gates[-1]
    assert "max_limit" not in cluster or gate.limit.max_limit == 10


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_a_missing_endpoints_file_is_a_config_error(folder: Path) -> None:
    (folder / "endpoints.yaml").unlink()
    with pytest.raises(ConfigError, match=r"endpoints\.yaml.*cannot be read"):
        load(folder)


def test_a_short_text_that_unfolds_to_something_huge_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (tmp_path / "mesh.yaml").write_text(bomb)
    with pytest.raises(ConfigError, match="too deep or too large"):
        load(tmp_path)


def test_every_breaker_field_has_the_name_of_a_constructor_argument() -> None:
    def arguments(*kinds: Any) -> set[str]:
        return {name for kind in kinds for name in inspect.signature(kind).parameters}

    assert set(BreakerModel.model_fields) <= arguments(CircuitBreaker, FailureRate, SlowCallRate)
    assert set(CooldownModel.model_fields) == arguments(Cooldown)
    assert set(ProbesModel.model_fields) == arguments(Probes)
    probes = ProbesModel().model_dump()
    assert Probes(**probes) == Probes(), "the defaults too"


def test_a_cooldown_and_the_probes_may_be_a_figure_or_all_their_fields(tmp_path: Path) -> None:
    def breaker(settings: str) -> Any:
        (tmp_path / "mesh.yaml").write_text(f"clusters: {{a: {{breaker: {{{settings}}}}}}}\n")
        return load(tmp_path).current.clusters["a"].breaker

    short = breaker("cooldown: 2s, probes: 3")
    assert short.cooldown == Cooldown(2.0, factor=1.5, max_cooldown=60.0) and short.probes == Probes(3)
    full = breaker(
        "cooldown: {factor: 1, jitter: 10%}, probes: {calls: 4, by_rate: on, max_duration: 1m, then: closed}"
    )
    assert full.cooldown == Cooldown(5.0, max_cooldown=60.0, jitter=0.1)
    assert full.probes == Probes(4, by_rate=True, max_duration=60.0, then=State.CLOSED)


def test_the_mesh_file_of_the_documentation_is_a_good_one(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "mesh-file.md").read_text()
    (folder / "mesh.yaml").write_text(page.split("```yaml\n", 1)[1].split("```", 1)[0])
    mesh = load(folder)
    kinds = [type(gate).__name__ for gate in mesh.current.clusters["users-v1"].gates]
    assert kinds == ["CircuitBreaker", "Throttle", "RateLimit", "AdaptiveLimit", "Bulkhead", "Bulkhead"]  # of `limits`
    assert [type(policy).__name__ for policy in mesh.pipeline("reports").policies] == [
        "Timeout",
        "Retry",
        "CircuitBreaker",
    ]


def test_a_queue_alone_has_no_longest_wait_as_in_the_constructor(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        "clusters: {a: {endpoints: [h:1], bulkhead: {max_concurrent: 1, max_queue: 1}}}"
    )
    bulkhead = next(gate for gate in load(tmp_path).current.clusters["a"].gates if isinstance(gate, Bulkhead))
    inside, waits = threading.Event(), threading.Event()

    @bulkhead
    def hold() -> None:
        inside.set()
        waits.wait(5.0)

    first = threading.Thread(target=hold)
    first.start()
    inside.wait(5.0)
    second = threading.Thread(target=hold)
    second.start()
    while not bulkhead.metrics().waiting and second.is_alive():
        pass
    assert bulkhead.metrics().waiting == 1, "the second call stands in the line"
    waits.set()
    first.join()
    second.join()
