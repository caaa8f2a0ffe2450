"""Endpoints and rosters under real threads: nothing is lost, nothing hangs."""

from __future__ import annotations

from random import Random
from threading import Event, Thread
from typing import Any

import pytest

from meshlib.balancing import Endpoint, make_balancer
from meshlib.call import FAILURE, IGNORED, SUCCESS


@pytest.mark.parametrize("name", ["default", "round_robin", "least_loaded", "prequal", "maglev"])
def test_calls_in_flight_come_back_to_zero(name: str) -> None:
    members = [Endpoint("a", port, weight=1.0 + port % 2) for port in range(1, 6)]
    balancer = make_balancer(name, "users", members)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        random = Random(seed)
        try:
            for step in range(3000):
                now = 1.0 + step / 100
                endpoint = balancer.pick(random.random, now)
                permit = endpoint.enter(now)
                if step % 3 == 0:
                    endpoint.answered(permit, now + 0.05)
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
    assert all(member.healthy != (member in balancer.health.ejected) for member in members)


def test_a_call_that_leaves_while_another_thread_overtakes_it_is_gone() -> None:
    endpoint, missed = Endpoint("a", 1), Event()
    for _ in range(3):
        endpoint.leave(endpoint.enter(1.0), SUCCESS, 1.1, 0.1)
    leaving: list[Thread] = []

    class Others(dict[int, float]):
        def __setitem__(self, permit: int, started: float) -> None:
            leaving.append(Thread(target=endpoint.leave, args=(permit, SUCCESS, 2.1, 0.1)))
            leaving[0].start()
            assert missed.wait(10.0)
            super().__setitem__(permit, started)

        def pop(self, *args: Any) -> Any:
            try:
                return super().pop(*args)
            finally:
                missed.set()

    endpoint._open = Others()
    first, second = endpoint.enter(2.0), endpoint.enter(2.0)
    endpoint.leave(second, SUCCESS, 2.1, 0.1)
    leaving[0].join(10.0)
    assert first not in endpoint._open
    assert endpoint.pending == 0
