"""Images as clients push and pull them, for pages that show them."""

from __future__ import annotations

import hashlib
import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from support.accounts import Key

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"

JSON = dict[str, Any]


@dataclass(frozen=True)
class Client:
    """A registry client of one account."""

    host: str
    port: int
    key: Key
    registry: str = ""
    """Host of the registry, where it is another than that of the server."""

    def image(
        self, name: str, tag: str = "", *, layer: bytes = b"layer", config: JSON | None = None, **fields: Any
    ) -> JSON:
        """Push an image, and return how an index describes it."""
        said = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **(config or {})}
        whole = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(name, orjson.dumps(said), CONFIG),
            "layers": [self._blob(name, layer, LAYER)],
            **fields,
        }
        platform = {"os": said["os"], "architecture": said["architecture"]}
        return {**self._manifest(name, tag, whole, MANIFEST), "platform": platform}

    def index(self, name: str, tag: str, children: list[JSON], **fields: Any) -> JSON:
        """Push an index of images."""
        whole = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children, **fields}
        return self._manifest(name, tag, whole, INDEX)

    def referrer(self, name: str, subject: JSON, artifact_type: str, **annotations: str) -> JSON:
        """Push something that refers to an image."""
        whole = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": self._blob(name, b"{}", EMPTY),
            "layers": [self._blob(name, artifact_type.encode(), "text/plain")],
            "subject": {field: subject[field] for field in ("mediaType", "digest", "size")},
            "annotations": annotations,
        }
        return self._manifest(name, "", whole, MANIFEST)

    def pull(self, name: str, reference: str) -> int:
        """Get a manifest, and return the status."""
        return self._send("GET", f"/v2/{name}/manifests/{reference}", b"", f"{MANIFEST}, {INDEX}")

    def push_again(self, name: str, tag: str, note: str) -> int:
        """Point a tag at another image, and return the status."""
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(name, b"{}", EMPTY),
            "layers": [],
            "annotations": {"note": note},
        }
        return self._send("PUT", f"/v2/{name}/manifests/{tag}", orjson.dumps(content), MANIFEST)

    def _manifest(self, name: str, tag: str, whole: JSON, media_type: str) -> JSON:
        content = orjson.dumps(whole)
        found = _descriptor(content, media_type)
        status = self._send("PUT", f"/v2/{name}/manifests/{tag or found['digest']}", content, media_type)
        assert status == 201
        return found

    def _blob(self, name: str, content: bytes, media_type: str) -> JSON:
        found = _descriptor(content, media_type)
        path = f"/v2/{name}/blobs/uploads/?digest={found['digest']}"
        assert self._send("POST", path, content, "application/octet-stream") == 201
        return found

    def _send(self, method: str, path: str, body: bytes, media_type: str) -> int:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            headers = {"Authorization": self.key.basic, "Content-Type": media_type, "Accept": media_type}
            if self.registry:
                headers["Host"] = f"{self.registry}:{self.port}"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        return response.status


def _descriptor(content: bytes, media_type: str) -> JSON:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
