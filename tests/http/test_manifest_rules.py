"""Protocol 1.8, "What to validate", points 1 to 5, and edge cases 18, 21 and 22: JSON, types and structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .content import (
    CONFIG,
    DOCKER_IMAGE,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE,
    INDEX,
    LAYER,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    descriptor,
    image,
    image_without,
    index,
    sha256,
)
from .rows import Case, Names, play, table
from .verdicts import refused, taken

if TYPE_CHECKING:
    from .wire import Address

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
    taken("5.21 neither of both: config and layers make an image", image_without("mediaType"), None),
    taken("5.21 application/json and no mediaType", image_without("mediaType"), "application/json"),
    taken("5.21 neither of both: manifests makes an index", index(IMAGE, mediaType=None), None, OCI_INDEX),
    taken("1.8.2 no mediaType, Content-Type says it", image_without("mediaType"), OCI_MANIFEST),
    taken("1.8.2 no mediaType, Docker's Content-Type", image_without("mediaType"), DOCKER_MANIFEST, DOCKER_MANIFEST),
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
    refused("1.8.4 no schemaVersion", image_without("schemaVersion")),
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
    refused("1.8.4 no config", image_without("config")),
    refused("1.8.4 no layers", image_without("layers")),
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


@table(*JSON_RULES, *TYPE_RULES, *SHAPE_RULES)
async def test_rule(registry: Address, names: Names, case: Case) -> None:
    """What could be read in two ways, or not at all, is refused with 400 and leaves nothing behind."""
    await play(registry, names, case)
