"""`meshlib check` says, like a compiler, what is wrong and what makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib.cli import main

GOOD = "services: {a: {}}\nclusters: {a: {endpoints: [h:1]}}\n"


def check(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str]]:
    file = folder / "mesh.yaml"
    file.write_text(text)
    status = main(["check", str(file), *options])
    return status, [line.removeprefix(f"{file}:") for line in capsys.readouterr().out.splitlines()]


def test_a_good_file_has_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD, capsys) == (0, [])


def test_what_only_a_constructor_refuses_is_an_error_here_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("[h:1]", "[h:1], breaker: {probes: {successes: 3}}")
    status, lines = check(tmp_path, text, capsys)
    assert status == 1
    assert lines == ["2: error: clusters.a.breaker: successes=3: expected at most calls=1"]


def test_every_error_of_one_reading_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "services:\n  a: {timout: 1}\nclusters:\n  a:\n    breaker:\n      failure_rate: 7\n"
    status, lines = check(tmp_path, text, capsys)
    assert status == 1
    assert lines == [
        "2: error: services.a.timout: unknown key; did you mean 'timeout'?",
        "6: error: clusters.a.breaker.failure_rate: expected at most 1, found 7",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {a: {}}\nclusters: {a: {}}\n", "clusters.a: has no endpoints"),
        (GOOD + "  \n", None),
        (GOOD.replace("{a: {endpoints: [h:1]}}", "{a: {endpoints: [h:1]}, b: {endpoints: [h:2]}}"), "no service leads"),
        (GOOD.replace("{a: {}}", "{a: {timeout: 1s, per_try_timeout: 1s}}"), "can never end a try"),
        (GOOD + "egress: [b, A.]\n", "egress.hosts[1]: a never goes out: service 'a' takes it"),
    ],
)
def test_what_makes_no_sense_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str | None
) -> None:
    status, lines = check(tmp_path, text, capsys)
    assert status == 0
    assert (said is None and not lines) or (said is not None and said in lines[0] and " warning: " in lines[0])
    assert check(tmp_path, text, capsys, "--strict")[0] == (1 if said else 0)


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ("path: /v1/*", "path: /v1/x", True),
        ("path: /v1/*", "path: /v1/x/*", True),
        ("path: /v1/*", "path: /v10", False),
        ("path: /v1/x", "path: /v1/*", False),
        ("path: /v1/*, method: GET", "path: /v1/x", False),
        ("path: /v1/*, method: [GET, PUT]", "path: /v1/x, method: GET", True),
        ("headers: {x: '1'}", "headers: {x: '1'}, path: /a", True),
        ("headers: {x: '1'}", "headers: {x: '2'}", False),
        ("env: dev", "path: /a", False),
    ],
)
def test_a_rule_that_an_earlier_one_covers_is_never_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str, second: str, shadowed: bool
) -> None:
    rules = f"routes: [{{match: {{{first}}}, split: a}}, {{match: {{{second}}}, split: a}}]"
    _, lines = check(tmp_path, GOOD.replace("{a: {}}", f"{{a: {{{rules}, split: a}}}}"), capsys)
    assert any("never reached" in line for line in lines) is shadowed
