"""What a registry may say to a manifest: taken, refused, or lacking something."""

from __future__ import annotations

from .content import OCI_MANIFEST, sha256
from .rows import Case, Step, story

RULES = "/v2/{shelf}/manifests/rules"


def taken(says: str, content: bytes, content_type: str | None = OCI_MANIFEST, served_as: str = OCI_MANIFEST) -> Case:
    """State that a manifest is taken, and comes back byte for byte with its type."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    return story(
        f"{says}: 201",
        Step("PUT", RULES, 201, headers=headers, body=content, has={"Docker-Content-Digest": sha256(content)}),
        Step("GET", RULES, 200, has={"Content-Type": served_as}, body_is=content),
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
