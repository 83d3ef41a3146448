"""The management API over HTTP: who asks, from which page, and with which body."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.admin.callers import Caller
from gateway.admin.dispatch import describe
from gateway.admin.openapi import DOCUMENT_PATH
from gateway.admin.parsing import LARGEST_BODY
from gateway.admin.problems import answer_to
from gateway.admin.requests import Request
from gateway.errors import BackendError, ClientError, CredentialsWrong, Forbidden, ValueRefused
from gateway.model.credentials import BASIC, Basic, parse_basic, split
from gateway.transport.body import RequestBody, close_after_unread_body

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from gateway.admin.dispatch import Management
    from gateway.admin.problems import Answer
    from gateway.model.access import AccessKey
    from gateway.model.networks import IpAddress
    from gateway.ports.observing import Exchange

_log = logging.getLogger(__name__)
_OWN_PAGES = {"none", "same-origin"}
_METHODS_WITH_BODY = {"POST", "PUT", "PATCH"}


class Authenticator(Protocol):
    """What knows access keys."""

    async def authenticate(self, access_key_id: str, secret: str, address: IpAddress) -> AccessKey:
        """Return the usable key of these credentials; raises CredentialsWrong, after a while, for wrong ones."""
        ...


class ManagementApi:
    """Answers what is sent to ``/api/`` on the console host."""

    def __init__(self, management: Management, authenticator: Authenticator | None) -> None:
        """Take requests; without an authenticator (``--open``), everybody may do everything."""
        self._management = management
        self._authenticator = authenticator

    async def respond(
        self, request: BaseRequest, path: str, query: str, *, exchange: Exchange, origin: str, client: IpAddress
    ) -> web.Response:
        """Answer a request; ``path`` and ``query`` are undecoded, ``origin`` is ours as the client sees it."""
        try:
            answer = await self._answer(request, path, query, exchange, origin, client)
        except (ClientError, BackendError) as error:
            if isinstance(error, BackendError):
                _log.error("the request failed: %s", error)
            answer = answer_to(error)
        response = _response(answer, exchange.request_id)
        close_after_unread_body(request, response)
        return response

    async def _answer(
        self, request: BaseRequest, path: str, query: str, exchange: Exchange, origin: str, client: IpAddress
    ) -> Answer:
        refuse_foreign_pages(request, origin)
        if path == DOCUMENT_PATH and request.method == "GET":
            return describe()
        caller = await self._caller(request, client)
        exchange.access_key_id = caller.actor.access_key_id or ""
        body = b""
        if request.method in _METHODS_WITH_BODY:
            body = await RequestBody(request, request.content_length).read(LARGEST_BODY)
        asked = Request(
            method=request.method,
            path=path,
            query=_parameters(query),
            content_type=request.headers.get("Content-Type"),
            if_match=request.headers.get("If-Match"),
            body=body,
        )
        return await self._management.answer(asked, caller)

    async def _caller(self, request: BaseRequest, client: IpAddress) -> Caller:
        if self._authenticator is None:
            return Caller.of_everybody(client)
        sent = _credentials(request.headers.get("Authorization"))
        key = await self._authenticator.authenticate(sent.access_key_id, sent.secret, client)
        return Caller.with_key(key, client)


def refuse_foreign_pages(request: BaseRequest, origin: str) -> None:
    """Refuse what a browser sends for a page of another site; raises Forbidden.

    Browsers remember Basic credentials and add them to whatever a page asks for, and under ``--open`` none are needed.
    """
    site = request.headers.get("Sec-Fetch-Site", "none").lower()
    sender = request.headers.get("Origin")
    if site not in _OWN_PAGES or (sender is not None and sender.lower() != origin.lower()):
        raise Forbidden("pages of other sites may not use the management API")


def _credentials(header: str | None) -> Basic:
    """Read HTTP Basic credentials (RFC 7617); raises CredentialsWrong."""
    scheme, value = split(header or "")
    if scheme != BASIC:
        raise CredentialsWrong("the management API takes an access key id and its secret by HTTP Basic")
    return parse_basic(value) or Basic("", "")


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    parameters = tuple(parse_qsl(query, keep_blank_values=True, errors="replace"))
    if any("\0" in text for pair in parameters for text in pair):
        raise ValueRefused("a query parameter contains a NUL character")
    return parameters


def _response(answer: Answer, request_id: str) -> web.Response:
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Request-Id": request_id,
        "Server": "slipway",
        **answer.headers,
    }
    return web.Response(status=answer.status, headers=headers, body=answer.body or None)
