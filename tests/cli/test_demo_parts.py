"""The demo's arithmetic: the schedule, the percentiles, the bounds of chance, and the play itself."""

from __future__ import annotations

from itertools import pairwise
from math import comb

import pytest

from meshlib.cli.demo.script import ACTS, weights
from meshlib.cli.demo.tally import percentile
from meshlib.cli.demo.traffic import schedule
from meshlib.cli.demo.verdicts import DOUBT, share_bounds
from meshlib.cli.demo.world import SERVERS


def test_the_same_seed_gives_the_same_schedule_and_the_same_dice() -> None:
    first, second = (schedule(seed=7, rate=100.0, length=5.0) for _ in range(2))
    assert first == second
    assert [one.dice().random() for one in first] == [one.dice().random() for one in second]
    assert schedule(seed=8, rate=100.0, length=5.0) != first


def test_arrivals_come_in_order_and_at_the_rate() -> None:
    arrivals = schedule(seed=1, rate=100.0, length=100.0)
    assert all(a.due < b.due for a, b in pairwise(arrivals))
    assert arrivals[-1].due < 100.0
    assert 9_500 < len(arrivals) < 10_500  # five standard deviations


def test_each_arrival_has_dice_of_its_own() -> None:
    throws = [one.dice().random() for one in schedule(seed=1, rate=100.0, length=10.0)]
    assert len(set(throws)) == len(throws)
    assert 0.4 < sum(throws) / len(throws) < 0.6


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (40, 0.1), (130, 1 / 3), (400, 0.5), (900, 0.1)])
def test_beyond_the_bounds_lies_less_than_one_in_a_million(count: int, share: float) -> None:
    least, greatest = share_bounds(count, share)
    chances = [comb(count, hits) * share**hits * (1 - share) ** (count - hits) for hits in range(count + 1)]
    assert sum(chances[:least]) < DOUBT <= sum(chances[: least + 1])
    assert sum(chances[greatest + 1 :]) < DOUBT <= sum(chances[greatest:])


def test_nothing_and_everything_leave_no_room_for_chance() -> None:
    assert share_bounds(300, 0.0) == (0, 0)
    assert share_bounds(300, 1.0) == (300, 300)


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([5.0], 0.99) == 5.0
    assert percentile([], 0.5) == 0.0


def test_the_play_runs_in_order_and_with_servers_that_exist() -> None:
    assert [act.at for act in ACTS] == sorted(act.at for act in ACTS)
    assert {name for act in ACTS for name in (*act.kill, *act.start)} <= set(SERVERS)
    assert [weights(act.at) for act in ACTS if act.split] == [act.split for act in ACTS if act.split]
    assert weights(0.0) == (100, 0)
