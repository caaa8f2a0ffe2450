"""Both type checkers must see what they are told in this folder: decorated functions keep their type, clients have
that of their family.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# mypy reads three SDKs: a minute on a slow machine, seconds once it has a cache.
MYPY = ["mypy", "--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={ROOT / '.mypy_cache/typing'}"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [MYPY, ["pyright", "--pythonpath", sys.executable]], ids=["mypy", "pyright"])
def test_type_checkers_see_what_they_are_told(checker: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        *checker,
        *(str(HERE / f"{name}.py") for name in ("decorated", "clients", "documents")),
    ]
    environment = {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


COMPLETE = 98.0  # percent of the symbols of all modules; what is left are bases and defaults of httpx and pydantic


@pytest.mark.timeout(300)
def test_the_types_of_the_library_are_complete() -> None:
    """What a strict checker of a user sees of us, other libraries aside."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--ignoreexternal", "--outputjson"]
    environment = {
        "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(Path.home()),
    }
    done = subprocess.run(
        [*command, "--verifytypes", "meshlib"], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    unclear = [symbol["name"] for symbol in found["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    assert found["completenessScore"] * 100 >= COMPLETE, "\n".join(unclear)
