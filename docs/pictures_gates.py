"""Draws the pictures of the pages on gates, each from the real object, told the time: `python docs/pictures_gates.py`.

tests/policies/test_gates_docs.py draws them again and compares.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from random import Random

from canvas import BLUE, GREEN, GREY, ORANGE, RED, Canvas

from meshlib.call import FAILURE, SUCCESS
from meshlib.errors import DeadlineExceeded, Throttled
from meshlib.policies.breaker.accrual import Accrual, ConsecutiveFailures
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.concurrency.cluster_limits import ClusterLimits
from meshlib.policies.concurrency.limit_algorithms import AIMD, Gradient2, Limit, Vegas, WindowedLimit
from meshlib.policies.deadline.deadline_admission import DeadlineAdmission
from meshlib.policies.rate.rate_limit import Cycles, FixedWindow, Rate, SlidingWindow, Smooth, TokenBucket
from meshlib.policies.retry.budget import ConcurrencyBudget
from meshlib.policies.throttle.throttle import FailureThrottle, NackThrottle, SreThrottle, Throttle


def bulkhead() -> str:
    """A server that hangs for two seconds, with and without a bulkhead: how many calls are inside."""

    def inside(gate: Bulkhead) -> list[tuple[float, float]]:
        ends, points = list[float](), list[tuple[float, float]]()
        for call in range(500):
            now = call / 100
            while ends and ends[0] <= now:
                heappop(ends)
                gate.leave()
            if gate.take() == 0:
                heappush(ends, now + (3.0 - now if 1.0 <= now < 3.0 else 0.0) + 0.05)
            points.append((now, gate.in_flight))
        return points

    canvas = Canvas((0, 5), (0, 210))
    canvas.bar(1, 3, 0, 210, RED, opacity=0.08)
    canvas.text(2, 195, "the server hangs", RED, anchor="middle")
    canvas.line(inside(Bulkhead(10_000)), GREY)
    canvas.line(inside(Bulkhead(25)), BLUE)
    canvas.text(2.2, 120, "without", GREY, anchor="end")
    canvas.text(3.1, 32, "max_concurrent=25", BLUE)
    title = "Calls under way at 100 calls a second"
    return canvas.svg(title, "seconds", "calls under way", ticks=range(6), rows=(0, 25, 100, 200))


def adaptive_limit() -> str:
    """Three limits before a server that bears 40 calls at once, and from second 20 to 40 only 15."""
    kinds: list[tuple[str, Limit, str]] = [
        ("AIMD", AIMD(initial=20, min_limit=1, timeout=0.1), ORANGE),
        ("Vegas", Vegas(initial=20, random=Random(1).random), GREEN),
        ("Gradient2, 0.1 s windows", WindowedLimit(Gradient2(min_limit=1), min_window=0.1, max_window=0.1), BLUE),
    ]
    canvas = Canvas((0, 60), (0, 100))
    canvas.line([(0, 40), (20, 40), (20, 15), (40, 15), (40, 40), (60, 40)], GREY, dash="4 3")
    canvas.text(59, 43, "what the server bears", GREY, anchor="end")
    for place, (name, limit, colour) in enumerate(kinds):
        points, now = [], 0.0
        while now < 60.0:
            bears = 15 if 20 <= now < 40 else 40
            under_way = limit.limit
            rtt = 0.05 * max(1.0, under_way / bears)
            limit.update(now, rtt, under_way)
            now += rtt / under_way
            points.append((now, min(99.0, float(limit.limit))))
        canvas.line(points[:: max(1, len(points) // 600)], colour)
        canvas.text(1 + 9 * place, 92, name, colour)
    return canvas.svg("Three adaptive limits", "seconds", "limit", ticks=range(0, 61, 10), rows=(0, 15, 40, 100))


def rate_limit() -> str:
    """When five ways of counting let calls through that come every 20 ms, at five a second."""
    rates: list[tuple[str, Rate]] = [
        ("TokenBucket(5, burst=3)", TokenBucket(5, burst=3)),
        ("Smooth(5)", Smooth(5)),
        ("FixedWindow(5)", FixedWindow(5)),
        ("SlidingWindow(5)", SlidingWindow(5)),
        ("Cycles(1, per=0.2)", Cycles(1, per=0.2)),
    ]
    canvas = Canvas((0, 4), (0, 5.4))
    for row, (name, rate) in enumerate(rates):
        y = 4.3 - row
        canvas.text(0.02, y + 0.45, name, GREY)
        for call in range(200):
            if not 50 <= call < 75 and rate.reserve(call * 0.02) == 0:  # a pause from 1 to 1.5 s
                canvas.bar(call * 0.02, call * 0.02 + 0.015, y, y + 0.35, BLUE)
    canvas.bar(1, 1.5, 0, 5.4, GREY, opacity=0.1)
    canvas.text(1.25, 5.1, "nobody calls", GREY, anchor="middle")
    return canvas.svg("Calls let through", "seconds", ticks=range(5))


def quota() -> str:
    """What three processes get of one quota when one of them is greedy: the bucket of the store, played through."""
    bucket, random = TokenBucket(10, burst=10), Random(3)
    got = [[0] * 12 for _ in range(3)]
    for tick in range(12 * 200):
        now = tick / 200
        for process, wants in enumerate((2.0, 4.0, 4.0 if now < 4 else 40.0)):
            if random.random() < wants / 200 and bucket.reserve(now) == 0:
                got[process][int(now)] += 1
    canvas = Canvas((0, 12), (0, 22))
    for second in range(12):
        floor = 0
        for process, colour in enumerate((BLUE, GREEN, ORANGE)):
            canvas.bar(second + 0.1, second + 0.9, floor, floor + got[process][second], colour, opacity=0.8)
            floor += got[process][second]
    canvas.line([(0, 10), (12, 10)], RED, dash="4 3")
    canvas.text(11.9, 10.5, "10 a second for all of them", RED, anchor="end")
    canvas.text(4.1, 20, "the third process becomes greedy", ORANGE)
    return canvas.svg("One quota, three processes", "seconds", "calls let through", ticks=range(13), rows=(0, 10, 20))


def throttle() -> str:
    """The share that each throttle sheds, by the share that the server takes."""
    canvas = Canvas((0, 1), (0, 1.05))
    kinds: list[tuple[str, Callable[[], SreThrottle | FailureThrottle | NackThrottle], str]] = [
        ("SreThrottle(k=2)", SreThrottle, BLUE),
        ("SreThrottle(k=1.1)", lambda: SreThrottle(k=1.1), GREEN),
        ("FailureThrottle()", FailureThrottle, ORANGE),
        ("NackThrottle()", lambda: NackThrottle(window=20.0, start=0.0), RED),
    ]
    for place, (name, make, colour) in enumerate(kinds):
        points = []
        for taken in range(0, 101, 2):
            by, random = make(), Random(taken)
            for call in range(4000):
                now = call / 40
                by.ask(now)
                by.record(random.random() < taken / 100, now)
            points.append((taken / 100, by.probability(100.0)))
        canvas.line(points, colour)
        canvas.text(0.62, 0.95 - 0.08 * place, name, colour)
    return canvas.svg(
        "What is shed, when nothing has been shed yet",
        "share of calls that the server takes",
        "share shed",
        ticks=(0, 0.25, 0.5, 0.75, 1),
        rows=(0, 0.5, 0.75, 1),
    )


def throttled_outage() -> str:
    """An overload of twenty seconds at 50 calls a second: what reaches the server."""
    gate = Throttle(SreThrottle(window=10.0, buckets=10), random=Random(5).random)
    sent, wanted = [0] * 60, 50
    for call in range(60 * wanted):
        now = call / wanted
        try:
            permit = gate.enter(now)
        except Throttled:
            continue
        sent[int(now)] += 1
        gate.leave(permit, FAILURE if 15 <= now < 35 and sent[int(now)] > 10 else SUCCESS, now)
    canvas = Canvas((0, 60), (0, 58))
    canvas.bar(15, 35, 0, 58, RED, opacity=0.08)
    canvas.text(25, 53, "the server takes 10 a second", RED, anchor="middle")
    for second, count in enumerate(sent):
        canvas.bar(second + 0.1, second + 0.9, 0, count, BLUE, opacity=0.8)
    return canvas.svg("An overload", "seconds", "calls sent per second", ticks=range(0, 61, 10), rows=(0, 10, 20, 50))


def deadline_admission() -> str:
    """Of 20 calls a second more and more come too late: how many are refused."""
    gate, late, refused = DeadlineAdmission(), [0] * 60, [0] * 60
    random = Random(2)
    for call in range(60 * 20):
        now = call / 20
        overdue = random.random() < now / 60
        late[int(now)] += overdue
        try:
            gate.enter(now, now - 1.0 if overdue else inf)
        except DeadlineExceeded:
            refused[int(now)] += 1
    canvas = Canvas((0, 60), (0, 21))
    for second in range(60):
        canvas.bar(second + 0.1, second + 0.9, 0, late[second], GREY, opacity=0.4)
        canvas.bar(second + 0.1, second + 0.9, 0, refused[second], BLUE, opacity=0.9)
    canvas.text(1, 18, "too late", GREY)
    canvas.text(1, 16, "refused: a fifth of all at most", BLUE)
    return canvas.svg("Deadline admission", "seconds", "calls per second", ticks=range(0, 61, 10), rows=(0, 4, 20))


def fail_fast() -> str:
    """An endpoint that is gone for 28 seconds: callers come ten times a second, attempts by Finagle's delays."""
    endpoint = FailFast(lambda: (1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
    canvas = Canvas((0, 70), (0, 3))
    canvas.bar(10, 38, 0, 3, RED, opacity=0.08)
    canvas.text(24, 2.7, "nobody listens there", RED, anchor="middle")
    dead = None
    for tick in range(700):
        now = tick / 10
        gone = 10 <= now < 38
        if endpoint.available:
            if gone:
                endpoint.failed(now)
                dead = now
        elif endpoint.due(now):
            canvas.dot(now, 0.6, ORANGE)
            endpoint.ended(not gone, now)
            if endpoint.available and dead is not None:
                canvas.bar(dead, now, 1.3, 1.7, BLUE, opacity=0.7)
                canvas.text((dead + now) / 2, 1.85, "callers are refused at once", BLUE, anchor="middle")
    canvas.text(1, 0.54, "attempts", ORANGE)
    return canvas.svg("Fail fast", "seconds", ticks=range(0, 71, 10))


def accrual() -> str:
    """Ten calls a second to one endpoint, which fails for 45 seconds: what it is sent, and what the states are."""
    endpoint = Accrual(ConsecutiveFailures(5, [2.0, 4.0, 8.0, 16.0, 16.0]))
    colours = {"ALIVE": GREEN, "DEAD": RED, "PROBE_OPEN": ORANGE, "PROBE_CLOSED": ORANGE}
    canvas = Canvas((0, 60), (0, 3), height=200)
    canvas.bar(5, 50, 0, 3, RED, opacity=0.08)
    canvas.text(49.5, 2.7, "every answer is an error", RED, anchor="end")
    since, state = 0.0, endpoint.state(0.0).name
    for tick in range(600):
        now = tick / 10
        here = endpoint.state(now).name
        if here != state:
            canvas.bar(since, now, 1.2, 1.6, colours[state], opacity=0.7)
            since, state = now, here
        if endpoint.is_open(now):
            endpoint.started(now)
            endpoint.ended(FAILURE if 5 <= now < 50 else SUCCESS, now)
            canvas.dot(now, 0.6, RED if 5 <= now < 50 else GREEN)
    canvas.bar(since, 60, 1.2, 1.6, colours[state], opacity=0.7)
    canvas.text(1, 1.8, "ALIVE", GREEN)
    canvas.text(12.5, 1.8, "DEAD for 2, 4, 8, 16, 16 s: nobody picks it", RED)
    canvas.text(12.5, 0.2, "one probe after each wait", ORANGE)
    canvas.text(1, 0.2, "calls", GREEN)
    return canvas.svg("Five failures in a row, and a probe after each wait", "seconds", ticks=range(0, 61, 10))


def cluster_limits() -> str:
    """How many retries may be under way, by the number of requests: a fixed limit, and a budget of their share."""
    canvas = Canvas((0, 100), (0, 22))
    retries = ClusterLimits(max_retries=3).retries
    budget = ConcurrencyBudget(0.2, min_concurrent=3)
    assert retries is not None
    fixed, share = list[tuple[float, float]](), list[tuple[float, float]]()
    for requests in range(101):
        fixed.append((requests, retries.available))
        share.append((requests, budget.balance(0.0)))
        budget.deposit(0.0)
    for name, points, colour, y in (
        ("max_retries: 3", fixed, GREY, 4),
        ("ConcurrencyBudget(0.2, min_concurrent=3)", share, BLUE, 18),
    ):
        canvas.line(points, colour)
        canvas.text(99, y + 1, name, colour, anchor="end")
    return canvas.svg(
        "Retries under way", "requests under way", "retries", ticks=range(0, 101, 20), rows=(0, 3, 10, 20)
    )


PICTURES: dict[str, Callable[[], str]] = {
    "bulkhead": bulkhead,
    "adaptive-limit": adaptive_limit,
    "rate-limit": rate_limit,
    "quota": quota,
    "throttle": throttle,
    "throttled-outage": throttled_outage,
    "deadline-admission": deadline_admission,
    "fail-fast": fail_fast,
    "accrual": accrual,
    "cluster-limits": cluster_limits,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (Path(__file__).parent / "img" / f"{name}.svg").write_text(draw())
