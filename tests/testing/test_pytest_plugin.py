"""The pytest plugin, used as a user's test suite would: plain tests, asyncio's and anyio's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["meshlib.testing.pytest_plugin"]'
SUITE = """
import httpx
import pytest

from meshlib import CircuitBreaker, BreakerOpen, retry

left = [OSError("down"), OSError("down")]


@retry(3, on=OSError, backoff=3600.0)
def fetch() -> str:
    if left:
        raise left.pop()
    return "fetched"


def test_a_retry_of_an_hour_takes_no_time(instant_retries):
    assert fetch() == "fetched"
    assert instant_retries == [3600.0, 3600.0]


def test_the_clock_is_a_number(manual_clock):
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=60.0, on=OSError, runtime=manual_clock)

    @breaker
    def broken():
        raise OSError("down")

    with pytest.raises(OSError):
        broken()
    with pytest.raises(BreakerOpen):
        broken()
    manual_clock.advance(60.0)
    with pytest.raises(OSError):
        broken()


def test_a_service_answers_from_its_script(scripted_services, instant_retries):
    services = scripted_services({"users": [httpx.Response(200, json={"name": "Ada"})]})
    with services.client() as client:
        assert client.get("http://users/1").json() == {"name": "Ada"}
        services.inject("users", 503, httpx.ConnectError("refused"))
        assert client.get("http://users/1").json() == {"name": "Ada"}
    assert services.calls("users") == 4


def test_no_breaker_is_left_open_by_another_test(scripted_services, instant_retries):
    for _ in range(2):
        services = scripted_services({"users": [503]}, retry=False)
        with services.client() as client:
            assert [client.get("http://users/").status_code for _ in range(20)] == [503] * 20


@pytest.mark.asyncio
async def test_under_pytest_asyncio(scripted_services, instant_retries):
    async with scripted_services({"users": [503, 200]}).async_client() as client:
        assert (await client.get("http://users/")).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_under_anyio(scripted_services, instant_retries):
    async with scripted_services({"users": [503, 200]}).async_client() as client:
        assert (await client.get("http://users/")).status_code == 200
"""


def test_the_fixtures_serve_plain_asyncio_and_anyio_tests(pytester: pytest.Pytester, tmp_path: Path) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)
    pytester.makeini("[pytest]\nmarkers =\n    anyio: both\nasyncio_mode = strict\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=7)
