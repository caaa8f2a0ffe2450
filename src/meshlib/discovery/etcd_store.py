"""Etcd store: a text in etcd (version 3) through its JSON gateway: one key, compared and swapped by revision, watched.

The watch runs in a thread of its own and needs nothing but the standard library. It resumes one revision after the
last that it has seen, so nothing is lost and nothing comes twice; if etcd has compacted that away, it reads the present
state and goes on from there. While etcd is away it tries again after 0.1 to 5 seconds.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .. import forked
from ..native import start_native_thread
from .store import Changed, Conflict, Entry, StoreAway, Told

SHORTEST, LONGEST = 0.1, 5.0


class EtcdStore:
    """The text under `key` of the etcd at `host:port` (plain HTTP; put TLS in front, or an agent on the host)."""

    def __init__(
        self, address: str = "127.0.0.1:2379", key: str = "/meshlib/mesh.yaml", *, timeout: float = 5.0
    ) -> None:
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"address={address!r}: expected host:port")
        self.host: str
        self.port: int
        self.key: str
        self.timeout: float
        self.host, self.port, self.key, self.timeout = host, int(port), key, timeout
        self.name: str = f"etcd {host}:{port}{key}"

    def get(self) -> Entry | None:
        return self._at(0)

    def put(self, text: str, *, expected: str | None = None) -> Entry:
        write = {"request_put": {"key": _b64(self.key), "value": _b64(text)}}
        transaction: dict[str, Any] = {"success": [write]}
        if expected is not None:
            is_that = {"key": _b64(self.key), "target": "MOD", "result": "EQUAL", "mod_revision": expected or "0"}
            transaction["compare"] = [is_that]
            transaction["failure"] = [{"request_range": {"key": _b64(self.key)}}]
        answer = self._ask("/v3/kv/txn", transaction)
        if not answer.get("succeeded"):
            found = answer["responses"][0]["response_range"].get("kvs", [])
            raise Conflict(self.name, found[0]["mod_revision"] if found else "", expected or "")
        return Entry(text, answer["header"]["revision"])

    def history(self, limit: int = 20) -> list[Entry]:
        found: list[Entry] = []
        revision = 0
        while len(found) < limit:
            try:
                entry = self._at(revision)
            except StoreAway:
                if found:  # compacted: etcd remembers no further
                    break
                raise
            if entry is None:
                break
            found.append(entry)
            revision = int(entry.revision) - 1
            if revision < 1:
                break
        return found

    def watch(self, changed: Changed, told: Told = lambda problem: None) -> Callable[[], None]:
        return _Watch(self, changed, told).close

    def _at(self, revision: int) -> Entry | None:
        answer = self._ask("/v3/kv/range", {"key": _b64(self.key), "revision": str(revision)})
        found = answer.get("kvs", [])
        return _entry(found[0]) if found else None

    def _ask(self, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise StoreAway(f"{self.name}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise StoreAway(f"{self.name}: {answer.get('message') or answer.get('error') or response.status}")
        return answer


class _Watch:
    """The thread behind `EtcdStore.watch`."""

    def __init__(self, store: EtcdStore, changed: Changed, told: Told) -> None:
        self._store = store
        self._changed = changed
        self._told = told
        self._last = 0  # the revision of the last state that was passed on
        self._next = 0  # the revision to watch from; 0: read the present state first
        self._cluster = ""  # whose revisions these are
        self._away = False
        self._gone = False  # the text was deleted
        self._stop = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._passing = False  # `changed` is at work, or was when this process was forked off
        self._ident = 0
        forked.register(self)
        self._start()

    def _start(self) -> None:
        self._ended = threading.Event()
        start_native_thread(partial(self._run, self._ended), f"meshlib {self._store.name}")

    def _after_fork(self) -> None:
        """The connection is the parent's, and may not be shut down from here."""
        closed, self._stop = self._stop.is_set(), threading.Event()
        if closed:
            self._stop.set()
        self._connection = None
        if self._passing:
            self._next = self._last = 0

    def _resume(self) -> None:
        if not self._stop.is_set():
            self._start()

    def close(self) -> None:
        self._stop.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread out of its read
        if threading.get_ident() != self._ident:
            self._ended.wait(timeout=2.0)

    def _run(self, ended: threading.Event) -> None:
        self._ident = threading.get_ident()
        try:
            self._go_on()
        finally:
            ended.set()

    def _go_on(self) -> None:
        wait = SHORTEST
        while not self._stop.is_set():
            try:
                for message in self._messages():
                    wait = SHORTEST
                    self._take(message)
            except Exception as problem:  # whatever it is: a watch that dies would leave the mesh blind for ever
                if not self._stop.is_set():
                    self._away = True
                    self._told(str(problem) if isinstance(problem, StoreAway) else f"{self._store.name}: {problem!r}")
            if self._stop.wait(wait * (0.5 + random.random() / 2)):
                return
            wait = min(wait * 2, LONGEST)

    def _messages(self) -> Iterator[Any]:
        store = self._store
        if not self._next:
            answer = store._ask("/v3/kv/range", {"key": _b64(store.key)})
            self._cluster = answer["header"].get("cluster_id", "")
            self._next = int(answer["header"]["revision"]) + 1
            found = answer.get("kvs", [])
            self._gone = self._gone or (self._last > 0 and not found)
            self._back()
            for one in found:
                self._pass_on(_entry(one))
            if self._gone:
                self._deleted()
        connection = self._connection = http.client.HTTPConnection(store.host, store.port, timeout=store.timeout)
        try:
            connection.connect()
            if self._stop.is_set():
                return  # whoever closes either sees the socket, or is seen here
            request = {"create_request": {"key": _b64(store.key), "start_revision": str(self._next)}}
            connection.request("POST", "/v3/watch", json.dumps(request), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise StoreAway(f"{store.name}: the watch was refused with {response.status}")
            if connection.sock is not None:
                connection.sock.settimeout(None)  # silence is what a watch is made of
                _keep_alive(connection.sock)  # but not that of a dead peer
            while line := response.readline():
                yield json.loads(line)
            raise StoreAway(f"{store.name}: the watch ended")
        except (OSError, http.client.HTTPException, ValueError, RecursionError, AttributeError) as error:
            raise StoreAway(f"{store.name}: {error or type(error).__name__}") from None
        finally:
            self._connection = None
            connection.close()

    def _take(self, message: Any) -> None:
        result = message.get("result")
        if result is None:
            error = message.get("error")
            raise StoreAway(f"{self._store.name}: {error.get('message') if isinstance(error, dict) else error}")
        if result.get("canceled") or int(result.get("compact_revision", 0)):
            self._next = 0  # what we wanted is compacted away: read the present state
            raise StoreAway(f"{self._store.name}: its history was compacted; reading it afresh")
        if self._is_another(result["header"]):
            self._next = self._last = 0
            raise StoreAway(f"{self._store.name}: it is not the etcd that it was; reading it afresh")
        self._back()
        # Only events move the place to resume from: the header of the first message is ahead of what is still to come.
        for event in result.get("events", []):
            if event.get("type", "PUT") == "PUT":
                self._pass_on(_entry(event["kv"]))
            else:
                self._deleted()
            self._next = max(self._next, int(event["kv"]["mod_revision"]) + 1)

    def _is_another(self, header: Any) -> bool:
        """Restored from a backup, or replaced: then it counts from somewhere else.

        An etcd that has just been restarted may answer a watch before it has read its own log again. So a revision that
        is too low counts only if a read, which waits for that, finds the same.
        """
        if header.get("cluster_id", "") == self._cluster and int(header["revision"]) >= self._next - 1:
            return False
        header = self._store._ask("/v3/kv/range", {"key": _b64(self._store.key)})["header"]
        return header.get("cluster_id", "") != self._cluster or int(header["revision"]) < self._next - 1

    def _pass_on(self, entry: Entry) -> None:
        if int(entry.revision) > self._last:
            self._last = int(entry.revision)
            self._next = max(self._next, self._last + 1)
            self._gone = False
            self._back()
            self._passing = True
            try:
                self._changed(entry)
            finally:
                self._passing = False

    def _deleted(self) -> None:
        self._away = self._gone = True
        self._told(f"{self._store.name}: there is no text in it any more")

    def _back(self) -> None:
        if self._away and not self._gone:
            self._away = False
            self._told(None)


def _keep_alive(sock: socket.socket) -> None:
    """Have the system notice within half a minute that the other side is no more."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _entry(found: Any) -> Entry:
    return Entry(base64.b64decode(found.get("value", "")).decode(errors="replace"), found["mod_revision"])


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
