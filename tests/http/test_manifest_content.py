"""Protocol 1.8, "What to validate", points 4 to 7, and edge cases 19, 20, 23 to 26: what manifests refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from .content import (
    BLOB,
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_JSON,
    IMAGE,
    INDEX,
    LAYER,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    SECOND,
    descriptor,
    document,
    image,
    index,
    sha256,
)
from .rows import Case, Names, Step, blob, manifest, play, pushed, story, table
from .verdicts import RULES, taken
from .wire import Address, Answer, Chunked, ask, chunk, connect

if TYPE_CHECKING:
    from collections.abc import Callable

_OCI = {"Content-Type": OCI_MANIFEST}
_LARGEST = 4 * 1024 * 1024
BUILDKIT_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
UNPUSHED = b"a layer that lies elsewhere"


_FOREIGN = descriptor(UNPUSHED, FOREIGN, urls=["https://example.com/layer"])
ACCEPTED = [
    taken("5.23 layers: []", image(layers=[])),
    taken("5.23 layers: [] without mediaType (C1)", image(layers=[], mediaType=None), OCI_MANIFEST),
    taken("5.23 manifests: []", index(manifests=[]), OCI_INDEX, OCI_INDEX),
    taken(
        "5.23 unknown fields everywhere",
        image(newUnspecifiedField="x", config=descriptor(CONFIG, OCI_CONFIG, newUnspecifiedField=[1, {}])),
    ),
    taken("5.23 unknown fields in an index", index(IMAGE, **{"org.example": {"a": 1}}), OCI_INDEX, OCI_INDEX),
    taken("5.23 unknown artifactType", image(artifactType="application/x.unknown")),
    taken(
        "5.23 unknown types of config and layers",
        image(config=descriptor(CONFIG, "a/b"), layers=[descriptor(LAYER, "c/d")]),
    ),
    taken("1.8.5 descriptors without a media type", image(layers=[{"digest": sha256(LAYER), "size": 1}])),
    taken("5.23 data in descriptors", image(config=descriptor(CONFIG, OCI_CONFIG, data="e30="))),
    taken("5.23 the same layer twice", image(layers=[descriptor(LAYER, OCI_LAYER)] * 2)),
    taken(
        "3.1 the empty JSON as config and as layer",
        image(artifactType="a/b", config=descriptor(EMPTY_JSON, OCI_EMPTY), layers=[descriptor(EMPTY_JSON, OCI_EMPTY)]),
    ),
    taken("1.8.5 a size that is not the stored one", image(layers=[descriptor(LAYER, OCI_LAYER) | {"size": 5}])),
    taken("1.8.5 a size of 2^63 - 1", image(layers=[descriptor(LAYER, OCI_LAYER) | {"size": 2**63 - 1}])),
    taken("5.24 a foreign layer with urls, never pushed", image(layers=[_FOREIGN])),
    *(
        taken(
            f"5.24 a nondistributable layer, tar{suffix}",
            image(layers=[descriptor(UNPUSHED, NONDISTRIBUTABLE + suffix, urls=["https://example.com"])]),
        )
        for suffix in ("", "+gzip", "+zstd")
    ),
    taken("3.1 an index of an index", index(manifests=[descriptor(INDEX, OCI_INDEX)]), OCI_INDEX, OCI_INDEX),
    taken(
        "5.25 an index whose children are blobs",
        index(manifests=[descriptor(LAYER, OCI_LAYER), descriptor(EMPTY_JSON, BUILDKIT_CONFIG)]),
        OCI_INDEX,
        OCI_INDEX,
    ),
    taken(
        "1.8.6 the same as a Docker list",
        index(mediaType=DOCKER_LIST, manifests=[descriptor(LAYER, OCI_LAYER)]),
        DOCKER_LIST,
        DOCKER_LIST,
    ),
    taken(
        "1.8.6 a child of unknown type",
        index(manifests=[descriptor(IMAGE, "application/x.unknown")]),
        OCI_INDEX,
        OCI_INDEX,
    ),
    taken(
        "1.8.6 a child with platform unknown/unknown (BuildKit's attestations)",
        index(manifests=[descriptor(IMAGE, OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"})]),
        OCI_INDEX,
        OCI_INDEX,
    ),
    taken("1.8.7 a subject that was never pushed", image(subject=descriptor(UNPUSHED, OCI_MANIFEST))),
    taken("1.8.4 annotations in many languages", image(annotations={"title": "안녕 \U0001f40b", "empty": ""})),
    taken(
        "1.8.4 a duplicate key, as JSON allows",
        IMAGE.replace(b'"schemaVersion":2', b'"schemaVersion":2,"schemaVersion":2'),
    ),
]


def missing(*digests: str) -> Callable[[Answer], None]:
    """Expect one MANIFEST_BLOB_UNKNOWN for each digest, with the digest as its detail."""

    def check(answer: Answer) -> None:
        errors = answer.json()["errors"]
        assert [error["code"] for error in errors] == ["MANIFEST_BLOB_UNKNOWN"] * len(digests), str(answer)
        assert sorted(str(error["detail"]) for error in errors) == sorted(digests), str(answer)

    return check


def lacks(says: str, content: bytes, *digests: str, media_type: str = OCI_MANIFEST) -> Case:
    """State that a manifest is refused because of exactly these digests, and that its tag stays where it was."""
    return story(
        f"{says}: 400 for each",
        *pushed("v1"),
        Step(
            "PUT",
            "/v2/{repo}/manifests/v1",
            400,
            headers={"Content-Type": media_type},
            body=content,
            check=missing(*digests),
        ),
        Step("GET", "/v2/{repo}/manifests/v1", 200, body_is=IMAGE),
        Step("GET", f"/v2/{{repo}}/manifests/{sha256(content)}", 404),
    )


_GONE = b"gone one", b"gone two", b"gone three"
REFERENCES = [
    lacks("5.19 a missing layer", image(layers=[descriptor(_GONE[0], OCI_LAYER)]), sha256(_GONE[0])),
    lacks("5.19 a missing config", image(config=descriptor(_GONE[1], OCI_CONFIG)), sha256(_GONE[1])),
    lacks(
        "5.19 several, one of them twice",
        image(
            config=descriptor(_GONE[0], OCI_CONFIG),
            layers=[descriptor(each, OCI_LAYER) for each in (*_GONE[1:], LAYER, _GONE[1])],
        ),
        *map(sha256, _GONE),
    ),
    lacks(
        "5.19 missing children",
        index(SECOND, manifests=[descriptor(each, OCI_MANIFEST) for each in _GONE[:2]]),
        *map(sha256, _GONE[:2]),
        media_type=OCI_INDEX,
    ),
    lacks("5.20 a layer that is in another repository only", image(layers=[descriptor(BLOB, OCI_LAYER)]), sha256(BLOB)),
    lacks("1.8.6 a foreign layer without urls", image(layers=[descriptor(UNPUSHED, FOREIGN)]), sha256(UNPUSHED)),
    lacks(
        "1.8.6 urls do not excuse an ordinary layer",
        image(layers=[descriptor(UNPUSHED, OCI_LAYER, urls=["https://example.com"])]),
        sha256(UNPUSHED),
    ),
    lacks(
        "1.8.6 a manifest is not a blob: as a layer it is missing",
        image(layers=[descriptor(IMAGE, OCI_LAYER)]),
        sha256(IMAGE),
    ),
    story(
        "1.8.6 a blob that was deleted is missing",
        *blob(CONFIG),
        *blob(LAYER),
        Step("DELETE", "/v2/{repo}/blobs/{layer}", 202),
        Step("PUT", "/v2/{repo}/manifests/v1", 400, headers=_OCI, body=IMAGE, check=missing(sha256(LAYER))),
    ),
    story(
        "1.8.6 a child that was deleted is missing",
        *pushed("v1"),
        Step("DELETE", "/v2/{repo}/manifests/{image}", 202),
        Step(
            "PUT",
            "/v2/{repo}/manifests/multi",
            400,
            headers={"Content-Type": OCI_INDEX},
            body=index(IMAGE),
            check=missing(sha256(IMAGE)),
        ),
    ),
    story(
        "1.8 the first manifest of a repository whose blobs are missing makes no repository",
        Step(
            "PUT",
            "/v2/{repo}/manifests/v1",
            400,
            headers=_OCI,
            body=IMAGE,
            check=missing(sha256(CONFIG), sha256(LAYER)),
        ),
        Step("GET", "/v2/{repo}/tags/list", 404, code="NAME_UNKNOWN"),
    ),
]

SUBJECTS = [
    story(
        f"1.8 OCI-Subject on a push by {how}, {what}",
        *pushed(),
        Step(
            "PUT",
            f"/v2/{{repo}}/manifests/{reference or sha256(content)}",
            201,
            headers={"Content-Type": kind},
            body=content,
            has={"OCI-Subject": subject},
        ),
    )
    for how, reference in [("tag", "v1"), ("digest", "")]
    for what, kind, content, subject in [
        (
            "an image whose subject is not there",
            OCI_MANIFEST,
            image(subject=descriptor(IMAGE, OCI_MANIFEST)),
            sha256(IMAGE),
        ),
        ("an index", OCI_INDEX, index(subject=descriptor(INDEX, OCI_INDEX), manifests=[]), sha256(INDEX)),
        (
            "a Docker manifest",
            DOCKER_MANIFEST,
            image(mediaType=DOCKER_MANIFEST, subject=descriptor(IMAGE, OCI_MANIFEST)),
            sha256(IMAGE),
        ),
        (
            "a subject by sha512",
            OCI_MANIFEST,
            image(subject={"mediaType": OCI_MANIFEST, "size": 1, "digest": "sha512:" + "a" * 128}),
            "sha512:" + "a" * 128,
        ),
    ]
]


def _padded(size: int) -> bytes:
    """Write a manifest of exactly this many bytes."""
    bare = orjson.dumps(document(annotations={"pad": ""}))
    return bare.replace(b'"pad":""', b'"pad":"' + b"x" * (size - len(bare)) + b'"')


SIZES = [
    taken("5.26 4 MiB", _padded(_LARGEST)),
    story(
        "5.26 4 MiB, chunked",
        Step(
            "PUT",
            RULES,
            201,
            headers=_OCI,
            body=Chunked.of(*[_padded(_LARGEST)[n * 2**16 : (n + 1) * 2**16] for n in range(64)]),
        ),
    ),
    story(
        "3.1 390 annotations of 10,000 bytes (C2)",
        manifest("rules", image(annotations={f"a{n}": "x" * 10_000 for n in range(390)}), repo="{shelf}"),
    ),
    *(
        story(
            f"5.26 4 MiB and {more} more: 413, {how}",
            Step(
                "PUT",
                "/v2/{shelf}/manifests/bad",
                413,
                headers=_OCI,
                body=Chunked.of(_padded(_LARGEST + more)) if how == "chunked" else _padded(_LARGEST + more),
                code="MANIFEST_INVALID",
            ),
            Step("HEAD", "/v2/{shelf}/manifests/bad", 404),
        )
        for more in (1, 2**20)
        for how in ("with a length", "chunked")
    ),
]


@table(*ACCEPTED)
async def test_accepted(registry: Address, names: Names, case: Case) -> None:
    """What the specification allows is taken as it is, however unusual."""
    await play(registry, names, case)


@table(*REFERENCES)
async def test_references(registry: Address, names: Names, case: Case) -> None:
    """A manifest is taken only with everything that it refers to; the refusal names each missing digest."""
    await play(registry, names, case)


@table(*SUBJECTS, *SIZES)
async def test_subject_and_size(registry: Address, names: Names, case: Case) -> None:
    """A subject is confirmed by OCI-Subject; 4 MiB is the limit."""
    await play(registry, names, case)


@pytest.mark.parametrize("announced", ["chunked", "100000000"])
async def test_too_large_is_refused_while_it_comes(registry: Address, names: Names, announced: str) -> None:
    """A body without end is refused as soon as the limit is passed, without waiting for its end (5.26)."""
    path = f"/v2/{names['shelf']}/manifests/bad"
    framing = ("Transfer-Encoding", "chunked") if announced == "chunked" else ("Content-Length", announced)
    async with connect(registry) as connection:
        await connection.start("PUT", path, [*_OCI.items(), framing])
        piece = b" " * 2**16
        for _ in range(_LARGEST // 2**16 + 2):
            await connection.send(chunk(piece) if announced == "chunked" else piece)
        answer = await connection.answer("PUT")

    assert (answer.status, answer.codes()) == (413, ["MANIFEST_INVALID"])
    assert (await ask(registry, "HEAD", path)).status == 404
