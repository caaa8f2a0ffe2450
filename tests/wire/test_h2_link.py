"""What a link lets pass between h2 and a server, and what it knows of each stream."""

from __future__ import annotations

import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from meshlib.wire.h2_link import NOTHING, PREFACE, Link

ERROR = 11  # ENHANCE_YOUR_CALM


def headers(stream: int, *, end: bool = True) -> bytes:
    frame = HeadersFrame(stream, b"\x82")
    frame.flags.add("END_HEADERS")
    if end:
        frame.flags.add("END_STREAM")
    return bytes(frame.serialize())


def data(stream: int, size: int = 2, *, end: bool = False) -> bytes:
    return bytes(DataFrame(stream, b"x" * size, flags=["END_STREAM"] if end else []).serialize())


def goaway(last: int, code: int = 0) -> bytes:
    return bytes(GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=b"bye").serialize())


def reset(stream: int, code: int = 7) -> bytes:
    return bytes(RstStreamFrame(stream, error_code=code).serialize())


def link(*streams: int, end: bool = True) -> Link:
    """A link over which the requests of `streams` were sent."""
    one = Link()
    one.sending(PREFACE + SettingsFrame(0).serialize())
    for stream in streams:
        assert one.sending(headers(stream, end=end)) == headers(stream, end=end)
    return one


def frames(raw: bytes) -> list[tuple[type[Frame], int]]:
    """The frames in `raw`, each as its type and stream."""
    found = []
    while raw:
        frame, length = Frame.parse_frame_header(memoryview(raw)[:9])
        found.append((type(frame), frame.stream_id))
        raw = raw[9 + length :]
    return found


def refused(one: Link, *streams: int) -> list[int]:
    return [stream for stream in streams if one.refusal(stream) is not None]


