"""The console over HTTP: who visits, which page it is, and what every answer carries."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from gateway.admin.addresses import find_at
from gateway.admin.callers import Caller
from gateway.admin.problems import status_of
from gateway.admin.web import Authenticator as ManagementAuthenticator
from gateway.admin.web import refuse_foreign_pages
from gateway.console.pages import PAGES
from gateway.console.rendering import Rendering
from gateway.console.sessions import Sessions, is_same
from gateway.console.static_files import PREFIX, StaticFiles
from gateway.console.texts import chosen_language, texts_of
from gateway.console.visits import Cookie, Reply, Visit, see
from gateway.errors import (
    BackendError,
    ClientError,
    FormForeign,
    FormTooLarge,
    MethodNotAllowed,
    ValueRefused,
)
from gateway.transport.body import RequestBody, close_after_unread_body

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from gateway.admin.needs import Services
    from gateway.console.pages import Page
    from gateway.console.sessions import SharedKeys
    from gateway.errors import SlipwayError
    from gateway.model.access import AccessKey
    from gateway.model.networks import IpAddress
    from gateway.ports.observing import Exchange

_log = logging.getLogger(__name__)
_ROOT = "/"
_HOME = "/console/"
_SIGN_IN = "/console/sign-in"
_LARGEST_FORM = 512 * 1024
_MOST_FIELDS = 2000
LANGUAGE_COOKIE = "slipway_language"
_SECONDS_OF_LANGUAGE = 365 * 24 * 3600
_SESSION_COOKIE = "slipway_session"
_SECURE_PREFIX = "__Host-"
_READING = {"GET", "HEAD"}
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "slipway",
}


class Authenticator(ManagementAuthenticator, Protocol):
    """What knows access keys, those of sessions too."""

    async def usable_key(self, access_key_id: str, address: IpAddress) -> AccessKey | None:
        """Return a key that may be used now; None for any other."""
        ...


class Console:
    """Answers browsers on the console host."""

    def __init__(self, services: Services, keys: SharedKeys, authenticator: Authenticator | None) -> None:
        """Serve pages; without an authenticator (``--open``), everybody may do everything."""
        self._services = services
        self._authenticator = authenticator
        self._sessions = Sessions(keys)
        self._static = StaticFiles()
        self._rendering = Rendering(self._static)

    async def respond(
        self, request: BaseRequest, path: str, query: str, *, exchange: Exchange, origin: str, client: IpAddress
    ) -> web.Response:
        """Answer a request; ``path`` and ``query`` are undecoded, ``origin`` is ours as the browser sees it."""
        reply = await self._answer(request, path, query, origin, client, exchange)
        headers = {**_SECURITY, "X-Request-Id": exchange.request_id, **reply.headers}
        response = web.Response(status=reply.status, headers=headers, body=reply.body or None)
        if reply.cookie is not None:
            _keep(response, reply.cookie, origin)
        close_after_unread_body(request, response)
        return response

    async def _answer(
        self, request: BaseRequest, path: str, query: str, origin: str, client: IpAddress, exchange: Exchange
    ) -> Reply:
        static = self._static.find(path) if path.startswith(PREFIX) else None
        if static is not None:
            cached = {"Content-Type": static.content_type, "Cache-Control": "public, max-age=31536000, immutable"}
            return Reply(HTTPStatus.OK, cached, static.content)
        if path in {_ROOT, "/console"}:
            return see(_HOME)
        visit = Visit(
            visitor=None,
            services=self._services,
            session=None,
            texts=texts_of(
                chosen_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language"))
            ),
            rendering=self._rendering,
            origin=origin,
            path=path,
            variables={},
            query=(),
        )
        try:
            visit = await self._recognised(visit, request.cookies.get(_cookie_name(origin), ""), client)
            if visit.visitor is not None:
                exchange.access_key_id = visit.visitor.actor.access_key_id or ""
            return await self._visited(request, visit, query, client)
        except (ClientError, BackendError) as error:
            return self._failed(visit, error, exchange.request_id)
        except Exception as error:  # noqa: BLE001  (the last line of defence: a bug is answered and logged)
            _log.exception("the request failed")
            return self._failed(visit, BackendError(str(error)), exchange.request_id)

    async def _recognised(self, visit: Visit, cookie: str, client: IpAddress) -> Visit:
        """Find out who visits, by rights of this moment."""
        if self._authenticator is None:
            return replace(visit, visitor=Caller.of_everybody(client))
        session = self._sessions.read(cookie) if cookie else None
        key = await self._authenticator.usable_key(session.access_key_id, client) if session else None
        if session is None or key is None or key.is_narrowed or not session.may_go_on(key):
            return visit
        return replace(visit, visitor=Caller.with_key(key, client), session=session)

    async def _visited(self, request: BaseRequest, visit: Visit, query: str, client: IpAddress) -> Reply:
        visit = replace(visit, query=_pairs(query))
        method = "GET" if request.method in _READING else request.method
        if method != "GET":
            refuse_foreign_pages(request, visit.origin)
            visit = replace(visit, fields=await _fields(request))
        if visit.path == "/console/language" and method == "POST":
            return _choose_language(visit)
        if visit.path == _SIGN_IN:
            return await self._sign_in(visit, method, client)
        if visit.visitor is None:
            return _ask_to_sign_in(visit, method)
        if method != "GET":
            self._check_form_token(visit)
        if visit.path == "/console/sign-out" and method == "POST":
            return see(_SIGN_IN, Cookie(_cookie_name(visit.origin), "", 0))
        page, variables = find_at(PAGES, method, visit.path, "there is no page at this address")
        return await _shown(page, replace(visit, variables=variables))

    async def _sign_in(self, visit: Visit, method: str, client: IpAddress) -> Reply:
        if self._authenticator is None:
            return see(_HOME)
        if method == "GET":
            return visit.page("sign_in.html", access_key_id="", next=visit.asked("next"))
        access_key_id, secret = visit.sent("access_key_id"), visit.sent("secret_key")
        try:
            key = await self._authenticator.authenticate(access_key_id, secret, client)
            Caller.with_key(key, client).require_whole_key()
        except ClientError as error:
            again = replace(visit, failure=error)
            return again.page(
                "sign_in.html", status_of(type(error)), access_key_id=access_key_id, next=visit.sent("next")
            )
        return see(_own_page(visit.sent("next")), Cookie(_cookie_name(visit.origin), self._sessions.begin(key)))

    def _check_form_token(self, visit: Visit) -> None:
        """Refuse forms that no page of this session has shown; raises FormForeign."""
        if visit.session is not None and not is_same(visit.session.form_token, visit.sent("form_token")):
            raise FormForeign("the form is from a page of another session")

    def _failed(self, visit: Visit, error: SlipwayError, request_id: str) -> Reply:
        if isinstance(error, BackendError):
            _log.error("the request failed: %s", error)
        status = status_of(type(error))
        headers = {"Allow": ", ".join(error.allowed)} if isinstance(error, MethodNotAllowed) else {}
        page = replace(visit, failure=error).page("error.html", status, code=status.value, request_id=request_id)
        return replace(page, headers={**page.headers, **headers})


def _ask_to_sign_in(visit: Visit, method: str) -> Reply:
    """Send a browser to the form for signing in, which leads back to the page that was asked for."""
    wanted = visit.here()
    query = urlencode({"next": wanted}) if method == "GET" and wanted != _HOME else ""
    return see(f"{_SIGN_IN}?{query}" if query else _SIGN_IN)


async def _shown(page: Page, visit: Visit) -> Reply:
    """Call a page; when a form is refused, show the page that it came from again, with the reason."""
    visit.caller.require_whole_key()
    if page.again is None:
        return await page.handle(visit)
    try:
        return await page.handle(visit)
    except ClientError as error:
        shown = await page.again(replace(visit, failure=error))
        return replace(shown, status=status_of(type(error)))


async def _fields(request: BaseRequest) -> tuple[tuple[str, str], ...]:
    """Read a form as browsers send it."""
    raw = await RequestBody(request, request.content_length).read(_LARGEST_FORM)
    if len(raw) > _LARGEST_FORM:
        raise FormTooLarge(f"a form has at most {_LARGEST_FORM} bytes")
    return _pairs(raw.decode("utf-8", "replace"))


def _pairs(encoded: str) -> tuple[tuple[str, str], ...]:
    try:
        pairs = tuple(parse_qsl(encoded, keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise ValueRefused(f"at most {_MOST_FIELDS} fields are read") from error
    if any("\0" in text for pair in pairs for text in pair):
        raise ValueRefused("a field contains a NUL character")
    return pairs


def _choose_language(visit: Visit) -> Reply:
    return see(
        _own_page(visit.sent("back")), Cookie(LANGUAGE_COOKIE, visit.sent("language")[:10], _SECONDS_OF_LANGUAGE)
    )


def _own_page(address: str) -> str:
    """Return an address that was sent if it is a page of the console: two slashes would name another host."""
    return address if address.startswith(_HOME) and address.isascii() and address.isprintable() else _HOME


def _is_secure(origin: str) -> bool:
    return origin.startswith("https://")


def _cookie_name(origin: str) -> str:
    return f"{_SECURE_PREFIX if _is_secure(origin) else ''}{_SESSION_COOKIE}"


def _keep(response: web.Response, cookie: Cookie, origin: str) -> None:
    response.set_cookie(
        cookie.name,
        cookie.value,
        path="/",
        max_age=cookie.seconds,
        httponly=True,
        # With "Strict", who follows a link from a chat or a mail would seem to be signed out.
        samesite="Lax",
        secure=_is_secure(origin),
    )
