"""What an error of httpx's says about a request over HTTP/2, whichever connection it went over."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, StreamReset
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame, SettingsFrame

from meshlib.http.engine.goaway import FAILURE, GRACEFUL, MAX_REFUSALS, MAX_RESENDS, UNSENT, Fate, Resends, fate
from meshlib.wire.h2_link import GoAway, Refusal


@pytest.fixture(params=["httpx", "httpx2"])
def libs(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """httpx and httpcore, or the twins of both."""
    return importlib.import_module(request.param), importlib.import_module(request.param.replace("x", "core", 1))


def goaway(last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> ConnectionTerminated:
    event = ConnectionTerminated()
    event.error_code, event.last_stream_id = code, last
    return event


def reset(code: ErrorCodes) -> StreamReset:
    event = StreamReset(stream_id=1)
    event.error_code = code
    return event


HEADERS = [(":method", "POST"), (":scheme", "https"), (":authority", "users"), (":path", "/")]


def over(call: str) -> ProtocolError:
    """What h2 raises for a call to a connection that the server has ended."""
    connection = H2Connection(H2Configuration())
    connection.initiate_connection()
    if call == "send_data":
        connection.send_headers(1, HEADERS)
    connection.receive_data(SettingsFrame(0).serialize() + GoAwayFrame(0).serialize())
    arguments: dict[str, Any] = {"send_headers": (1, HEADERS), "send_data": (1, b"")}
    with pytest.raises(ProtocolError) as caught:
        getattr(connection, call)(*arguments[call])
    return caught.value


def told(libs: tuple[Any, Any], what: object, context: BaseException | None = None) -> Fate:
    """The fate that httpx's error for httpcore's error with `what` stands for."""
    lib, core = libs
    inner = core.RemoteProtocolError(what)
    inner.__context__ = context
    error = lib.RemoteProtocolError(str(inner))
    error.__cause__ = inner
    return fate(error)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (Refusal("GOAWAY"), UNSENT),
        (GoAway(0, 7), GRACEFUL),
        (GoAway(11, 7), FAILURE),
        (goaway(7), GRACEFUL),
        (goaway(0), UNSENT),
        (goaway(0, ErrorCodes.ENHANCE_YOUR_CALM), UNSENT),
        (goaway(7, ErrorCodes.ENHANCE_YOUR_CALM), FAILURE),
        (reset(ErrorCodes.REFUSED_STREAM), UNSENT),
        (reset(ErrorCodes.NO_ERROR), FAILURE),
        (reset(ErrorCodes.CANCEL), FAILURE),
        ("Server disconnected", FAILURE),
        ("Invalid input ConnectionInputs.SEND_HEADERS in state ConnectionState.CLOSED", FAILURE),
    ],
    ids=str,
)
def test_what_the_server_said(libs: tuple[Any, Any], what: object, expected: Fate) -> None:
    assert told(libs, what) is expected


def test_what_h2_says_when_the_server_said_it_to_another_request(libs: tuple[Any, Any]) -> None:
    assert told(libs, over("send_headers")) is UNSENT
    assert told(libs, goaway(7), over("send_headers")) is UNSENT
    assert told(libs, over("send_data")) is GRACEFUL
    assert told(libs, goaway(7), over("send_data")) is GRACEFUL
    assert told(libs, goaway(7, ErrorCodes.PROTOCOL_ERROR), over("send_data")) is FAILURE
    assert told(libs, ProtocolError("a frame too large")) is FAILURE


def test_errors_of_other_transports_say_nothing(libs: tuple[Any, Any]) -> None:
    lib, _ = libs
    error = lib.RemoteProtocolError("")
    assert fate(error) is FAILURE
    error.__cause__ = ValueError(reset(ErrorCodes.REFUSED_STREAM))
    assert fate(error) is FAILURE
    error.__cause__ = OSError()
    assert fate(error) is FAILURE


def test_a_request_is_sent_again_a_few_times_and_more_often_where_others_come_through(libs: tuple[Any, Any]) -> None:
    lib, core = libs
    vain, crowded = lib.RemoteProtocolError(""), lib.RemoteProtocolError("")
    vain.__cause__ = core.RemoteProtocolError(Refusal("GOAWAY"))
    crowded.__cause__ = core.RemoteProtocolError(Refusal("GOAWAY", progress=True))
    resends = Resends()
    assert [resends.again(vain) for _ in range(MAX_REFUSALS + 1)] == [True] * MAX_REFUSALS + [False]
    assert [resends.again(crowded) for _ in range(MAX_RESENDS - MAX_REFUSALS)] == [True] * (MAX_RESENDS - MAX_REFUSALS)
    assert not resends.again(crowded)
    assert resends.made == MAX_RESENDS
