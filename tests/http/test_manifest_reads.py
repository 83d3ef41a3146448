"""Protocol 1.8: reading manifests, and references that lead nowhere (edge cases 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import DOCKER_LIST, DOCKER_MANIFEST, IMAGE, INDEX, OCI_INDEX, OCI_MANIFEST, SECOND, sha512
from .rows import Case, Names, play, row, table

if TYPE_CHECKING:
    from .wire import Address

_TAG = "/v2/{shelf}/manifests/latest"
_DIGEST = "/v2/{shelf}/manifests/{image}"
IMAGE_HEADERS = {
    "Content-Type": OCI_MANIFEST,
    "Content-Length": str(len(IMAGE)),
    "Docker-Content-Digest": "{image}",
    "ETag": '"{image}"',
    "Location": None,
}
_OCI = {"Content-Type": OCI_MANIFEST}
_UNKNOWN = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")

READS = [
    *(
        row(f"1.8 {method} by {what}", method, path, 200, has=IMAGE_HEADERS, body_is=IMAGE if method == "GET" else b"")
        for method in ("GET", "HEAD")
        for what, path in [("tag", _TAG), ("digest", _DIGEST)]
    ),
    row(
        "1.8 an index by tag", "GET", "/v2/{shelf}/manifests/multi", 200, has={"Content-Type": OCI_INDEX}, body_is=INDEX
    ),
    row("1.8 a child by digest only", "GET", "/v2/{shelf}/manifests/{second}", 200, body_is=SECOND),
    *(
        row(
            f"1.8 Accept: {accept} does not matter (5 extra k)",
            "GET",
            _TAG,
            200,
            headers={"Accept": accept},
            body_is=IMAGE,
        )
        for accept in (
            "*/*",
            "text/html",
            DOCKER_MANIFEST,
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            f"{OCI_INDEX}, {DOCKER_LIST};q=0.5",
            "nonsense",
            "",
        )
    ),
    row(
        "1.8 Accept in several lines",
        "GET",
        _TAG,
        200,
        headers=[("Accept", DOCKER_MANIFEST), ("Accept", DOCKER_LIST), ("Accept", "application/json")],
        has=IMAGE_HEADERS,
        body_is=IMAGE,
    ),
    row(
        "1.8 HEAD with an Accept that does not fit",
        "HEAD",
        _TAG,
        200,
        headers={"Accept": "text/html"},
        has=IMAGE_HEADERS,
    ),
    row(
        "1.3 manifests are never encoded",
        "GET",
        _TAG,
        200,
        headers={"Accept-Encoding": "gzip, zstd"},
        has=IMAGE_HEADERS,
    ),
    *(
        row(f"1.8 {method} with If-None-Match {value} is 304", method, path, 304, headers={"If-None-Match": value})
        for method in ("GET", "HEAD")
        for path in (_TAG, _DIGEST)
        for value in ('"{image}"', "{image}", '"x", W/"{image}"')
    ),
    row("1.8 If-None-Match of another", "GET", _TAG, 200, headers={"If-None-Match": '"{second}"'}, body_is=IMAGE),
    row("1.12 GET with a body (C1's error test)", "GET", _TAG, 200, body=b"unexpected", body_is=IMAGE),
]

ABSENT = [
    *(
        row(f"1.8 {method} of {what} is 404", method, f"/v2/{path}", 404, code=_UNKNOWN)
        for method in ("GET", "HEAD", "DELETE")
        for what, path in [
            ("an unknown tag", "{shelf}/manifests/missing"),
            ("an unknown digest", "{shelf}/manifests/{missing}"),
            ("an unknown sha512 digest", "{shelf}/manifests/" + sha512(b"unknown")),
            ("a tag of an unknown repository", "no/such/manifests/latest"),
            ("a digest of an unknown repository", "no/such/manifests/{image}"),
            ("a manifest of another repository", "{other}/manifests/{image}"),
            ("a blob's digest", "{shelf}/manifests/{layer}"),
        ]
    ),
    row(
        "4.2 podman looks for a signature: exactly MANIFEST_UNKNOWN",
        "GET",
        "/v2/{shelf}/manifests/sha256-" + "a" * 64 + ".sig",
        404,
        code="MANIFEST_UNKNOWN",
    ),
    *(
        row(f"5.2 {method} of {digest[:20]} is 400 or 404", method, f"/v2/{{shelf}}/manifests/{digest}", (400, 404))
        for method in ("GET", "HEAD", "DELETE")
        for digest in (
            "sha256:" + "a" * 63,
            "sha256:" + "A" * 64,
            "SHA256:" + "a" * 64,
            "sha256:totallywrong",
            "sha256:",
            ":",
            "md5:" + "a" * 32,
            "latest:",
            "sha256:" + "a" * 64 + "%0A",
        )
    ),
    *(
        row(
            f"5.1 PUT of {what} is 400",
            "PUT",
            f"/v2/{{shelf}}/manifests/{digest}",
            400,
            headers=_OCI,
            body=IMAGE,
            code="DIGEST_INVALID",
        )
        for what, digest in [
            ("sha256:baddigeststring", "sha256:baddigeststring"),
            ("63 digits", "sha256:" + "a" * 63),
            ("upper case digits", "sha256:" + "A" * 64),
            ("an unknown algorithm", "md5:" + "a" * 32),
            ("an upper case algorithm", "SHA256:" + "a" * 64),
        ]
    ),
    row(
        "1.12 GET of a bad digest with a body (C1)",
        "GET",
        "/v2/{shelf}/manifests/sha256:totallywrong",
        (400, 404),
        body=b"x",
    ),
]


@table(*READS, *ABSENT)
async def test_read(registry: Address, names: Names, case: Case) -> None:
    """The stored manifest comes back whatever is accepted; what is not there is 404."""
    await play(registry, names, case)
