"""Conditional requests (RFC 9110, section 13): the entity tag of content is its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.http.calls import Call
    from gateway.model.digest import Digest


def is_not_modified(call: Call, digest: Digest) -> bool:
    """Tell whether the client has the content already (If-None-Match; bare digests are understood as well)."""
    header = call.header("If-None-Match")
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or str(digest) in tags


def range_applies(call: Call, digest: Digest) -> bool:
    """Tell whether a Range header is to be honoured (If-Range)."""
    header = call.header("If-Range")
    return header is None or header.strip() == f'"{digest}"'
