"""A split gives each destination its share, and a sticky one moves only the keys that must move."""

from __future__ import annotations

from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from meshlib.routing.request import RouteRequest
from meshlib.routing.split import SLOTS, Destination, Split, Sticky, StickyKey

KEYS = [xxh64_intdigest(b"user-%d" % n) for n in range(20_000)]
BY_USER = StickyKey("header", "X-User")


def request(**headers: str) -> RouteRequest:
    return RouteRequest("users", header={k.replace("_", "-"): v for k, v in headers.items()}.get)


def names(split: Split) -> list[str]:
    return [arm.cluster for arm in split.destinations]


@pytest.mark.parametrize("weights", [{"v1": 90, "v2": 10}, {"v1": 60, "v3": 30, "v2": 10}, {"v2": 1, "v1": 9}])
def test_a_tenth_gets_a_tenth_by_chance(weights: dict[str, float]) -> None:
    split, dice = Split(weights), Dice(7)
    choose = split.chooser(names(split))
    share = sum(choose(request(), dice.random) == "v2" for _ in range(100_000)) / 100_000
    assert abs(share - 0.1) < 0.003


@pytest.mark.parametrize("method", ["stable", "modulo"])
@pytest.mark.parametrize("weights", [{"v1": 90, "v2": 10}, {"v1": 60, "v2": 10, "v3": 30}])
def test_a_tenth_gets_a_tenth_by_hash(method: str, weights: dict[str, float]) -> None:
    split = Split(weights, sticky=Sticky(BY_USER, method=method))
    hashes = (xxh64_intdigest(b"%d" % n) for n in range(100_000))
    assert abs(sum(split.place(key) == 1 for key in hashes) / 100_000 - 0.1) < 0.003


def test_a_weight_of_zero_gets_nothing() -> None:
    for draw in (0.0, 0.5, 1 - 2**-53):
        for weights in ({"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 2}, {"b": 1, "c": 2, "d": 3, "a": 0}):
            split = Split(weights)
            assert split.chooser(names(split))(request(), lambda draw=draw: draw) != "a"


def test_one_destination_costs_no_draw() -> None:
    def no_draw() -> float:
        raise AssertionError

    assert Split("v1").chooser(["v1"])(request(), no_draw) == "v1"
    assert Split({"v1": 3, "v2": 0}).chooser(["v1", "v2"])(request(), no_draw) == "v1"


weight_lists = st.lists(st.integers(0, 100), min_size=2, max_size=5).filter(lambda weights: sum(weights) > 0)


@given(weights=weight_lists, grown=st.integers(0, 4), by=st.integers(1, 100))
def test_when_a_weight_grows_keys_move_only_to_it(weights: list[int], grown: int, by: int) -> None:
    grown %= len(weights)
    after = [weight + by * (index == grown) for index, weight in enumerate(weights)]
    before_split, after_split = stable(weights), stable(after)
    for key in KEYS[:500]:
        old, new = before_split.place(key), after_split.place(key)
        assert new in (old, grown)


@given(first=st.integers(0, 100), second=st.integers(0, 100))
def test_between_two_versions_exactly_the_difference_moves(first: int, second: int) -> None:
    before, after = stable([100 - first, first]), stable([100 - second, second])
    slots = range(0, SLOTS, 1000)
    moved = [slot for slot in slots if before.place(slot) != after.place(slot)]
    assert len(moved) == abs(first - second) * 10
    assert all(after.place(slot) == int(second > first) for slot in moved)


def test_a_new_version_at_weight_zero_moves_nobody() -> None:
    assert all(stable([90, 10]).place(key) == stable([90, 10, 0]).place(key) for key in KEYS)


def test_the_third_version_takes_its_share_from_both() -> None:
    before, after = stable([90, 10]), stable([90, 10, 25])
    moved = [(before.place(key), after.place(key)) for key in KEYS if before.place(key) != after.place(key)]
    assert {new for _, new in moved} == {2}
    assert abs(len(moved) / len(KEYS) - 0.2) < 0.01
    assert {old for old, _ in moved} == {0, 1}


def stable(weights: list[int]) -> Split:
    return Split({f"v{n}": weight for n, weight in enumerate(weights)}, sticky=Sticky(BY_USER))


@given(weights=st.lists(st.integers(0, 1000), min_size=2, max_size=2).filter(any), key=st.integers(0, 2**64 - 1))
def test_envoy_with_the_exported_weights_decides_alike(weights: list[int], key: int) -> None:
    split = stable(weights)
    exported = split.envoy_weights()
    assert exported is not None
    assert sum(exported) == SLOTS
    assert split.place(key) == int(key % SLOTS >= exported[0])


def test_modulo_is_envoys_rule() -> None:
    split = Split({"v1": 90, "v2": 7, "v3": 3}, sticky=Sticky(BY_USER, method="modulo"))
    for key in KEYS[:1000]:
        assert split.place(key) == (0 if key % 100 < 90 else 1 if key % 100 < 97 else 2)
    assert split.envoy_weights() == [90, 7, 3]


def test_the_request_hash_is_envoys() -> None:
    one, two = xxh64_intdigest(b"7"), xxh64_intdigest(b"blue")
    both = Sticky(BY_USER, StickyKey("cookie", "tint"))
    rotated = ((one << 1) | (one >> 63)) & (2**64 - 1)
    assert both.hash(request(x_user="7", cookie="a=b; tint=blue")) == rotated ^ two
    assert both.hash(request(x_user="7")) == one
    assert both.hash(request()) is None


def test_the_same_user_stays_and_a_stranger_is_drawn() -> None:
    split = Split({"v1": 50, "v2": 50}, sticky=Sticky(BY_USER))
    choose, dice = split.chooser(["v1", "v2"]), Dice(1)
    assert len({choose(request(x_user="7"), dice.random) for _ in range(100)}) == 1
    assert len({choose(request(), dice.random) for _ in range(100)}) == 2


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Split({"a": 0}), "weight"),
        (lambda: Split({}), "weight"),
        (lambda: Destination("a", weight=-1), "weight"),
        (lambda: Destination("a", weight=float("nan")), "weight"),
        (lambda: Destination("a", weight=float("inf")), "weight"),
        (lambda: Destination(""), "cluster"),
        (lambda: StickyKey("colour", "x"), "kind"),
        (lambda: StickyKey("header"), "name"),
        (lambda: Sticky(), "by"),
        (lambda: Sticky(BY_USER, method="x"), "method"),
        (lambda: Split([Destination("a"), Destination("a")], sticky=Sticky(BY_USER)), "to"),
        (lambda: Split({"a": 0.5, "b": 1}, sticky=Sticky(BY_USER, method="modulo")), "weight"),
    ],
)
def test_nonsense_is_refused_by_field(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()
