"""Protocol 1.8, "What to validate", and edge cases 18 to 26: which manifests are taken and which are refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from .content import (
    BLOB,
    CONFIG,
    DOCKER_IMAGE,
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
from .wire import Address, Answer, Chunked, ask, chunk, connect

if TYPE_CHECKING:
    from collections.abc import Callable

_PUT = "/v2/{shelf}/manifests/rules"
_OCI = {"Content-Type": OCI_MANIFEST}
_LARGEST = 4 * 1024 * 1024
BUILDKIT_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
UNPUSHED = b"a layer that lies elsewhere"


def taken(says: str, content: bytes, content_type: str | None = OCI_MANIFEST, served_as: str = OCI_MANIFEST) -> Case:
    """State that a manifest is taken, and comes back byte for byte with its type."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    return story(
        f"{says}: 201",
        Step("PUT", _PUT, 201, headers=headers, body=content, has={"Docker-Content-Digest": sha256(content)}),
        Step("GET", _PUT, 200, has={"Content-Type": served_as}, body_is=content),
    )


def refused(
    says: str, content: bytes, content_type: str = OCI_MANIFEST, code: str | tuple[str, ...] = "MANIFEST_INVALID"
) -> Case:
    """State that a manifest is refused with 400, and that its tag does not come into being."""
    return story(
        f"{says}: 400",
        Step("PUT", "/v2/{shelf}/manifests/bad", 400, headers={"Content-Type": content_type}, body=content, code=code),
        Step("HEAD", "/v2/{shelf}/manifests/bad", 404),
    )


def without(field: str) -> bytes:
    return image(**{field: None})


