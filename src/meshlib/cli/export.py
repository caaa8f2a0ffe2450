"""`meshlib export envoy`: prints the same mesh as an Envoy bootstrap."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from ..config.envoy_export import export
from ..config.load import load
from ..config.manifests import are_manifests, read_manifests
from ..errors import ConfigError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("export", help="write the same mesh for another one")
    kinds = parser.add_subparsers(dest="kind", metavar="envoy", required=True)
    envoy = kinds.add_parser(
        "envoy",
        help="an Envoy bootstrap with the same routes, clusters, outlier detection, retries and limits",
        description="Prints the bootstrap; differences in behaviour are printed on standard error.",
    )
    envoy.add_argument("file", metavar="FILE", help="mesh.yaml, or manifests")
    envoy.add_argument("--port", type=int, default=15001, help="where Envoy listens for calls (default: 15001)")
    envoy.add_argument("--admin-port", type=int, default=9901, help="where Envoy tells about itself (default: 9901)")
    envoy.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        loaded = read_manifests([options.file]).loaded if are_manifests(options.file) else load(Path(options.file))
        found = export(loaded, port=options.port, admin_port=options.admin_port)
    except ConfigError as error:
        print(f"meshlib export: {error}", file=sys.stderr)
        return 1
    yaml.safe_dump(found.bootstrap, sys.stdout, sort_keys=False)
    for difference in found.differences:
        print(f"meshlib export: {difference}", file=sys.stderr)
    return 0
