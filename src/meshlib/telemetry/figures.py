"""Figures: counters of each cluster that only grow, and the figures between two readings.

Counters are what survives being read by several people at different times: whoever wants the success rate since a
moment keeps what the counters were then. `Figures` listens to a mesh; `publish` writes what it counts to a file, as
JSON, for another process (`meshlib rollout --figures FILE`). Processes that are forked off after that count for
themselves, each in a file beside it (`FILE.PID`), and `read_figures` adds up what all of them say.
"""

from __future__ import annotations

import glob
import json
import os
import threading
from collections.abc import Callable, Mapping
from math import ceil, log
from pathlib import Path
from threading import Lock
from typing import Any

from .. import forked
from ..call import IGNORED
from ..events import AttemptFinished, Event
from ..native import threads_are_greenlets

LEAST = 0.0001  # seconds; the lowest bucket ends here, and each is 5 % wider than the one below
_PER_LOG = 1 / log(1.05)


class Figures:
    """Counts the attempts of every cluster: `mesh.subscribe(figures)`. Cancelled and refused ones do not count."""

    def __init__(self) -> None:
        self._clusters: dict[str, _Counters] = {}
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        self._lock, self._clusters = Lock(), {}  # what the parent has counted, the parent tells

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptFinished) and event.verdict is not IGNORED:
            with self._lock:
                counters = self._clusters.get(event.name)
                if counters is None:
                    counters = self._clusters[event.name] = _Counters()
                counters.requests += 1
                counters.failures += event.verdict.failed
                counters.seconds += event.took
                bucket = int(log(event.took / LEAST) * _PER_LOG) + 1 if event.took > LEAST else 0
                counters.buckets[bucket] = counters.buckets.get(bucket, 0) + 1

    def counters(self) -> dict[str, dict[str, Any]]:
        """What was counted so far, by cluster; plain data, fit for JSON."""
        with self._lock:
            return {name: counters.plain() for name, counters in self._clusters.items()}

    def publish(self, path: str | os.PathLike[str], *, every: float = 1.0) -> Callable[[], None]:
        """Write the counters to a file every so many seconds, from a thread; the function returned ends that."""
        return _Published(self, Path(path).absolute(), every).end  # a daemon may go to another folder


class _Published:
    """The counters in a file; in a forked child, in another one."""

    def __init__(self, figures: Figures, file: Path, every: float) -> None:
        self._figures = figures
        self._whole = self._file = file
        self._every = every
        for left in _parts(file):  # by those who ran before us
            left.unlink(missing_ok=True)
        self._write()
        self._stop = threading.Event()
        forked.register(self)
        self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="meshlib figures", daemon=True)
        self._thread.start()

    def _after_fork(self) -> None:
        ended, self._stop = self._stop.is_set(), threading.Event()
        if ended:
            self._stop.set()
        self._file = self._whole.with_name(f"{self._whole.name}.{os.getpid()}")

    def _resume(self) -> None:
        if not self._stop.is_set() and not threads_are_greenlets():  # greenlets go on in a child
            self._start()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._write()

    def _write(self) -> None:
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        beside.write_text(json.dumps(self._figures.counters()), encoding="utf-8")
        beside.replace(self._file)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)


def _parts(file: Path) -> list[Path]:
    """What forked processes have written."""
    return [part for part in file.parent.glob(f"{glob.escape(file.name)}.*") if part.suffix[1:].isdigit()]


def read_figures(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The counters in a file, and those of the processes that were forked off its own. Raises OSError, ValueError."""
    whole: dict[str, dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    for part in _parts(Path(path)):
        for name, counters in json.loads(part.read_text(encoding="utf-8")).items():
            known = whole.setdefault(name, {})
            buckets = known.setdefault("buckets", {})
            for bucket, number in counters["buckets"].items():
                buckets[bucket] = buckets.get(bucket, 0) + number
            for field in ("requests", "failures", "seconds"):
                known[field] = known.get(field, 0) + counters[field]
    return whole


class _Counters:
    __slots__ = ("buckets", "failures", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = self.failures = 0
        self.seconds = 0.0
        self.buckets: dict[int, int] = {}

    def plain(self) -> dict[str, Any]:
        buckets = {str(bucket): number for bucket, number in self.buckets.items()}
        return {"requests": self.requests, "failures": self.failures, "seconds": self.seconds, "buckets": buckets}


def between(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """The figures of one cluster between two looks at its counters, `seconds` apart.

    requests, success_rate, failure_rate, rps, mean, p50, p90, p95, p99, p999; times in seconds. What cannot be said
    without a request is left out. Counters that fell (the process was restarted) count from 0.
    """
    if after.get("requests", 0) < before.get("requests", 0):
        before = {}
    requests = after.get("requests", 0) - before.get("requests", 0)
    figures: dict[str, float] = {"requests": requests, "rps": requests / seconds if seconds > 0 else 0.0}
    if requests:
        failures = after["failures"] - before.get("failures", 0)
        figures["failure_rate"] = failures / requests
        figures["success_rate"] = 1 - failures / requests
        figures["mean"] = (after["seconds"] - before.get("seconds", 0.0)) / requests
        old = before.get("buckets", {})
        grown = {int(bucket): number - old.get(bucket, 0) for bucket, number in after["buckets"].items()}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)):
            figures[name] = _quantile(grown, requests, share)
    return figures


def _quantile(buckets: Mapping[int, int], total: int, share: float) -> float:
    rank = max(1, ceil(share * total - 1e-9))
    bucket = 0
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            break
    return float(LEAST * 1.05**bucket)
