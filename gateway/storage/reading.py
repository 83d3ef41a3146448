"""GETs of objects whose bytes stay in the socket until somebody moves them."""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.errors import BackendError, StorageUnavailable
from gateway.ports.observing import unmeasured
from gateway.ports.storage import SocketRange
from gateway.storage.answers import check_range, domain_error
from gateway.transport.upstream import Limits, Upstream, UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model.ranges import ByteRange
    from gateway.ports.observing import Measure
    from gateway.ports.storage import Location
    from gateway.storage.credentials import Credentials
    from gateway.storage.sigv4 import Place
    from gateway.transport.upstream import Answer

_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{0,300})")


class ObjectReader:
    """Reads objects over plain HTTP, with connections of its own."""

    def __init__(
        self, credentials: Credentials, limits: Limits, call_seconds: float, measure: Measure = unmeasured
    ) -> None:
        self._credentials = credentials
        self._limits = limits
        self._call_seconds = call_seconds
        self._measure = measure
        self._upstreams: dict[str, Upstream] = {}

    @asynccontextmanager
    async def open(self, place: Place, location: Location, span: ByteRange) -> AsyncIterator[SocketRange]:
        """Open bytes of an object; the connection is closed unless all of them were taken."""
        with self._measure("get_object"):
            answer = await self._begun(place, location, span)
        chunks = answer.chunks()
        try:
            yield SocketRange(chunks, span.length, answer)
        finally:
            answer.release()
            await chunks.aclose()

    async def _begun(self, place: Place, location: Location, span: ByteRange) -> Answer:
        """Return an answer that has begun, within a limit."""
        try:
            async with asyncio.timeout(self._call_seconds):
                return await self._persist(place, location, span)
        except TimeoutError as error:
            raise StorageUnavailable(f"reading {location.key} took too long") from error

    def close(self) -> None:
        """Close idle connections."""
        for upstream in self._upstreams.values():
            upstream.close()

    async def _persist(self, place: Place, location: Location, span: ByteRange) -> Answer:
        """Ask, and ask again after failures that pass; nothing was given to anybody yet."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._ask(place, location, span)
            except (UpstreamBroken, _Passing):
                if attempt == _ATTEMPTS:
                    raise
                pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
                await asyncio.sleep(random.random() * pause)  # noqa: S311  (spreads requests, protects nothing)
        raise AssertionError

    async def _ask(self, place: Place, location: Location, span: ByteRange) -> Answer:
        signer = await self._credentials.current()
        path = place.path_of(location.key)
        wanted = f"bytes={span.start}-{span.stop - 1}"
        headers = signer.headers(place, path, wanted, int(time.time()))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"GET {path} HTTP/1.1\r\n{lines}accept-encoding: identity\r\n\r\n".encode()
        answer = await self._upstream(place).ask(head, span.length)
        try:
            await _check(answer, location, span)
        except BaseException:
            answer.release()
            raise
        return answer

    def _upstream(self, place: Place) -> Upstream:
        upstream = self._upstreams.get(place.host)
        if upstream is None:
            where = urlsplit(f"//{place.host}")
            upstream = self._upstreams[place.host] = Upstream(where.hostname or "", where.port or 80, self._limits)
        return upstream


class _Passing(StorageUnavailable):
    """The service may answer in another way when it is asked again."""


async def _check(answer: Answer, location: Location, span: ByteRange) -> None:
    """Raise unless an answer brings what was asked for."""
    if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise _refusal(location, answer.status, await answer.read_refusal())
    _check_content(answer, location, span)


def _refusal(location: Location, status: int, text: bytes) -> BackendError:
    code, message = _CODE.search(text), _MESSAGE.search(text)
    reason = code[1].decode() if code else str(status)
    words = message[1].decode("utf-8", "replace") if message else f"status {status}"
    sentence = f"reading {location.key} failed: {reason}, {words}"
    error = domain_error(reason, sentence)
    passes = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    return _Passing(sentence) if passes and type(error) is StorageUnavailable else error


def _check_content(answer: Answer, location: Location, span: ByteRange) -> None:
    """Take an answer only for what it says that it is: so many bytes of this range, as they are stored."""
    coding = answer.headers.get("content-encoding", "identity")
    if answer.length is None or coding.lower() not in {"identity", "aws-chunked", ""}:
        raise StorageUnavailable(f"the storage does not send {location.key} as it is stored")
    if answer.status == HTTPStatus.OK and span.start == 0 and answer.length == span.length:
        return
    check_range(answer.headers.get("content-range", ""), answer.length, location, span)
