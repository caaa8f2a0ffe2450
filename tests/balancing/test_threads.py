"""Endpoints and rosters under real threads: nothing is lost, nothing hangs."""

from __future__ import annotations

from random import Random
from threading import Thread

import pytest

from meshlib.balancing import Endpoint, make
from meshlib.call import FAILURE, IGNORED, SUCCESS


@pytest.mark.parametrize("name", ["default", "round_robin", "least_loaded", "prequal", "maglev"])
def test_calls_in_flight_come_back_to_zero(name: str) -> None:
    members = [Endpoint("a", port, weight=1.0 + port % 2) for port in range(1, 6)]
    balancer = make(name, "users", members)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        random = Random(seed)
        try:
            for step in range(3000):
                now = 1.0 + step / 100
                endpoint = balancer.pick(random.random, now)
                permit = endpoint.enter(now)
                if step % 3 == 0:
                    endpoint.heard(permit, now + 0.05)
                verdict = random.choices((SUCCESS, FAILURE, IGNORED), (8, 3, 1))[0]
                endpoint.leave(permit, verdict, now + 0.1, random.random())
                endpoint.leave(permit, verdict, now + 0.1, 0.1)
                if step % 500 == 0:
                    balancer.update(members[: 3 + step // 500 % 3])
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
    assert [member.pending for member in members] == [0] * 5
    assert all(member.well != (member in balancer.ward.sick) for member in members)
