"""`meshlib schema`: prints the JSON Schema of mesh.yaml, for editors."""

from __future__ import annotations

import argparse
import json

from ..config.schema import mesh_schema


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of mesh.yaml, for editors",
        description="Prints the JSON Schema (2020-12) of mesh.yaml. Save it and name it in the first line of the file: "
        "# yaml-language-server: $schema=mesh.schema.json",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    print(json.dumps(mesh_schema(), indent=2, ensure_ascii=False))
    return 0
