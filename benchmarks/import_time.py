"""What does the import cost? `import meshlib`, and the names people use, beside `import httpx`.

    python benchmarks/import_time.py [--fast] [--json FILE] [--rounds 15]

Each figure is the CPU time of one statement in a fresh interpreter, in turn with the others. The goal: under 1.5 ×
`import httpx`, and nothing loaded that only an extra installs (httpx itself loads rich, where it is there).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import _harness as harness

STATEMENTS = {
    "import httpx": "import httpx",
    "import meshlib": "import meshlib",
    "circuit_breaker": "from meshlib import circuit_breaker",
    "CircuitBreaker": "from meshlib import CircuitBreaker",
    "retry": "from meshlib import retry",
    "MeshClient": "from meshlib import MeshClient",
    "Mesh, MeshClient": "from meshlib import Mesh, MeshClient",
    "mesh.yaml loaded": "import asyncio\nfrom meshlib import Mesh, MeshClient\nMesh.from_file({file!r}, watch=False)",
    "import aiohttp": "import aiohttp",
}
OPTIONAL = ("redis", "rich", "uvicorn", "httpx2", "trio", "opentelemetry.sdk", "grpc", "aiohttp")  # of the extras
SHIM = """
import sys, time
begin = time.process_time()
{statement}
took = time.process_time() - begin
import json
print(json.dumps([took, len(sys.modules), [n for n in {optional!r} if n in sys.modules]]))
"""
MESH = "services: {shop: {}}\nclusters: {shop: {endpoints: ['127.0.0.1:1']}}\n"


def fresh(statement: str) -> list[Any] | None:
    """CPU seconds, number of modules, and modules of extras, in a new interpreter; None: it cannot be imported."""
    text = SHIM.format(statement=statement, optional=OPTIONAL)
    child = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    return json.loads(child.stdout) if child.returncode == 0 else None


def main() -> None:
    import tempfile
    from pathlib import Path

    opts = harness.options(
        __doc__, lambda p: p.add_argument("--rounds", type=int, default=None, help="default 15, with --fast 3")
    )
    number = opts.rounds or (3 if opts.fast else 15)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mesh.yaml")
        file.write_text(MESH)
        ways = {name: statement.replace("{file!r}", repr(str(file))) for name, statement in STATEMENTS.items()}
        known = {name: text for name, text in ways.items() if fresh(text) is not None}  # and the bytecode is written
        found = harness.rounds({name: lambda text=text: fresh(text) for name, text in known.items()}, number)  # type: ignore[misc]
    base = [run[0] for run in found["import httpx"]]
    theirs = set(found["import httpx"][0][2])
    table: dict[str, Any] = {}
    print(f"{'':<20}{'CPU ms':>8}{'range':>16}{'÷ httpx':>9}{'range':>14}{'modules':>9}  of extras")
    for name, runs in found.items():
        times, extras = [run[0] for run in runs], sorted({one for run in runs for one in run[2]} - theirs)
        row = table[name] = {
            "ms": harness.figure([time_ * 1e3 for time_ in times]),
            "to_httpx": harness.ratio(times, base),
            "modules": runs[0][1],
            "of_extras": extras,
        }
        ms, to = row["ms"], row["to_httpx"]
        ranges = f"{ms['least']:.1f}–{ms['most']:.1f}", f"{to['least']:.2f}–{to['most']:.2f}"
        told = ", ".join(extras) or "none"
        figures = f"{ms['median']:>8.1f}{ranges[0]:>16}{to['median']:>9.2f}{ranges[1]:>14}{row['modules']:>9}"
        print(f"{name:<20}{figures}  {told}")
    versions = harness.versions("meshlib-client", "httpx", "aiohttp")
    harness.finish(opts, {"rounds": number, "versions": versions, "imports": table})
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
