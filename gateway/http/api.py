"""The registry API as one handler: finds the route, calls it, and answers whatever went wrong."""

from __future__ import annotations

import logging
import re
import time
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway.errors import BackendError, ClientError, ExpectationFailed, ParameterInvalid
from gateway.http.answers import Answer
from gateway.http.authorization import Authorization, Wanted
from gateway.http.calls import Call, Services, mount_source, parse_parameters
from gateway.http.errors import answer_to, error_answer, error_entry
from gateway.http.routes import resolve
from gateway.transport.body import close_after_unread_body

if TYPE_CHECKING:
    from collections.abc import Callable
    from http import HTTPStatus

    from aiohttp.web import BaseRequest, StreamResponse

    from gateway.http.sites import Sites
    from gateway.model.networks import IpAddress

_log = logging.getLogger(__name__)
_AUTHORITY = re.compile(r"\Ahttps?://[^/?]*", re.IGNORECASE)
_MANAGEMENT = "/api/"
_CONSOLE = "/console"
_ROUTE = web.RequestKey("route", str)
_CLIENT_GONE = 499
"""What the log shows for a client that went away, or stopped reading, in the middle of an answer."""


class Office(Protocol):
    """What answers at the console host beside registries: the management API, and the console."""

    async def respond(
        self, request: BaseRequest, path: str, query: str, *, request_id: str, origin: str, client: IpAddress
    ) -> StreamResponse:
        """Answer a request, whatever is wrong with it; ``path`` and ``query`` are undecoded."""
        ...


class RegistryApi:
    """Answers the requests to all registries."""

    def __init__(
        self,
        sites: Sites,
        services: Services,
        management: Office,
        console: Office,
        note: Callable[[str, str, int, float, str], None],
        count_request: Callable[[str, str, int], None],
    ) -> None:
        """Answer by these; ``note`` gets every request for the log, ``count_request`` route, method and status."""
        self._sites = sites
        self._services = services
        self._management = management
        self._console = console
        self._authorization = Authorization(services.access)
        self._note = note
        self._count = count_request
        # Ids are unique, not secret: counting costs a third of drawing random bytes each time.
        self._process_id = token_hex(4)
        self._numbers = count(1)
        self.in_flight = 0
        """Requests that are being answered now."""

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        """Answer a request; every outcome is an answer, or an aborted connection when one had begun already."""
        started = time.monotonic()
        request_id = f"{self._process_id}{next(self._numbers):08x}"
        self.in_flight += 1
        try:
            response = await self._respond(request, request_id)
        finally:
            self.in_flight -= 1
        self._count(request.get(_ROUTE, "none"), request.method, response.status)
        self._note(request.method, request.raw_path, response.status, time.monotonic() - started, request_id)
        return response

    async def _respond(self, request: BaseRequest, request_id: str) -> StreamResponse:
        try:
            result = await self._call(request, request_id)
        except (ClientError, BackendError) as error:
            result = self._failed(request, request_id, error)
        except (ConnectionError, TimeoutError) as error:
            _log.info("request %s: the client is gone: %s", request_id, error)
            return _abort(request, _CLIENT_GONE)
        except Exception as error:  # noqa: BLE001  (the last line of defence: a bug is answered and logged)
            _log.exception("request %s failed", request_id)
            result = answer_to(error, request.method)
        if not isinstance(result, Answer):
            return result
        if _has_begun(request):
            return _abort(request, result.status)
        response = result.response(request_id)
        close_after_unread_body(request, response)
        return response

    async def _call(self, request: BaseRequest, request_id: str) -> Answer | StreamResponse:
        headers = request.headers
        if headers.get("Expect", "100-continue").lower() != "100-continue":
            raise ExpectationFailed("the only expectation that can be met is 100-continue")
        if headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            raise ParameterInvalid("the only transfer encoding that is understood is chunked")
        site = self._sites.find(request)
        path, _, query = _origin_form(request.raw_path).partition("?")
        if site.has_console and path.startswith(_MANAGEMENT):
            request[_ROUTE] = "api"
            return await self._management.respond(
                request, path, query, request_id=request_id, origin=site.origin, client=site.client
            )
        if site.has_console and _is_for_console(request, path):
            request[_ROUTE] = "console"
            return await self._console.respond(
                request, path, query, request_id=request_id, origin=site.origin, client=site.client
            )
        settings = await self._sites.registry(site)
        match = resolve(request.method, path)
        request[_ROUTE] = match.route
        parameters = parse_parameters(query)
        wanted = Wanted(match.need, match.name, mount_source(parameters))
        call = Call(
            request=request,
            request_id=request_id,
            site=site,
            caller=await self._authorization.caller(site, settings, headers.get("Authorization"), wanted),
            services=self._services,
            name=match.name,
            argument=match.argument,
            parameters=parameters,
        )
        return await match.handler(call)

    def _failed(self, request: BaseRequest, request_id: str, error: Exception) -> Answer:
        if isinstance(error, BackendError):
            _log.error("request %s: %s", request_id, error, exc_info=error.__cause__ is None)
        return answer_to(error, request.method)


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
