"""Manifests: a checked view over bytes that are kept and served as they came.

The rules are those of the image specification as registries may apply them: unknown fields, media
types and artifact types are accepted; empty lists are accepted; what would be read in two ways
(an index that is an image manifest as well) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import DigestInvalid, ManifestInvalid, ManifestTooLarge
from gateway.model.digest import Digest, unique
from gateway.model.image_config import platform_of

LARGEST_MANIFEST = 4 * 1024 * 1024
"""Largest manifest in bytes: what every client reads, and the least that a registry should take."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

_IMAGES = (OCI_MANIFEST, DOCKER_MANIFEST)
_INDEXES = (OCI_INDEX, DOCKER_LIST)
_GENERIC = ("", "application/json", "application/octet-stream", "text/plain")
_LARGEST_SIZE = 2**63 - 1
# Printable ASCII: a media type is sent in a header and may not hold what would end it.
_MEDIA_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_NOT_PUSHED = re.compile(
    r"application/vnd\.oci\.image\.layer\.nondistributable\.v1\.tar(?:\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar(?:\.gzip)?",
)
_FIELDS = (
    *("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"),
    *("digest", "size", "urls", "data", "platform"),
)
_FIELDS_IN_LOWER_CASE = {field.lower(): field for field in _FIELDS}
_IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_SIGNATURES = (
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign.",
    "application/vnd.dev.sigstore.bundle",
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of other content: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    pushed: bool = True
    """False for a layer that clients do not push, because it has addresses of its own."""
    platform: str | None = None
    """Of an image in an index, for instance linux/arm/v7."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that has passed all checks which need nothing but itself."""

    raw: bytes
    media_type: str
    kind: str
    """One of image, index, artifact, attestation, signature and cache."""
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str | None
    """As a referrers list shows it: the manifest's own, else its config's media type."""
    annotations: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes, content_type: str) -> Manifest:
        """Check a manifest as it was pushed with this Content-Type header; raise ManifestInvalid or DigestInvalid."""
        if len(raw) > LARGEST_MANIFEST:
            raise ManifestTooLarge(f"a manifest has at most {LARGEST_MANIFEST} bytes")
        document = _load(raw)
        media_type = _media_type(document, content_type.partition(";")[0].strip().lower())
        if document.get("schemaVersion") != 2 or isinstance(document["schemaVersion"], float):  # noqa: PLR2004
            raise ManifestInvalid("schemaVersion must be the number 2")
        is_index = media_type in _INDEXES
        _check_shape(document, is_index=is_index)
        config = None if is_index else _descriptor(document["config"], "config")
        layers = () if is_index else _descriptors(document["layers"], "layers")
        children = _descriptors(document["manifests"], "manifests") if is_index else ()
        subject = document.get("subject")
        artifact_type = _text(document, "artifactType") or (config.media_type if config else "") or None
        return cls(
            raw=raw,
            media_type=media_type,
            kind=_kind(document, artifact_type or "", layers=layers, children=children),
            config=config,
            layers=layers,
            children=children,
            subject=_descriptor(subject, "subject").digest if subject is not None else None,
            artifact_type=artifact_type,
            annotations=_annotations(document),
        )

    @property
    def blobs(self) -> list[Digest]:
        """Digests of the blobs that must be in the repository before the manifest, without repetition."""
        wanted = (*((self.config,) if self.config else ()), *self.layers)
        return unique(descriptor.digest for descriptor in wanted if descriptor.pushed)

    @property
    def platforms(self) -> list[str] | None:
        """Where it runs, without repetition; None for an image, whose config says it."""
        if self.kind == "image":
            return None
        return list(dict.fromkeys(child.platform for child in self.children if child.platform))


def _load(raw: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ManifestInvalid(f"the manifest is not JSON in UTF-8: {error}") from error
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is a JSON object")
    return document


def _media_type(document: dict[str, Any], header: str) -> str:
    """Settle the type: header and document must agree; without a header of use, the document decides."""
    stated = _text(document, "mediaType") or ""
    if stated and header not in _GENERIC and stated != header:
        raise ManifestInvalid(f"Content-Type is {header} but the manifest's mediaType is {stated}")
    media_type = stated or (header if header not in _GENERIC else _sniff(document))
    if media_type not in _IMAGES + _INDEXES:
        raise ManifestInvalid(
            f"manifests of type {media_type} are not supported; push an OCI or Docker (schema 2) manifest or index",
        )
    return media_type


def _sniff(document: dict[str, Any]) -> str:
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def _check_shape(document: dict[str, Any], *, is_index: bool) -> None:
    """Refuse a document that one reader takes for an image manifest and another for an index (CVE-2021-41190)."""
    wanted, foreign = (("manifests",), ("config", "layers")) if is_index else (("config", "layers"), ("manifests",))
    _check_spelling(document)
    for field in foreign:
        if field in document:
            raise ManifestInvalid(f"a manifest of this type must not have the field {field}")
    for field in wanted:
        if field not in document:
            raise ManifestInvalid(f"the manifest has no field {field}")


def _check_spelling(document: dict[str, Any]) -> None:
    """Refuse a second spelling of a field: many readers take ``Layers`` for ``layers``, and would see other layers."""
    for field in document:
        if field not in _FIELDS and field.lower() in _FIELDS_IN_LOWER_CASE:
            raise ManifestInvalid(f"the field {field} is spelled {_FIELDS_IN_LOWER_CASE[field.lower()]}")


def _descriptors(value: Any, field: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise ManifestInvalid(f"{field} must be a list")
    return tuple(_descriptor(item, f"{field}[{place}]") for place, item in enumerate(value))


def _descriptor(value: Any, field: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{field} must be an object with mediaType, digest and size")
    _check_spelling(value)
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_SIZE:
        raise ManifestInvalid(f"{field}.size must be a whole number of bytes, not negative")
    digest = value.get("digest")
    if not isinstance(digest, str):
        raise ManifestInvalid(f"{field}.digest must be a text")
    media_type = _text(value, "mediaType") or ""
    try:
        parsed = Digest.parse(digest)
    except DigestInvalid as error:
        raise DigestInvalid(f"{field}.digest: {error}") from error
    pushed = not (value.get("urls") and _NOT_PUSHED.fullmatch(media_type))
    return Descriptor(media_type, parsed, size, pushed, platform_of(value.get("platform")))


def _text(document: dict[str, Any], field: str) -> str | None:
    """Read an optional media type; empty counts as absent."""
    value = document.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise ManifestInvalid(f"{field} must be a media type: at most 255 printable ASCII characters")
    return value


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    annotations = document.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise ManifestInvalid("annotations must be an object of texts")
    return annotations


def _kind(
    document: dict[str, Any],
    artifact_type: str,
    *,
    layers: tuple[Descriptor, ...],
    children: tuple[Descriptor, ...],
) -> str:
    """Tell what people would call this manifest; pulls of images only are counted."""
    types = [descriptor.media_type for descriptor in layers]
    if "cacheconfig" in artifact_type or any("buildkit.cacheconfig" in child.media_type for child in children):
        return "cache"
    if "manifests" in document:
        return "index"
    if any(kind.startswith(_SIGNATURES) for kind in (artifact_type, *types)):
        return "signature"
    if types and all(kind == "application/vnd.in-toto+json" for kind in types):
        return "attestation"
    is_image = artifact_type in _IMAGE_CONFIGS and document.get("subject") is None
    return "image" if is_image else "artifact"
