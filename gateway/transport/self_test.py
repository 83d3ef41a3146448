"""Tries at start whether large bodies can be received behind aiohttp's back, on a real pair of sockets."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.transport.body import RequestBody
from gateway.transport.tally import not_counting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

    Server = Callable[
        [Callable[[BaseRequest], Awaitable[StreamResponse]], Callable[[HTTPStatus, str], StreamResponse]], web.Server
    ]

_log = logging.getLogger(__name__)

_SECONDS = 10.0
_CONTENT = bytes(range(256)) * 1023
_LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def receives_directly(server: Server) -> bool:
    """Tell whether this loop and this aiohttp let bodies be received directly; log the reason if not."""
    try:
        with not_counting():
            async with asyncio.timeout(_SECONDS):
                answers = await _answers(server)
    except Exception:  # noqa: BLE001  (whatever it is: the other way works)
        _log.warning("the self-test of receiving has failed", exc_info=True)
        return False
    expected = [f"True {hashlib.sha256(content).hexdigest()}" for content in (_CONTENT, _CONTENT, b"")]
    # Nothing is received directly where there is no body.
    expected[-1] = expected[-1].replace("True", "False")
    if answers != expected:
        _log.warning("the self-test of receiving got other bytes than were sent: %s", answers)
    return answers == expected


async def _answers(server: Server) -> list[str]:
    """Send a body of each framing and a request behind them, all at once; return what the server makes of them."""
    answers: list[str] = []

    async def handler(request: BaseRequest) -> StreamResponse:
        body = RequestBody(request, None)
        content, buffer = hashlib.sha256(), memoryview(bytearray(100_000))
        while count := await body.receive_into(buffer):
            content.update(buffer[:count])
        answers.append(f"{body.direct} {content.hexdigest()}")
        return web.Response()

    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    serving = server(handler, lambda status, message: web.Response(status=status, text=message))
    reader, writer = await asyncio.open_connection(sock=theirs)
    try:
        ours.setblocking(False)
        await loop.connect_accepted_socket(serving, ours)
        for request in _requests():
            writer.write(request)
            # Whoever pipelines behind a running request is not received directly: wait for the answer.
            await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await serving.shutdown(_SECONDS)
        await writer.wait_closed()
    return answers


def _requests() -> list[bytes]:
    head = b"PUT / HTTP/1.1\r\nHost: localhost\r\n"
    with_length = head + b"Content-Length: %d\r\n\r\n" % len(_CONTENT) + _CONTENT
    chunks = [_CONTENT[start : start + 9999] for start in range(0, len(_CONTENT), 9999)]
    in_chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks + b"0\r\n\r\n"
    return [with_length, chunked, _LAST]
