"""Addresses and headers that answers point with: always absolute paths, never a scheme or host.

Clients resolve a path against the host they have asked; anything else loses their credentials or breaks
behind a proxy that terminates TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from gateway.model.digest import Digest


def blob_location(repository: str, digest: Digest) -> str:
    """Return the address of a blob."""
    return f"/v2/{repository}/blobs/{digest}"


def manifest_location(repository: str, digest: Digest) -> str:
    """Return the address of a manifest."""
    return f"/v2/{repository}/manifests/{digest}"


def upload_headers(repository: str, session_id: str, offset: int) -> dict[str, str]:
    """Return the headers of every answer about an upload session (end-4a, end-5, end-13).

    Range has no unit and names the last byte held. A session without bytes says ``0-0``, because docker's client
    cannot read anything else.
    """
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{session_id}",
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": session_id,
    }


def next_link(path: str, *parameters: tuple[str, str | int]) -> dict[str, str]:
    """Return the header that leads to the next page of a list."""
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parameters)
    return {"Link": f'<{path}?{query}>; rel="next"'}
