"""The HTTP server: aiohttp's low-level one, with our limits, our errors, and patience with half-closed clients."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import StreamReader
    from aiohttp.web import BaseRequest, StreamResponse

    Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]
    Refusal = Callable[[HTTPStatus, str], StreamResponse]

_LIMITS: dict[str, Any] = {
    # A body is hashed as it comes: decompressing it would verify other bytes than the client has sent.
    "auto_decompress": False,
    # Partial pulls of zstd:chunked images name up to 1,024 ranges in one header.
    "max_field_size": 64 * 1024,
    "max_line_size": 32 * 1024,
    # How long a rejected body is still read, so that the client gets to see the answer.
    "lingering_time": 2.0,
    # Also the time limit for a request's head.
    "keepalive_timeout": 75.0,
    "access_log": None,
}


class _Connection(web.RequestHandler):
    """One connection of a client."""

    def __init__(self, manager: web.Server, *, refusal: Refusal, **limits: Any) -> None:
        super().__init__(manager, **limits)
        self._refusal = refusal
        self._last_body: StreamReader | None = None

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

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser, and its refusal on to the request whose body they belong to.

        aiohttp queues an error in the framing of a body behind the request, and the request waits for ever.
        """
        super().data_received(data)
        if not self._messages:
            return
        message, self._last_body = self._messages[-1]
        request = self._current_request
        if isinstance(message, _ErrInfo) and request is not None and not request.content.is_eof():
            self._messages.pop()
            request.content.set_exception(web.RequestPayloadError(message.message))
            request.content.feed_eof()
            self.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Go on serving a client that has closed its own side only, once it has sent its whole request."""
        is_idle = self._waiter is not None and not self._waiter.done()
        if is_idle or self._last_body is None or not self._last_body.is_eof():
            return False
        self.close()
        return True


class _Server(web.Server):
    """A server of such connections."""

    def __init__(self, handler: Handler, refusal: Refusal) -> None:
        super().__init__(handler)
        self._refusal = refusal

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, refusal=self._refusal, **_LIMITS)


def server_runner(handler: Handler, refusal: Refusal) -> web.ServerRunner:
    """Make a runner that answers requests by ``handler``, and what is not HTTP by ``refusal``."""
    return web.ServerRunner(_Server(handler, refusal))
