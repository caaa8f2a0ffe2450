"""Lock: the exact versions that the commands of the Makefile install, written to constraints.txt by `make update`.

uv's resolver finds one set for all platforms and for CPython from 3.11 on, which pip's does not. Where there is no uv,
pip brings one into a temporary folder. No index address is ever written: a line is a name, a version and, if one
version does not fit all, a marker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "constraints.txt"
HEAD = """\
# The exact versions that `make demo`, `make test`, `make docs` and `make bench` install, and what builds meshlib there.
# Written by `make update`. Markers stand only where one version does not fit all. Users have pyproject.toml's ranges.
"""
BUILDS = ["editables", "setuptools"]  # hatchling asks for the first in `pip install -e`, a peer's source for the second
# No annotation and no header: both could name the machine, and the header its index.
COMPILE = ["pip", "compile", "--quiet", "--universal", "--python-version=3.11", "--all-extras", "--strip-extras"]
PLAIN = ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.]+)(?: ; (?P<marker>.+))?")


def main() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        builds = Path(folder, "build.in")
        builds.write_text("\n".join([*build, *BUILDS]), encoding="utf-8")
        uv, environment = _uv(folder)
        command = [*uv, *COMPILE, *PLAIN, "pyproject.toml", str(builds)]
        found = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    LOCK.write_text(HEAD + "\n".join(pins(found)) + "\n", encoding="utf-8")


def pins(resolved: str) -> list[str]:
    """The lines of the lock. Raises ValueError for what is not a plain version, such as an address or an option."""
    found = []
    for line in resolved.splitlines():
        pin = _PIN.fullmatch(line)
        if pin is None:
            raise ValueError(f"expected name==version, found {line!r}")
        found.append(pin)
    names = [pin["name"] for pin in found]
    return [pin[0] if names.count(pin["name"]) > 1 else f"{pin['name']}=={pin['version']}" for pin in found]


def _uv(folder: str) -> tuple[list[str], dict[str, str]]:
    """The command that runs uv, and its environment: it looks for packages where pip does."""
    environment = dict(os.environ)
    pip = [sys.executable, "-m", "pip"]
    if "UV_DEFAULT_INDEX" not in environment:
        asked = subprocess.run([*pip, "config", "get", "global.index-url"], capture_output=True, text=True)
        index = environment.get("PIP_INDEX_URL") or asked.stdout.strip()
        if index:
            environment["UV_DEFAULT_INDEX"] = index
    if shutil.which("uv"):
        return ["uv"], environment
    subprocess.run([*pip, "install", "--quiet", "--target", folder, "uv"], check=True)
    return [sys.executable, "-m", "uv"], {**environment, "PYTHONPATH": folder}


if __name__ == "__main__":
    main()
