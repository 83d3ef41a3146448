"""Request bodies, as a source of bytes that does not end early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.web import RequestKey, RequestPayloadError

from gateway.errors import BodyCut, SizeInvalid
from gateway.transport.connection import LARGE_BODY, Connection
from gateway.transport.pace import SECONDS_WITHOUT_A_BYTE, Pace
from gateway.transport.tally import Way, count

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.receiving import BodyReceiver


def close_after_unread_body(request: BaseRequest, response: StreamResponse) -> None:
    """Close the connection behind an answer, if the client may still wait to send a body that nobody has read.

    Whether it does nobody knows: what comes next may not be a request. (Other bodies are read to their end.)
    """
    if request.can_read_body and not request.content.is_eof() and "Expect" in request.headers:
        response.force_close()


class RequestBody:
    """The body of a request; implements ports.storage.BodySource.

    ``expected`` is the length that the client has announced, in Content-Length or Content-Range; a body of
    another length raises SizeInvalid. A client that waits for ``100 Continue`` gets it when the first byte
    is wanted, that is after everything that needs no body was checked.

    A large body is received from the socket into the memory that is given; others come through aiohttp's parser.
    """

    def __init__(self, request: BaseRequest, expected: int | None) -> None:
        self._request = request
        self._expected = expected
        self.received = 0
        """Bytes of it that have come."""
        self._rest = memoryview(b"")
        self._pace = Pace()
        self._must_continue = request.headers.get("Expect", "").lower() == "100-continue"
        self._begun = False
        self._receiver: BodyReceiver | None = None
        request[BODY] = self

    @property
    def direct(self) -> bool:
        """Whether the body is received directly."""
        return self._receiver is not None

    def is_gone(self) -> bool:
        """Tell whether the client is known to have left."""
        return self._request.transport is None or self._request.transport.is_closing()

    async def receive_into(self, buffer: memoryview) -> int:
        """See the port."""
        if not self._begun:
            self._begin()
        if self._receiver is not None:
            count = await self._receiver.receive_into(buffer)
        else:
            count = await self._copy_into(buffer)
        self._count(count)
        return count

    def receive_now(self, buffer: memoryview) -> int:
        """See the port."""
        count = self._receiver.receive_now(buffer) if self._receiver is not None else 0
        if count:
            self._count(count)
        return count

    async def read(self, limit: int) -> bytes:
        """Return the whole body, or its beginning as soon as that is longer than ``limit`` bytes."""
        if isinstance(connection := self._request.protocol, Connection):
            connection.release(self._request.content)
        self._invite()
        whole = bytearray()
        while len(whole) <= limit:
            chunk = await self._next_chunk()
            self._count(len(chunk))
            if not chunk:
                break
            whole += chunk
        return bytes(whole)

    def _begin(self) -> None:
        """Find out how the body can be received, and ask the client for it."""
        self._begun = True
        if isinstance(connection := self._request.protocol, Connection):
            self._receiver = connection.receiver(self._request.content)
        length = self._request.content_length
        if self._receiver is not None:
            count(Way.RECEIVED_DIRECTLY)
        elif length > LARGE_BODY if length is not None else not self._request.content.is_eof():
            count(Way.RECEIVED_BY_PARSER)
        self._invite()

    def _invite(self) -> None:
        if self._must_continue and self._request.transport is not None:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._must_continue = False

    async def _copy_into(self, buffer: memoryview) -> int:
        if not self._rest:
            self._rest = memoryview(await self._next_chunk())
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _next_chunk(self) -> bytes:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(SECONDS_WITHOUT_A_BYTE):
                chunk = await self._request.content.readany()
        except TimeoutError as error:
            raise BodyCut(f"no byte of the body has arrived for {SECONDS_WITHOUT_A_BYTE:.0f} seconds") from error
        except RequestPayloadError as error:
            raise BodyCut("the body is not framed as HTTP asks for") from error
        except ConnectionError as error:
            raise BodyCut("the connection ended in the middle of the body") from error
        self._pace.count(loop.time() - begun, len(chunk))
        if complaint := self._pace.complaint(0.0):
            raise BodyCut(complaint)
        return chunk

    def _count(self, count: int) -> None:
        """Compare the length so far with the one that was announced; no bytes are the end."""
        self.received += count
        expected = self._expected
        if expected is None:
            return
        if self.received > expected:
            raise SizeInvalid(f"the body is longer than the {expected} bytes that were announced")
        if not count and self.received < expected:
            raise SizeInvalid(f"the body has {self.received} bytes where {expected} were announced")


BODY = RequestKey("body", RequestBody)
"""Under which a request has its body, once somebody has asked for it."""
