"""Command line: the command `meshlib` and its subcommands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from . import check, explain, export, rollout, routes, schema, status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    parser = argparse.ArgumentParser(prog="meshlib", description="The service mesh that you import.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    demo = commands.add_parser(
        "demo",
        help="a mesh under fire, in a minute, on this machine alone",
        description="Starts five small HTTP servers, breaks them one after the other under traffic, first through "
        "MeshClient and then through plain httpx, and sets the two side by side. Exit status 0 only if everything "
        "that it claims was measured in this run.",
    )
    demo.add_argument("--fast", action="store_true", help="the short version, in under 20 seconds")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="of the traffic's schedule (default: 1)")
    demo.add_argument("--picture", type=Path, metavar="FILE", help="draw what was shown as an SVG, too")
    demo.set_defaults(run=_demo)
    for command in (check, explain, routes, rollout, status, export, schema):
        command.add(commands)

    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails once more
        return 141
    return code


class _Version(argparse.Action):
    """`--version`: the version is looked up in the package's metadata only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .. import __version__

        print(f"meshlib {__version__}")
        parser.exit()


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in ("rich", "uvicorn") if find_spec(name) is None]
    if missing:
        print(
            f"meshlib demo: {' and '.join(missing)} not found. Install the extra `demo`: "
            "pip install 'meshlib-client[demo]'",
            file=sys.stderr,
        )
        return 2
    from .demo import demo  # needs the extra

    return demo(fast=options.fast, seed=options.seed, picture=options.picture)
