"""The one table of addresses.

Names contain slashes, and may contain words like ``blobs`` and ``manifests``: addresses are read from the right,
with a greedy name. A path is decoded once; whatever is not exactly one of these forms does not exist, and nothing
is ever redirected to a nicer spelling, because clients turn a redirected POST into a GET.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gateway.errors import MethodNotAllowed, RouteUnknown
from gateway.http import blobs, lists, manifests, uploads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.web import StreamResponse

    from gateway.http.answers import Answer
    from gateway.http.calls import Call

    Handler = Callable[[Call], Awaitable[Answer | StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A form of addresses and the handlers of its methods."""

    word: str
    """What every such address contains: looking for it costs less than trying the form."""
    form: re.Pattern[str]
    handlers: Mapping[str, Handler]


@dataclass(frozen=True, slots=True)
class Match:
    """The handler for a request, and the variable parts of its address."""

    handler: Handler
    name: str
    argument: str


def _route(word: str, form: str, **handlers: Handler) -> Route:
    return Route(word, re.compile(form, re.DOTALL), handlers)


_ROUTES = (
    _route("/v2", r"/v2/?", GET=lists.ping, HEAD=lists.ping),
    _route("/v2/_catalog", r"/v2/_catalog", GET=lists.list_repositories, HEAD=lists.list_repositories),
    _route("/tags/list", r"/v2/(?P<name>.+)/tags/list", GET=lists.list_tags, HEAD=lists.list_tags),
    _route(
        "/manifests/",
        r"/v2/(?P<name>.+)/manifests/(?P<argument>[^/]+)",
        GET=manifests.get_manifest,
        HEAD=manifests.get_manifest,
        PUT=manifests.put_manifest,
        DELETE=manifests.delete_manifest,
    ),
    _route("/blobs/uploads", r"/v2/(?P<name>.+)/blobs/uploads/?", POST=uploads.start_upload),
    _route(
        "/blobs/uploads/",
        r"/v2/(?P<name>.+)/blobs/uploads/(?P<argument>[^/]+)",
        GET=uploads.get_upload,
        HEAD=uploads.head_upload,
        PATCH=uploads.append_chunk,
        PUT=uploads.close_upload,
        DELETE=uploads.cancel_upload,
    ),
    _route(
        "/blobs/",
        r"/v2/(?P<name>.+)/blobs/(?P<argument>[^/]+)",
        GET=blobs.get_blob,
        HEAD=blobs.head_blob,
        DELETE=blobs.delete_blob,
    ),
    _route(
        "/referrers/",
        r"/v2/(?P<name>.+)/referrers/(?P<argument>[^/]+)",
        GET=lists.list_referrers,
        HEAD=lists.list_referrers,
    ),
)


def resolve(method: str, path: str) -> Match:
    """Find the handler for a method and an undecoded path; raise RouteUnknown or MethodNotAllowed."""
    decoded = _decoded(path)
    for route in _ROUTES:
        match = route.form.fullmatch(decoded) if route.word in decoded else None
        if match is None:
            continue
        handler = route.handlers.get(method)
        if handler is None:
            raise MethodNotAllowed(tuple(route.handlers))
        variables = match.groupdict()
        return Match(handler, variables.get("name", ""), variables.get("argument", ""))
    raise RouteUnknown("there is nothing at this address; the registry API lies under /v2/")


def _decoded(path: str) -> str:
    if path.isascii() and "%" not in path:
        return path
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RouteUnknown("the address is not UTF-8") from error
