"""A small HTTP/1.1 client for GETs whose bodies stay in the socket: raw sockets, kept and used again.

It knows exactly as much of HTTP as an object storage needs: one answer for each request, a status, headers, and a
body of a stated length. Whatever differs from that is refused, and its connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import StorageUnavailable
from gateway.transport.waiting import until_ready

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LONGEST_HEAD = 64 << 10
_HEAD_PIECE = 8 << 10
"""Read at once for the head of an answer; what comes with it of the body costs a copy."""
_SMALL = 64 << 10
"""Bodies up to this size are read together with the head: a copy costs less than splicing."""
_SLICE = 256 << 10
_STATUS = re.compile(rb"HTTP/1\.([01]) ([2-5][0-9]{2})(?: [^\r\n\0]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25


class UpstreamBroken(StorageUnavailable):
    """The storage cannot be reached, fell silent, cut its answer off, or does not speak proper HTTP."""


class _Unanswered(Exception):
    """The connection ended before a byte of the answer: natural for one that was idle, the storage had given it up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and numbers that bound what an upstream may cost."""

    connect_seconds: float = 3.0
    silent_seconds: float = 30.0
    idle_seconds: float = 10.0
    connections: int = 256


class Answer:
    """The answer to a request, whose body is still on its way; ``release`` it in the end, whatever happens."""

    def __init__(self, upstream: Upstream, connection: socket.socket, head: bytes, first: bytes) -> None:
        self._upstream = upstream
        self._connection = connection
        self.status, self.headers, keeps = _parse(head)
        self._keeps = keeps and "content-length" in self.headers
        self.length = _length(self.headers)
        if self.length is not None and len(first) > self.length:
            raise UpstreamBroken("the storage sends more than it has announced")
        self._first = first
        self.left = 0 if self.length is None else self.length - len(first)
        """Bytes of the body that are still in the socket, or on their way to it."""
        self._last = time.monotonic()
        self._pause = _FIRST_PAUSE

    @property
    def descriptor(self) -> int:
        """See splice.Source."""
        return self._connection.fileno()

    def take_first(self) -> bytes:
        """Return, once, what has come of the body together with the head."""
        first, self._first = self._first, b""
        return first

    def took(self, count: int) -> None:
        """Account for bytes that were taken out of the socket; 0 means that it has ended."""
        if not count:
            raise UpstreamBroken(f"the storage cut off its answer {self.left} bytes before the end")
        self.left -= count
        self._last = time.monotonic()
        self._pause = _FIRST_PAUSE

    async def readable(self) -> None:
        """Wait for more bytes, but not for long, so that the caller can look whether they are still wanted."""
        if await until_ready(self.descriptor, writing=False, seconds=self._pause):
            return
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if time.monotonic() - self._last > self._upstream.limits.silent_seconds:
            raise UpstreamBroken(f"the storage fell silent {self.left} bytes before the end of its answer")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, for whoever cannot splice it."""
        if first := self.take_first():
            yield first
        while self.left:
            try:
                chunk = self._connection.recv(min(self.left, _SLICE))
            except BlockingIOError:
                await self.readable()
                continue
            except OSError:
                chunk = b""
            self.took(len(chunk))
            yield chunk

    async def read_refusal(self, limit: int = 16 << 10) -> bytes:
        """Return the beginning of a body that explains a refusal, however it is framed."""
        text = self.take_first()
        try:
            async with asyncio.timeout(_LONGEST_PAUSE * 4):
                while len(text) < limit and b"</Error>" not in text and (self.left or self.length is None):
                    # Never more than was announced: what is left behind shows that the connection must not be kept.
                    chunk = await _receive(self._connection, min(self.left or _HEAD_PIECE, _HEAD_PIECE))
                    if not chunk:
                        break
                    self.left = max(self.left - len(chunk), 0)
                    text += chunk
        except (TimeoutError, OSError):
            self._keeps = False
        return text

    def release(self) -> None:
        """Give the connection back when all was taken out of it, else close it at once."""
        self._upstream.put_back(self._connection, usable=self._keeps and self.left == 0)


