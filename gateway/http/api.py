"""The registry API as one handler: finds the route, calls it, and answers whatever went wrong."""

from __future__ import annotations

import logging
import re
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from multidict import istr

from gateway.errors import BackendError, ClientError, ExpectationFailed, ParameterInvalid, ServiceEnding
from gateway.http.answers import Answer
from gateway.http.authorization import Authorization, Wanted
from gateway.http.calls import Call, Services, mount_source, parse_parameters
from gateway.http.errors import answer_to, error_answer, error_entry
from gateway.http.routes import resolve
from gateway.model.names import is_repository_name
from gateway.model.trace import TraceParent
from gateway.ports.observing import CURRENT, Exchange
from gateway.transport.body import BODY, close_after_unread_body

if TYPE_CHECKING:
    from collections.abc import Callable
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.http.health import Health
    from gateway.http.routes import Match
    from gateway.http.sites import Sites
    from gateway.model.networks import IpAddress
    from gateway.ports.observing import Spans

_log = logging.getLogger(__name__)
_AUTHORITY = re.compile(r"\Ahttps?://[^/?]*", re.IGNORECASE)
_MANAGEMENT = "/api/"
_CONSOLE = "/console"
_DIGEST_HEADER = istr("Docker-Content-Digest")
_TRACE_HEADER = istr("traceparent")
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_CLIENT_GONE = 499
"""What the log shows for a client that went away, or stopped reading, in the middle of an answer."""


class Office(Protocol):
    """What answers at the console host beside registries: the management API, and the console."""

    async def respond(
        self, request: BaseRequest, path: str, query: str, *, exchange: Exchange, origin: str, client: IpAddress
    ) -> StreamResponse:
        """Answer a request, whatever is wrong with it; ``path`` and ``query`` are undecoded."""
        ...


class RegistryApi:
    """Answers the requests to all registries."""

    def __init__(
        self,
        health: Health,
        sites: Sites,
        services: Services,
        management: Office,
        console: Office,
        observe: Callable[[Exchange], None],
        spans: Spans | None,
    ) -> None:
        """Answer by these; ``observe`` is told of every request when it is over, ``spans`` makes traces of them."""
        self._health = health
        self._sites = sites
        self._services = services
        self._management = management
        self._console = console
        self._authorization = Authorization(services.access)
        self._observe = observe
        self._spans = spans
        # Ids are unique, not secret: counting costs a third of drawing random bytes each time.
        self._process_id = token_hex(4)
        self._trace_prefix = token_hex(8)
        self._numbers = count(1)
        self.in_flight = 0
        """Requests that are being answered now."""

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        """Answer a request; every outcome is an answer, or an aborted connection when one had begun already."""
        if (told := await self._health.respond(request)) is not None:
            return told
        path, _, query = _origin_form(request.raw_path).partition("?")
        number = f"{next(self._numbers):08x}"
        exchange = Exchange(
            request_id=self._process_id + number,
            method=request.method,
            path=path,
            trace_id=f"{self._trace_prefix}{number:0>16}",
        )
        header = request.headers.get(_TRACE_HEADER)
        parent = self._parent(request, header) if header else None
        if parent is not None:
            exchange.trace_id = parent.trace_id
        CURRENT.set(exchange)
        if self._spans is None:
            return await self._observed(request, exchange, query)
        with self._spans.request(exchange, parent):
            return await self._observed(request, exchange, query)

    async def _observed(self, request: BaseRequest, exchange: Exchange, query: str) -> StreamResponse:
        """Answer a request, and tell what came of it."""
        self.in_flight += 1
        try:
            response = await self._respond(request, exchange, query)
        finally:
            self.in_flight -= 1
            # The task goes on with the connection's next request.
            CURRENT.set(None)
        if exchange.client is None:
            exchange.client = self._sites.peer(request)
        _conclude(exchange, request, response)
        self._observe(exchange)
        return response

    def _parent(self, request: BaseRequest, header: str) -> TraceParent | None:
        """Return the trace that a request belongs to, if it comes from a proxy that may say so."""
        return TraceParent.parse(header) if self._sites.trusts(self._sites.peer(request)) else None

    async def _respond(self, request: BaseRequest, exchange: Exchange, query: str) -> StreamResponse:
        try:
            result = await self._call(request, exchange, query)
        except (ClientError, BackendError) as error:
            # Requests that are cut off in the end are told together.
            if isinstance(error, BackendError) and not isinstance(error, ServiceEnding):
                _log.error("the request failed: %s", error, exc_info=error.__cause__ is None)
            result = answer_to(error, request.method)
        except (ConnectionError, TimeoutError) as error:
            _log.info("the client is gone: %s", error)
            return _abort(request, _CLIENT_GONE)
        except Exception as error:  # noqa: BLE001  (the last line of defence: a bug is answered and logged)
            _log.exception("the request failed")
            result = answer_to(error, request.method)
        if not isinstance(result, Answer):
            return result
        if _has_begun(request):
            return _abort(request, result.status)
        response = result.response(exchange.request_id)
        close_after_unread_body(request, response)
        return response

    async def _call(self, request: BaseRequest, exchange: Exchange, query: str) -> Answer | StreamResponse:
        headers = request.headers
        if headers.get("Expect", "100-continue").lower() != "100-continue":
            raise ExpectationFailed("the only expectation that can be met is 100-continue")
        if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            raise ParameterInvalid("the only transfer encoding that is understood is chunked")
        site = self._sites.find(request)
        exchange.client = site.client
        if site.has_console and (office := self._office(request, exchange)) is not None:
            return await office.respond(
                request, exchange.path, query, exchange=exchange, origin=site.origin, client=site.client
            )
        settings = await self._sites.registry(site)
        exchange.registry = settings.name
        match = resolve(request.method, exchange.path)
        _tell_of(exchange, match)
        parameters = parse_parameters(query)
        wanted = Wanted(match.need, match.name, mount_source(parameters))
        caller = await self._authorization.caller(site, settings, headers.get("Authorization"), wanted)
        if caller.key is not None:
            exchange.access_key_id = caller.key.access_key_id
        call = Call(
            request=request,
            exchange=exchange,
            site=site,
            caller=caller,
            services=self._services,
            name=match.name,
            argument=match.argument,
            parameters=parameters,
        )
        return await match.handler(call)

    def _office(self, request: BaseRequest, exchange: Exchange) -> Office | None:
        """Choose what answers at the console host; None is for registries."""
        if exchange.path.startswith(_MANAGEMENT):
            exchange.route = "api"
            return self._management
        if _is_for_console(request, exchange.path):
            exchange.route = "console"
            return self._console
        return None


