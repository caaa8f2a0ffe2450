"""Both type checkers must see our clients as httpx's own, with `mesh` added."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "checker",
    [
        ["mypy", "--strict", "--config-file=", "--follow-imports=silent", "--cache-dir=/dev/null"],
        ["pyright", "--pythonpath", sys.executable],
    ],
    ids=["mypy", "pyright"],
)
def test_clients_have_the_types_of_their_family(checker: list[str]) -> None:
    command = [sys.executable, "-m", *checker, str(HERE / "clients.py")]
    environment = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
