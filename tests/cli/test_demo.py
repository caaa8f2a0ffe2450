"""`meshlib demo`: it keeps what it claims, and leaves nothing behind, however it ends.

The servers inherit the demo's standard error. So its pipe ends when the last of them is gone, and not before: reading
it to the end is the proof that there are no orphans.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib.cli import main

HALF_WAY = "v1-c is killed"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The short demo as a process of its own, whose folder for temporary files is `tmp_path`."""
    # A shell lets the jobs in its background ignore interruptions, and what they start would inherit that.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "meshlib", "demo", "--fast"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
    )
    signal.signal(signal.SIGINT, usual)
    with process:
        yield process
        process.kill()


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the demo ended without saying {words!r}")


@pytest.mark.timeout(120)
def test_everything_that_the_fast_demo_claims_happens(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    said, complaints = demo.communicate()
    assert demo.returncode == 0, said + complaints
    assert "✘" not in said
    assert "12 of 12 claims held in this run." in said
    assert complaints == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_orphans_and_no_files(
    demo: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    wait_for(demo, HALF_WAY)
    demo.send_signal(number)
    _, complaints = demo.communicate()
    assert demo.returncode == status, complaints
    assert complaints == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
def test_servers_end_themselves_when_the_demo_is_killed(demo: subprocess.Popen[str]) -> None:
    wait_for(demo, HALF_WAY)
    demo.kill()
    _, complaints = demo.communicate()
    assert demo.returncode == -signal.SIGKILL
    assert complaints == ""


def test_without_the_extra_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("meshlib.cli.find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert "pip install 'meshlib-client[demo]'" in capsys.readouterr().err