def _tell_of(exchange: Exchange, match: Match) -> None:
    """Note what a request is about, as far as its address says it."""
    exchange.route = match.route
    # What is written plainly in a request line fits into a line of the log; what was decoded may be anything.
    is_plain = "%" not in exchange.path and exchange.path.isascii()
    if is_plain or is_repository_name(match.name):
        exchange.repository = match.name
    if is_plain and ":" in match.argument:
        exchange.digest = match.argument


def _conclude(exchange: Exchange, request: BaseRequest, response: StreamResponse) -> None:
    """Note what came of a request; an answer in memory is yet to be sent."""
    exchange.status = response.status
    exchange.digest = response.headers.get(_DIGEST_HEADER) or exchange.digest
    exchange.sent = request.writer.output_size or _size_in_memory(response)
    if request.method not in _WITHOUT_BODY and (body := request.get(BODY)) is not None:
        exchange.received = body.received
    exchange.seconds = perf_counter() - exchange.started


def _size_in_memory(response: StreamResponse) -> int:
    body = response.body if isinstance(response, web.Response) else None
    return len(body) if isinstance(body, bytes) else 0


def _is_for_console(request: BaseRequest, path: str) -> bool:
    """Tell the console's pages from what is no address of ours; the root is a page to browsers only."""
    return path.startswith(_CONSOLE) or (path == "/" and "text/html" in request.headers.get("Accept", ""))


def refusal(status: HTTPStatus, message: str) -> StreamResponse:
    """Answer what is not a proper request."""
    return error_answer(status, [error_entry("UNSUPPORTED", message)]).response(token_hex(8))


def _origin_form(target: str) -> str:
    """Cut scheme and host off a request target; proxies may send it in absolute form (RFC 9112, section 3.2.2)."""
    if target.startswith("/"):
        return target
    return _AUTHORITY.sub("", target)


def _has_begun(request: BaseRequest) -> bool:
    return request.writer.output_size > 0


def _abort(request: BaseRequest, status: int) -> StreamResponse:
    """Cut the connection, so that no client takes half an answer for a whole one.

    The response that is returned goes nowhere; its status is for the log.
    """
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=status)
