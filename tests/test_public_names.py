"""`import meshlib` is cheap, and every name that it promises is there."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import meshlib
from meshlib.cli import main


@pytest.mark.parametrize("name", meshlib.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(meshlib, name) is not None
    assert name in meshlib._HOME


def test_names_that_are_not_there_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        meshlib.nonsense


def loaded_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_meshlib_loads_none_of_its_rooms() -> None:
    assert not loaded_by("import meshlib") & {"httpx", "meshlib.mesh", "meshlib.policies", "asyncio", "pydantic"}


def test_the_client_needs_no_extra_and_no_configuration_library() -> None:
    heavy = {"pydantic", "yaml", "watchfiles", "httpx2", "redis", "uvicorn", "opentelemetry", "tenacity"}
    assert not loaded_by("from meshlib import MeshClient, Pipeline, circuit_breaker") & heavy


def test_dir_shows_the_public_names_and_nothing_of_the_machinery() -> None:
    assert [name for name in dir(meshlib) if not name.startswith("__")] == sorted(meshlib.__all__)


def test_the_version_is_that_of_the_installed_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert meshlib.__version__ == version("meshlib-client")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"meshlib {meshlib.__version__}\n"


def test_the_version_is_looked_up_on_use() -> None:
    assert "importlib.metadata" not in loaded_by("import meshlib")
