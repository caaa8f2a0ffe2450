"""The tables of docs/balancing.md, from the figures of balancersim.py.

The page is written by hand but for what stands between its two marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"
Row = Mapping[str, float]
Experiments = Mapping[str, Mapping[str, Row]]

IN_TIME = "answered within 1 s"
COLUMNS = {
    IN_TIME: lambda row: f"{row['success']:.3%}".replace("%", " %"),
    "to the sick server": lambda row: f"{row['to_bad']:.0f}",
    "its share 5 s after healing": lambda row: _share(row["back_5s"]),
    "p50": lambda row: _ms(row["p50"]),
    "p99": lambda row: _ms(row["p99"]),
    "p99.9": lambda row: _ms(row["p99.9"]),
}
SICK = [IN_TIME, "to the sick server", "its share 5 s after healing"]
CROWD = [IN_TIME, "p50", "p99", "p99.9"]
LOADS = ("0.75", "1.03", "1.27", "1.57", "1.74")
LEFT = (
    "The known algorithms are shown without failure accrual, as they are known. Where the default does not lead: "
    "Prequal with probes needs the servers' help and is then better at the highest loads; a flapping server gets a "
    "little more from the default than from peak EWMA, because it is trusted again soon."
)


def written(page: str, found: Experiments) -> str:
    """`page` with the tables between its marks made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + _figures(found) + END + after


def charts(docs: Path, found: Experiments) -> dict[Path, str]:
    """The drawings that the tables show."""
    from balancersim import chart

    names = {"slow": "slow", "sink-hole": "sink-hole", "antagonists, load 1.27": "antagonists-load-1-27"}
    return {docs / "img" / f"balancing-{file}.svg": chart(name, found[name]) for name, file in names.items()}


def _figures(found: Experiments) -> str:
    hedged, late = found["slow, hedged at 0.2 s"]["default"], found["slow, time-out 1 s"]["default"]
    ten = found["slow, 10 clients"]["default"]
    on_off = [
        _in_time(found[f"antagonists, load 1.27, on and off{reports}"]["default"])
        for reports in ("", ", reports by answers", ", reports by probes")
    ]
    least = [_share(found[f"{rate} requests/s, a slow first answer"]["default"]["least_share"]) for rate in (1, 10)]
    slow = "One of 11 servers slows from 167 ms to 2 s for half of a minute (Linkerd, “Beyond round robin”)"
    parts = [
        _table(slow, found["slow"], [*SICK, "p99", "p99.9"]),
        "![One slow server](img/balancing-slow.svg)",
        f"With hedging after 0.2 s the default answers {_in_time(hedged)} in time, for {hedged['extra'] * 100:.3f} % "
        f"extra requests. With a client time-out of 1 s it answers {_in_time(late)}, with ten clients that each learn "
        f"for themselves {_in_time(ten)}.",
        _table("One server fails every request in 1 ms", found["sink-hole"], SICK),
        "![A sink-hole](img/balancing-sink-hole.svg)",
        _antagonists(found),
        "![Antagonists](img/balancing-antagonists-load-1-27.svg)",
        f"Where each antagonist takes all it can or nothing, 30 % of the time, the default answers {on_off[0]} at "
        f"1.27, with reports in answers {on_off[1]}, with reports to probes {on_off[2]}.",
        "At 1 and 10 requests/s over three servers, one of which answers its first call 0.4 s late, whoever is asked "
        f"least gets {least[0]} and {least[1]} of a fair share.",
        _table("One server is at 2 s for one second out of every three", found["flapping"], SICK[:2]),
        _table("A cold server joins: 2 s at first, warm after 10 s", found["cold newcomer"], SICK[:2]),
        _table("20 servers with 1, 2 or 4 cores, 75 % loaded", found["mixed fleet"], CROWD),
        _table("1,000 clients, each with its slice of 1,000 servers, 70 % loaded", found["many to many"], CROWD),
        LEFT,
    ]
    return "\n\n".join(parts) + "\n"


def _table(title: str, rows: Mapping[str, Row], columns: list[str]) -> str:
    lines = [f"**{title}**", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(COLUMNS[column](row) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def _antagonists(found: Experiments) -> str:
    title = f"**Antagonists take away processors (Prequal's testbed), by load ÷ allocation: {IN_TIME}**"
    lines = [title, "", f"| | {' | '.join(LOADS)} |", "|---" * (len(LOADS) + 1) + "|"]
    for name in found["antagonists, load 1.27"]:
        lines.append(f"| {name} | {' | '.join(_in_time(found[f'antagonists, load {load}'][name]) for load in LOADS)} |")
    for reports, words in (("answers", "reports in answers"), ("probes", "reports to probes")):
        cells = [found.get(f"antagonists, load {load}, reports by {reports}") for load in LOADS]
        shown = ["–" if cell is None else _in_time(cell["default"]) for cell in cells]
        lines.append(f"| default, {words} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _in_time(row: Row) -> str:
    return COLUMNS[IN_TIME](row)


def _share(share: float) -> str:
    return f"{share * 100:.0f} %"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