class Upstream:
    """One host and port, and the connections to it."""

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self._host = host
        self._port = port
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.connections)
        self._idle: deque[tuple[float, socket.socket]] = deque()
        self._pruning: asyncio.TimerHandle | None = None

    async def ask(self, head: bytes, expected: int) -> Answer:
        """Send a request and return the answer once its head has come; ``expected`` is the likely size of the body."""
        size = _HEAD_PIECE + (expected if expected <= _SMALL else 0)
        await self._slots.acquire()
        try:
            connection = self._take_idle()
            if connection is not None:
                try:
                    return await self._exchange(connection, head, size)
                except _Unanswered:
                    pass
            try:
                return await self._exchange(await self._connect(), head, size)
            except _Unanswered:
                raise UpstreamBroken(f"{self._name} closed the connection without an answer") from None
        except BaseException:
            self._slots.release()
            raise

    def put_back(self, connection: socket.socket, *, usable: bool) -> None:
        """Keep a connection for the next request, or close it."""
        self._slots.release()
        if not usable:
            connection.close()
            return
        self._idle.append((time.monotonic(), connection))
        self._prune_later()

    def close(self) -> None:
        """Close the idle connections."""
        if self._pruning is not None:
            self._pruning.cancel()
        while self._idle:
            self._idle.pop()[1].close()

    @property
    def _name(self) -> str:
        return f"{self._host}:{self._port}"

    async def _exchange(self, connection: socket.socket, head: bytes, size: int) -> Answer:
        """Send a request over a connection and read the head of its answer; the connection is closed on failure."""
        try:
            async with asyncio.timeout(self.limits.silent_seconds):
                return await self._converse(connection, head, size)
        except TimeoutError:
            connection.close()
            raise UpstreamBroken(f"{self._name} did not answer in {self.limits.silent_seconds:.0f} seconds") from None
        except BaseException:
            connection.close()
            raise

    async def _converse(self, connection: socket.socket, head: bytes, size: int) -> Answer:
        data = b""
        try:
            await _send(connection, head)
            while (end := data.find(b"\r\n\r\n")) < 0:
                if len(data) > _LONGEST_HEAD:
                    raise UpstreamBroken(f"{self._name} answers with an endless head")
                chunk = await _receive(connection, size)
                if not chunk:
                    break
                data += chunk
        except OSError as error:
            if data:
                raise UpstreamBroken(f"{self._name} cut off its answer: {error}") from error
            raise _Unanswered from error
        if not data:
            raise _Unanswered
        if end < 0:
            raise UpstreamBroken(f"{self._name} cut off its answer in the head")
        return Answer(self, connection, data[:end], data[end + 4 :])

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        problem: Exception = OSError("it has no address")
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                for family, kind, protocol, _, address in found:
                    connection = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
                    try:
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        await loop.sock_connect(connection, address)
                    except OSError as error:
                        connection.close()
                        problem = error
                    except BaseException:
                        connection.close()
                        raise
                    else:
                        return connection
        except (TimeoutError, OSError) as error:
            problem = error
        raise UpstreamBroken(f"{self._name} cannot be reached: {problem or 'it took too long'}") from problem

    def _take_idle(self) -> socket.socket | None:
        """Return the connection that was used last, unless the other side has closed it."""
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < self.limits.idle_seconds and _is_quiet(connection):
                return connection
            connection.close()
        return None

    def _prune_later(self) -> None:
        if self._pruning is None:
            loop = asyncio.get_running_loop()
            self._pruning = loop.call_later(self.limits.idle_seconds, self._prune)

    def _prune(self) -> None:
        """Close what was not used for a while."""
        self._pruning = None
        while self._idle and time.monotonic() - self._idle[0][0] >= self.limits.idle_seconds:
            self._idle.popleft()[1].close()
        if self._idle:
            self._prune_later()


async def _send(connection: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[connection.send(view) :]
        except BlockingIOError:
            await until_ready(connection.fileno(), writing=True, seconds=_LONGEST_PAUSE)


async def _receive(connection: socket.socket, size: int) -> bytes:
    """Return the next bytes, nothing at the end; the caller limits the time."""
    while True:
        try:
            return connection.recv(size)
        except BlockingIOError:
            await until_ready(connection.fileno(), writing=False, seconds=3600.0)


def _is_quiet(connection: socket.socket) -> bool:
    """Tell whether an idle connection is open and has nothing to say; anything else is the end of it."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _parse(head: bytes) -> tuple[int, dict[str, str], bool]:
    """Read the head of an answer: its status, its headers, and whether the connection may be used again."""
    status_line, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(status_line)
    if match is None:
        raise UpstreamBroken(f"the storage does not speak HTTP: {status_line[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise UpstreamBroken(f"the storage sends a header that is none: {line[:80]!r}")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1")
        if name in headers and name in {"content-length", "content-range", "transfer-encoding"}:
            raise UpstreamBroken(f"the storage sends {name} twice")
        headers[name] = value
    keeps = match[1] == b"1" and headers.get("connection", "keep-alive").lower() == "keep-alive"
    return int(match[2]), headers, keeps


def _length(headers: dict[str, str]) -> int | None:
    """Return the length of the body; None when it is framed in a way that only a refusal may have."""
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if length is not None:
            raise UpstreamBroken("the storage frames its answer in two ways")
        return None
    if length is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise UpstreamBroken(f"the storage sends a length that is none: {length!r}")
    return int(length)
