"""A client's connection: aiohttp's protocol, with our errors, patience, and large bodies that it never gets to see.

This is the one module that uses private attributes of aiohttp. ``transport/self_test.py`` tries at every start
whether large bodies can be received this way; where they cannot, aiohttp's parser gets all bytes, as it usually does.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from gateway.errors import ServiceEnding
from gateway.transport.framing import ChunkedFraming, LengthFraming
from gateway.transport.outlet import Watch
from gateway.transport.proxy_protocol import Peer, PreambleWrong, parse_preamble
from gateway.transport.receiving import BodyReceiver

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import StreamReader
    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.transport.admission import Admission
    from gateway.transport.framing import BrokenFramingError

    Refusal = Callable[[HTTPStatus, str], StreamResponse]

_log = logging.getLogger(__name__)

LARGE_BODY = 64 * 1024
"""Bytes up to which a body of known length is left to aiohttp: taking it over would cost more."""
_KEPT = 64 * 1024
"""Bytes of a body after which reading pauses until somebody asks for them."""
_END_OF_HEAD = b"\r\n\r\n"
_TOO_MANY_BODY = b'{"errors":[{"code":"UNAVAILABLE","message":"too many connections from this address; close some"}]}'
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_TOO_MANY_BODY), _TOO_MANY_BODY)
)


@dataclass(slots=True)
class _Held:
    """A body that the parser has not seen, and what has come of it."""

    content: StreamReader
    length: int | None
    received: bytes = b""


class Connection(web.RequestHandler):
    """One connection of a client.

    The parser gets heads one by one. Behind a head that announces a large body, what comes is held back until it is
    known who wants the body: a BodyReceiver, which gives the connection back at its end, or else the parser.
    """

    def __init__(
        self,
        manager: web.Server,
        *,
        refusal: Refusal,
        direct: bool,
        admission: Admission,
        peer: Peer | None,
        **limits: Any,
    ) -> None:
        """Take a connection's parts; ``peer`` is given where it is known already, and counted."""
        super().__init__(manager, **limits)
        self._refusal = refusal
        self._direct = direct
        self._admission = admission
        self._admitted = peer.address if peer is not None else None
        self._preamble: bytes | None = None
        self.peer = peer or Peer("")
        """Who is at the other end."""
        self._auto_decompress: bool = limits["auto_decompress"]
        self._last_body: StreamReader | None = None
        self._last_bytes = b""
        self._held: _Held | None = None
        self._receiver: BodyReceiver | None = None
        self._watch: Watch | None = None

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer a request that could not be parsed (or a bug) in the form of all other errors."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            status, message = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request line or a header is too long"
        # The parser's message may quote the request over several lines; the first one says what is wrong.
        first_line = (message or "").strip().partition("\n")[0]
        response = self._refusal(HTTPStatus(status), f"the request is not proper HTTP: {first_line}")
        response.force_close()
        return response

    # --- who arrives -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who connects, or wait for a load balancer to say so."""
        super().connection_made(transport)
        if self._admitted is not None:
            return
        name = transport.get_extra_info("peername")
        # Others than sockets of the internet have no name that could be judged by.
        address = str(name[0]) if isinstance(name, tuple) else ""
        self.peer = Peer(address)
        if self._admission.speaks_for_others(address):
            self._preamble = b""
        else:
            self._admit(address)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another connection of this address."""
        self.give_up()
        self._watch_no_more()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Count the connection no longer; it may never have been made."""
        if self._admitted is not None:
            self._admission.leave(self._admitted)
            self._admitted = None

    def _admit(self, address: str) -> None:
        self._admitted = address
        if not self._admission.admit(address) and self.transport is not None:
            self.transport.write(_TOO_MANY)
            self.close()
            self.transport.close()

    def _read_preamble(self, data: bytes) -> bytes | None:
        """Take the PROXY header off; None as long as it is not complete, or when the connection has ended by it."""
        assert self._preamble is not None
        self._preamble += data
        try:
            found = parse_preamble(self._preamble, self.peer.address)
        except PreambleWrong as error:
            _log.warning("a connection from %s is ended: %s", self.peer.address, error)
            if self.transport is not None:
                self.transport.abort()
            return None
        if found is None:
            return None
        self.peer, length = found
        rest, self._preamble = self._preamble[length:], None
        self._admit(self.peer.address)
        return None if self.transport is None or self.transport.is_closing() else rest

    # --- what arrives ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Pass heads and small bodies to the parser, and hold a large body back."""
        if self._preamble is not None:
            rest = self._read_preamble(data)
            if not rest:
                return
            data = rest
        if not data or not self._direct:
            self._parse(data)
            return
        heads = 0
        while data and self._held is None:
            # Nobody needs so many heads at once: what is behind them is the parser's, in one piece.
            end = self._end_of_head(data, may_split=heads < self._max_msg_queue_size)
            self._parse(data[:end])
            data = data[end:]
            heads += 1
        if self._held is not None and data:
            self._held.received += data
            if len(self._held.received) >= _KEPT and self.transport is not None:
                self.transport.pause_reading()

    def _end_of_head(self, data: bytes, *, may_split: bool) -> int:
        """Return how many bytes the parser may get at once; behind a head it may be none of the body."""
        in_body = self._last_body is not None and not self._last_body.is_eof()
        if in_body or self._is_paused() or not may_split:
            self._last_bytes = data[-3:]
            return len(data)
        # The end of a head may have begun in what came before.
        begun = len(self._last_bytes)
        place = (self._last_bytes + data[:3]).find(_END_OF_HEAD)
        if place < 0 and (place := data.find(_END_OF_HEAD)) >= 0:
            begun = 0
        self._last_bytes = b"" if place >= 0 else (self._last_bytes + data)[-3:]
        return place + len(_END_OF_HEAD) - begun if place >= 0 else len(data)

    def _is_paused(self) -> bool:
        """Tell whether the parser may still hold bytes that it has not looked at."""
        return self._reading_paused or self._buffer_paused or self._upgraded

    def _parse(self, data: bytes) -> None:
        """Pass bytes to the parser, and its refusal on to the request whose body they belong to.

        aiohttp queues an error in the framing of a body behind the request, and the request waits for ever.
        """
        before = len(self._messages)
        super().data_received(data)
        if not self._messages:
            return
        message, self._last_body = self._messages[-1]
        request = self._current_request
        if isinstance(message, _ErrInfo) and request is not None and not request.content.is_eof():
            self._messages.pop()
            self._refuse_body(request.content, message.message)
        elif self._direct and data.endswith(_END_OF_HEAD[-1:]) and len(self._messages) == before + 1:
            self._hold(message, self._last_body)

    def _hold(self, message: RawRequestMessage | _ErrInfo, content: StreamReader) -> None:
        """Hold the body of a request back if it is large and the parser has seen nothing but the head."""
        if isinstance(message, _ErrInfo) or message.upgrade or content.is_eof() or content.total_bytes:
            return
        if self._last_bytes or self._is_paused() or message.method not in {"PATCH", "POST", "PUT"}:
            return
        length = None if message.chunked else int(message.headers.get("Content-Length", "0"))
        if length is None or length > LARGE_BODY:
            self._held = _Held(content, length)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on serving a client that has closed its own side only, once it has sent its whole request."""
        is_idle = self._waiter is not None and not self._waiter.done()
        if is_idle or self._last_body is None or not self._last_body.is_eof():
            return False
        if self._messages and not isinstance(message := self._messages[-1][0], _ErrInfo):
            # Those that wait for their turn are answered as well, and the last answer ends the connection.
            self._messages[-1] = message._replace(should_close=True), self._last_body
        else:
            self.close()
        return True

    # --- large bodies ----------------------------------------------------------------------------

    def receiver(self, content: StreamReader) -> BodyReceiver | None:
        """Take the connection over for a body that was held back; None if it was not."""
        held, transport = self._held, self.transport
        if held is None or held.content is not content or transport is None or transport.is_closing():
            return None
        self._held = None
        framing = ChunkedFraming() if held.length is None else LengthFraming(held.length)
        self._receiver = BodyReceiver(transport, self, framing, held.received, partial(self._body_ended, content))
        return self._receiver

    def _body_ended(self, content: StreamReader, excess: bytes, error: BrokenFramingError | None) -> None:
        """Let the parser go on with what was received behind a body."""
        self._receiver = None
        if error is not None:
            self._refuse_body(content, str(error))
            return
        # The old one still believes that it is in the middle of this body.
        self._parser = self._new_parser()
        self._last_bytes = b""
        content.feed_eof()
        if excess:
            self.data_received(excess)

    def release(self, content: StreamReader) -> None:
        """Give a body that was held back to the parser."""
        held = self._held
        if held is None or held.content is not content:
            return
        self._held = None
        if held.received:
            self._last_bytes = held.received[-3:]
            self._parse(held.received)
        if self.transport is not None and not self.transport.is_closing() and not self._is_paused():
            self.transport.resume_reading()

    def leave(self, content: StreamReader) -> None:
        """Drop what has not been received of a body: its request is about to be answered."""
        self.release(content)
        if isinstance(content.exception(), ServiceEnding):
            # The client may have to send the rest before it looks at the answer.
            content._exception = None  # noqa: SLF001  (see above)
        if self._receiver is not None:
            self._receiver.discard()

    # --- what leaves -----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Watch a client that has not taken yet what it was sent: any answer, and aiohttp would wait for ever."""
        super().pause_writing()
        self._watch_no_more()
        if (transport := self.transport) is not None and not transport.is_closing():
            self._watch = Watch(transport, transport.abort)

    def resume_writing(self) -> None:
        """Watch it no more."""
        self._watch_no_more()
        super().resume_writing()

    def _watch_no_more(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    # --- the end ---------------------------------------------------------------------------------

    def end_behind_answer(self) -> None:
        """Have the answer to the request that is running tell the client to connect anew for the next one."""
        if (request := self._current_request) is not None:
            request._message = request._message._replace(should_close=True)  # noqa: SLF001  (see above)

    def interrupt(self, error: ServiceEnding) -> None:
        """Raise an error in whoever receives the body of the request that is running."""
        if self._receiver is not None:
            self._receiver.interrupt(error)
        elif (request := self._current_request) is not None and not request.content.is_eof():
            request.content.set_exception(error)

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=self._auto_decompress,
            max_msg_queue_size=self._max_msg_queue_size,
        )

    def _refuse_body(self, content: StreamReader, reason: str) -> None:
        """End a body whose framing is broken, and the connection with its answer."""
        content.set_exception(web.RequestPayloadError(reason))
        content.feed_eof()
        self.close()
