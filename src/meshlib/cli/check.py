"""`meshlib check FILE…`: prints what is wrong with mesh files, as a compiler does."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config.lint import lint


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="say what is wrong with mesh files, and what in them makes no sense",
        description="Prints file:line: message. Exit status 1 if there is an error (with --strict: or a warning).",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.set_defaults(run=check)


def check(options: argparse.Namespace) -> int:
    findings = [finding for file in options.files for finding in lint(file)]
    for finding in findings:
        print(finding)
    bad = [finding for finding in findings if options.strict or finding.level == "error"]
    return 1 if bad else 0
