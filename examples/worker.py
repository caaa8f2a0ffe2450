"""A worker that takes jobs from a queue and calls a slow, sometimes failing dependency."""

from __future__ import annotations

from queue import Queue
from threading import Thread

from meshlib import BreakerOpen, Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout

attempts = 0

# Outermost first: one time limit for the whole job, retries within it, and a breaker that all workers share.
charge_policies = Pipeline(
    Timeout(5.0),
    Retry(3, on=ConnectionError),
    CircuitBreaker(name="bank", consecutive_failures=5, cooldown=1.0, on=ConnectionError),
    Bulkhead(4, max_wait=1.0, name="bank"),
)


@charge_policies
def charge(order: int) -> str:
    """In your system: a call to the bank. Here every third attempt fails."""
    global attempts
    attempts += 1
    if attempts % 3 == 0:
        raise ConnectionError("the bank closed the connection")
    return f"order {order} is paid"


def work(jobs: Queue[int | None], done: list[str], later: list[int]) -> None:
    while (order := jobs.get()) is not None:
        try:
            done.append(charge(order))
        except (BreakerOpen, ConnectionError):
            later.append(order)  # put it back with a delay; the breaker says when: `error.retry_after`


def main() -> None:
    jobs: Queue[int | None] = Queue()
    done: list[str] = []
    later: list[int] = []
    workers = [Thread(target=work, args=(jobs, done, later)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for order in range(30):
        jobs.put(order)
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        worker.join()
    print(f"{len(done)} orders paid, {len(later)} to be tried later, {attempts} attempts")
    assert len(done) + len(later) == 30
    assert len(done) > len(later)


if __name__ == "__main__":
    main()
