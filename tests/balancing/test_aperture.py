"""Aperture: Finagle's ring arithmetic and load band."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.balancing import Aperture, Endpoint
from meshlib.balancing.aperture import LoadBand, overlaps, slots, width
from meshlib.call import SUCCESS


def test_width_is_whole_client_slices() -> None:
    assert width(10, 100) == pytest.approx(0.2)
    assert width(1, 100) == 1.0
    assert width(100, 12) == 1.0
    assert width(3, 24) == pytest.approx(2 / 3)


@given(st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_all_clients_tile_the_ring_evenly(clients: int, servers: int) -> None:
    span = width(clients, servers)
    total = [0.0] * servers
    for place in range(clients):
        for index, covered in overlaps([1.0] * servers, place / clients, span):
            total[index] += covered
    assert max(total) - min(total) < 1e-9 * clients


def test_overlaps_follow_the_weights_and_wrap() -> None:
    assert overlaps([1, 1, 2], 0.0, 0.5) == [(0, 0.25), (1, 0.25)]
    assert overlaps([1, 1, 2], 0.75, 0.5) == [(0, 0.25), (2, 0.25)]
    assert overlaps([0, 0], 0.0, 0.5) == [(0, 0.5)]
    with pytest.raises(ValueError, match="weights="):
        overlaps([-1, 1], 0.0, 0.5)


def test_slots_tell_the_covered_share_of_each() -> None:
    assert slots(4, 0.125, 0.25) == [(0, pytest.approx(0.5)), (1, pytest.approx(0.5))]


@pytest.mark.parametrize(
    ("offset", "span", "found"),
    [
        (0.1, 0.3, [1, 2, 3]),
        (0.1, 0.35, [1, 2, 3, 4]),
        (0.35, 0.15, [3, 4]),
        (0.25, 0.2, [2, 3, 4]),
        (0.75, 0.5, [7, 8, 9, 0, 1, 2]),
        (0.25, 0.25, [2, 3, 4]),
        (0.75, 0.0, [7]),
        (0.75, 1e-300, [7]),
        (0.3, 0.999999, [3, 4, 5, 6, 7, 8, 9, 0, 1, 2]),
    ],
)
def test_finagles_ring_ranges(offset: float, span: float, found: list[int]) -> None:
    assert [index for index, _ in slots(10, offset, span)] == found


def test_finagles_ring_weights() -> None:
    assert dict(slots(10, 0.75, 0.5)) == pytest.approx({7: 0.5, 8: 1.0, 9: 1.0, 0: 1.0, 1: 1.0, 2: 0.5})
    assert dict(slots(4, 0.125, 1.0)) == pytest.approx({0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}), "the whole ring, from within"
    for i in range(10):
        assert slots(10, i / 10, 0.1) == [(i, pytest.approx(1.0))]
    for cent in range(10, 90):
        assert 0 not in dict(slots(10, cent / 100, 0.1))


def test_finagles_apertures_hold_twelve_servers_or_all() -> None:
    for servers in range(1, 21):
        for client in range(65):
            found = len(slots(servers, client / 65, width(65, servers)))
            assert min(servers, 12) <= found <= servers
    assert 12 <= len(slots(13, 0.09230769230769231, 0.9230769230769231)) <= 13


def test_the_band_widens_and_narrows_by_one() -> None:
    band = LoadBand(window=1.0)
    assert band.adjust(2.0, 1, 10, 0.0) == 2
    assert band.adjust(2.0, 2, 10, 10.0) == 2
    assert band.adjust(0.0, 2, 10, 20.0) == 1
    assert band.adjust(0.0, 1, 10, 30.0) == 1


def test_a_deterministic_aperture_asks_its_slice_by_weight() -> None:
    members = [Endpoint("a", port) for port in range(1, 25)]
    balancer, random = Aperture("users", members, peers=2, peer_index=1), Random(1).random
    assert balancer.aperture == tuple(members[12:])
    assert set(Counter(balancer.pick(random, 0.0) for _ in range(2000))) == set(members[12:])


def test_a_random_aperture_follows_the_load() -> None:
    members = [Endpoint("a", port) for port in range(1, 21)]
    balancer, random = Aperture("users", members, window=0.001), Random(2).random
    for step in range(40):
        balancer.pick(random, 1.0 + step).enter(1.0 + step)
    assert balancer.width == 20
    for member in members:
        for permit in list(member._waiting):
            member.leave(permit, SUCCESS, 99.0, 0.1)
    for step in range(40):
        balancer.pick(random, 100.0 + step)
    assert balancer.width == 1
