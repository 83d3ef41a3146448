"""How commands reach the management API: in this process, or on a running server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import urllib.error
import urllib.request
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import orjson

from gateway.admin.callers import Caller
from gateway.admin.requests import Request
from gateway.config import ACCESS_KEY_ID_VARIABLE, SECRET_KEY_VARIABLE
from gateway.errors import BackendError, ConfigurationError, SlipwayError
from gateway.model.access import Actor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from gateway.admin.dispatch import Management

_SECONDS_TO_ANSWER = 120.0
_LARGEST_ANSWER = 64 * 1024 * 1024
_ACCEPTED = range(200, 300)
_LARGEST_PAGE = 1000
_JSON = "application/json"
_LOCAL = Caller(Actor(None, "local"), key=None)


class Refused(SlipwayError):
    """The management API has refused a command; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the management API."""

    status: int
    body: bytes


class Connection(Protocol):
    """One of the two ways to the management API."""

    def exchange(self, request: Request) -> Reply:
        """Send a request and return its answer, whatever it is; raises ConfigurationError where none comes."""
        ...


class Client:
    """Speaks to the management API in terms of JSON; every method raises Refused, or BackendError for faults of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, path: str, **query: str | None) -> Any:
        """Read something; parameters that are None are left out."""
        return self._send("GET", path, query, None)

    def pages(self, path: str, limit: int | None = None, **query: str | None) -> Iterator[list[Any]]:
        """Read a list, page by page, up to ``limit`` entries."""
        count, cursor = 0, None
        while True:
            wanted = _LARGEST_PAGE if limit is None else min(_LARGEST_PAGE, limit - count)
            page = self._send("GET", path, {**query, "limit": str(wanted), "cursor": cursor}, None)
            yield page["items"]
            count += len(page["items"])
            cursor = page["next"]
            if cursor is None or count == limit:
                return

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make or do something."""
        return self._send("POST", path, {}, body)

    def put(self, path: str, **query: str | None) -> Any:
        """Put something into place."""
        return self._send("PUT", path, query, None)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something."""
        return self._send("PATCH", path, {}, body)

    def delete(self, path: str, **query: str | None) -> None:
        """Remove something."""
        self._send("DELETE", path, query, None)

    def _send(self, method: str, path: str, query: Mapping[str, str | None], body: Mapping[str, Any] | None) -> Any:
        request = Request(
            method=method,
            path=path,
            query=tuple((name, value) for name, value in query.items() if value is not None),
            content_type=None if body is None else _JSON,
            body=b"" if body is None else orjson.dumps(body),
        )
        reply = self._connection.exchange(request)
        if reply.status not in _ACCEPTED:
            is_refusal = reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
            raise (Refused if is_refusal else BackendError)(_reason(reply))
        try:
            return orjson.loads(reply.body) if reply.body else None
        except orjson.JSONDecodeError as error:
            raise ConfigurationError("the answer is not JSON: is this the console host of a slipway?") from error


def address(*parts: str) -> str:
    """Return the path of something in the management API."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


@contextmanager
def local(opening: AbstractAsyncContextManager[Management]) -> Iterator[Client]:
    """Open an installation in this process; whoever may do that may do everything."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        management = runner.run(stack.enter_async_context(opening))
        try:
            yield Client(_Local(runner, management))
        finally:
            runner.run(stack.aclose())


@contextmanager
def remote(url: str) -> Iterator[Client]:
    """Speak to a running server with the access key in the environment."""
    yield Client(_Remote(url))


class _Local:
    def __init__(self, runner: asyncio.Runner, management: Management) -> None:
        self._runner = runner
        self._management = management

    def exchange(self, request: Request) -> Reply:
        answer = self._runner.run(self._management.answer(request, _LOCAL))
        return Reply(answer.status, answer.body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the secret is for this server alone."""

    def redirect_request(self, *_: object) -> None:
        return None


class _Remote:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.username is not None:
            # It may contain a password: it is not shown.
            raise ConfigurationError("--url is no address of a server: write it like https://console.example.com")
        self._url = url.rstrip("/")
        self._headers = _credentials()
        self._opener = urllib.request.build_opener(_NoRedirects())

    def exchange(self, request: Request) -> Reply:
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = dict(self._headers)
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
        sent = urllib.request.Request(  # noqa: S310  (the scheme was checked)
            f"{self._url}{request.path}{query}", request.body or None, headers, method=request.method
        )
        try:
            with self._opener.open(sent, timeout=_SECONDS_TO_ANSWER) as answer:
                return Reply(answer.status, answer.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read(_LARGEST_ANSWER))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ConfigurationError(f"the server at {self._url} cannot be reached: {reason}") from error


def _credentials() -> dict[str, str]:
    access_key_id, secret = os.environ.get(ACCESS_KEY_ID_VARIABLE), os.environ.get(SECRET_KEY_VARIABLE)
    if bool(access_key_id) != bool(secret):
        raise ConfigurationError(f"{ACCESS_KEY_ID_VARIABLE} and {SECRET_KEY_VARIABLE} belong together: set both")
    if not access_key_id:
        return {}
    encoded = base64.b64encode(f"{access_key_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def _reason(reply: Reply) -> str:
    """Return what a refusal says."""
    try:
        problem = json.loads(reply.body)
        detail = str(problem["detail"])
    except (ValueError, TypeError, KeyError):
        return f"the server answered with status {reply.status}: is this the console host of a slipway?"
    if reply.status == HTTPStatus.UNAUTHORIZED and not os.environ.get(ACCESS_KEY_ID_VARIABLE):
        return f"{detail}: set {ACCESS_KEY_ID_VARIABLE} and {SECRET_KEY_VARIABLE}"
    return detail
