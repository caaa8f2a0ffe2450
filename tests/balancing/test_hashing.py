"""Ring, Maglev and hash mixing, bit for bit (known answers from Envoy 1.40's constructions)."""

from __future__ import annotations

from collections import Counter

import pytest

from meshlib.balancing import Endpoint, make_balancer
from meshlib.balancing.hashing import hash64, mix
from meshlib.balancing.maglev import table
from meshlib.balancing.ring_hash import ring


def three() -> list[Endpoint]:
    return [Endpoint("127.0.0.1", port, weight=weight) for port, weight in ((1001, 1), (1002, 1), (1003, 2))]


def test_xxh64_known_answers() -> None:
    assert hash64("") == 0xEF46DB3751D8E999
    assert hash64("a") == 0xD24EC4F1A98C6E5B


def test_mixing_rotates_and_leaves_out_what_has_no_value() -> None:
    assert mix([]) is None
    assert mix([None, 5, None]) == 5
    assert mix([1 << 63, 2]) == 1 ^ 2


def test_a_ring_of_1_1_2_has_1024_entries() -> None:
    hashes, owners = ring(three())
    assert len(hashes) == 1024
    assert Counter(owners) == {0: 256, 1: 256, 2: 512}
    assert hashes == sorted(hashes)
    assert hash64("127.0.0.1:1001_0") in hashes


def test_maglev_of_1_1_2_has_envoys_slots() -> None:
    assert Counter(table(three())) == {0: 16385, 1: 16385, 2: 32767}


def test_a_key_finds_the_first_entry_at_or_after_it_and_wraps() -> None:
    members = three()
    hashes, owners = ring(members)
    balancer = make_balancer("ring_hash", "users", members)
    assert balancer.pick(float, 0.0, key=hashes[10]) is members[owners[10]]
    assert balancer.pick(float, 0.0, key=hashes[10] + 1) is members[owners[11]]
    assert balancer.pick(float, 0.0, key=hashes[-1] + 1) is members[owners[0]]


def test_a_key_finds_its_slot() -> None:
    members = three()
    slots = table(members)
    balancer = make_balancer("maglev", "users", members)
    key = hash64("user-17")
    assert balancer.pick(float, 0.0, key=key) is members[slots[key % 65_537]]


def test_a_table_whose_size_is_no_prime_is_refused() -> None:
    with pytest.raises(ValueError, match="size=65536"):
        make_balancer("maglev", "users", three(), size=65_536)
