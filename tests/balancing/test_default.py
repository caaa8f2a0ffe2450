"""The default rule: quick to leave the slow and the failing, quick to come back, and never stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import TypeAlias

import pytest

from meshlib.balancing import Balancer, ClusterHealth, Endpoint, make_balancer
from meshlib.call import FAILURE, IGNORED, SUCCESS
from meshlib.errors import NoEndpoint
from meshlib.events import EndpointEjected, EndpointProbed, EndpointRestored, Event
from meshlib.policies.breaker.accrual import UnifiedAccrual

Took: TypeAlias = Callable[[Endpoint, int], float]


def three() -> list[Endpoint]:
    return [Endpoint("10.0.0.1", port) for port in (1, 2, 3)]


def warm(endpoints: list[Endpoint], now: float = 1.0, took: float = 0.1) -> None:
    for endpoint in endpoints:
        for _ in range(20):
            endpoint.leave(endpoint.enter(now), SUCCESS, now + took, took)


def kill(endpoint: Endpoint, now: float, times: int = 5) -> None:
    for _ in range(times):
        endpoint.leave(endpoint.enter(now), FAILURE, now, 0.001)


def test_address_is_the_identity() -> None:
    assert Endpoint("a", 80).address == "a:80"
    assert Endpoint("::1", 80).address == "[::1]:80"
    assert Endpoint("unix:/run/a.sock").address == "unix:/run/a.sock"


def test_no_endpoints_is_refused_with_a_sentence() -> None:
    with pytest.raises(NoEndpoint, match="users: the cluster has no endpoints"):
        make_balancer("default", "users").pick(Random(1).random, 0.0)


def test_pending_counts_entered_and_not_left_and_leaving_twice_is_harmless() -> None:
    endpoint = Endpoint("a", 1)
    first, second = endpoint.enter(1.0), endpoint.enter(1.0)
    assert endpoint.pending == 2
    endpoint.answered(first, 1.1)
    assert endpoint.pending == 2
    endpoint.leave(first, SUCCESS, 5.0, 0.1)
    endpoint.leave(first, SUCCESS, 5.0, 0.1)
    assert endpoint.pending == 1
    endpoint.leave(second, IGNORED, 5.0, 4.0)
    assert endpoint.pending == 0
    assert endpoint.ewma(1.1) == pytest.approx(0.1)


def test_five_failures_eject_and_the_others_get_everything() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    assert endpoints[0].state == "ejected"
    assert all(balancer.pick(random, 2.1) is not endpoints[0] for _ in range(200))


def test_one_probe_per_backoff_and_one_good_probe_restores() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    seen: list[Event] = []
    balancer.health.port.subscribe(seen.append)
    warm(endpoints)
    kill(endpoints[0], 2.0)
    picks = [balancer.pick(random, 2.25) for _ in range(50)]
    assert picks.count(endpoints[0]) == 1
    assert endpoints[0].state == "probing"
    endpoints[0].leave(endpoints[0].enter(2.25), SUCCESS, 2.35, 0.1)
    assert endpoints[0].state == "ok"
    assert [type(event) for event in seen] == [EndpointEjected, EndpointProbed, EndpointRestored]
    shares = dict.fromkeys(endpoints, 0)
    for tick in range(3000):
        now = 2.4 + tick / 100
        chosen = balancer.pick(random, now)
        shares[chosen] += 1
        chosen.leave(chosen.enter(now), SUCCESS, now + 0.1, 0.1)
    assert min(shares.values()) > 900


def test_a_failed_probe_waits_twice_as_long_up_to_four_seconds() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    probes: list[float] = []
    for tick in range(3000):
        now = 2.0 + tick / 100
        if balancer.pick(random, now) is endpoints[0]:
            probes.append(now - 2.0)
            endpoints[0].leave(endpoints[0].enter(now), FAILURE, now, 0.001)
    waits = [after - before for before, after in zip([0.0, *probes], probes, strict=False)]
    longest = [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(0.9 * most - 0.01 <= wait <= most + 0.02 for wait, most in zip(waits, longest, strict=False))


def test_a_cancelled_probe_gives_its_lease_back() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    assert endpoints[0] in [balancer.pick(random, 2.25) for _ in range(20)]
    endpoints[0].leave(endpoints[0].enter(2.25), IGNORED, 2.26, 0.01)
    assert endpoints[0] in [balancer.pick(random, 2.26) for _ in range(20)]


def test_a_probe_that_never_comes_back_bars_the_next_only_as_long_as_a_good_one_would_take() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    assert endpoints[0] in [balancer.pick(random, 2.25) for _ in range(20)]
    endpoints[0].enter(2.25)
    assert endpoints[0] not in [balancer.pick(random, 2.5) for _ in range(20)]
    assert endpoints[0] in [balancer.pick(random, 2.75) for _ in range(20)]  # its answer would have taken 0.1 s


def test_a_probe_of_an_endpoint_about_which_nothing_is_known_bars_the_next_for_the_longest_backoff() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    kill(endpoints[0], 2.0)
    assert endpoints[0] in [balancer.pick(random, 2.25) for _ in range(20)]
    endpoints[0].enter(2.25)
    assert endpoints[0] not in [balancer.pick(random, 6.2) for _ in range(20)]
    assert endpoints[0] in [balancer.pick(random, 6.25) for _ in range(20)]


def drive(balancer: Balancer, rate: float, since: float, until: float, took: Took) -> Counter[Endpoint]:
    """One call after the other, `rate` per second; `took` says what the n-th call to an endpoint takes."""
    random, calls, picks = Random(7).random, Counter[Endpoint](), Counter[Endpoint]()
    now = 0.0
    while now < until:
        chosen = balancer.pick(random, now)
        calls[chosen] += 1
        seconds = took(chosen, calls[chosen])
        chosen.leave(chosen.enter(now), SUCCESS, now + seconds, seconds)
        picks[chosen] += now >= since
        now += 1.0 / rate
    return picks


@pytest.mark.parametrize("rate", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("slow", [1, 4])
def test_one_slow_answer_does_not_starve_an_endpoint_at_low_traffic(rate: float, slow: int) -> None:
    endpoints = three()
    balancer = make_balancer("default", "users", endpoints)
    picks = drive(balancer, rate, 12.0, 72.0, lambda one, n: 0.42 if one is endpoints[0] and n == slow else 0.02)
    assert min(picks[one] for one in endpoints) >= 0.7 * 60.0 * rate / 3


def test_connections_opened_slowly_everywhere_starve_no_endpoint() -> None:
    endpoints = three()
    picks = drive(make_balancer("default", "users", endpoints), 2.0, 0.0, 60.0, lambda one, n: 0.3 if n == 1 else 0.02)
    assert min(picks[one] for one in endpoints) >= 0.7 * 40


def test_an_endpoint_that_stays_slow_is_looked_at_now_and_then() -> None:
    endpoints = three()
    balancer = make_balancer("default", "users", endpoints)
    picks = drive(balancer, 10.0, 10.0, 70.0, lambda one, n: 0.3 if one is endpoints[0] else 0.02)
    assert 1 <= picks[endpoints[0]] <= 30


def test_one_failure_is_forgotten_after_a_look() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0, times=1)
    assert endpoints[0] not in [balancer.pick(random, 5.5) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 6.1) for _ in range(50)]


def test_a_newcomer_is_tried_soon_even_where_it_is_guessed_to_be_dear() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints[:2]), Random(1).random
    warm(endpoints[:1], took=0.02)
    warm(endpoints[1:2], took=2.0)
    balancer.update(endpoints)
    picked = next(tick / 10 for tick in range(200) if balancer.pick(random, 3.0 + tick / 10) is endpoints[2])
    assert picked < 10.0


def test_an_overdue_answer_suspends_and_its_late_coming_does_not_heal() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    missing = endpoints[0].enter(2.0)
    for _ in range(20):
        balancer.pick(random, 2.8)
    assert endpoints[0].state == "slow"
    endpoints[0].leave(missing, SUCCESS, 4.0, 2.0)
    assert endpoints[0].state == "slow"


def test_a_call_that_was_overtaken_is_merely_long() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    endpoints[0].enter(2.0)
    quick = endpoints[0].enter(2.0)
    endpoints[0].leave(quick, SUCCESS, 2.1, 0.1)
    for _ in range(20):
        balancer.pick(random, 9.0)
    assert endpoints[0].state == "ok"


def test_state_survives_membership_changes() -> None:
    from meshlib.balancing import carry_over

    endpoints = three()
    balancer = make_balancer("default", "users", endpoints)
    kill(endpoints[0], 2.0)
    fresh = [Endpoint("10.0.0.1", port, weight=2.0) for port in (1, 3, 4)]
    balancer.update(carry_over(balancer.endpoints, fresh))
    assert balancer.endpoints[0] is endpoints[0]
    assert balancer.endpoints[0].state == "ejected"
    assert balancer.endpoints[0].weight == 2.0


def test_the_endpoint_to_be_avoided_is_taken_only_if_there_is_no_other() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    assert all(balancer.pick(random, 1.0, avoid=[endpoints[0]]) is not endpoints[0] for _ in range(100))
    assert balancer.pick(random, 1.0, avoid=endpoints) in endpoints


def test_an_endpoint_that_left_is_not_probed_and_one_that_comes_back_ejected_is() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    balancer.update(endpoints[1:])
    assert endpoints[0] not in [balancer.pick(random, 9.0) for _ in range(50)]
    balancer.update(endpoints)
    assert [balancer.pick(random, 9.0) for _ in range(50)].count(endpoints[0]) == 1


def test_old_successes_do_not_end_a_run_of_failures() -> None:
    (endpoint, *_) = three()
    old = [endpoint.enter(1.0) for _ in range(5)]
    for permit in old:
        kill(endpoint, 1.0, times=1)
        endpoint.leave(permit, SUCCESS, 1.1, 0.1)
    assert endpoint.state == "ejected"


def test_a_panic_still_prefers_the_well_one() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    kill(endpoints[1], 2.0)
    assert [balancer.pick(random, 2.1) for _ in range(100)].count(endpoints[2]) == 100


def test_a_held_endpoint_gets_no_probe_until_it_is_released() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    endpoints[0].hold("health check", 1.0, "failed")
    assert endpoints[0] not in [balancer.pick(random, 100.0) for _ in range(100)]
    endpoints[0].release("health check", 100.0)
    assert endpoints[0].state == "ok"


def test_retry_after_postpones_the_probe() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    endpoints[0].postpone(3.0, 2.0)
    assert endpoints[0] not in [balancer.pick(random, 4.9) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 5.0) for _ in range(50)]


def test_a_plugged_accrual_judges_instead_of_the_ward() -> None:
    from meshlib.balancing import ClusterHealth
    from meshlib.policies.breaker.accrual import ConsecutiveFailures

    endpoints = three()
    health = ClusterHealth("users", accrual=lambda: ConsecutiveFailures(2, lambda: iter([1.0, 8.0])))
    balancer, random = make_balancer("default", "users", endpoints, health=health), Random(1).random
    kill(endpoints[0], 2.0, times=2)
    assert endpoints[0] not in [balancer.pick(random, 2.9) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 3.0) for _ in range(50)]
    endpoints[0].leave(endpoints[0].enter(3.0), FAILURE, 3.1, 0.1)
    assert endpoints[0] not in [balancer.pick(random, 11.0) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 11.2) for _ in range(50)]


def test_events_name_the_cluster_and_the_address() -> None:
    endpoints = three()
    balancer = make_balancer("default", "users", endpoints)
    seen: list[Event] = []
    balancer.health.port.subscribe(seen.append)
    kill(endpoints[1], 2.0)
    (event,) = seen
    assert isinstance(event, EndpointEjected)
    assert (event.name, event.address, event.reason, event.until) == (
        "users",
        "10.0.0.1:2",
        "5 failures in a row",
        2.25,
    )


def test_a_relapse_makes_the_way_back_slower() -> None:
    endpoints = three()
    warm(endpoints)
    penalties = []
    for now in (2.0, 3.0):
        kill(endpoints[0], now)
        endpoints[0].leave(endpoints[0].enter(now + 0.25), SUCCESS, now + 0.35, 0.1)
        penalties.append(endpoints[0].penalized_latency)
    assert penalties[0] == pytest.approx(0.1)
    assert penalties[1] > 1.0
    for step in range(200):
        endpoints[0].leave(endpoints[0].enter(4.0 + step / 100), SUCCESS, 4.0 + step / 100, 0.1)
    assert endpoints[0].penalized_latency < 0.3


def test_a_probe_that_is_refused_for_too_many_calls_waits_for_the_next_backoff() -> None:
    endpoints = three()
    balancer, random = make_balancer("default", "users", endpoints), Random(1).random
    warm(endpoints)
    kill(endpoints[0], 2.0)
    assert endpoints[0] in [balancer.pick(random, 2.25) for _ in range(20)]
    endpoints[0].leave(endpoints[0].enter(2.25), IGNORED, 2.26, 0.01)
    endpoints[0].limited(2.26)
    assert endpoints[0] not in [balancer.pick(random, 2.7) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 2.8) for _ in range(50)]


def unified(**settings: float) -> tuple[list[Endpoint], Balancer]:
    """Linkerd 2's accrual with its own numbers, without jitter."""
    endpoints = three()

    def backoff() -> Iterator[float]:
        return (min(60.0, 2.0**n) for n in range(1000))

    health = ClusterHealth("users", accrual=lambda: UnifiedAccrual(backoff, **settings), max_backoff=60.0)  # type: ignore[arg-type]
    return endpoints, make_balancer("default", "users", endpoints, health=health)