_DEEP = b'{"schemaVersion":2,"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
JSON_RULES = [
    refused("5.18 an empty body", b""),
    refused("5.18 a list", b"[]"),
    refused("5.18 a text", b'"x"'),
    refused("1.8.1 a number", b"2"),
    refused("1.8.1 null", b"null"),
    refused("5.18 an open brace", b"{"),
    refused("1.8.1 an empty object", b"{}"),
    refused("5.18 a byte order mark", b"\xef\xbb\xbf" + IMAGE),
    refused("5.18 UTF-16", IMAGE.decode().encode("utf-16")),
    refused("5.18 nesting 10,000 deep", _DEEP),
    refused("5.18 nesting in objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    refused("5.18 invalid UTF-8", IMAGE.replace(b"sha256", b"sha\xff56", 1)),
    refused("5.18 junk after the end", IMAGE + b"x"),
    refused("5.18 a second document", IMAGE + IMAGE),
    refused("1.8.1 NaN", image(extra=0).replace(b'"extra":0', b'"extra":NaN')),
    refused("1.8.1 Infinity", image(extra=0).replace(b'"extra":0', b'"extra":-Infinity')),
    refused("1.8.1 a comma too many", IMAGE[:-1] + b",}"),
    refused("1.8.1 single quotes", IMAGE.replace(b'"', b"'")),
    refused("1.8.1 a comment", b"/* */" + IMAGE),
    refused("1.8.1 NUL", b"\0" * 10),
    refused("1.8.1 a gzipped manifest", b"\x1f\x8b\x08\0" + bytes(100)),
]

TYPE_RULES = [
    refused("5.21 Content-Type and mediaType differ", IMAGE, DOCKER_MANIFEST),
    refused("1.8.2 the same for an index", INDEX, DOCKER_LIST),
    refused("1.8.2 an image sent as an index", IMAGE, OCI_INDEX),
    taken("5.21 Content-Type with a parameter", IMAGE, OCI_MANIFEST + "; charset=utf-8"),
    taken("1.8.2 with a parameter and no space", IMAGE, OCI_MANIFEST + ";charset=utf-8"),
    taken("5.21 no Content-Type, mediaType says it", IMAGE, None),
    taken("5.21 no Content-Type, Docker's mediaType", DOCKER_IMAGE, None, DOCKER_MANIFEST),
    taken("5.21 application/json, mediaType says it", DOCKER_IMAGE, "application/json", DOCKER_MANIFEST),
    taken("5.21 neither of both: config and layers make an image", without("mediaType"), None),
    taken("5.21 application/json and no mediaType", without("mediaType"), "application/json"),
    taken("5.21 neither of both: manifests makes an index", index(IMAGE, mediaType=None), None, OCI_INDEX),
    taken("1.8.2 no mediaType, Content-Type says it", without("mediaType"), OCI_MANIFEST),
    taken("1.8.2 no mediaType, Docker's Content-Type", without("mediaType"), DOCKER_MANIFEST, DOCKER_MANIFEST),
    taken("1.8.2 no mediaType in an index", index(IMAGE, mediaType=None), OCI_INDEX, OCI_INDEX),
    refused("1.8.2 mediaType is a number", image(mediaType=2)),
    refused("1.8.2 mediaType is a list", image(mediaType=[OCI_MANIFEST])),
    refused(
        "5.22 schema 1",
        b'{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[]}',
        "application/vnd.docker.distribution.manifest.v1+json",
        ("MANIFEST_INVALID", "UNSUPPORTED"),
    ),
    refused(
        "5.22 signed schema 1",
        b'{"schemaVersion":1,"signatures":[]}',
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ("MANIFEST_INVALID", "UNSUPPORTED"),
    ),
    refused(
        "5.22 schema 1 by its looks",
        b'{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[]}',
        "application/json",
        ("MANIFEST_INVALID", "UNSUPPORTED"),
    ),
    refused("5.22 schemaVersion is a text", image(schemaVersion="2")),
    refused("5.22 schemaVersion is 1", image(schemaVersion=1)),
    refused("1.8.4 schemaVersion is 3", image(schemaVersion=3)),
    refused("1.8.4 schemaVersion is true", image(schemaVersion=True)),
    refused("1.8.4 schemaVersion is 2.0", IMAGE.replace(b'"schemaVersion":2', b'"schemaVersion":2.0')),
    refused("1.8.4 no schemaVersion", without("schemaVersion")),
]

_CHILDREN = [descriptor(IMAGE, OCI_MANIFEST)]
_OTHER_DESCRIPTORS: list[tuple[str, Any]] = [
    ("is null", None),
    ("is a text", "sha256:x"),
    ("is a list", []),
    ("has no digest", {"mediaType": OCI_LAYER, "size": 1}),
    ("has no size", {"mediaType": OCI_LAYER, "digest": sha256(LAYER)}),
    ("has a negative size", descriptor(LAYER, OCI_LAYER) | {"size": -1}),
    ("has a size with a fraction", descriptor(LAYER, OCI_LAYER) | {"size": 1.5}),
    ("has a size in text", descriptor(LAYER, OCI_LAYER) | {"size": "1000"}),
    ("has a size of true", descriptor(LAYER, OCI_LAYER) | {"size": True}),
    ("has a digest that is a number", descriptor(LAYER, OCI_LAYER) | {"digest": 5}),
]
_BAD_DIGESTS = ["foo", "sha256:short", "sha256:" + "A" * 64, "md5:" + "a" * 32, "", sha256(LAYER) + "\n", "../../x"]

SHAPE_RULES = [
    refused("5.22 layers and manifests in an image", image(manifests=_CHILDREN)),
    refused("5.22 layers in an index", index(IMAGE, layers=[]), OCI_INDEX),
    refused("5.22 config in an index", index(IMAGE, config=descriptor(CONFIG, OCI_CONFIG)), OCI_INDEX),
    refused("1.8.4 both, and no type at all", image(mediaType=None, manifests=[]), "application/json"),
    refused("1.8.4 no config", without("config")),
    refused("1.8.4 no layers", without("layers")),
    refused("1.8.4 no manifests in an index", index(manifests=None), OCI_INDEX),
    refused("1.8.4 layers is an object", image(layers={})),
    refused("1.8.4 layers is null", IMAGE.replace(b'"layers":', b'"layers":null,"x":')),
    refused("1.8.4 manifests is a text", index(manifests="x"), OCI_INDEX),
    *(refused(f"1.8.5 a layer {what}", image(layers=[value])) for what, value in _OTHER_DESCRIPTORS),
    *(
        refused(f"1.8.5 the config {what}", image(config=value))
        for what, value in _OTHER_DESCRIPTORS
        if value is not None
    ),
    *(refused(f"1.8.5 a child {what}", index(manifests=[value]), OCI_INDEX) for what, value in _OTHER_DESCRIPTORS),
    *(
        refused(
            f"1.8.5 a layer's digest is {digest[:20]!r}",
            image(layers=[descriptor(LAYER, OCI_LAYER) | {"digest": digest}]),
            code=("DIGEST_INVALID", "MANIFEST_INVALID"),
        )
        for digest in _BAD_DIGESTS
    ),
    *(
        refused(
            f"1.8.7 the subject's digest is {digest[:20]!r}",
            image(subject=descriptor(LAYER, OCI_LAYER) | {"digest": digest}),
            code=("DIGEST_INVALID", "MANIFEST_INVALID"),
        )
        for digest in _BAD_DIGESTS
    ),
    refused("1.8.7 the subject is a text", image(subject="x")),
    refused("1.8.7 the subject is an empty object", image(subject={}), code=("DIGEST_INVALID", "MANIFEST_INVALID")),
    refused("1.8.4 annotations is a list", image(annotations=[])),
    refused("1.8.4 artifactType is a number", image(artifactType=1)),
]

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
            _PUT,
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


@table(*JSON_RULES, *TYPE_RULES, *SHAPE_RULES)
async def test_rule(registry: Address, names: Names, case: Case) -> None:
    """What could be read in two ways, or not at all, is refused with 400 and leaves nothing behind."""
    await play(registry, names, case)


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
    assert re.search("4194304|4 MiB", answer.json()["errors"][0]["message"])
    assert (await ask(registry, "HEAD", path)).status == 404
