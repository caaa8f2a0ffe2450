"""A rollout steps by time and figures, and goes back for good when its condition holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigError
from meshlib.routing.rollout import Phase, Rollout, shifted
from meshlib.routing.rollout_condition import Condition
from meshlib.routing.split import Split, Sticky, StickyKey

GOOD = {"requests": 100.0, "success_rate": 1.0, "p99": 0.1}
BAD = {"requests": 100.0, "success_rate": 0.9, "p99": 0.1}


def rollout(**more: object) -> Rollout:
    return Rollout(
        **{"steps": [0.01, 0.5, 1.0], "every": 60.0, "abort_if": "success_rate < 0.99 or p99 > 300ms", **more}
    )


def test_each_step_is_held_for_its_time() -> None:
    plan = rollout()
    assert plan.decide({}, 0.0).share == 0.01
    assert plan.decide(GOOD, 59.9) is None
    assert plan.decide(GOOD, 60.0).share == 0.5
    assert plan.decide(GOOD, 119.0) is None
    assert plan.decide(GOOD, 120.0).share == 1.0
    assert plan.decide(GOOD, 180.0) is None
    assert (plan.phase, plan.share) == (Phase.DONE, 1.0)
    assert plan.decide(BAD, 200.0) is None


def test_bad_figures_take_it_back_for_good() -> None:
    plan = rollout(before=0.005)
    plan.decide({}, 0.0)
    move = plan.decide(BAD, 1.0)
    assert (move.share, plan.phase, plan.share) == (0.005, Phase.ABORTED, 0.005)
    assert move.reason == "success_rate < 0.99 or p99 > 300ms holds at 1.00% (p99 is 0.1, success_rate is 0.9)"
    assert plan.decide(GOOD, 1000.0) is None


def test_the_last_step_is_watched_too() -> None:
    plan = rollout(steps=[1.0])
    plan.decide({}, 0.0)
    assert plan.decide(BAD, 59.0).share == 0.0


def test_too_few_requests_are_no_reason_to_act() -> None:
    plan = rollout(least=50)
    plan.decide({}, 0.0)
    few = {"requests": 49.0, "success_rate": 0.0}
    assert plan.decide(few, 10.0) is None
    assert plan.decide(few, 1000.0) is None
    assert plan.decide(GOOD, 1001.0).share == 0.5


def test_a_pause_holds_the_share_but_not_the_watch() -> None:
    plan = rollout()
    plan.decide({}, 0.0)
    plan.pause()
    assert plan.decide(GOOD, 100.0) is None
    plan.resume(100.0)
    assert plan.decide(GOOD, 150.0) is None
    assert plan.decide(GOOD, 160.0).share == 0.5
    plan.pause()
    assert plan.decide(BAD, 161.0).share == 0.0


def test_an_operator_may_end_it_once() -> None:
    plan = rollout()
    plan.decide({}, 0.0)
    assert plan.abort("by hand").share == 0.0
    assert plan.abort("again") is None
    assert plan.reason == "by hand"


@pytest.mark.parametrize(
    ("weights", "to", "share", "result"),
    [
        ({"v1": 100}, "v2", 0.01, {"v1": 99, "v2": 1}),
        ({"v1": 90, "v2": 10}, "v2", 0.5, {"v1": 50, "v2": 50}),
        ({"v1": 3, "v2": 0, "v3": 1}, "v2", 0.2, {"v1": 60, "v2": 20, "v3": 20}),
        ({"v1": 0, "v2": 100}, "v2", 0.0, {"v1": 100, "v2": 0}),
        ({"v1": 1, "v2": 1}, "v2", 1.0, {"v1": 0, "v2": 100}),
    ],
)
def test_a_shift_keeps_the_proportions_of_the_others(
    weights: dict[str, float], to: str, share: float, result: dict[str, float]
) -> None:
    moved = shifted(Split(weights), to, share)
    assert {arm.cluster: arm.weight for arm in moved.destinations} == result


@given(shares=st.lists(st.floats(0, 1), min_size=2, max_size=5), key=st.integers(0, 2**64 - 1))
def test_a_growing_share_never_takes_a_user_away_from_the_new_version(shares: list[float], key: int) -> None:
    split = Split({"v1": 60, "v3": 40}, sticky=Sticky(StickyKey("key")))
    places = [shifted(split, "v2", share).place(key) for share in sorted(shares)]
    assert places == sorted(places, key=lambda place: place == 2)


@pytest.mark.parametrize(
    ("text", "figures", "holds"),
    [
        ("success_rate < 0.99", {"success_rate": 0.98}, True),
        ("success_rate<99%", {"success_rate": 0.99}, False),
        ("p99 > 300ms", {"p99": 0.31}, True),
        ("p99 >= .3s", {"p99": 0.3}, True),
        ("p50 <= 2m", {"p50": 121.0}, False),
        ("rps > 1 and requests > 1 or mean > 1", {"mean": 2.0}, True),
        ("rps > 1 and (requests > 1 or mean > 1)", {"mean": 2.0}, False),
        ("success_rate < 0.99", {}, False),
        ("success_rate >= 0", {}, False),
        ("p99 > 0", {"p99": float("nan")}, False),
    ],
)
def test_conditions(text: str, figures: dict[str, float], holds: bool) -> None:
    assert Condition.read(text).holds(figures) is holds


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("", "'[]'"),
        ("succes_rate < 1", "'[s]ucces_rate < 1'"),
        ("p99 > 300 parsecs", "and, or, or the end expected but 'p'"),
        ("p99 > 300kg", "a number with %, ms, s, m or nothing behind it expected"),
        ("p99 = 1", "'p99 [=] 1'"),
        ("p99 > p50", "'p99 > [p]50'"),
        ("(p99 > 1", "'(p99 > 1[]'"),
        ("p99 > 1 p50 < 2", "'p99 > 1 [p]50 < 2'"),
        ("(" * 5000, "at most 30 parentheses"),
    ],
)
def test_bad_conditions_are_refused_with_their_place(text: str, mark: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Condition.read(text)
    assert mark in str(refusal.value)


@given(text=st.text("p95success_rate<>=()andor 01.%m", max_size=30))
def test_any_text_is_a_condition_or_a_config_error(text: str) -> None:
    try:
        Condition.read(text).holds(GOOD)
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: rollout(steps=[]), "steps"),
        (lambda: rollout(steps=[0.5, 0.5]), "steps"),
        (lambda: rollout(steps=[0.5, 1.5]), "steps"),
        (lambda: rollout(steps=[0.0]), "steps"),
        (lambda: rollout(steps=[float("nan")]), "steps"),
        (lambda: rollout(every=0.0), "every"),
        (lambda: rollout(least=-1), "least"),
        (lambda: shifted(Split("v1"), "v1", 0.5), "share"),
        (lambda: shifted(Split("v1"), "v2", 1.5), "share"),
        (
            lambda: shifted(Split({"v1": 1, "v2": 1}, sticky=Sticky(StickyKey("key"), method="modulo")), "v2", 0.005),
            "share",
        ),
    ],
)
def test_nonsense_is_refused_by_field(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()
