"""An HTTP client that costs next to nothing: a plain socket, whole blocks, no thread and no loop."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_WAIT = 300.0  # seconds without a byte
_HEAD_READ = 64 * 1024
_LONGEST_HEAD = 256 * 1024

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names are in lower case."""

    status: int
    headers: Mapping[str, str]


class Connection:
    """One connection that is kept alive, for one request after the other; made anew when the server closed it."""

    def __init__(self, url: str) -> None:
        """Connect to the host of an address that begins with http://."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url} is no plain http address")
        self.host = parts.netloc
        self._address = (parts.hostname, parts.port or 80)
        self._socket: socket.socket | None = self._connected()
        self._rest = b""
        self._head = Head(0, {})

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: Iterable[Bytes] = (),
    ) -> Head:
        """Send a request, framed by the headers that are given, and return the head of its answer."""
        if self._socket is None:
            self._socket = self._connected()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        pending = "\r\n".join([*lines, "", ""]).encode()
        for piece in body:
            if len(pending) + len(piece) < _HEAD_READ:
                pending += piece  # a small body goes with its head
                continue
            if pending:
                self._socket.sendall(pending)
                pending = b""
            self._socket.sendall(piece)
        if pending:
            self._socket.sendall(pending)
        self._head = self._read_head()
        return self._head

    def body(self) -> bytes:
        """Read the whole body of the last answer."""
        if self._head.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._finished(self._read_chunked())
        content = bytearray(int(self._head.headers.get("content-length", "0")))
        self.receive_into(memoryview(content))
        return self._finished(bytes(content))

    def receive_into(self, view: memoryview) -> None:
        """Fill a buffer with the next bytes of the body."""
        assert self._socket is not None
        filled = min(len(self._rest), len(view))
        view[:filled] = self._rest[:filled]
        self._rest = self._rest[filled:]
        while filled < len(view):
            count = self._socket.recv_into(view[filled:])
            if not count:
                raise ConnectionError("the server closed the connection within a body")
            filled += count

    def finish(self) -> None:
        """Leave a body that was read by receive_into; closes the connection if the server is going to."""
        self._finished(b"")

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._rest = b""

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._address, timeout=_LONGEST_WAIT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _finished(self, body: bytes) -> bytes:
        if self._head.headers.get("connection", "").lower() == "close":
            self.close()
        return body

    def _read_head(self) -> Head:
        while (end := self._rest.find(b"\r\n\r\n")) < 0:
            self._receive_more()
        first, *lines = self._rest[:end].decode("latin-1").split("\r\n")
        self._rest = self._rest[end + 4 :]
        pairs = (line.split(":", 1) for line in lines)
        return Head(int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, value in pairs})

    def _receive_more(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(_HEAD_READ)
        if not data or len(self._rest) > _LONGEST_HEAD:
            raise ConnectionError("the server closed the connection instead of answering")
        self._rest += data

    def _read_chunked(self) -> bytes:
        content = b""
        while True:
            while (end := self._rest.find(b"\r\n")) < 0:
                self._receive_more()
            size = int(self._rest[:end], 16)
            self._rest = self._rest[end + 2 :]
            chunk = bytearray(size + 2)
            self.receive_into(memoryview(chunk))
            if not size:
                return content
            content += chunk[:-2]
