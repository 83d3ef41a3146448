"""Bodies that the registry gives up in the middle, at the very moment at which more of them comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.transport.body import RequestBody
from gateway.transport.inlet import Inlet
from gateway.transport.receiving import BodyReceiver

from .test_receiving import CONTENT, peer, request

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, StreamResponse


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("moment", ["get_buffer", "buffer_updated"])
async def test_the_next_request_begins_behind_the_body(
    monkeypatch: pytest.MonkeyPatch, moment: str, *, chunked: bool
) -> None:
    """Whoever waits is cancelled before the bytes are there, or before it is woken up: they are of the body still."""
    async with asyncio.timeout(20), peer() as this:
        waiting: asyncio.Task[int] | None = None
        asked = asyncio.Event()

        def nothing_yet(*_: object) -> int:
            asked.set()
            return 0

        monkeypatch.setattr(Inlet, "receive", nothing_yet)
        original = getattr(BodyReceiver, moment)

        def cancelling(receiver: BodyReceiver, size: int) -> object:
            answer = original(receiver, size)
            if waiting is not None:
                waiting.cancel()
            return answer

        monkeypatch.setattr(BodyReceiver, moment, cancelling)

        async def give_up(request: BaseRequest) -> StreamResponse:
            nonlocal waiting
            body = RequestBody(request, None)
            waiting = asyncio.create_task(body.receive_into(memoryview(bytearray(50_000))))
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            this.handle = None
            return web.Response(status=503)

        this.handle = give_up
        whole = request(CONTENT, chunked=chunked)
        head = whole.index(b"\r\n\r\n") + 4
        await this.send(whole[:head])
        await asked.wait()
        await this.send(whole[head:])
        assert (await this.answer())[0] == 503

        await this.send(request(b"small", chunked=False))
        assert await this.answer() == (200, b"5")
