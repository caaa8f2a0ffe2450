"""Adaptive limit: lets as many calls run at once as the server can bear, found from how long its answers take.

    a call ──▶ fewer than `limit` under way? ── yes ──▶ runs; its time and outcome move the limit (`limit_algorithms`)
                     │ no
                     ├── its partition has not had its share ──▶ runs
                     ├── room in the wait queue ──▶ waits
                     └── none of these ──▶ BulkheadFull

After Netflix concurrency-limits: SimpleLimiter, AbstractPartitionedLimiter, BlockingLimiter and LifoBlockingLimiter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, inf
from types import EllipsisType
from typing import Any

from ...call import FAILURE, IGNORED, SUCCESS, AsyncStep, Call, Classifier, R, Step, Verdict
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.classifiers import Errors, make_classifier
from .limit_algorithms import FixedLimit, Gradient2, Limit
from .partition import Partition
from .slots import Slots
from .wait_queue import NONE

MAX_WAIT = 5.0  # seconds that a call waits by default


@dataclass(frozen=True, slots=True)
class PartitionMetrics:
    """One partition at one moment: its share of the limit and its calls under way."""

    limit: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class LimitMetrics:
    """An adaptive limit at one moment; counts by how calls ended, in Netflix's words."""

    limit: int
    in_flight: int
    waiting: int
    success: int
    dropped: int
    ignored: int
    rejected: int
    bypassed: int
    partitions: Mapping[str, PartitionMetrics]


class _Share:
    __slots__ = ("busy", "limit", "name", "ratio")

    def __init__(self, name: str, ratio: float) -> None:
        self.name = name
        self.ratio = ratio
        self.busy = 0
        self.limit = 0


