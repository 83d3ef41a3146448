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
from gateway.http import blobs, lists, manifests, token, uploads
from gateway.http.authorization import Need

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.web import StreamResponse

    from gateway.http.answers import Answer
    from gateway.http.calls import Call

    Handler = Callable[[Call], Awaitable[Answer | StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A form of addresses and the handlers of its methods."""

    name: str
    """What metrics call it."""
    word: str
    """What every such address contains: looking for it costs less than trying the form."""
    form: re.Pattern[str]
    methods: Mapping[str, tuple[Handler, Need]]
    """Who answers each method, and what that needs."""


@dataclass(frozen=True, slots=True)
class Match:
    """The handler for a request, what it needs, and the variable parts of its address."""

    route: str
    handler: Handler
    need: Need
    name: str
    argument: str


def _route(name: str, word: str, form: str, **methods: tuple[Handler, Need]) -> Route:
    return Route(name, word, re.compile(form, re.DOTALL), methods)


_ROUTES = (
    _route("ping", "/v2", r"/v2/?", GET=(lists.ping, Need.LOGIN), HEAD=(lists.ping, Need.LOGIN)),
    _route("token", "/token", r"/token", GET=(token.get_token, Need.NOTHING), POST=(token.post_token, Need.NOTHING)),
    _route(
        "catalog",
        "/v2/_catalog",
        r"/v2/_catalog",
        GET=(lists.list_repositories, Need.CATALOG),
        HEAD=(lists.list_repositories, Need.CATALOG),
    ),
    _route(
        "tags",
        "/tags/list",
        r"/v2/(?P<name>.+)/tags/list",
        GET=(lists.list_tags, Need.PULL),
        HEAD=(lists.list_tags, Need.PULL),
    ),
    _route(
        "manifest",
        "/manifests/",
        r"/v2/(?P<name>.+)/manifests/(?P<argument>[^/]+)",
        GET=(manifests.get_manifest, Need.PULL),
        HEAD=(manifests.get_manifest, Need.PULL),
        PUT=(manifests.put_manifest, Need.PUSH),
        DELETE=(manifests.delete_manifest, Need.DELETE),
    ),
    _route("uploads", "/blobs/uploads", r"/v2/(?P<name>.+)/blobs/uploads/?", POST=(uploads.start_upload, Need.PUSH)),
    _route(
        "upload",
        "/blobs/uploads/",
        r"/v2/(?P<name>.+)/blobs/uploads/(?P<argument>[^/]+)",
        GET=(uploads.get_upload, Need.PULL),
        HEAD=(uploads.head_upload, Need.PULL),
        PATCH=(uploads.append_chunk, Need.PUSH),
        PUT=(uploads.close_upload, Need.PUSH),
        DELETE=(uploads.cancel_upload, Need.PUSH),
    ),
    _route(
        "blob",
        "/blobs/",
        r"/v2/(?P<name>.+)/blobs/(?P<argument>[^/]+)",
        GET=(blobs.get_blob, Need.PULL),
        HEAD=(blobs.head_blob, Need.PULL),
        DELETE=(blobs.delete_blob, Need.DELETE),
    ),
    _route(
        "referrers",
        "/referrers/",
        r"/v2/(?P<name>.+)/referrers/(?P<argument>[^/]+)",
        GET=(lists.list_referrers, Need.PULL),
        HEAD=(lists.list_referrers, Need.PULL),
    ),
)


def resolve(method: str, path: str) -> Match:
    """Find the handler for a method and an undecoded path; raise RouteUnknown or MethodNotAllowed."""
    decoded = _decoded(path)
    for route in _ROUTES:
        match = route.form.fullmatch(decoded) if route.word in decoded else None
        if match is None:
            continue
        found = route.methods.get(method)
        if found is None:
            raise MethodNotAllowed(tuple(route.methods))
        variables = match.groupdict()
        return Match(route.name, *found, variables.get("name", ""), variables.get("argument", ""))
    raise RouteUnknown("there is nothing at this address; the registry API lies under /v2/")


def _decoded(path: str) -> str:
    if path.isascii() and "%" not in path:
        return path
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RouteUnknown("the address is not UTF-8") from error
