"""Manifests: every rule of protocol 1.8, "What to validate", that needs nothing but the manifest itself."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DigestInvalid, ManifestInvalid, ManifestTooLarge
from gateway.model.digest import Digest
from gateway.model.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    LARGEST_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
)

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_INVALID = (ManifestInvalid, DigestInvalid)
_ABSENT = object()


def descriptor(digest: str = A, media_type: str = LAYER_TYPE, size: Any = 5, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **fields}


def written(whole: dict[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in whole.items() if value is not _ABSENT})


def image(**fields: Any) -> bytes:
    """Write an image manifest with some fields replaced, added, or left out (_ABSENT)."""
    config, layers = descriptor(A, CONFIG_TYPE), [descriptor(B)]
    return written({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, **fields})


def index(**fields: Any) -> bytes:
    """Write an index with some fields replaced, added, or left out (_ABSENT)."""
    return written({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(A, OCI_MANIFEST)], **fields})


# --- point 1: JSON -------------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "white space": b" \n ",
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"2",
    "null": b"null",
    "true": b"true",
    "an open brace": b"{",
    "an empty object": b"{}",
    "a byte order mark": b"\xef\xbb\xbf" + image(),
    "UTF-16": image().decode().encode("utf-16"),
    "UTF-32": image().decode().encode("utf-32"),
    "invalid UTF-8": image().replace(b"sha256", b"sha\xff", 1),
    "an overlong encoding": image(x="y").replace(b'"y"', b'"\xc0\x80"'),
    "a surrogate in UTF-8": image(x="y").replace(b'"y"', b'"\xed\xa0\x80"'),
    "junk after the end": image() + b"x",
    "two documents": image() + image(),
    "NaN": image(x=0).replace(b'"x":0', b'"x":NaN'),
    "Infinity": image(x=0).replace(b'"x":0', b'"x":Infinity'),
    "a trailing comma": image()[:-1] + b",}",
    "a leading zero": image(x=0).replace(b'"x":0', b'"x":01'),
    "a control character in a text": image(x="y").replace(b'"y"', b'"\n"'),
    "lists 10,000 deep": b'{"schemaVersion":2,"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "objects 100,000 deep": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "open lists only": b"[" * 1_000_000,
    "zeros": bytes(1000),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("content_type", [OCI_MANIFEST, OCI_INDEX, "", "application/json"])
def test_hostile_json(raw: bytes, content_type: str) -> None:
    """What is not one JSON object in UTF-8 is invalid, never a crash."""
    with pytest.raises(ManifestInvalid):
        Manifest.parse(raw, content_type)


@given(raw=st.binary(max_size=100), content_type=st.sampled_from([OCI_MANIFEST, OCI_INDEX, "", "text/plain", "\0"]))
def test_any_bytes(raw: bytes, content_type: str) -> None:
    """No bytes raise anything but the two domain errors."""
    with pytest.raises(_INVALID):
        Manifest.parse(raw, content_type)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations"]


@given(
    fields=st.dictionaries(st.sampled_from([*_FIELDS, "urls", "unknown"]), _JSON, max_size=4),
    base=st.sampled_from([image, index]),
    content_type=st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, ""]),
)
def test_any_json_in_any_field(fields: dict[str, Any], base: Any, content_type: str) -> None:
    """Any JSON in any field is refused by a domain error or taken as it is, byte for byte."""
    raw = base(**fields)
    try:
        manifest = Manifest.parse(raw, content_type)
    except _INVALID:
        return
    assert manifest.raw == raw
    assert manifest.media_type in {OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST}


@given(value=_JSON, name=st.sampled_from(["mediaType", "digest", "size", "urls", "annotations", "data", "platform"]))
def test_any_json_in_a_descriptor(value: Any, name: str) -> None:
    """The same holds within descriptors."""
    for raw in (image(layers=[descriptor(**{name: value})]), image(subject=descriptor() | {name: value})):
        try:
            assert Manifest.parse(raw, OCI_MANIFEST).raw == raw
        except _INVALID:
            continue


# --- points 2 and 3: types -----------------------------------------------------------------------

TYPES = [
    ("header and body agree", image(), OCI_MANIFEST, OCI_MANIFEST),
    ("header and body agree on Docker", image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, DOCKER_MANIFEST),
    ("an index", index(), OCI_INDEX, OCI_INDEX),
    ("a Docker list", index(mediaType=DOCKER_LIST), DOCKER_LIST, DOCKER_LIST),
    ("parameters are ignored", image(), OCI_MANIFEST + "; charset=utf-8", OCI_MANIFEST),
    ("space around the type is ignored", image(), f" {OCI_MANIFEST} ;x=y", OCI_MANIFEST),
    ("the header's case is ignored", image(), OCI_MANIFEST.upper(), OCI_MANIFEST),
    ("no header, the body says it", image(mediaType=DOCKER_MANIFEST), "", DOCKER_MANIFEST),
    ("a generic header, the body says it", image(mediaType=DOCKER_MANIFEST), "application/json", DOCKER_MANIFEST),
    ("the body is silent, the header says it", image(mediaType=_ABSENT), DOCKER_MANIFEST, DOCKER_MANIFEST),
    ("an empty mediaType is silent", image(mediaType=""), OCI_MANIFEST, OCI_MANIFEST),
    ("both silent, config and layers", image(mediaType=_ABSENT), "", OCI_MANIFEST),
    ("both silent, manifests", index(mediaType=_ABSENT), "", OCI_INDEX),
    ("generic and silent, manifests", index(mediaType=_ABSENT), "application/json", OCI_INDEX),
]


@pytest.mark.parametrize(
    ("raw", "content_type", "media_type"), [case[1:] for case in TYPES], ids=[case[0] for case in TYPES]
)
def test_type(raw: bytes, content_type: str, media_type: str) -> None:
    """The type is settled between header and body."""
    assert Manifest.parse(raw, content_type).media_type == media_type


WRONG_TYPES = [
    ("header and body differ", image(), DOCKER_MANIFEST),
    ("an image with an index's header", image(), OCI_INDEX),
    ("an index with an image's header", index(), OCI_MANIFEST),
    ("an index with a Docker list's header", index(), DOCKER_LIST),
    ("an image in all but its header", image(mediaType=_ABSENT), OCI_INDEX),
    ("an index in all but its header", index(mediaType=_ABSENT), OCI_MANIFEST),
    ("an image that calls itself an index", image(mediaType=OCI_INDEX), ""),
    ("schema 1", written({"schemaVersion": 1, "fsLayers": []}), "application/vnd.docker.distribution.manifest.v1+json"),
    ("signed schema 1", image(mediaType=_ABSENT), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ("an unknown type", image(mediaType="application/vnd.oci.artifact.manifest.v1+json"), ""),
    ("an unknown header", image(mediaType=_ABSENT), "application/x-unknown"),
    ("mediaType is a number", image(mediaType=2), OCI_MANIFEST),
    ("mediaType is null and nothing else helps", written({"schemaVersion": 2, "mediaType": None}), ""),
    ("mediaType with a newline", image(mediaType=OCI_MANIFEST + "\n"), ""),
]


@pytest.mark.parametrize(
    ("raw", "content_type"), [case[1:] for case in WRONG_TYPES], ids=[case[0] for case in WRONG_TYPES]
)
def test_wrong_type(raw: bytes, content_type: str) -> None:
    """A type that is in doubt, or is none of the four, is invalid."""
    with pytest.raises(ManifestInvalid):
        Manifest.parse(raw, content_type)


# --- point 4: structure --------------------------------------------------------------------------

WRONG_SHAPES = [
    ("schemaVersion in text", image(schemaVersion="2")),
    ("schemaVersion 1", image(schemaVersion=1)),
    ("schemaVersion 3", image(schemaVersion=3)),
    ("schemaVersion 2.0", image().replace(b'"schemaVersion":2', b'"schemaVersion":2.0')),
    ("schemaVersion true", image(schemaVersion=True)),
    ("schemaVersion null", image(schemaVersion=None)),
    ("no schemaVersion", image(schemaVersion=_ABSENT)),
    ("an image with manifests", image(manifests=[])),
    ("an index with layers", index(layers=[])),
    ("an index with config", index(config=descriptor())),
    ("no config", image(config=_ABSENT)),
    ("no layers", image(layers=_ABSENT)),
    ("no manifests", index(manifests=_ABSENT)),
    ("config null", image(config=None)),
    ("config a list", image(config=[])),
    ("layers null", image(layers=None)),
    ("layers an object", image(layers={})),
    ("manifests a text", index(manifests="x")),
    ("a layer null", image(layers=[None])),
    ("a child in text", index(manifests=[A])),
    ("annotations a list", image(annotations=[])),
    ("an annotation that is a number", image(annotations={"a": 1})),
    ("an annotation that is deep", image(annotations={"a": [[[[]]]]})),
    ("layers in a second spelling", image(Layers=[])),
    ("manifests in a second spelling", image(Manifests=[])),
    ("a digest in a second spelling", image(layers=[descriptor(B, Digest=C)])),
    ("artifactType a number", image(artifactType=1)),
    ("artifactType with a newline", image(artifactType="a/b\r\nX: y")),
]


@pytest.mark.parametrize("raw", [case[1] for case in WRONG_SHAPES], ids=[case[0] for case in WRONG_SHAPES])
def test_wrong_shape(raw: bytes) -> None:
    """What one reader takes for this and another for that, or lacks what its type demands, is invalid."""
    with pytest.raises(ManifestInvalid):
        Manifest.parse(raw, "")


ACCEPTED = [
    ("no layers at all", image(layers=[])),
    ("no children at all", index(manifests=[])),
    ("unknown fields", image(unknown={"a": [1, None]}, config=descriptor(unknown=True))),
    ("unknown artifactType", image(artifactType="application/x.unknown")),
    ("unknown types of layers", image(layers=[descriptor(media_type="a/b")])),
    ("layers without a type", image(layers=[{"digest": A, "size": 0}])),
    ("data in descriptors", image(config=descriptor(data="e30="))),
    ("the same layer twice", image(layers=[descriptor(B), descriptor(B)])),
    ("config and layer the same", image(config=descriptor(A), layers=[descriptor(A)])),
    ("sha512", image(layers=[descriptor("sha512:" + "a" * 128)])),
    ("annotations null", image(annotations=None)),
    ("subject null", image(subject=None)),
    ("a layer of 8 EiB", image(layers=[descriptor(size=2**63 - 1)])),
]


@pytest.mark.parametrize("raw", [case[1] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_accepted(raw: bytes) -> None:
    """What the specification allows is taken, and kept as it is."""
    assert Manifest.parse(raw, "").raw == raw


# --- point 5: descriptors ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, 1.0, 1.5, "5", None, True, [], 2**63, 2**64 - 1])
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_wrong_size(place: str, size: Any) -> None:
    """A size is a whole number, not negative, in every descriptor."""
    with pytest.raises(ManifestInvalid):
        Manifest.parse(_with(place, descriptor(size=size)), "")


@pytest.mark.parametrize(
    "digest", ["", "foo", "sha256:x", "sha256:" + "A" * 64, "md5:" + "a" * 32, A + "\n", 5, None, [A]]
)
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_wrong_digest(place: str, digest: Any) -> None:
    """A digest has its syntax in every descriptor; what is wrong with it names the field."""
    with pytest.raises(_INVALID, match=place):
        Manifest.parse(_with(place, descriptor(digest)), "")


@pytest.mark.parametrize("field", ["digest", "size"])
@pytest.mark.parametrize("place", ["config", "layers", "manifests", "subject"])
def test_missing_field(place: str, field: str) -> None:
    """Digest and size are there in every descriptor."""
    incomplete = {name: value for name, value in descriptor().items() if name != field}
    with pytest.raises(ManifestInvalid, match=place):
        Manifest.parse(_with(place, incomplete), "")


def _with(place: str, value: dict[str, Any]) -> bytes:
    if place == "manifests":
        return index(manifests=[value])
    return image(**{place: [value] if place == "layers" else value})


# --- points 6 and 7: references ------------------------------------------------------------------


def test_blobs_are_config_and_layers_once_each() -> None:
    """The blobs that must be there are config and layers, in order, without repetition."""
    manifest = Manifest.parse(image(layers=[descriptor(B), descriptor(C), descriptor(A), descriptor(B)]), "")
    assert [str(digest) for digest in manifest.blobs] == [A, B, C]
    assert manifest.children == ()


def test_children_are_no_blobs() -> None:
    """An index has children and needs no blob of its own."""
    manifest = Manifest.parse(index(manifests=[descriptor(B, OCI_MANIFEST), descriptor(C, LAYER_TYPE)]), "")
    assert [str(child.digest) for child in manifest.children] == [B, C]
    assert (manifest.blobs, manifest.layers, manifest.config) == ([], (), None)


@pytest.mark.parametrize("media_type", [FOREIGN, *(NONDISTRIBUTABLE + suffix for suffix in ("", "+gzip", "+zstd"))])
def test_layers_that_are_not_pushed(media_type: str) -> None:
    """A foreign or nondistributable layer with addresses need not be there."""
    manifest = Manifest.parse(
        image(layers=[descriptor(B, media_type, urls=["https://example.com"]), descriptor(C)]), ""
    )
    assert [str(digest) for digest in manifest.blobs] == [A, C]


@pytest.mark.parametrize(
    "layer",
    [
        descriptor(B, FOREIGN),
        descriptor(B, FOREIGN, urls=[]),
        descriptor(B, LAYER_TYPE, urls=["https://example.com"]),
        descriptor(B, NONDISTRIBUTABLE + "+xz", urls=["https://example.com"]),
    ],
    ids=["no urls", "empty urls", "an ordinary type", "a type alike"],
)
def test_layers_that_must_be_there(layer: dict[str, Any]) -> None:
    """The exception asks for both: the type and the addresses."""
    assert B in map(str, Manifest.parse(image(layers=[layer]), "").blobs)


@pytest.mark.parametrize("base", [image, index])
def test_subject(base: Any) -> None:
    """A subject is read from images and indexes, and is no blob."""
    manifest = Manifest.parse(base(subject=descriptor(C, OCI_MANIFEST)), "")
    assert manifest.subject == Digest.parse(C)
    assert C not in map(str, manifest.blobs)
    assert Manifest.parse(base(), "").subject is None


ARTIFACT_TYPES = [
    ("its own", image(artifactType="a/b"), "a/b"),
    ("its config's", image(), CONFIG_TYPE),
    ("its config's where its own is empty", image(artifactType=""), CONFIG_TYPE),
    ("an index's own", index(artifactType="a/b"), "a/b"),
    ("none of an index", index(), None),
    ("none at all", image(config={"digest": A, "size": 1}), None),
]


@pytest.mark.parametrize(
    ("raw", "expected"), [case[1:] for case in ARTIFACT_TYPES], ids=[case[0] for case in ARTIFACT_TYPES]
)
def test_artifact_type(raw: bytes, expected: str | None) -> None:
    """A referrers list shows the manifest's artifactType, else an image's config type (protocol 1.10)."""
    assert Manifest.parse(raw, "").artifact_type == expected


@given(annotations=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4))
def test_annotations(annotations: dict[str, str]) -> None:
    """Annotations come through whole."""
    assert Manifest.parse(image(annotations=annotations), "").annotations == annotations
    assert Manifest.parse(image(), "").annotations == {}


KINDS = [
    ("image", image()),
    ("index", index()),
    ("artifact", image(artifactType="application/spdx+json")),
    ("artifact", image(subject=descriptor(C))),
    ("signature", image(layers=[descriptor(B, "application/vnd.dev.cosign.simplesigning.v1+json")])),
    ("attestation", image(layers=[descriptor(B, "application/vnd.in-toto+json")])),
    ("cache", image(config=descriptor(A, "application/vnd.buildkit.cacheconfig.v0"))),
    ("cache", index(manifests=[descriptor(B), descriptor(C, "application/vnd.buildkit.cacheconfig.v0")])),
]


@pytest.mark.parametrize(("kind", "raw"), KINDS, ids=[f"{number} {kind}" for number, (kind, _) in enumerate(KINDS)])
def test_kind(kind: str, raw: bytes) -> None:
    """People are told what a manifest is (architecture 6)."""
    assert Manifest.parse(raw, "").kind == kind


# --- size ----------------------------------------------------------------------------------------


def test_largest_manifest() -> None:
    """4 MiB are taken, one byte more is too large, whatever it holds."""
    bare = image(pad="")
    largest = image(pad="x" * (LARGEST_MANIFEST - len(bare)))
    assert len(largest) == LARGEST_MANIFEST == 4_194_304
    assert hashlib.sha256(Manifest.parse(largest, "").raw).digest() == hashlib.sha256(largest).digest()
    for raw in (largest + b" ", bytes(LARGEST_MANIFEST + 1)):
        with pytest.raises(ManifestTooLarge):
            Manifest.parse(raw, "")
