"""Protocol 1.7, POST with mount: a blob of another repository, without sending it (edge case 38)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import BLOB, LAYER, noise, sha256, sha512
from .rows import ELSEWHERE, Case, Names, Step, blob, play, pushed, row, story, table
from .uploads import OPENED
from .wire import Chunked

if TYPE_CHECKING:
    from .wire import Address

_MOUNT = "/v2/{repo}/blobs/uploads/?mount="
_UNSEEN = noise(500, seed=31)
MOUNTED = {
    "Location": "/v2/{repo}/blobs/{elsewhere}",
    "Docker-Content-Digest": "{elsewhere}",
    "Content-Length": "0",
}
_READ = Step("GET", "/v2/{repo}/blobs/{elsewhere}", 200, body_is=ELSEWHERE)

MOUNTS = [
    story(
        "1.7 mount from a repository that has the blob: 201, readable at once",
        Step("POST", _MOUNT + "{elsewhere}&from={other}", 201, has=MOUNTED, body_is=b""),
        _READ,
        Step("HEAD", "/v2/{repo}/blobs/{elsewhere}", 200, has={"Content-Length": str(len(ELSEWHERE))}),
    ),
    story(
        "1.4 parameters in another order, escaped",
        Step("POST", "/v2/{repo}/blobs/uploads/?from=shelf%2Fother&mount={elsewhere}", 201, has=MOUNTED),
        _READ,
    ),
    story(
        "1.2 origin= of ggcr is ignored",
        Step("POST", _MOUNT + "{elsewhere}&from={other}&origin=example.com", 201, has=MOUNTED),
        _READ,
    ),
    story(
        "1.7 uploads without a slash mounts as well",
        Step("POST", "/v2/{repo}/blobs/uploads?mount={elsewhere}&from={other}", 201, has=MOUNTED),
        _READ,
    ),
    story(
        "1.7 mount of sha512",
        Step("POST", _MOUNT + "{blob512}&from={shelf}", 201, has={"Docker-Content-Digest": "{blob512}"}),
        Step("GET", "/v2/{repo}/blobs/{blob512}", 200, body_is=BLOB),
    ),
    story(
        "1.7 mount of the empty blob",
        Step("POST", _MOUNT + "{empty}&from={shelf}", 201),
        Step("HEAD", "/v2/{repo}/blobs/{empty}", 200, has={"Content-Length": "0"}),
    ),
    story(
        "1.7 a body is ignored",
        Step("POST", _MOUNT + "{elsewhere}&from={other}", 201, body=b"what", has=MOUNTED),
        _READ,
    ),
    story(
        "1.7 a chunked body too",
        Step("POST", _MOUNT + "{elsewhere}&from={other}", 201, body=Chunked.of(b"what"), has=MOUNTED),
        _READ,
    ),
    story(
        "1.7 mount twice",
        Step("POST", _MOUNT + "{elsewhere}&from={other}", 201, has=MOUNTED),
        Step("POST", _MOUNT + "{elsewhere}&from={other}", 201, has=MOUNTED),
    ),
    story(
        "5.38 mount from itself",
        *blob(BLOB),
        Step("POST", _MOUNT + "{blob}&from={repo}", 201, has={"Location": "/v2/{repo}/blobs/{blob}"}),
    ),
    story(
        "1.7 mount without from finds the blob anywhere (C2: 202 would be a skip)",
        Step("POST", _MOUNT + "{elsewhere}", 201, has=MOUNTED),
        _READ,
    ),
    story(
        "1.7 an empty from is no from",
        Step("POST", _MOUNT + "{elsewhere}&from=", (201, 202)),
    ),
    story(
        "1.7 a mounted blob outlives the deletion of its source",
        *blob(_UNSEEN, "{repo}/source"),
        Step("POST", _MOUNT + sha256(_UNSEEN) + "&from={repo}/source", 201),
        Step("DELETE", "/v2/{repo}/source/blobs/" + sha256(_UNSEEN), 202),
        Step("GET", "/v2/{repo}/blobs/" + sha256(_UNSEEN), 200, body_is=_UNSEEN),
        Step("DELETE", "/v2/{repo}/blobs/" + sha256(_UNSEEN), 202),
        Step("GET", "/v2/{repo}/blobs/" + sha256(_UNSEEN), 404),
    ),
    story(
        "1.7 a blob of the source that was deleted there, and is nowhere else, is not mounted",
        *blob(noise(501, seed=32), "{repo}/source"),
        Step("DELETE", "/v2/{repo}/source/blobs/" + sha256(noise(501, seed=32)), 202),
        Step("POST", _MOUNT + sha256(noise(501, seed=32)) + "&from={repo}/source", 202, has=OPENED),
    ),
    story(
        "4.1 an image copied by mounts alone (skopeo, crane copy)",
        *pushed("v1", repo="{repo}/source"),
        Step("POST", _MOUNT + "{layer}&from={repo}/source", 201),
        Step("POST", _MOUNT + "{config}&from={repo}/source", 201),
        *pushed("v1")[-1:],
        Step("GET", "/v2/{repo}/manifests/v1", 200),
        Step("GET", "/v2/{repo}/blobs/{layer}", 200, body_is=LAYER),
    ),
]

_NEW = noise(400, seed=33)
_GOES_ON = [
    Step("PUT", "{location}?digest=" + sha256(_NEW), 201, body=_NEW),
    Step("GET", "/v2/{repo}/blobs/" + sha256(_NEW), 200),
]

FALLBACKS = [
    *(
        story(f"5.38 mount {what}: 202, and the session takes the blob", Step("POST", path, 202, has=OPENED), *_GOES_ON)
        for what, path in [
            ("of an unknown digest", _MOUNT + "{missing}&from={other}"),
            ("from an unknown repository", _MOUNT + "{missing}&from=no/such/repository"),
            ("of an unknown digest from itself", _MOUNT + "{missing}&from={repo}"),
            ("of an unknown digest without from", _MOUNT + "{missing}"),
        ]
    ),
    story(
        "1.7 mount of an unknown sha512 digest: the session takes sha512",
        Step("POST", _MOUNT + sha512(_NEW) + "&from={other}", 202, has=OPENED),
        Step("PATCH", "{location}", 202, body=_NEW),
        Step("PUT", "{location}?digest=" + sha512(_NEW), 201, has={"Docker-Content-Digest": sha512(_NEW)}),
    ),
    row(
        "5.38 from an unknown repository, of a blob known elsewhere",
        "POST",
        _MOUNT + "{elsewhere}&from=no/such",
        (202, 201),
    ),
    row("5.38 from a repository with an impossible name", "POST", _MOUNT + "{missing}&from=NO", (202, 400)),
    row("5.38 from a name that climbs out", "POST", _MOUNT + "{missing}&from=../../etc", (202, 400)),
]

BAD = [
    row(f"1.7 mount={digest} is 400", "POST", f"{_MOUNT}{digest}&from={{other}}", 400, code="DIGEST_INVALID")
    for digest in ("foo", "sha256:short", "md5:5d41402abc4b2a76b9719d911017c592", "sha256:" + "A" * 64, "..%2F..%2Fx")
] + [row("1.7 a bad mount without from", "POST", _MOUNT + "foo", 400, code="DIGEST_INVALID")]


@table(*MOUNTS)
async def test_mount(registry: Address, names: Names, case: Case) -> None:
    """A mount gives the repository a blob of its own, at once and for good."""
    await play(registry, names, case)


@table(*FALLBACKS, *BAD)
async def test_no_mount(registry: Address, names: Names, case: Case) -> None:
    """What cannot be mounted becomes an ordinary upload; only a digest that is none is refused."""
    await play(registry, names, case)