class AdaptiveLimit(Slots):
    """A bulkhead whose size is found by `limit`; refuses with `BulkheadFull`. Default: `Gradient2(short_window=30)`.

    A success and a drop move the limit, anything else does not. `on` (exception types or a predicate) says what a
    drop is: a sign of overload, such as a timeout. Without it: any failure that another attempt might heal (FAILURE).

    `partitions` gives each name a share of the limit (ratios that sum up to 1 at most), which it gets even while others
    use the whole limit; while there is room any call may use it. `partition_of(call)` names a call's partition in a
    pipeline; elsewhere use `gate.partition(name)`. An unknown name gets only what is free. A call for which
    `bypass(call)` is true is not counted.

    `max_wait`, `max_queue` as for `Bulkhead`, but by default a call waits for up to 5 s, as httpx's for a connection:
    a limit without samples is no reason to refuse, and 20 slots serve 1,000 calls of 100 ms in that time.
    `max_wait=None` refuses at once. With `latest_first` the wait queue is served from its end, for the caller of the
    latest call still waits. Partitions and a wait queue do not go together: with partitions the default is no wait.
    Raises ValueError for values without sense.
    """

    timed = True
    counts_outcomes = True
    measures_latency = True

    def __init__(
        self,
        limit: Limit | None = None,
        *,
        partitions: Mapping[str, float] | None = None,
        partition_of: Callable[[Call], str | None] | None = None,
        bypass: Callable[[Call], bool] | None = None,
        on: Errors | None = None,
        max_queue: int | None = None,
        max_wait: float | EllipsisType | None = ...,
        latest_first: bool = False,
        name: str = "limit",
        classify: Classifier | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        wanted = "a limit, such as Vegas()"
        self.limit: Limit = (
            Gradient2(short_window=30) if limit is None else checks.like("limit", limit, "update", wanted)
        )
        if isinstance(max_wait, EllipsisType):
            max_wait = None if partitions else MAX_WAIT
        super().__init__(
            self.limit.limit,
            max_queue=max_queue,
            max_wait=max_wait,
            latest_first=latest_first,
            name=name,
            classify=classify or _drops(on),
            runtime=runtime,
        )
        shares = {
            name: checks.ratio(f"partitions[{name!r}]", ratio, zero=True) for name, ratio in (partitions or {}).items()
        }
        if sum(shares.values()) > 1.0 + 1e-9:
            raise ValueError(f"partitions={dict(partitions or {})!r}: expected shares that sum up to 1 at most")
        if shares and self._wait_queue.max_wait > 0:
            raise checks.refused("max_wait, max_queue", (max_wait, max_queue), "neither beside partitions")
        self._shares = [_Share("unknown", 0.0), *(_Share(name, ratio) for name, ratio in shares.items())]
        self._index = {share.name: number for number, share in enumerate(self._shares)}
        self._count = len(self._shares)
        self._share_out()
        if isinstance(self.limit, FixedLimit):
            self.limit.subscribe(self._settled)
        self.partition_of: Callable[[Call], str | None] | None = checks.function(
            "partition_of", partition_of, "the call"
        )
        self.bypass: Callable[[Call], bool] | None = checks.function("bypass", bypass, "the call")
        self.asks_call: bool = partition_of is not None or bypass is not None
        self._success = self._dropped = self._ignored = self._bypassed = 0

    def _after_fork(self) -> None:
        super()._after_fork()
        for share in self._shares:
            share.busy = 0
        self._settled(self.limit.limit)

    # --- decisions -------------------------------------------------------------------------------------------------

    def enter(self, now: float = 0.0, partition: str | None = None) -> int:
        """Take a slot, or raise `BulkheadFull`. Never waits."""
        permit = self.take(now, partition)
        if permit < 0:
            raise self._refuse("")
        return permit

    def take(self, now: float = 0.0, partition: str | None = None) -> int:
        """Take a slot if there is one: a permit that knows how many calls were under way, or −1."""
        if self._count > 1:
            return self._take_share(self._index.get(partition or "", 0))
        if self._watched and self._wait_queue.waiters:
            return NONE
        free = self._free
        try:
            free.pop()
        except IndexError:
            if self._made >= self.max_concurrent or self._make() < 0:
                return NONE
        under_way = self._made - len(free)
        return under_way if under_way > 0 else 1  # another thread may be resizing just now

    def _take_share(self, index: int) -> int:
        share = self._shares[index]
        with self._lock:
            if self._free and self._made <= self.max_concurrent:
                self._free.pop()
            elif self._made < self.max_concurrent:
                self._made += 1
            elif share.busy < share.limit:
                self._made += 1  # over the limit by one: the next slot that comes back goes
                self._watched = True
            else:
                return NONE
            share.busy += 1
            return self.in_flight * self._count + index

    def leave(self, permit: int = 0, verdict: Verdict = SUCCESS, now: float = 0.0, took: float = 0.0) -> None:
        """Give the slot back; SUCCESS (onSuccess) and FAILURE (onDropped) move the limit, others (onIgnore) do not."""
        if self._count > 1:
            permit = self._leave_share(permit)
        lock = self._lock
        lock.acquire()
        try:
            if verdict is SUCCESS:
                self._success += 1
                limit = self.limit.update(now, took if took > 1e-9 else 1e-9, permit, False)
            elif verdict is FAILURE:
                self._dropped += 1
                limit = self.limit.update(now, took if took > 1e-9 else 1e-9, permit, True)
            else:
                self._ignored += 1
                limit = self.max_concurrent
            if limit != self.max_concurrent:
                self._settled(limit)
        finally:
            self._free.append(0)
            if self._watched:
                self._match()
            lock.release()

    def _settled(self, limit: int) -> None:
        with self._lock:
            self._resize(limit)
            self._share_out()

    def _leave_share(self, permit: int) -> int:
        in_flight, index = divmod(permit, self._count)
        with self._lock:
            share = self._shares[index]
            share.busy = max(0, share.busy - 1)  # a forked child may hear of a call of its parent
        return in_flight

    def wait(self, run: Runtime, deadline: float = inf) -> int:
        self._wait_queue.wait(run, deadline, self.name)
        return max(1, self.in_flight) * self._count

    async def wait_async(self, run: Runtime, deadline: float = inf) -> int:
        await super().wait_async(run, deadline)
        return max(1, self.in_flight) * self._count

    def _share_out(self) -> None:
        for share in self._shares[1:]:
            share.limit = max(1, ceil(self.max_concurrent * share.ratio))

    # --- partitions ------------------------------------------------------------------------------------------------

    def partition(self, name: str) -> Partition:
        """The same limit as seen by the calls of partition `name`: a gate of its own to guard functions with."""
        return Partition(self, name)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        if not self.asks_call:
            return super().wrap(step, run, classify)
        gates = self._views(lambda gate: gate.wrap(step, run, classify))

        def chosen(call: Call) -> R:
            if self.bypass is not None and self.bypass(call):
                self._bypassed += 1
                return step(call)
            gate: Step[R] = gates.get(self._name_of(call), gates[""])
            return gate(call)

        return chosen

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        if not self.asks_call:
            return super().wrap_async(step, run, classify)
        gates = self._views(lambda gate: gate.wrap_async(step, run, classify))

        async def chosen(call: Call) -> R:
            if self.bypass is not None and self.bypass(call):
                self._bypassed += 1
                return await step(call)
            gate: AsyncStep[R] = gates.get(self._name_of(call), gates[""])
            return await gate(call)

        return chosen

    def _name_of(self, call: Call) -> str:
        return (self.partition_of(call) or "") if self.partition_of is not None else ""

    def _views(self, wrap: Callable[[Partition], Any]) -> dict[str, Any]:
        return {name: wrap(Partition(self, name)) for name in ("", *self._index)}

    # --- looking ---------------------------------------------------------------------------------------------------

    def metrics(self) -> LimitMetrics:
        """Everything at one moment, for a live view."""
        with self._lock:
            return LimitMetrics(
                limit=self.max_concurrent,
                in_flight=self.in_flight,
                waiting=len(self._wait_queue.waiters),
                success=self._success,
                dropped=self._dropped,
                ignored=self._ignored,
                rejected=self._rejected,
                bypassed=self._bypassed,
                partitions={share.name: PartitionMetrics(share.limit, share.busy) for share in self._shares},
            )


def _drops(on: Errors | None) -> Classifier | None:
    if on is None:
        return None
    inner = make_classifier(on=on)
    assert inner is not None

    def classify(call: Call, result: object, error: BaseException | None) -> Verdict:
        verdict = inner(call, result, error)
        # An error that is no drop came back at its own speed: no measure of how long good answers take.
        return IGNORED if error is not None and verdict is SUCCESS else verdict

    return classify