def test_linkerds_run_of_seven_ejects_and_probes_double_their_wait_up_to_the_longest() -> None:
    endpoints, balancer = unified()
    kill(endpoints[0], 2.0, times=4)
    assert endpoints[0].state == "ok"
    kill(endpoints[0], 2.0, times=3)
    assert endpoints[0].state == "ejected"
    random, probes, now = Random(1).random, [2.0], 2.0
    while len(probes) < 10:
        now += 0.05
        if balancer.pick(random, now) is endpoints[0]:
            probes.append(now)
            endpoints[0].leave(endpoints[0].enter(now), FAILURE, now, 0.001)
    waits = [after - before for before, after in pairwise(probes)]
    assert waits == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0], abs=0.11)


def test_linkerds_success_rate_counts_refusals_and_its_run_does_not() -> None:
    endpoints, _ = unified(consecutive_failures=3)
    for _ in range(4):
        endpoints[0].limited(2.0)
        endpoints[1].limited(2.0)
    assert endpoints[0].state == "ok"  # four refusals are no run of three, and fewer than five calls
    endpoints[0].limited(2.0)
    assert endpoints[0].state == "ejected"
    for now in range(3, 13):  # eight of ten are good: not below the rate
        endpoints[1].leave(endpoints[1].enter(float(now) + 10.0), SUCCESS, float(now) + 10.0, 0.1)
    assert endpoints[1].state == "ok"