def test_other_protocols_pass_as_they_are() -> None:
    one = Link()
    assert one.sending(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert not one.http2


def test_a_goaway_refuses_what_is_beyond_it_and_lets_the_rest_finish() -> None:
    one = link(1, 3, 5, 7)
    one.received(goaway(3) + headers(1) + headers(3, end=False) + data(3, end=True))
    assert frames(one.take()) == [
        (RstStreamFrame, 5), (RstStreamFrame, 7), (HeadersFrame, 1), (HeadersFrame, 3), (DataFrame, 3)
    ]  # fmt: skip
    assert refused(one, 1, 3, 5, 7) == [5, 7]
    assert (one.closing, one.ended) == (True, False)


def test_a_second_goaway_can_only_refuse_more() -> None:
    one = link(1, 3, 5)
    one.received(goaway(0x7FFFFFFF))
    assert refused(one, 1, 3, 5) == []
    one.received(goaway(3))
    assert refused(one, 1, 3, 5) == [5]
    one.received(goaway(0x7FFFFFFF) + goaway(1))
    assert refused(one, 1, 3, 5) == [3, 5]


def test_a_stream_whose_response_has_begun_was_processed_whatever_the_goaway_says() -> None:
    one = link(1, 3)
    one.received(headers(3, end=False) + goaway(1))
    assert refused(one, 1, 3) == []


def test_no_stream_begins_after_a_goaway() -> None:
    one = link(1)
    one.received(goaway(1))
    late = headers(3, end=False) + data(3, end=True)
    assert one.sending(late + data(1)) == data(1)
    assert refused(one, 1, 3) == [3]


def test_a_goaway_for_an_error_ends_the_connection_at_once() -> None:
    one = link(1, 3)
    one.received(headers(1, end=False) + goaway(1, ERROR) + data(1))
    assert frames(one.take()) == [(HeadersFrame, 1), (RstStreamFrame, 3)]
    assert one.ended
    assert str(one.goaway) == (
        "the server ended the HTTP/2 connection: GOAWAY (ENHANCE_YOUR_CALM, 'bye'), last stream 1"
    )


@pytest.mark.parametrize(("last", "progress"), [(0, False), (1, True)])
def test_a_refusal_says_whether_the_connection_was_of_use(last: int, progress: bool) -> None:
    one = link(1, 3)
    one.received(goaway(last))
    refusal = one.refusal(3)
    assert refusal is not None
    assert refusal.progress is progress


def test_a_refused_stream_closes_the_connection_to_new_ones() -> None:
    one = link(1, 3)
    one.received(reset(1))
    assert frames(one.take()) == [(RstStreamFrame, 1)]
    assert (refused(one, 1, 3), one.closing, one.ended) == ([1], True, False)


@pytest.mark.parametrize("before", [headers(1, end=False), b""])
@pytest.mark.parametrize("code", [0, 2, 7, 8])
def test_other_resets_refuse_nothing(before: bytes, code: int) -> None:
    one = link(1)
    one.received(before + reset(1, code))
    assert bool(refused(one, 1)) is (code == 7 and not before)
    assert frames(one.take())[-1] == (RstStreamFrame, 1)


def test_the_end_of_a_connection_refuses_only_what_was_not_sent() -> None:
    one = link(1)
    one.received(b"")
    assert (refused(one, 1, 3), one.closing, one.ended) == ([3], True, True)
    assert one.sending(headers(3)) == b""


def test_it_rests_between_requests() -> None:
    one = link()
    assert not one.resting  # the server's first bytes may still be on their way
    one.sending(headers(1))
    assert not one.resting
    one.received(headers(1))
    assert one.resting
    one.received(goaway(1))
    assert not one.resting


def test_a_response_before_the_end_of_the_request_makes_the_rest_of_it_superfluous() -> None:
    one = link(1, 3, end=False)
    one.received(headers(1) + reset(1, 0))
    assert frames(one.take()) == [(HeadersFrame, 1)]
    assert one.sending(data(1, 500) + data(3) + data(1, 0, end=True)) == data(3)
    assert frames(one.take()) == [(WindowUpdateFrame, 1), (WindowUpdateFrame, 0)]  # h2 counts the 500 bytes as sent
    one.received(reset(3, 0))  # not answered: that is the end of it
    assert frames(one.take()) == [(RstStreamFrame, 3)]


def test_reads_hurry_until_every_refused_request_has_noticed() -> None:
    one = link(1, 3, 5)
    one.received(goaway(1))
    one.take()
    assert one.hurry()
    one.forget(3)
    assert one.hurrying
    one.forget(5)
    assert not one.hurry()
    assert frames(NOTHING) == [(PingFrame, 0)]


def test_reads_hurry_for_one_round_at_the_most() -> None:
    one = link(*range(1, 40, 2))
    one.received(goaway(1))
    assert sum(one.hurry() for _ in range(1000)) == 2 * 20


def test_a_frame_that_h2_does_not_allow_is_left_to_h2() -> None:
    one = link(1)
    huge = (1 << 15).to_bytes(3) + b"\0\0" + (1).to_bytes(4) + b"x" * 100
    one.received(huge)
    assert one.take() == huge


def test_large_frames_of_ours_pass() -> None:
    one = link(1, end=False)
    assert one.sending(data(1, 1 << 20)) == data(1, 1 << 20)


@given(cuts=st.lists(st.integers(0, 200)), code=st.sampled_from([0, ERROR]), last=st.sampled_from([0, 1, 3, 5]))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int], code: int, last: int) -> None:
    raw = SettingsFrame(0).serialize() + headers(3, end=False) + data(3) + goaway(last, code) + data(3, end=True)
    raw += headers(1) + goaway(0, code) + reset(5)
    whole, cut = link(1, 3, 5), link(1, 3, 5)
    whole.received(raw)
    passed, begin = b"", 0
    for end in [*sorted(at for at in cuts if at < len(raw)), len(raw)]:
        if raw[begin:end]:
            cut.received(raw[begin:end])
        passed += cut.take()
        begin = end
    assert passed == whole.take()
    assert refused(cut, 1, 3, 5) == refused(whole, 1, 3, 5)
    assert (cut.goaway, cut.ended) == (whole.goaway, whole.ended)
