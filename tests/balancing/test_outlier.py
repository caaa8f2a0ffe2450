"""Outlier ejection, active health and load reports: the numbers of Envoy and gRPC."""

from __future__ import annotations

from base64 import b64encode
from struct import pack

import pytest

from meshlib.balancing import Endpoint, LoadReport
from meshlib.balancing.health_check import HealthCheck
from meshlib.balancing.load_report import format_report, parse_report
from meshlib.balancing.outlier_criteria import EjectionTime, FailurePercentageEjection, success_bar
from meshlib.balancing.outlier_detection import OutlierDetection


def fleet(n: int, **settings: object) -> tuple[OutlierDetection, list[Endpoint]]:
    detection, members = OutlierDetection(**settings), [Endpoint("a", port) for port in range(1, n + 1)]  # type: ignore[arg-type]
    detection.update(members)
    return detection, members


def fail(detection: OutlierDetection, member: Endpoint, times: int, now: float = 0.0, status: int = 500) -> None:
    for _ in range(times):
        detection.record(member, status, now, float)


def test_the_bar_is_the_mean_minus_deviations() -> None:
    assert success_bar([0.5, 1.0, 1.0, 1.0, 1.0], 1.9) == pytest.approx(0.52)


def test_five_in_a_row_eject_and_a_success_ends_the_row() -> None:
    detection, members = fleet(3)
    fail(detection, members[0], 4)
    detection.record(members[0], 200, 0.0, float)
    fail(detection, members[0], 4)
    assert not detection.ejected
    fail(detection, members[0], 1)
    assert detection.ejected == (members[0],)
    assert members[0].state == "ejected"


def test_envoys_ten_percent_never_eject_the_one_bad_of_three() -> None:
    detection, members = fleet(3, max_ejected=0.1, always_one=False)
    fail(detection, members[0], 20)
    assert not detection.ejected
    assert detection.overflow == 4
    detection, members = fleet(3, max_ejected=0.1)
    fail(detection, members[0], 20)
    assert detection.ejected == (members[0],)


def test_ejections_end_in_a_sweep_and_grow_with_repeats() -> None:
    detection, members = fleet(3)
    fail(detection, members[0], 5, now=5.0)
    detection.sweep(30.0, float)
    assert detection.ejected
    detection.sweep(40.0, float)
    assert not detection.ejected
    assert members[0].state == "ok"
    fail(detection, members[0], 5, now=41.0)
    assert detection.tally(members[0]).until == 101.0
    detection.sweep(110.0, float)
    for sweep in (120.0, 130.0):
        detection.sweep(sweep, float)
    assert detection.tally(members[0]).multiplier == 0


def test_gateway_failures_are_detected_but_not_enforced_by_default() -> None:
    detection, members = fleet(3, consecutive_5xx=0)
    fail(detection, members[0], 5, status=503)
    assert detection.detected["gateway"] == 1
    assert not detection.ejected


def test_local_errors_count_apart_only_when_split() -> None:
    detection, members = fleet(3, split=True)
    for _ in range(5):
        detection.record(members[0], None, 0.0, float, local="timeout")
    assert detection.enforced["local"] == 1
    detection, members = fleet(3, enforce=("gateway",))
    for _ in range(5):
        detection.record(members[0], None, 0.0, float, local="timeout")
    assert detection.enforced["gateway"] == 1


@pytest.mark.parametrize(("n", "ejected"), [(4, False), (6, True)])
def test_a_lone_bad_one_stands_out_from_enough_others(n: int, ejected: bool) -> None:
    detection, members = fleet(n, consecutive_5xx=0)
    for member in members:
        for call in range(100):
            detection.record(member, 500 if member is members[0] and call % 2 else 200, 0.0, float)
    detection.sweep(10.0, float)
    assert (members[0] in detection.ejected) is ejected


def test_a_failure_share_at_the_threshold_ejects_with_envoy_and_not_with_grpc() -> None:
    for grpc in (False, True):
        detection = OutlierDetection(
            consecutive_5xx=0,
            failure_percentage=FailurePercentageEjection(0.5),
            enforce=("failure_percentage",),
            a50=grpc,
        )
        members = [Endpoint("a", port) for port in range(1, 6)]
        detection.update(members)
        for member in members:
            for call in range(50):
                detection.record(member, 500 if member is members[0] and call % 2 else 200, 0.0, float)
        detection.sweep(10.0, float)
        assert (members[0] in detection.ejected) is not grpc


def test_a_criterion_may_be_enforced_by_chance() -> None:
    detection, members = fleet(3, enforce={"5xx": 0.5})
    for draw, out in ((0.5, 0), (0.49, 1)):
        for _ in range(5):
            detection.record(members[0], 500, 0.0, lambda draw=draw: draw)  # type: ignore[misc]
        assert len(detection.ejected) == out
    assert (detection.detected["5xx"], detection.enforced["5xx"]) == (2, 1)
    with pytest.raises(ValueError, match="enforce"):
        fleet(3, enforce={"5xx": 1.5})


