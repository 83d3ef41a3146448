"""Who sends a blob's bytes: the registry itself, or S3 after a redirect."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from e2e.images import MEBIBYTE, noise
from e2e.wire import Wire, sha256

if TYPE_CHECKING:
    from e2e.server import Server
    from support.seaweed import SeaweedFS

CONTENT = noise("delivery", 20 * MEBIBYTE)


def test_registry_sends_the_bytes(registry: Server) -> None:
    """Without redirects a blob comes from the registry, whole and by range."""
    path = f"/v2/delivery/blobs/{registry.wire.push_blob('delivery', CONTENT)}"
    whole = registry.wire.request("GET", path)
    assert (whole.status, sha256(whole.body)) == (200, sha256(CONTENT))
    part = registry.wire.request("GET", path, headers={"Range": "bytes=9000000-"})
    assert part.status == 206
    assert part.headers["Content-Range"] == f"bytes 9000000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert part.body == CONTENT[9000000:]


def test_storage_sends_the_bytes(redirecting_registry: Server, seaweed: SeaweedFS) -> None:
    """With redirects a GET leads to S3, where the same URL serves the whole blob and ranges of it."""
    path = f"/v2/delivery/blobs/{redirecting_registry.wire.push_blob('delivery', CONTENT)}"
    answer = redirecting_registry.wire.request("GET", path)
    assert answer.status == 307
    assert answer.headers["Location"].startswith(f"{seaweed.endpoint_url}/")
    storage = Wire(urlsplit(answer.headers["Location"]).netloc)
    whole = storage.request("GET", answer.location)
    assert (whole.status, sha256(whole.body)) == (200, sha256(CONTENT))
    part = storage.request("GET", answer.location, headers={"Range": "bytes=9000000-"})
    assert (part.status, part.body) == (206, CONTENT[9000000:])
