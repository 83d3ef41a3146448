"""Request bodies, as a source of bytes that does not end early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.web import RequestPayloadError

from gateway.errors import BodyCut, SizeInvalid

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

_SECONDS_WITHOUT_A_BYTE = 60.0


class RequestBody:
    """The body of a request; implements ports.storage.BodySource.

    ``expected`` is the length that the client has announced, in Content-Length or Content-Range; a body of
    another length raises SizeInvalid. A client that waits for ``100 Continue`` gets it when the first byte
    is wanted, that is after everything that needs no body was checked.
    """

    def __init__(self, request: BaseRequest, expected: int | None) -> None:
        self._request = request
        self._expected = expected
        self._received = 0
        self._rest = memoryview(b"")
        self._must_continue = request.headers.get("Expect", "").lower() == "100-continue"

    def is_gone(self) -> bool:
        """Tell whether the client is known to have left."""
        return self._request.transport is None or self._request.transport.is_closing()

    async def receive_into(self, buffer: memoryview) -> int:
        """See the port."""
        if not self._rest:
            self._rest = memoryview(await self._next_chunk())
            if not self._rest:
                self._check_end()
                return 0
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def read(self, limit: int) -> bytes:
        """Return the whole body, or its beginning as soon as that is longer than ``limit`` bytes."""
        whole = bytearray()
        while len(whole) <= limit and (chunk := await self._next_chunk()):
            whole += chunk
        return bytes(whole)

    async def _next_chunk(self) -> bytes:
        if self._must_continue and self._request.transport is not None:
            self._must_continue = False
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(_SECONDS_WITHOUT_A_BYTE):
                chunk = await self._request.content.readany()
        except TimeoutError as error:
            raise BodyCut(f"no byte of the body has arrived for {_SECONDS_WITHOUT_A_BYTE:.0f} seconds") from error
        except RequestPayloadError as error:
            raise BodyCut("the body is not framed as HTTP asks for") from error
        except ConnectionError as error:
            raise BodyCut("the connection ended in the middle of the body") from error
        self._received += len(chunk)
        if self._expected is not None and self._received > self._expected:
            raise SizeInvalid(f"the body is longer than the {self._expected} bytes that were announced")
        return chunk

    def _check_end(self) -> None:
        if self._expected is not None and self._received < self._expected:
            raise SizeInvalid(f"the body has {self._received} bytes where {self._expected} were announced")
