"""A proxy in front of a real S3 server that makes chosen calls fail, the ways real services do."""

from __future__ import annotations

import asyncio
import io
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>made to fail</Message></Error>'

_DELAY = 0.2


class Fault(Enum):
    """What happens to a call."""

    SLOW_DOWN = auto()
    """503 SlowDown; the server does not hear of the call."""
    INTERNAL_ERROR = auto()
    """500 InternalError; the server does not hear of the call."""
    ERROR_WITH_200 = auto()
    """Status 200 with an error as its body; the server does not hear of the call."""
    NOTHING_WITH_200 = auto()
    """Status 200 without a body; the server does not hear of the call."""
    NOTHING_WITH_200_DONE = auto()
    """The server does as it is told, and status 200 without a body comes back."""
    LOSE_ANSWER = auto()
    """The server does as it is told, and the connection breaks before its answer comes."""
    CUT = auto()
    """Half of the answer's body comes, then the connection breaks."""
    STALL = auto()
    """Half of the answer's body comes, then nothing more until the connection is closed."""
    HANG = auto()
    """Nothing comes back at all; the server does not hear of the call."""
    DENIED = auto()
    """403 AccessDenied; the server does not hear of the call."""
    NOT_IMPLEMENTED = auto()
    """501 NotImplemented; the server does not hear of the call."""
    REPLACE_TOTAL = auto()
    """The answer is about other bytes than those asked for."""
    LIST_BY_THE_OLDER_CALL = auto()
    """The list comes as the older call answers."""
    REFUSE = auto()
    """The connection breaks before the server hears of the call."""
    DELAY = auto()
    """The server does as it is told, and its answer comes a while later."""
    SHORTEN = auto()
    """Half of the answer's body comes, and its headers say that this is all."""


@dataclass(slots=True)
class FaultyS3:
    """The proxy: ``fail`` says what goes wrong next, ``seen`` and ``closed`` say what has come."""

    upstream: str
    equal_parts: bool = False
    url: str = ""
    seen: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed a connection in the middle of an answer that was stalled."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a fault has been reached."""
    choose: Callable[[str], Fault | None] = lambda _: None
    """Says what happens to each call for which ``fail`` has said nothing."""
    _faults: dict[str, list[Fault]] = field(default_factory=dict)
    _sizes: dict[tuple[str, int], int] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None

    def fail(self, operation: str, fault: Fault, *, times: int = 1) -> None:
        """Make the next calls of an operation fail; they are named as in the S3 documentation."""
        self._faults.setdefault(operation, []).extend([fault] * times)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward a call, or let it fail."""
        operation = _operation(request)
        self.seen.append(operation)
        body = await request.content.read()
        # The marker of the bucket is looked at now and then, and is not what a test means.
        is_look = operation in {"GetObject", "HeadObject"} and request.path.endswith("/registry.json")
        waiting = None if is_look else self._faults.get(operation)
        fault = waiting.pop(0) if waiting else self.choose(operation)
        if fault is not None:
            self.reached.set()
        if (answer := self._instead(fault)) is not None:
            return answer
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        if fault is Fault.REFUSE:
            _break(request)
        if self.equal_parts and (refusal := self._check_parts(operation, request, body)):
            return refusal
        return await self._forward(request, body, fault)

    def _instead(self, fault: Fault | None) -> web.Response | None:
        match fault:
            case Fault.SLOW_DOWN:
                return web.Response(status=503, text=_ERROR.format("SlowDown"), content_type="application/xml")
            case Fault.INTERNAL_ERROR:
                return web.Response(status=500, text=_ERROR.format("InternalError"), content_type="application/xml")
            case Fault.DENIED:
                return web.Response(status=403, text=_ERROR.format("AccessDenied"), content_type="application/xml")
            case Fault.NOT_IMPLEMENTED:
                return web.Response(status=501, text=_ERROR.format("NotImplemented"), content_type="application/xml")
            case Fault.ERROR_WITH_200:
                return web.Response(text=_ERROR.format("InternalError"), content_type="application/xml")
            case Fault.NOTHING_WITH_200:
                return web.Response()
        return None

    async def _forward(self, request: web.BaseRequest, body: bytes, fault: Fault | None) -> web.StreamResponse:
        assert self._session is not None
        url = URL(self.upstream + request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        async with self._session.request(
            request.method, url, headers=headers, data=io.BytesIO(body) if body else None
        ) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            length = answer.headers.get("Content-Length")
        if fault is Fault.NOTHING_WITH_200_DONE:
            return web.Response()
        if fault is Fault.LOSE_ANSWER:
            _break(request)
        if fault is Fault.DELAY:
            await asyncio.sleep(_DELAY)
        if fault is Fault.SHORTEN:
            content = content[: len(content) // 2]
        if fault is Fault.REPLACE_TOTAL:
            kept["Content-Range"] = f"bytes 1-{len(content)}/{len(content) + 1}"
        if fault is Fault.LIST_BY_THE_OLDER_CALL:
            content = re.sub(rb"<KeyCount>\d+</KeyCount>", b"", content)
        if fault in {Fault.CUT, Fault.STALL}:
            return await self._half(request, answer.status, kept, content, stall=fault is Fault.STALL)
        if request.method == "HEAD" and length is not None:
            kept["Content-Length"] = length
            return web.Response(status=answer.status, headers=kept)
        whole = web.StreamResponse(status=answer.status, headers=kept)
        whole.content_length = len(content)
        await whole.prepare(request)
        await whole.write(content)
        return whole

    async def _half(
        self,
        request: web.BaseRequest,
        status: int,
        headers: dict[str, str],
        content: bytes,
        *,
        stall: bool,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = len(content)
        await answer.prepare(request)
        await answer.write(content[: len(content) // 2])
        if stall:
            try:
                await asyncio.Event().wait()
            finally:
                self.closed.set()
        _break(request)
        return answer

    def _check_parts(self, operation: str, request: web.BaseRequest, body: bytes) -> web.Response | None:
        """Refuse what services that demand equal parts refuse."""
        upload = request.query.get("uploadId", "")
        if operation == "UploadPart":
            self._sizes[upload, int(request.query["partNumber"])] = len(body)
        if operation == "CompleteMultipartUpload":
            numbers = re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)
            *equal, last = [self._sizes[upload, int(number)] for number in numbers]
            if len(set(equal)) > 1 or (equal and last > equal[0]):
                return web.Response(status=400, text=_ERROR.format("InvalidPart"), content_type="application/xml")
        return None


@asynccontextmanager
async def faulty_s3(
    upstream: str, *, equal_parts: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FaultyS3]:
    """Run the proxy on a free port of the loopback interface, with TLS towards its client if wanted."""
    proxy = FaultyS3(upstream, equal_parts=equal_parts)
    server = web.Server(proxy.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.0)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxy._session = session
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()


def _operation(request: web.BaseRequest) -> str:
    query = request.query
    match request.method:
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "HEAD":
            return "HeadObject"
    if request.path == "/":
        return "ListBuckets"
    if "uploads" in query:
        return "ListMultipartUploads"
    if "list-type" in query:
        return "ListObjectsV2"
    return "ListObjects" if "encoding-type" in query else "GetObject"


def _break(request: web.BaseRequest) -> None:
    """Reset the client's connection and leave the handler."""
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError
