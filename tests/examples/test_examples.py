"""Every example runs, as a reader would run it, and ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith(("_", "test_")))
TESTS = sorted(EXAMPLES.glob("test_*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_example_runs(program: Path) -> None:
    done = subprocess.run([sys.executable, program.name], cwd=EXAMPLES, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip(), "an example says what it has shown"


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_the_tests_of_the_examples_pass(tests: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests.name]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
