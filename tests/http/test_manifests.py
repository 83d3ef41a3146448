"""Protocol 1.8: pushing, tagging and deleting manifests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from .content import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE,
    INDEX,
    NEVER_PUSHED,
    OCI_INDEX,
    OCI_MANIFEST,
    SECOND,
    descriptor,
    image,
    index,
    sha256,
)
from .rows import Case, Names, Step, manifest, play, pushed, row, story, table
from .wire import Address, Answer, Chunked, ask

if TYPE_CHECKING:
    from collections.abc import Callable

_OCI = {"Content-Type": OCI_MANIFEST}
TYPES = [
    ("an OCI image manifest", OCI_MANIFEST, IMAGE),
    ("a Docker image manifest", DOCKER_MANIFEST, DOCKER_IMAGE),
    ("an OCI index", OCI_INDEX, index(IMAGE)),
    ("a Docker manifest list", DOCKER_LIST, index(IMAGE, mediaType=DOCKER_LIST)),
]

PUSHES = [
    *(
        story(
            f"1.8 PUT of {what} by tag and by digest: the same bytes and type come back",
            *pushed(sha256(IMAGE)),
            *(
                Step(
                    "PUT",
                    f"/v2/{{repo}}/manifests/{reference}",
                    201,
                    headers={"Content-Type": media_type},
                    body=content,
                    has={
                        "Location": f"/v2/{{repo}}/manifests/{sha256(content)}",
                        "Docker-Content-Digest": sha256(content),
                        "OCI-Subject": None,
                        "OCI-Tag": None,
                    },
                )
                for reference in ("v1", sha256(content))
            ),
            *(
                Step(
                    method,
                    f"/v2/{{repo}}/manifests/{reference}",
                    200,
                    has={
                        "Content-Type": media_type,
                        "Content-Length": str(len(content)),
                        "Docker-Content-Digest": sha256(content),
                    },
                    body_is=content if method == "GET" else b"",
                )
                for method in ("GET", "HEAD")
                for reference in ("v1", sha256(content))
            ),
        )
        for what, media_type, content in TYPES
    ),
    story(
        "1.8 PUT chunked without a length, as every one of C2",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/v1", 201, headers=_OCI, body=Chunked.of(IMAGE[:9], IMAGE[9:])),
        Step("GET", "/v2/{repo}/manifests/v1", 200, body_is=IMAGE),
    ),
    story(
        "1.8 bytes are kept as they are: spaces, order and escapes",
        *pushed(),
        manifest("v1", b" \n" + orjson.dumps(orjson.loads(IMAGE), option=orjson.OPT_INDENT_2) + b"\n"),
        Step("GET", "/v2/{repo}/manifests/v1", 200, check=lambda answer: _starts(answer, b" \n{\n")),
    ),
    story(
        "1.8 the same again is 201",
        *pushed("v1"),
        manifest("v1"),
        manifest(sha256(IMAGE)),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["v1"]}),
    ),
    story(
        "1.8 a tag moves, the older manifest stays readable by digest",
        *pushed("v1"),
        manifest("v1", SECOND),
        Step("GET", "/v2/{repo}/manifests/v1", 200, has={"Docker-Content-Digest": "{second}"}, body_is=SECOND),
        Step("GET", "/v2/{repo}/manifests/{image}", 200, body_is=IMAGE),
    ),
    story(
        "5.27 by digest with two spaces more: 400",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/{image}", 400, headers=_OCI, body=IMAGE + b"  ", code="DIGEST_INVALID"),
        Step("GET", "/v2/{repo}/manifests/{image}", 404),
        Step("GET", "/v2/{repo}/manifests/" + sha256(IMAGE + b"  "), 404),
    ),
    story(
        "1.8 by sha512: that digest everywhere",
        *pushed(),
        Step(
            "PUT",
            "/v2/{repo}/manifests/{image512}",
            201,
            headers=_OCI,
            body=IMAGE,
            has={"Docker-Content-Digest": "{image512}", "Location": "/v2/{repo}/manifests/{image512}"},
        ),
        Step("GET", "/v2/{repo}/manifests/{image512}", 200, has={"Docker-Content-Digest": "{image512}"}, body_is=IMAGE),
        Step("HEAD", "/v2/{repo}/manifests/{image512}", 200, has={"ETag": '"{image512}"'}),
    ),
    story(
        "1.8 regclient: PUT of a tag with digest=sha512",
        *pushed(),
        Step(
            "PUT",
            "/v2/{repo}/manifests/v1?digest={image512}",
            201,
            headers=_OCI,
            body=IMAGE,
            has={"Docker-Content-Digest": "{image512}"},
        ),
        Step("HEAD", "/v2/{repo}/manifests/v1", 200, has={"Docker-Content-Digest": "{image512}"}),
    ),
    story(
        "1.8 a digest parameter that is wrong",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/v1?digest={missing}", 400, headers=_OCI, body=IMAGE, code="DIGEST_INVALID"),
        Step("PUT", "/v2/{repo}/manifests/v1?digest=foo", 400, headers=_OCI, body=IMAGE, code="DIGEST_INVALID"),
        Step("GET", "/v2/{repo}/manifests/v1", 404),
    ),
    story(
        "5 extra f: push again after a delete",
        *pushed("v1"),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        manifest("v1"),
        Step("GET", "/v2/{repo}/manifests/v1", 200, body_is=IMAGE),
        Step("GET", "/v2/{repo}/manifests/{image}", 200, body_is=IMAGE),
    ),
]


def _starts(answer: Answer, beginning: bytes) -> None:
    assert answer.body.startswith(beginning), str(answer)


def _tagged(*tags: str) -> Callable[[Answer], None]:
    """Expect OCI-Tag to name each tag, in one line or in several."""

    def check(answer: Answer) -> None:
        named = [tag.strip() for line in answer.all("OCI-Tag") for tag in line.split(",")]
        assert sorted(named) == sorted(tags), str(answer)

    return check


_TEN = [f"t{number}" for number in range(10)]
TAG_PARAMETERS = [
    *(
        story(
            f"1.8 PUT by digest with ?tag=, {what}",
            *pushed(),
            Step(
                "PUT", f"/v2/{{repo}}/manifests/{digest}?{query}", 201, headers=_OCI, body=IMAGE, check=_tagged(*tags)
            ),
            *(
                Step("HEAD", f"/v2/{{repo}}/manifests/{tag}", 200, has={"Docker-Content-Digest": digest})
                for tag in tags
            ),
            Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": sorted(tags)}),
        )
        for what, digest, query, tags in [
            ("one tag", "{image}", "tag=a", ["a"]),
            ("two tags", "{image}", "tag=a&tag=b", ["a", "b"]),
            ("ten tags", "{image}", "&".join(f"tag={tag}" for tag in _TEN), _TEN),
            ("sha512", "{image512}", "tag=a&tag=b", ["a", "b"]),
        ]
    ),
    story(
        "1.8 one invalid tag among several: 400, nothing is written",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/{image}?tag=a&tag=-b&tag=c", 400, headers=_OCI, body=IMAGE),
        Step("GET", "/v2/{repo}/manifests/{image}", 404),
        Step("GET", "/v2/{repo}/manifests/a", 404),
        Step("GET", "/v2/{repo}/manifests/c", 404),
    ),
    story(
        "5.13 a hundred tags: 414, nothing is written",
        *pushed(),
        Step(
            "PUT",
            "/v2/{repo}/manifests/{image}?" + "&".join(f"tag=t{n}" for n in range(100)),
            414,
            headers=_OCI,
            body=IMAGE,
        ),
        Step("GET", "/v2/{repo}/manifests/t0", 404),
    ),
    story(
        "1.8 tag parameters with a tag in the path: refused, or ignored",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/v1?tag=a", (400, 201), headers=_OCI, body=IMAGE),
        Step("GET", "/v2/{repo}/manifests/a", 404),
    ),
    story(
        "1.8 ?tag= moves a tag that exists",
        *pushed("a"),
        Step("PUT", "/v2/{repo}/manifests/{second}?tag=a", 201, headers=_OCI, body=SECOND, check=_tagged("a")),
        Step("HEAD", "/v2/{repo}/manifests/a", 200, has={"Docker-Content-Digest": "{second}"}),
    ),
    story(
        "1.8 with a wrong digest no tag is set",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/{missing}?tag=a", 400, headers=_OCI, body=IMAGE, code="DIGEST_INVALID"),
        Step("GET", "/v2/{repo}/manifests/a", 404),
    ),
]


def _names(*digests: str) -> Callable[[Answer], None]:
    """Expect the refusal to name what stands against it."""

    def check(answer: Answer) -> None:
        assert all(digest in answer.body.decode() for digest in digests), str(answer)

    return check


DELETES = [
    story(
        "5 extra d: DELETE of a tag leaves the manifest and its other tags",
        *pushed("v1", "v2"),
        Step("DELETE", "/v2/{repo}/manifests/v1", 202, body_is=b""),
        Step("HEAD", "/v2/{repo}/manifests/v1", 404),
        Step("GET", "/v2/{repo}/manifests/v2", 200, body_is=IMAGE),
        Step("GET", "/v2/{repo}/manifests/{image}", 200, body_is=IMAGE),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["v2"]}),
        Step("DELETE", "/v2/{repo}/manifests/v1", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "5 extra e: DELETE of a digest takes all its tags along, at once",
        *pushed("v1", "v2"),
        manifest("v3", SECOND),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202, body_is=b""),
        Step("HEAD", "/v2/{repo}/manifests/{image}", 404),
        Step("HEAD", "/v2/{repo}/manifests/v1", 404),
        Step("GET", "/v2/{repo}/manifests/v2", 404, code="MANIFEST_UNKNOWN"),
        Step("GET", "/v2/{repo}/manifests/v3", 200, body_is=SECOND),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["v3"]}),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "1.8 a manifest that an index lists is not deleted: 405, naming the index",
        *pushed("v1"),
        manifest("v2", SECOND),
        manifest("multi", INDEX, OCI_INDEX),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 405, code="UNSUPPORTED", check=_names(sha256(INDEX))),
        Step("GET", "/v2/{repo}/manifests/v1", 200, body_is=IMAGE),
        Step("DELETE", "/v2/{repo}/manifests/v1", 202),
        Step("GET", "/v2/{repo}/manifests/{image}", 200),
        Step("DELETE", "/v2/{repo}/manifests/{index}", 202),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        Step("DELETE", "/v2/{repo}/manifests/{second}", 202),
    ),
    story(
        "1.8 a subject may be deleted while its referrers stay",
        *pushed("v1"),
        manifest("signature", image(subject=descriptor(IMAGE, OCI_MANIFEST))),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        Step("GET", "/v2/{repo}/manifests/signature", 200),
    ),
    story(
        "1.8 by sha512",
        *pushed(),
        Step("PUT", "/v2/{repo}/manifests/{image512}?tag=v1", 201, headers=_OCI, body=IMAGE),
        Step("DELETE", "/v2/{repo}/manifests/{image512}", 202),
        Step("HEAD", "/v2/{repo}/manifests/v1", 404),
    ),
    row("1.8 DELETE in an unknown repository", "DELETE", "/v2/no/such/manifests/" + NEVER_PUSHED, 404),
]


@table(*PUSHES, *TAG_PARAMETERS)
async def test_push(registry: Address, names: Names, case: Case) -> None:
    """A manifest is kept byte for byte, and its tags move at once."""
    await play(registry, names, case)


@table(*DELETES)
async def test_delete(registry: Address, names: Names, case: Case) -> None:
    """A delete is seen at once and takes exactly what it says."""
    await play(registry, names, case)


async def test_concurrent_pushes_of_one_tag(registry: Address, names: Names, repo: str) -> None:
    """While a tag is pushed from two sides, readers always see one whole manifest, never a gap (5.28)."""
    await play(registry, names, story("5.28 given", *pushed("v1")))
    path = f"/v2/{repo}/manifests/v1"
    both = {sha256(IMAGE): IMAGE, sha256(SECOND): SECOND}
    ended = asyncio.Event()

    async def push(content: bytes) -> None:
        for _ in range(30):
            answer = await ask(registry, "PUT", path, headers=_OCI, body=content)
            assert (answer.status, answer["Docker-Content-Digest"]) == (201, sha256(content))

    async def read() -> None:
        while not ended.is_set():
            answer = await ask(registry, "GET", path)
            assert answer.status == 200
            assert answer.body == both[answer["Docker-Content-Digest"]]

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(push(IMAGE), push(SECOND))
    ended.set()
    await asyncio.gather(*readers)
    await ask(registry, "PUT", path, headers=_OCI, body=SECOND)
    assert (await ask(registry, "GET", path)).body == SECOND
