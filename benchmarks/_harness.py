"""What the benchmarks share: the options, the machine, interleaved rounds, figures with a range, child processes."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

K = TypeVar("K")
RESULTS = Path(__file__).parent / "results"


def options(doc: str | None, *more: Callable[[argparse.ArgumentParser], object]) -> argparse.Namespace:
    """The command line: what each benchmark understands, and what `more` adds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="the shortest form that still shows something")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    for add in more:
        add(parser)
    return parser.parse_args()


def pin(core: int) -> None:
    """Keep this process, and those that it starts, on one core, where there are two."""
    pin_other(0, core)


def pin_other(pid: int, core: int) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def rounds(ways: Mapping[K, Callable[[], Any]], number: int) -> dict[K, list[Any]]:
    """Each way once per round, A B C A B C, so that whatever else the machine does falls on all alike."""
    found: dict[K, list[Any]] = {key: [] for key in ways}
    for _ in range(number):
        for key, way in ways.items():
            found[key].append(way())
    return found


def figure(values: Iterable[float], digits: int = 4) -> dict[str, float]:
    """Median, least and most, rounded to significant digits."""
    known = list(values)
    return {name: _round(value, digits) for name, value in zip(("median", "least", "most"), _three(known), strict=True)}


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> dict[str, float]:
    """Ours ÷ theirs, paired within each round."""
    return figure([a / b for a, b in zip(ours, theirs, strict=True) if b], 3)


def _three(values: list[float]) -> tuple[float, float, float]:
    return (median(values), min(values), max(values)) if values else (float("nan"),) * 3


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model, memory = platform.machine(), 0
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            memory = round(int(line.split()[1]) / 1e6)
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": memory,
        "load": round(os.getloadavg()[0], 1),
    }


def versions(*distributions: str) -> dict[str, str]:
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def finish(opts: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the figures where `--json` says, with the machine and the command that made them."""
    if opts.json is None:
        return
    command = "python " + " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *_without_json(sys.argv[1:])])
    whole = {"command": command, "taken": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine(), **result}
    write(opts.json, whole)


def write(file: Path, whole: dict[str, Any]) -> None:
    """All of it or nothing: who is interrupted leaves the results that were there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    new.replace(file)


def _without_json(arguments: list[str]) -> list[str]:
    if "--json" not in arguments:
        return arguments
    at = arguments.index("--json")
    return arguments[:at] + arguments[at + 2 :]


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process, with all its threads, has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int | str = "self") -> float:
    """Memory in use by a process, in MB (Linux)."""
    for line in _lines(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return float("nan")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
