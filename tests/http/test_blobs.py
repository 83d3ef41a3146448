"""Protocol 1.6: reading, asking for, and deleting blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .content import BLOB, CONFIG, EMPTY_JSON, LAYER, OCI_INDEX, SECOND, descriptor, index, noise, sha256
from .rows import ELSEWHERE, Case, Names, Step, blob, manifest, play, pushed, row, story, table

if TYPE_CHECKING:
    from .wire import Address, Answer

BLOB_HEADERS = {
    "Content-Length": "2048",
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": "{blob}",
    "Accept-Ranges": "bytes",
    "ETag": '"{blob}"',
    "Cache-Control": "max-age=31536000, immutable",
    "Content-Encoding": None,
    "Location": None,
}
INDEX_OF_BLOB = index(manifests=[descriptor(EMPTY_JSON, "application/vnd.buildkit.cacheconfig.v0")])
_GET = "/v2/{shelf}/blobs/{blob}"

READS = [
    row("1.6 GET of a blob: bytes and headers", "GET", _GET, 200, has=BLOB_HEADERS, body_is=BLOB),
    row("1.6 HEAD: the same headers, no body", "HEAD", _GET, 200, has=BLOB_HEADERS),
    row(
        "1.6 GET by sha512: the digest asked for",
        "GET",
        "/v2/{shelf}/blobs/{blob512}",
        200,
        has={"Docker-Content-Digest": "{blob512}", "ETag": '"{blob512}"', "Content-Length": "2048"},
        body_is=BLOB,
    ),
    row(
        "1.6 HEAD by sha512",
        "HEAD",
        "/v2/{shelf}/blobs/{blob512}",
        200,
        has={"Docker-Content-Digest": "{blob512}", "Content-Length": "2048"},
    ),
    row(
        "5.37 GET of the empty blob",
        "GET",
        "/v2/{shelf}/blobs/{empty}",
        200,
        has={"Content-Length": "0", "Docker-Content-Digest": "{empty}"},
        body_is=b"",
    ),
    row("5.37 HEAD of the empty blob", "HEAD", "/v2/{shelf}/blobs/{empty}", 200, has={"Content-Length": "0"}),
    *(
        row(
            f"1.3 blobs are never encoded: Accept-Encoding: {accepted}",
            "GET",
            _GET,
            200,
            headers={"Accept-Encoding": accepted},
            has={"Content-Encoding": None, "Content-Length": "2048"},
            body_is=BLOB,
        )
        for accepted in ("gzip", "zstd, gzip, deflate", "*", "identity;q=0")
    ),
    row("1.6 Accept does not matter", "GET", _GET, 200, headers={"Accept": "text/html"}, body_is=BLOB),
    row(
        "1.6 Accept of containerd",
        "HEAD",
        _GET,
        200,
        headers={"Accept": "application/vnd.oci.image.layer.v1.tar+gzip, */*"},
        has=BLOB_HEADERS,
    ),
]

CONDITIONS = [
    row(
        f"1.6 {method} with If-None-Match {what} is 304 (5.16)",
        method,
        _GET,
        304,
        headers={"If-None-Match": value},
        has={"ETag": '"{blob}"', "Docker-Content-Digest": "{blob}"},
    )
    for method in ("GET", "HEAD")
    for what, value in [
        ("quoted", '"{blob}"'),
        ("bare", "{blob}"),
        ("weak", 'W/"{blob}"'),
        ("in a list", '"{missing}", "{blob}"'),
        ("of any", "*"),
    ]
] + [
    row("1.6 If-None-Match of another", "GET", _GET, 200, headers={"If-None-Match": '"{missing}"'}, body_is=BLOB),
    row("1.6 If-None-Match that is garbage", "GET", _GET, 200, headers={"If-None-Match": '"'}, body_is=BLOB),
    row(
        "1.6 If-None-Match: * of an absent blob",
        "GET",
        "/v2/{shelf}/blobs/{missing}",
        404,
        headers={"If-None-Match": "*"},
    ),
    row(
        "1.6 If-Modified-Since does not matter",
        "GET",
        _GET,
        200,
        headers={"If-Modified-Since": "garbage"},
        body_is=BLOB,
    ),
]

_UNKNOWN = ("BLOB_UNKNOWN", "NAME_UNKNOWN")
_BAD_DIGESTS = {
    "63 digits": "sha256:" + "a" * 63,
    "65 digits": "sha256:" + "a" * 65,
    "upper case digits": "sha256:" + "A" * 64,
    "an upper case algorithm": "SHA256:" + "a" * 64,
    "a foreign algorithm": "md5:" + "a" * 32,
    "sha512 with too few digits": "sha512:" + "a" * 64,
    "no digits": "sha256:",
    "no algorithm": ":" + "a" * 64,
    "a word": "foo",
    "a newline last": "sha256:" + "a" * 64 + "%0A",
    "digits of another alphabet": "sha256:" + "%D9%A3" * 64,
    "8,000 characters": "sha256:" + "a" * 7000,
}

ABSENT = [
    row("1.6 GET of an unknown blob", "GET", "/v2/{shelf}/blobs/{missing}", 404, code="BLOB_UNKNOWN"),
    row("1.6 HEAD of an unknown blob", "HEAD", "/v2/{shelf}/blobs/{missing}", 404),
    row("1.6 GET in an unknown repository", "GET", "/v2/no/such/blobs/{blob}", 404, code=_UNKNOWN),
    row("1.6 HEAD in an unknown repository", "HEAD", "/v2/no/such/blobs/{blob}", 404),
    row("5.17 a blob of another repository only", "GET", "/v2/{shelf}/blobs/{elsewhere}", 404, code="BLOB_UNKNOWN"),
    row("5.17 the same by HEAD", "HEAD", "/v2/{shelf}/blobs/{elsewhere}", 404),
    row("1.6 it is there in the other", "GET", "/v2/{other}/blobs/{elsewhere}", 200, body_is=ELSEWHERE),
    row("1.6 DELETE of an unknown blob", "DELETE", "/v2/{shelf}/blobs/{missing}", 404, code="BLOB_UNKNOWN"),
    row("1.6 DELETE in an unknown repository", "DELETE", "/v2/no/such/blobs/{blob}", 404, code=_UNKNOWN),
    row("1.6 DELETE of another's blob", "DELETE", "/v2/{shelf}/blobs/{elsewhere}", 404, code="BLOB_UNKNOWN"),
    row(
        "5 extra g: a manifest's digest as a blob", "GET", "/v2/{shelf}/blobs/{image}", (200, 404), code="BLOB_UNKNOWN"
    ),
    *(
        row(
            f"1.6 {method} of a digest with {what}",
            method,
            f"/v2/{{shelf}}/blobs/{digest}",
            (400, 404),
            code=("DIGEST_INVALID", "BLOB_UNKNOWN"),
        )
        for method in ("GET", "HEAD", "DELETE")
        for what, digest in _BAD_DIGESTS.items()
    ),
]


def _names_referrer(answer: Answer) -> None:
    assert sha256(SECOND) in answer.body.decode(), f"11: the refusal does not name the referrer: {answer}"


DELETES = [
    story(
        "1.6 DELETE is visible at once, a second one is 404, and the blob can be pushed again",
        *blob(BLOB),
        Step("DELETE", "/v2/{repo}/blobs/{blob}", 202, has={"Content-Length": "0"}, body_is=b""),
        Step("HEAD", "/v2/{repo}/blobs/{blob}", 404),
        Step("GET", "/v2/{repo}/blobs/{blob}", 404, code=_UNKNOWN),
        Step("DELETE", "/v2/{repo}/blobs/{blob}", 404, code=_UNKNOWN),
        *blob(BLOB),
        Step("GET", "/v2/{repo}/blobs/{blob}", 200, body_is=BLOB),
    ),
    story(
        "1.6 DELETE takes the blob out of this repository only",
        *blob(b"shared by two repositories"),
        *blob(b"shared by two repositories", "{repo}/two"),
        Step("DELETE", "/v2/{repo}/blobs/" + sha256(b"shared by two repositories"), 202),
        Step("HEAD", "/v2/{repo}/blobs/" + sha256(b"shared by two repositories"), 404),
        Step("GET", "/v2/{repo}/two/blobs/" + sha256(b"shared by two repositories"), 200),
    ),
    story(
        "1.6 the empty blob can be deleted",
        *blob(b""),
        Step("DELETE", "/v2/{repo}/blobs/{empty}", 202),
        Step("HEAD", "/v2/{repo}/blobs/{empty}", 404),
    ),
    story(
        "1.6 a blob pushed by sha512 is deleted by sha512",
        *blob(BLOB, digest="{blob512}"),
        Step("DELETE", "/v2/{repo}/blobs/{blob512}", 202),
        Step("HEAD", "/v2/{repo}/blobs/{blob512}", 404),
    ),
    story(
        "1.6 a layer that a manifest refers to is not deleted: 405, naming the manifest",
        *pushed(),
        manifest("v1", SECOND),
        Step("DELETE", "/v2/{repo}/blobs/{layer}", 405, code="UNSUPPORTED", check=_names_referrer),
        Step("GET", "/v2/{repo}/blobs/{layer}", 200, body_is=LAYER),
        Step("DELETE", "/v2/{repo}/blobs/{config}", 405, code="UNSUPPORTED", check=_names_referrer),
        Step("GET", "/v2/{repo}/blobs/{config}", 200, body_is=CONFIG),
    ),
    story(
        "1.6 once the manifest is gone its blobs can be deleted, as both suites do",
        *pushed("v1"),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        Step("DELETE", "/v2/{repo}/blobs/{layer}", 202),
        Step("DELETE", "/v2/{repo}/blobs/{config}", 202),
        Step("HEAD", "/v2/{repo}/blobs/{layer}", 404),
    ),
    story(
        "1.6 deleting only the tag leaves the manifest, and so the layer is still held",
        *pushed("v1"),
        Step("DELETE", "/v2/{repo}/manifests/v1", 202),
        Step("DELETE", "/v2/{repo}/blobs/{layer}", 405, code="UNSUPPORTED"),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        Step("DELETE", "/v2/{repo}/blobs/{layer}", 202),
    ),
    story(
        "1.6 a manifest of another repository does not hold the blob here",
        *pushed("v1"),
        *blob(LAYER, "{repo}/two"),
        Step("DELETE", "/v2/{repo}/two/blobs/{layer}", 202),
        Step("GET", "/v2/{repo}/blobs/{layer}", 200),
    ),
    story(
        "1.6 a blob that is a child of an index is held as well (BuildKit's cache)",
        *blob(EMPTY_JSON),
        manifest("cache", INDEX_OF_BLOB, OCI_INDEX),
        Step("DELETE", "/v2/{repo}/blobs/{emptyjson}", 405, code="UNSUPPORTED"),
        Step("DELETE", "/v2/{repo}/manifests/" + sha256(INDEX_OF_BLOB), 202),
        Step("DELETE", "/v2/{repo}/blobs/{emptyjson}", 202),
    ),
]

SIZES = [1, 65_535, 65_536, 262_143, 262_145, 8 * 2**20 - 1, 8 * 2**20, 8 * 2**20 + 1, 17 * 2**20]


@table(*READS, *CONDITIONS)
async def test_read(registry: Address, names: Names, case: Case) -> None:
    """A blob comes back byte for byte with the headers that clients build upon."""
    await play(registry, names, case)


@table(*ABSENT)
async def test_absent(registry: Address, names: Names, case: Case) -> None:
    """What is not in the repository is 404, whatever other repositories hold; a bad digest is never a hit."""
    await play(registry, names, case)


@table(*DELETES)
async def test_delete(registry: Address, names: Names, case: Case) -> None:
    """A delete is seen at once, concerns one repository, and never leaves half an image."""
    await play(registry, names, case)


@pytest.mark.parametrize("size", SIZES)
async def test_size(registry: Address, names: Names, size: int) -> None:
    """Blobs around the sizes of buffers and parts come back unchanged, whole and by range."""
    content = noise(size, seed=size)
    last = content[-min(size, 70_000) :]
    address = f"/v2/{{repo}}/blobs/{sha256(content)}"
    case = story(
        f"1.6 a blob of {size} bytes",
        *blob(content),
        Step("HEAD", address, 200, has={"Content-Length": str(size)}),
        Step("GET", address, 200, has={"Content-Length": str(size)}, body_is=content),
        Step("GET", address, 206, headers={"Range": f"bytes=-{len(last)}"}, body_is=last),
    )
    await play(registry, names, case)
