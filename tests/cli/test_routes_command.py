"""`meshlib routes` reads and writes a store, checks what it writes, and never overwrites what it has not seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from meshlib.cli import main

ONE = "services: {a: {}}\nclusters: {a: {endpoints: [h:1]}}\n"
TWO = ONE.replace("h:1", "h:2")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "two.yaml").write_text(TWO)
    return str(tmp_path / "mesh.yaml"), str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")


def test_what_was_put_is_got_and_can_be_rolled_back(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    store, one, two = files
    assert main(["routes", "put", store, one]) == 0
    assert main(["routes", "put", store, two]) == 0
    capsys.readouterr()
    assert main(["routes", "get", store]) == 0
    assert capsys.readouterr().out == TWO
    assert main(["routes", "diff", store]) == 0
    assert "-clusters: {a: {endpoints: [h:1]}}" in capsys.readouterr().out
    assert main(["routes", "rollback", store]) == 0
    assert Path(store).read_text() == ONE
    capsys.readouterr()
    assert main(["routes", "history", store]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_text_that_makes_no_sense_is_not_written(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("services: {a: {}}")
    assert main(["routes", "put", files[0], str(tmp_path / "bad.yaml")]) == 1
    assert "no cluster of this name" in capsys.readouterr().err
    assert not Path(files[0]).exists()


def test_a_writer_who_has_not_seen_the_latest_is_refused(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    store, one, two = files
    main(["routes", "put", store, one])
    assert main(["routes", "put", store, two, "--expected", "0000"]) == 1
    assert "another writer wrote" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "put", str(tmp_path / "mesh.yaml"), str(tmp_path / "nowhere.yaml")]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(ONE + "# much more\n" * 20_000)
    command = [sys.executable, "-m", "meshlib", "routes", "get", str(tmp_path / "mesh.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
