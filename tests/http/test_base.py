"""Protocol 1.2 to 1.5: the base address, headers of every answer, and methods that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rows import Case, Names, play, row, table
from .wire import Chunked

if TYPE_CHECKING:
    from .wire import Address, Answer


def allows(*methods: str) -> dict[str, Any]:
    """Expect 405 with an Allow header that names at least these methods."""

    def check(answer: Answer) -> None:
        allowed = {method.strip() for method in answer["Allow"].split(",")}
        assert set(methods) <= allowed, f"1.2: Allow is {sorted(allowed)}, which lacks some of {methods}"

    return {"code": "UNSUPPORTED", "check": check}


_UPLOAD = "/v2/{shelf}/blobs/uploads/0b8e2b0c-6a49-4a5e-9d63-0f3c2f0a1111"
_GZIP = {"Accept-Encoding": "gzip"}
_MANIFEST = "/v2/{shelf}/manifests/latest"
_BLOB = "/v2/{shelf}/blobs/{blob}"

BASE = [
    row(
        "1.5 GET /v2/ answers {} as JSON",
        "GET",
        "/v2/",
        200,
        has={"Content-Type": "application/json", "Content-Length": "2"},
        body_is=b"{}",
    ),
    row(
        "1.5 HEAD /v2/ has the length of the GET and no body",
        "HEAD",
        "/v2/",
        200,
        has={"Content-Type": "application/json", "Content-Length": "2"},
    ),
    row("1.2 /v2 is served like /v2/, without a redirect", "GET", "/v2", 200, has={"Location": None}, body_is=b"{}"),
    row("1.5 an open registry does not challenge", "GET", "/v2/", 200, has={"WWW-Authenticate": None}),
    row("1.2 ns= is accepted on /v2/", "GET", "/v2/?ns=docker.io", 200, has={"OCI-Namespace": None}),
    row("1.2 unknown query parameters are ignored", "GET", "/v2/?what=ever&&=&x", 200),
    row("1.12 GET with a body: the body is ignored", "GET", "/v2/", 200, body=b"unexpected"),
    row("1.12 GET with a chunked body is fine as well", "GET", "/v2/", 200, body=Chunked.of(b"un", b"expected")),
    row("1.3 Accept-Encoding never leads to an encoded answer", "GET", "/v2/", 200, headers=_GZIP),
    row("1.3 gzip is not applied to tag lists", "GET", "/v2/{shelf}/tags/list", 200, headers=_GZIP),
    row(
        "1.2 the extension address is answered or unknown",
        "GET",
        "/v2/_oci/ext/discover",
        (200, 404),
    ),
    row("1.2 a repository's extension address too", "GET", "/v2/{shelf}/_oci/ext/discover", (200, 404)),
    row("1.2 names with _ first are reserved", "POST", "/v2/_oci/blobs/uploads/", 400, code="NAME_INVALID"),
]

WRONG_METHODS = [
    *(
        row(f"1.2 {method} /v2/ is 405", method, "/v2/", 405, **allows("GET", "HEAD"))
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    ),
    *(
        row(f"1.2 {method} of a blob is 405 (5 extra i)", method, _BLOB, 405, **allows("GET", "HEAD", "DELETE"))
        for method in ("POST", "PUT", "PATCH", "OPTIONS")
    ),
    *(
        row(f"1.2 {method} uploads/ is 405 (5 extra h)", method, "/v2/x/blobs/uploads/", 405, **allows("POST"))
        for method in ("GET", "PUT", "PATCH", "DELETE")
    ),
    *(
        row(f"1.2 {method} uploads is 405", method, "/v2/x/blobs/uploads", 405, **allows("POST"))
        for method in ("GET", "PUT", "PATCH", "DELETE")
    ),
    row("1.2 HEAD uploads/ is 405 without a body", "HEAD", "/v2/x/blobs/uploads/", 405, **allows("POST")),
    row("1.2 POST of an upload is 405", "POST", _UPLOAD, 405, **allows("GET", "HEAD", "PATCH", "PUT", "DELETE")),
    *(
        row(f"1.2 {method} of a manifest is 405", method, _MANIFEST, 405, **allows("GET", "HEAD", "PUT", "DELETE"))
        for method in ("POST", "PATCH", "OPTIONS")
    ),
    *(
        row(f"1.2 {method} of a tag list is 405", method, "/v2/{shelf}/tags/list", 405, **allows("GET"))
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ),
    *(
        row(f"1.2 {method} of referrers is 405", method, "/v2/{shelf}/referrers/{image}", 405, **allows("GET"))
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ),
    *(
        row(f"1.2 {method} of the catalogue is 405", method, "/v2/_catalog", 405, **allows("GET"))
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ),
    row("1.2 a method nobody knows", "BREW", _MANIFEST, (400, 405)),
]

HEADS = [
    row(f"5 extra j: HEAD {path} has no body", "HEAD", path, statuses)
    for path, statuses in [
        ("/v2/{shelf}/tags/list", (200, 405)),
        ("/v2/{shelf}/referrers/{image}", (200, 405)),
        ("/v2/_catalog", (200, 405)),
        ("/v2/{shelf}/manifests/absent", (404,)),
        ("/v2/{shelf}/manifests/{missing}", (404,)),
        ("/v2/{shelf}/manifests/sha256:short", (400, 404)),
        ("/v2/{shelf}/blobs/{missing}", (404,)),
        ("/v2/{shelf}/blobs/sha256:short", (400, 404)),
        ("/v2/no/such/repository/tags/list", (404, 405)),
        ("/v2/NO/manifests/latest", (404,)),
        ("/v2/x/nothing", (404,)),
        (_UPLOAD, (404,)),
        ("/", (404,)),
    ]
]


@table(*BASE)
async def test_base(registry: Address, names: Names, case: Case) -> None:
    """The base address answers to every client's first question."""
    await play(registry, names, case)


@table(*WRONG_METHODS)
async def test_method_that_does_not_exist(registry: Address, names: Names, case: Case) -> None:
    """A method that an address does not have is 405 with Allow and an UNSUPPORTED body."""
    await play(registry, names, case)


@table(*HEADS)
async def test_head_has_no_body(registry: Address, names: Names, case: Case) -> None:
    """HEAD never has a body, whatever the status; the client fails on bytes after the head."""
    await play(registry, names, case)
