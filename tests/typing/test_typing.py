"""Both type checkers must see a decorated function as if it were not decorated."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    "checker",
    [
        [
            "mypy",
            "--strict",
            "--warn-unused-ignores",
            "--config-file=",
            "--follow-imports=silent",
            "--cache-dir=/dev/null",
        ],
        ["pyright", "--pythonpath", sys.executable],
    ],
    ids=["mypy", "pyright"],
)
def test_decorated_functions_keep_their_type(checker: list[str]) -> None:
    command = [sys.executable, "-m", *checker, str(HERE / "decorated.py")]
    environment = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
