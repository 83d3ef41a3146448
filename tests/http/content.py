"""What the tests push: fixed contents, their digests, and builders of manifests."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import orjson

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

JSON = dict[str, Any]


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sha512(content: bytes) -> str:
    return f"sha512:{hashlib.sha512(content).hexdigest()}"


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that look random and are the same in every run."""
    return random.Random(seed).randbytes(size)


BLOB = noise(2048)
LAYER = noise(1000, seed=2)
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
EMPTY_JSON = b"{}"
NEVER_PUSHED = sha256(b"these bytes are never pushed to any repository")


def descriptor(content: bytes, media_type: str, **fields: Any) -> JSON:
    """Describe content as manifests do."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content), **fields}


def document(**fields: Any) -> JSON:
    """Build an OCI image manifest of CONFIG and LAYER; a field given as None is left out."""
    whole: JSON = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, OCI_CONFIG),
        "layers": [descriptor(LAYER, OCI_LAYER)],
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def image(note: str = "", **fields: Any) -> bytes:
    """Write an OCI image manifest of CONFIG and LAYER; another note makes another digest."""
    return orjson.dumps(document(**fields, **({"annotations": {"note": note}} if note else {})))


def image_without(field: str) -> bytes:
    """Write the same manifest without one of its fields."""
    return orjson.dumps({name: value for name, value in document().items() if name != field})


def index(*children: bytes, **fields: Any) -> bytes:
    """Write an OCI index of image manifests."""
    whole: JSON = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(child, OCI_MANIFEST) for child in children],
        **fields,
    }
    return orjson.dumps({name: value for name, value in whole.items() if value is not None})


def artifact(subject: bytes, artifact_type: str | None, note: str = "", **fields: Any) -> bytes:
    """Write an image manifest that refers to a subject, as signatures and SBOMs do."""
    annotations = {"annotations": {"note": note}} if note else {}
    whole = document(
        artifactType=artifact_type,
        config=descriptor(EMPTY_JSON, OCI_EMPTY),
        layers=[descriptor(EMPTY_JSON, OCI_EMPTY)],
        subject=descriptor(subject, OCI_MANIFEST),
        **{**annotations, **fields},
    )
    return orjson.dumps(whole)


IMAGE = image()
SECOND = image("second")
DOCKER_IMAGE = image(mediaType=DOCKER_MANIFEST)
INDEX = index(IMAGE, SECOND)

DOCKER_ACCEPT = [
    ("Accept", kind)
    for kind in (
        DOCKER_MANIFEST,
        DOCKER_LIST,
        OCI_INDEX,
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/json",
    )
]
"""What docker and podman accept, in a header line for each type."""
