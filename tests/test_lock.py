"""Lock: constraints.txt pins everything that the commands of the Makefile install, once, and within the ranges."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
CONSTRAINTS = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT")
PLACES = [
    {
        "python_version": python,
        "python_full_version": f"{python}.{patch}",
        "sys_platform": system,
        "platform_system": name,
        "os_name": "nt" if system == "win32" else "posix",
    }
    for python, patch in [("3.11", 0), ("3.11", 14), ("3.12", 0), ("3.13", 0), ("3.14", 0)]
    for system, name in [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]
]


def named(place: dict[str, str]) -> str:
    return f"{place['python_full_version']}-{place['sys_platform']}"


def pins(place: dict[str, str]) -> dict[str, str]:
    """The versions that the lock has at `place`. Raises for a name that is pinned twice there."""
    found: dict[str, str] = {}
    for pin in map(Requirement, LINES):
        if pin.marker is None or pin.marker.evaluate(place):
            assert found.setdefault(pin.name, str(pin.specifier)[2:]) == str(pin.specifier)[2:], f"{pin.name} twice"
    return found


def written() -> Iterator[Requirement]:
    """The requirements of pyproject.toml: the core's, the extras', and what builds the package."""
    for group in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        PROJECT["build-system"]["requires"],
        ["editables"],  # for `pip install -e`
    ):
        yield from map(Requirement, group)


def test_a_line_is_a_name_and_one_version_and_no_address() -> None:
    for line in LINES:
        pin = Requirement(line)
        [specifier] = pin.specifier
        assert pin.name == canonicalize_name(pin.name) and not pin.extras, line
        assert pin.url is None and "://" not in line
        assert specifier.operator == "==" and "*" not in specifier.version and "+" not in specifier.version, line


@pytest.mark.parametrize("place", PLACES, ids=named)
def test_every_requirement_is_pinned_once_within_its_range(place: dict[str, str]) -> None:
    pinned = pins(place)
    for requirement in written():
        name = canonicalize_name(requirement.name)
        if name != PROJECT["project"]["name"] and (requirement.marker is None or requirement.marker.evaluate(place)):
            assert requirement.specifier.contains(pinned.get(name, "nothing"), prereleases=True), str(requirement)


@pytest.mark.parametrize("place", PLACES, ids=named)
def test_what_the_requirements_require_is_pinned_too(place: dict[str, str]) -> None:
    """Of those that are installed here at the version of the lock: other versions may have other requirements."""
    pinned = {**pins(place), canonicalize_name(PROJECT["project"]["name"]): PROJECT["project"]["version"]}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [(requirement.name, frozenset(requirement.extras)) for requirement in written()]
    while left:
        name, extras = one = left.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if one in seen or found.version != pinned.get(canonicalize_name(name)):
            continue
        seen.add(one)
        for requirement in map(Requirement, found.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({**place, "extra": extra}) for extra in ("", *extras)):
                version = pinned.get(canonicalize_name(requirement.name), "nothing")
                assert requirement.specifier.contains(version, prereleases=True), f"{name}: {requirement}"
                left.append((requirement.name, frozenset(requirement.extras)))
    assert seen


@pytest.mark.parametrize("line", ["--index-url https://example.org/simple", "a @ https://example.org/a.whl", "a>=1"])
def test_an_update_writes_names_and_versions_or_nothing(line: str) -> None:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "tools" / "lock.py")
    assert spec is not None and spec.loader is not None
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    assert lock.pins("a==1 ; sys_platform == 'win32'\nb==1 ; c == '1'\nb==2 ; c == '2'\n") == [
        "a==1",
        "b==1 ; c == '1'",
        "b==2 ; c == '2'",
    ]
    with pytest.raises(ValueError, match=r"expected name==version"):
        lock.pins(f"b==1\n{line}\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
@pytest.mark.parametrize("stamp", [".demo", ".test", ".docs", ".bench"])
def test_each_environment_follows_the_lock_unless_there_is_none(stamp: str, tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        command = ["make", "-n", f"VENV={tmp_path}", f"{tmp_path}/{stamp}", *arguments]
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(command, cwd=ROOT, env=outer, capture_output=True, text=True, check=True).stdout

    (tmp_path / "bin").mkdir()
    for made in ("bin/python", stamp):
        (tmp_path / made).touch()
    renewed, without = said("-W", "constraints.txt"), said("LOCK=", "-W", "pyproject.toml")
    assert " -e " not in said() and " -e " in renewed and " -e " in without
    assert all(f"{name}=constraints.txt " in renewed for name in CONSTRAINTS)
    assert not any(name in without for name in CONSTRAINTS)
