"""The numbers of one endpoint: what is written out or looked up for speed equals the rule."""

from __future__ import annotations

from math import inf, log

from hypothesis import given
from hypothesis import strategies as st

from meshlib.balancing import Endpoint, LoadReport, make_balancer
from meshlib.balancing.endpoint_stats import CROWD
from meshlib.call import FAILURE, IGNORED, SUCCESS

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "enter", "answered", "leave", "leave", "report"]),
        st.integers(0, 200),  # which of the calls under way, or the load reported
        st.sampled_from([SUCCESS, SUCCESS, SUCCESS, IGNORED, FAILURE]),
        st.sampled_from([0.0, 0.001, 0.1, 3.0]),  # seconds since the step before
    ),
    max_size=200,
)


@given(STEPS, st.sampled_from([1.0, 1.0, 2.5]))
def test_a_price_is_always_what_the_rule_says(steps: list[tuple[str, int, object, float]], weight: float) -> None:
    one, other = Endpoint("a", 1, weight=weight), Endpoint("a", 2)
    make_balancer("default", "users", [one, other], reports=True)
    now = 1.0
    out: dict[int, float] = {}
    for what, number, verdict, passed in steps:
        now += passed
        permit = list(out)[number % len(out)] if out else 0
        if what == "enter":
            out[one.enter(now)] = now
        elif what == "answered":
            one.answered(permit, now)
        elif what == "leave" and out:
            one.leave(permit, verdict, now, now - out.pop(permit))  # type: ignore[arg-type]
        elif what == "report":
            one.record_report(LoadReport(now, in_flight=number), now)
        assert one.pending == len(out)
        if one.healthy:
            cost, late_at, pending = one.cost, one.late_at, max(0, one.pending - one._reported)
            assert cost == one._base + CROWD * log(pending * one.scale + 1.0)
            assert one._oldest == min(one._waiting.values(), default=inf)
            one._update_cost()
            assert (one.cost, one.late_at) == (cost, late_at)


@given(st.integers(130, 300))
def test_the_price_of_a_crowd_is_no_different_beyond_what_is_looked_up(calls: int) -> None:
    one = Endpoint("a", 1)
    one.leave(one.enter(1.0), SUCCESS, 1.1, 0.1)
    permits = [one.enter(2.0) for _ in range(calls)]
    assert one.cost == one._base + CROWD * log(calls + 1.0)
    one.leave(permits[0], SUCCESS, 2.1, 0.1)
    assert one.cost == one._base + CROWD * log(calls)