def test_linkerds_probe_that_is_refused_fails_and_the_wait_doubles() -> None:
    endpoints, balancer = unified()
    random = Random(1).random
    for _ in range(5):
        endpoints[0].limited(2.0)
    assert endpoints[0] in [balancer.pick(random, 3.0) for _ in range(20)]
    endpoints[0].leave(endpoints[0].enter(3.0), IGNORED, 3.0, 0.01)
    endpoints[0].limited(3.0)
    assert endpoints[0] not in [balancer.pick(random, 4.9) for _ in range(50)]
    assert endpoints[0] in [balancer.pick(random, 5.1) for _ in range(50)]
    endpoints[0].leave(endpoints[0].enter(5.1), SUCCESS, 5.2, 0.1)
    assert endpoints[0].state == "ok"


def test_linkerds_penalty_is_lengthened_by_retry_after_up_to_its_longest() -> None:
    endpoints, balancer = unified(consecutive_failures=1)
    random = Random(1).random
    kill(endpoints[0], 2.0, times=1)
    endpoints[0].postpone(20.0, 2.0)
    assert endpoints[0] not in [balancer.pick(random, 21.9) for _ in range(50)]
    kill(endpoints[1], 2.0, times=1)
    endpoints[1].postpone(3600.0, 2.0)
    assert endpoints[1] in [balancer.pick(random, 62.1 + tick) for tick in range(50)]


def test_the_numbers_of_the_rule_can_be_set_and_go_back_with_the_next_balancer() -> None:
    health = ClusterHealth("users", decay=7.0)
    make_balancer(
        "default", "users", three(), health=health, decay=3.0, slack=0.1, deviations=4.0, penalty=1.0, recheck=5.0
    )
    assert (health.decay, health.slack, health.deviations, health.penalty, health.recheck) == (3.0, 0.1, 4.0, 1.0, 5.0)
    make_balancer("default", "users", three(), health=health)
    assert (health.decay, health.slack, health.recheck) == (7.0, 0.02, 2.0)
    for wrong in ({"decay": 0.0}, {"recheck": -1.0}, {"choices": 0}, {"slack": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make_balancer("default", "users", three(), **wrong)