def bad_interval(detection: OutlierDetection, members: list[Endpoint], bad: Endpoint, now: float) -> None:
    for member in members:
        for _ in range(50):
            detection.record(member, 500 if member is bad else 200, now, float)
    detection.sweep(now, float)


def test_grpc_readmits_after_its_time_and_last_and_waits_longer_without_end() -> None:
    detection = OutlierDetection.grpc(
        ejection_time=EjectionTime(10.0, max_time=20.0),
        failure_percentage=FailurePercentageEjection(0.5),
        enforce=("failure_percentage",),
    )
    members = [Endpoint("a", port) for port in range(1, 6)]
    detection.update(members)
    bad_interval(detection, members, members[0], 10.0)
    assert detection.ejected == (members[0],)
    bad_interval(detection, members[1:], members[1], 20.0)
    assert detection.ejected == (members[0],), "10 % are out; and a time that ends now is not over yet"
    detection.sweep(20.1, float)
    assert not detection.ejected
    for at, multiplier in ((30.0, 2), (60.0, 3), (90.0, 4)):
        bad_interval(detection, members, members[0], at)
        assert detection.tally(members[0]).multiplier == multiplier
        detection.sweep(at + 20.1, float)
        assert not detection.ejected


def test_a_passing_health_check_readmits() -> None:
    detection, members = fleet(3)
    fail(detection, members[0], 5)
    detection.passed_health_check(members[0], 1.0)
    assert members[0].state == "ok"


def test_health_needs_thresholds_except_the_first_time() -> None:
    member = Endpoint("a", 1)
    check = HealthCheck(member, healthy_threshold=2, unhealthy_threshold=3)
    assert check.checked(True, 0.0) is False
    assert [check.checked(False, now) for now in (1.0, 2.0, 3.0)] == [False, False, True]
    assert member.state == "ejected"
    assert [check.checked(True, now) for now in (4.0, 5.0)] == [False, True]
    assert member.state == "ok"


def test_the_first_result_and_a_fatal_one_decide_at_once() -> None:
    member = Endpoint("a", 1)
    check = HealthCheck(member)
    assert check.checked(False, 0.0) is True
    other = HealthCheck(Endpoint("a", 2))
    other.checked(True, 0.0)
    assert other.checked(False, 1.0, fatal=True) is True


def test_check_intervals_are_jittered() -> None:
    check = HealthCheck(Endpoint("a", 1), interval=10.0, jitter=0.2, initial_jitter=3.0, unhealthy_interval=30.0)
    assert check.delay(lambda: 0.5) == 1.5
    check.checked(True, 0.0)
    assert check.delay(lambda: 0.5) == pytest.approx(11.0)
    for now in (1.0, 2.0, 3.0):
        check.checked(False, now)
    assert check.delay(lambda: 0.0) == 30.0


def test_reports_are_read_in_all_three_forms() -> None:
    text = parse_report("TEXT application_utilization=0.5, rps_fractional=20,eps=1,named_metrics.rif=3", 7.0)
    json = parse_report('JSON {"cpu_utilization": 0.5, "rps_fractional": 20, "named_metrics": {"rif": 3}}', 7.0)
    entry = b"\x0a\x03rif\x11" + pack("<d", 3.0)
    data = b"\x09" + pack("<d", 0.5) + b"\x31" + pack("<d", 20.0) + b"\x42" + bytes([len(entry)]) + entry
    binary = parse_report("BIN " + b64encode(data).decode(), 7.0)
    for report in (text, json, binary):
        assert report is not None
        assert (report.utilization, report.qps, report.in_flight, report.at) == (0.5, 20.0, 3.0, 7.0)


@pytest.mark.parametrize(
    "bad",
    [
        *("", "TEXT x", "TEXT cpu_utilization=-1", "JSON [", "JSON 3", "BIN !!", "BIN CQ==", "x"),
        'JSON {"cpu_utilization": 1' + "0" * 400 + "}",
        'JSON {"cpu_utilization": 1' + "0" * 5000 + "}",
        "BIN " + b64encode(b"\xff" * 45_000).decode(),
        "BIN " + b64encode(b"\x08" + b"\xff" * 10 + b"\x01").decode(),
    ],
)
def test_reports_that_make_no_sense_are_none(bad: str) -> None:
    assert parse_report(bad, 0.0) is None


def test_a_report_survives_its_header() -> None:
    told = parse_report(format_report(LoadReport(0.0, in_flight=3, latency=0.25, utilization=0.5, qps=10)), 1.0)
    assert told is not None
    assert (told.in_flight, told.latency, told.utilization, told.qps) == (3.0, 0.25, 0.5, 10.0)
