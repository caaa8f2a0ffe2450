"""A server that echoes ids, and speaks out of turn exactly when a test says so. Raw sockets, a thread per connection.

`say` and `settle` block: when they return, all that was said is in the client's kernel, and its event loop has had no
turn. So it was there before the next request, beyond doubt, and must not become the answer to it. (What is said after
the next request has been sent cannot be told from its answer; this server never does that.)
"""

from __future__ import annotations

import queue
import select
import socket
import ssl
import struct
import threading
from collections import Counter
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

STRANGER = b"HTTP/1.1 200 OK\r\nX-Id: stranger\r\nContent-Length: 9\r\n\r\nstranger|"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PATIENCE = 10.0  # seconds until a test that waits in vain fails


class Echo:
    """`GET /ID?then=WORDS&total=BYTES` is answered with `ID|....`, and with `X-Id: ID`.

    `total` is the length of the answer, its head included. `then`, if that is not all:

    two, 408        a second answer, a 408, in one piece with the answer
    two-apart, ...  the same in a second piece
    end, 408-end    closes the connection after the answer, after the answer and a 408
    hints           a 103 comes first
    chunked         the answer is in chunks
    body            the answer to HEAD has a body
    give-up         no answer but a 408 that closes, if the connection was used before
    408-open        the same, and the connection stays open, as the 408 says nothing of closing
    408-always      a 408 that closes, on any connection
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.seen: Counter[str] = Counter()  # how often a request with this id came whole
        self.accepted = 0
        self._peers: list[Peer] = []
        self._turn = threading.Condition()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Echo:
        threading.Thread(target=self._accept, name="echo", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.say("end")
        for peer in self._peers:
            peer.thread.join(PATIENCE)

    def say(self, what: str, every: int = 1) -> int:
        """Say `what` over each open connection, or `every` second, third …; returns over how many.

        answer, 408, part (of an answer); end, reset; over TLS notify (which ends it properly), and ticket: a request
        for the client's certificate, and then session tickets, which are no data.
        """
        with self._turn:
            peers = [peer for peer in self._peers if peer.open][::every]
        said = [peer.ask(what) for peer in peers]
        for one in said:
            assert one.wait(PATIENCE)
        return len(peers)

    def settle(self) -> None:
        """Wait until all requests that have come are answered, and all is said that is to follow."""
        with self._turn:
            assert self._turn.wait_for(lambda: not any(peer.busy for peer in self._peers), PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._turn:
                self.accepted += 1
                self._peers.append(Peer(self, connection))

    def came(self, peer: Peer, name: str) -> None:
        with self._turn:
            peer.busy = True
            self.seen[name] += 1
            self._turn.notify_all()

    def quiet(self, peer: Peer) -> None:
        with self._turn:
            peer.busy = False
            self._turn.notify_all()


class Peer:
    """One connection."""

    def __init__(self, echo: Echo, connection: socket.socket) -> None:
        self.open = True
        self.busy = False  # from a whole request until all is said that follows it
        self._echo = echo
        self._socket = connection
        self._requests = 0
        self._asked: queue.SimpleQueue[tuple[str, threading.Event]] = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self.thread = threading.Thread(target=self._run, name="echo peer", daemon=True)
        self.thread.start()

    def ask(self, what: str) -> threading.Event:
        done = threading.Event()
        self._asked.put((what, done))
        try:
            self._wake.send(b".")
        except OSError:
            done.set()  # it is closed already
        return done

    def _run(self) -> None:
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(PATIENCE)
            if self._echo.context is not None:
                self._socket = self._echo.context.wrap_socket(self._socket, server_side=True)
            self._socket.setblocking(False)
            self._serve()
        except OSError:
            pass
        finally:
            self.open = False
            self._socket.close()
            self._echo.quiet(self)
            self._wake.close()
            self._woken.close()
            while not self._asked.empty():
                self._asked.get()[1].set()

    def _serve(self) -> None:
        data = b""
        while True:
            ready, _, _ = select.select([self._socket, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(1)
                what, done = self._asked.get()
                try:
                    if not self._speak(what):
                        return
                finally:
                    self.open = what in ("answer", "408", "part", "ticket")
                    done.set()
                continue
            while (more := self._read()) is not None:
                if not more:
                    return
                data += more
            while (request := _request(data)) is not None:
                data = data[request[0] :]
                if not self._answer(*request[1:]):
                    return

    def _read(self) -> bytes | None:
        """What has come; None if that is nothing."""
        try:
            return self._socket.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                select.select([], [self._socket], [], PATIENCE)

    def _speak(self, what: str) -> bool:
        """False: and that was the end."""
        if what in ("answer", "408", "part"):
            self._send({"answer": STRANGER, "408": TIMED_OUT, "part": b"HTTP/1.1 20"}[what])
            return True
        if what == "ticket":
            assert isinstance(self._socket, ssl.SSLSocket)
            self._socket.verify_client_post_handshake()
            self._socket.do_handshake()
            return True
        if what == "notify":
            assert isinstance(self._socket, ssl.SSLSocket)
            try:
                self._socket.unwrap()
            except (OSError, ValueError):
                pass  # the client has not said the same yet
        elif what == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        return False

    def _answer(self, method: str, target: str) -> bool:
        """False: and that was the end."""
        url = urlsplit(target)
        options = {name: values[0] for name, values in parse_qs(url.query).items()}
        name, then = url.path[1:], options.get("then", "")
        self._requests += 1
        self._echo.came(self, name)
        if then == "408-always" or (then in ("give-up", "408-open") and self._requests > 1):
            if then == "408-open":
                self._send(TIMED_OUT.replace(b"Connection: close\r\n", b""))
                self._echo.quiet(self)
                return True
            self._send(TIMED_OUT)
            return False
        pieces = [_answer(name, method, int(options.get("total", 0)), then)]
        if then.startswith("two"):
            pieces.append(STRANGER)
        elif then.startswith("408"):
            pieces.append(TIMED_OUT)
        for piece in pieces if then.endswith("-apart") else [b"".join(pieces)]:
            self._send(piece)
        if then.endswith("end"):
            self.open = False
            self._socket.close()
            return False
        self._echo.quiet(self)
        return True


def _request(data: bytes) -> tuple[int, str, str] | None:
    """The length, method and target of the first request in `data`; None if it has not come whole."""
    head, _, body = data.partition(b"\r\n\r\n")
    if len(head) == len(data):
        return None
    first, *fields = head.decode("latin-1").split("\r\n")
    lengths = [int(field.split(":")[1]) for field in fields if field.lower().startswith("content-length:")]
    length = lengths[0] if lengths else 0
    if len(body) < length:
        return None
    method, target, _ = first.split(" ")
    return len(head) + 4 + length, method, target


def _answer(name: str, method: str, total: int, then: str) -> bytes:
    lead = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" if then == "hints" else b""
    body = f"{name}|".encode()
    if then == "chunked":
        lead += b"HTTP/1.1 200 OK\r\nX-Id: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % name.encode()
        return lead if method == "HEAD" else lead + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = b"HTTP/1.1 200 OK\r\nX-Id: %b\r\nContent-Length: %%d\r\n\r\n" % name.encode()
    length = max(len(body), total - len(lead + head))
    while total and length > len(body) and len(lead + head % length) + length > total:
        length -= 1
    answer = lead + head % length
    return answer if method == "HEAD" and then != "body" else answer + body.ljust(length, b".")
