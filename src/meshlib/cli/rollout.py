"""`meshlib rollout SERVICE --to CLUSTER …`: shifts traffic step by step, and shifts it back when figures get worse.

The figures are those that the application publishes (`Figures().publish(FILE)`, see `meshlib.telemetry.figures`).
Ctrl-C leaves the share as it is and gives the claim back.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config.rollout_run import rollout
from ..config.values import read_duration
from ..errors import ConfigError, MeshError
from ..routing.rollout import Phase
from ..telemetry.figures import between, read_figures
from .routes import store


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "rollout",
        help="shift a service to a cluster step by step, watching its figures",
        description="Exit status 0 when the last step has held, 1 when it went back, 2 when it could not begin.",
    )
    parser.add_argument("service")
    parser.add_argument("--to", required=True, metavar="CLUSTER")
    parser.add_argument("--steps", default="1,5,25,50,100", type=_steps, metavar="PERCENT,…")
    parser.add_argument("--every", default=60.0, type=_seconds, metavar="TIME", help="how long each step is held")
    parser.add_argument("--abort-if", metavar="CONDITION", help="such as 'success_rate < 0.99 or p99 > 300ms'")
    parser.add_argument("--least", default=1, type=int, metavar="N", help="requests without which nothing is decided")
    parser.add_argument("--store", default="mesh.yaml", help="a path, or etcd://HOST:PORT/KEY")
    parser.add_argument(
        "--figures",
        metavar="FILE|URL",
        help="where the application publishes its counters (default: figures.json beside the store)",
    )
    parser.add_argument("--poll", default=1.0, type=_seconds, metavar="TIME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    usual = _beside(options.store)
    if options.figures is None and usual.exists():
        options.figures = str(usual)
    if options.abort_if and not options.figures:
        print(
            f"meshlib rollout: --abort-if needs figures, or it could never be seen to hold: there is no {usual}; "
            "have the application publish them (Figures().publish), or say where they are by --figures",
            file=sys.stderr,
        )
        return 2
    figures = Since(_reader(options.figures), options.to)
    plan = None
    try:
        watched = rollout(
            store(options.store),
            options.service,
            to=options.to,
            steps=options.steps,
            every=options.every,
            abort_if=options.abort_if,
            least=options.least if options.figures else 0,
            figures=figures,
            step_began=figures.start,
            poll=options.poll,
            wall=time.time,
        )
        for look in watched:
            plan, move, seen = look
            if move is not None:
                print(
                    f"{time.strftime('%H:%M:%S')}  {options.to} {move.share:.0%}  {move.reason}{_said(seen)}",
                    flush=True,
                )
    except KeyboardInterrupt:
        watched.close()
        share = f"{plan.share:.0%}" if plan is not None else "as it was"
        print(f"stopped: {options.to} stays at {share} and is no longer watched", file=sys.stderr)
        return 1
    except (MeshError, ConfigError, ValueError) as error:
        print(f"meshlib rollout: {error}", file=sys.stderr)
        return 2
    done = plan is not None and plan.phase is Phase.DONE
    print(f"{options.service}: {'done' if done else 'went back'}: {plan.reason if plan is not None else ''}")
    return 0 if done else 1


def _beside(name: str) -> Path:
    """Where figures are looked for that nobody has named: beside the mesh file, or in the folder of the process."""
    return Path("figures.json") if name.startswith("etcd://") else Path(name).with_name("figures.json")


class Since:
    """The figures of one cluster since the last `start`."""

    def __init__(self, read: Callable[[], Mapping[str, Any]], cluster: str) -> None:
        self._read = read
        self._cluster = cluster
        self._then: Mapping[str, Any] = {}
        self._began = 0.0

    def start(self, now: float) -> None:
        self._then, self._began = self._counters(), now

    def __call__(self, now: float) -> Mapping[str, float]:
        return between(self._then, self._counters(), now - self._began)

    def _counters(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._read().get(self._cluster, {})
        return found


def _reader(place: str | None) -> Callable[[], Mapping[str, Any]]:
    """Reads the counters. What cannot be read now is no data, and no data is no reason to go on or back."""

    def read() -> Mapping[str, Any]:
        try:
            if place is None:
                return {}
            if place.startswith(("http://", "https://")):
                with urllib.request.urlopen(place, timeout=5) as answer:
                    found = json.loads(answer.read())
            else:
                found = read_figures(place)
        except (OSError, ValueError, RecursionError, TypeError, LookupError, AttributeError):
            return {}
        return found if isinstance(found, dict) else {}

    return read


def _steps(text: str) -> list[float]:
    return [float(part.strip().removesuffix("%")) / 100 for part in text.split(",")]


def _seconds(text: str) -> float:
    return float(read_duration(text))


def _said(figures: Mapping[str, float]) -> str:
    if not figures.get("requests"):
        return ""
    return f"  ({figures['requests']:.0f} requests, {figures['success_rate']:.2%}, p99 {figures['p99'] * 1000:.0f} ms)"
