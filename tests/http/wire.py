"""A small HTTP/1.1 client that can send anything and reads answers strictly.

It exists because libraries for HTTP are polite: they never cut a body, never send two framings at
once, and quietly repair what a server gets wrong. Nothing here waits without a limit.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PATIENCE = 10.0
"""Seconds after which an answer that has not come counts as a hang."""

# To what cannot be parsed, or is itself HTTP/1.0, a server may answer as HTTP/1.0.
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2}) ?([\x20-\x7e]*)")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a registry listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A body that is sent with ``Transfer-Encoding: chunked``, one chunk per piece, without a length."""

    pieces: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, *pieces: bytes) -> Chunked:
        return cls(pieces)

    def encoded(self) -> bytes:
        """Write all chunks, the closing one included."""
        return b"".join(chunk(piece) for piece in self.pieces if piece) + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Bare:
    """A request without any framing header: the end of the head is the end of the request."""


Body = bytes | Chunked | Bare


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the final status, the header lines, the body, and interim statuses such as 100."""

    method: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = field(default=())

    def all(self, name: str) -> list[str]:
        """Return the values of every line of one header."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the value of a header that stands there at most once."""
        values = self.all(name)
        assert len(values) <= 1, f"header {name} is repeated: {values}"
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no header {name} in {self}"
        return value

    def json(self) -> Any:
        return orjson.loads(self.body)

    def codes(self) -> list[str]:
        """Return the error codes of the body."""
        return [cast("str", error["code"]) for error in self.json()["errors"]]

    def __str__(self) -> str:
        lines = "\n".join(f"  {name}: {value}" for name, value in self.fields)
        return f"answer to {self.method}: {self.status}\n{lines}\n  {self.body[:500]!r}"


def chunk(piece: bytes) -> bytes:
    """Write one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def head(method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """Write the head of a request: exactly these header lines and no others."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode()


class Connection:
    """One TCP connection to the registry."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are and wait until they have left."""
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def start(self, method: str, target: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send the head of a request with a Host header, and nothing of its body."""
        await self.send(head(method, target, [("Host", f"{self.address.host}:{self.address.port}"), *headers]))

    async def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Body = b"",
    ) -> Answer:
        """Send a request and read its answer, both at once: an early refusal is seen while the body still goes."""
        framing, data = _framing(method, body)
        sender = asyncio.create_task(self._send_all(method, target, [*headers, *framing], data))
        try:
            return await self.answer(method)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send_all(self, method: str, target: str, headers: Sequence[tuple[str, str]], data: bytes) -> None:
        await self.start(method, target, headers)
        await self.send(data)

    def half_close(self) -> None:
        """Say that nothing more is sent, and go on listening."""
        self._writer.write_eof()

    async def cut(self) -> None:
        """Break the connection off with a reset, as a client that is killed does."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):  # the server may have been first
            await self._writer.wait_closed()

    async def answer(self, method: str) -> Answer:
        """Read one answer to a request of this method, interim answers before it included."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._answer(method)
        except TimeoutError:
            raise AssertionError(f"no answer to {method} within {PATIENCE} s") from None
        except asyncio.IncompleteReadError as error:
            raise AssertionError(f"the answer to {method} ends early, after {error.partial[-500:]!r}") from error

    async def _answer(self, method: str) -> Answer:
        interim: list[int] = []
        while True:
            status, fields = await self._head()
            if status >= 200:
                break
            interim.append(status)
        lengths = [value for name, value in fields if name.lower() == "content-length"]
        codings = [value for name, value in fields if name.lower() == "transfer-encoding"]
        assert not codings, f"1.3: answers are never chunked, this one is: {fields}"
        assert len(lengths) <= 1, f"two Content-Length headers: {lengths}"
        bodiless = method == "HEAD" or status in {204, 304}
        assert lengths or status in {204, 304}, f"1.3: Content-Length is missing in a {status}: {fields}"
        assert not (status == 204 and lengths and lengths != ["0"]), "a 204 with a length"
        body = b"" if bodiless else await self._reader.readexactly(int(lengths[0]))
        return Answer(method, status, fields, body, tuple(interim))

    async def _head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        block = (await self._reader.readuntil(b"\r\n\r\n")).decode("ascii").removesuffix("\r\n\r\n")
        first, *lines = block.split("\r\n")
        status = _STATUS_LINE.fullmatch(first)
        assert status, f"not a status line: {first!r}"
        fields = []
        for line in lines:
            match = _FIELD.fullmatch(line)
            assert match, f"not a header line: {line!r}"
            fields.append((match[1], match[2]))
        return int(status[1]), tuple(fields)

    async def read(self, count: int) -> bytes:
        """Read exactly so many raw bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(count)

    async def rest(self) -> bytes:
        """Read what comes until the server closes; a reset counts as an end, for the answer has been read."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._reader.read()
        except ConnectionError:
            return b""
        except TimeoutError:
            raise AssertionError(f"the server did not close the connection within {PATIENCE} s") from None


def _framing(method: str, body: Body) -> tuple[list[tuple[str, str]], bytes]:
    if isinstance(body, Bare):
        return [], b""
    if isinstance(body, Chunked):
        return [("Transfer-Encoding", "chunked")], body.encoded()
    if not body and method in {"GET", "HEAD", "DELETE", "OPTIONS"}:
        return [], b""
    return [("Content-Length", str(len(body)))], body


@asynccontextmanager
async def connect(address: Address) -> AsyncIterator[Connection]:
    """Open a connection, and close it at the end."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=2**20)
    connection = Connection(address, reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(
    address: Address,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: Body = b"",
) -> Answer:
    """Send one request on a connection of its own; see that nothing follows its answer, and that it is well formed."""
    lines = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    async with connect(address) as connection:
        answer = await connection.request(method, target, [*lines, ("Connection", "close")], body)
        rest = await connection.rest()
    assert not rest, f"bytes after the end of the answer: {rest[:200]!r}\n{answer}"
    check_common(answer)
    return answer


OCI_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    },
)
_WARNING = re.compile(r'299 - "(?:[^"\\]|\\.)*"')


def check_common(answer: Answer) -> None:
    """Check what protocol 1.3 and 1.4 say of every answer, whatever was asked."""
    assert answer.status < 500, f"a server error: {answer}"
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Request-Id"]
    assert answer.get("Content-Encoding") is None
    location = answer.get("Location")
    if location is not None:
        path = location.partition("?")[0]
        assert re.fullmatch(r"/v2/[a-z0-9._/-]+(?:[A-Za-z0-9:._-]+)", path), f"1.4: Location is {location}"
    for warning in answer.all("Warning"):
        assert _WARNING.fullmatch(warning), f"1.3: Warning is {warning}"
    if answer.status >= 400 and answer.body:
        check_error(answer)


def check_error(answer: Answer) -> None:
    """Check the error document of protocol 1.3: its shape, its type, and that each code is of the OCI table."""
    assert answer["Content-Type"].partition(";")[0] == "application/json", str(answer)
    document = answer.json()
    if list(document) == ["error"]:
        # At the token endpoint, a grant that is not understood (RFC 6749, section 5.2).
        assert document["error"] in {"unsupported_grant_type", "invalid_request"}, str(answer)
        return
    assert list(document) == ["errors"], str(answer)
    assert document["errors"], str(answer)
    for error in document["errors"]:
        assert error["code"] in OCI_CODES, str(answer)
        assert isinstance(error["message"], str), str(answer)
        assert set(error) <= {"code", "message", "detail"}, str(answer)
