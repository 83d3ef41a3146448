"""Manifests: GET, HEAD, PUT and DELETE (end-3, end-7, end-9)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.errors import DigestInvalid, ManifestTooLarge, ParameterInvalid
from gateway.http.answers import Answer
from gateway.http.conditions import is_not_modified
from gateway.http.locations import manifest_location
from gateway.model.digest import Digest
from gateway.model.manifest import LARGEST_MANIFEST
from gateway.model.names import Tag

if TYPE_CHECKING:
    from gateway.http.calls import Call
    from gateway.ports.metadata import ManifestRecord


async def get_manifest(call: Call) -> Answer:
    """Serve a manifest as it was pushed, whatever the client accepts; HEAD differs by the missing body only."""
    manifest = await call.services.manifests.find(call.registry, call.repository, call.reference)
    digest = str(manifest.digest)
    headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
    if is_not_modified(call, manifest.digest):
        _count(call, manifest, has_body=False)
        return Answer(HTTPStatus.NOT_MODIFIED, headers)
    headers["Content-Type"] = manifest.media_type
    headers["Content-Length"] = str(manifest.size)
    if call.request.method == "HEAD":
        _count(call, manifest, has_body=False)
        return Answer(HTTPStatus.OK, headers)
    raw = await call.services.manifests.content(manifest)
    _count(call, manifest, has_body=True)
    return Answer(HTTPStatus.OK, headers, raw)


async def put_manifest(call: Call) -> Answer:
    """Store a manifest under its digest, and under a tag or several."""
    repository = call.repository
    digest, tags = _targets(call)
    announced = call.request.content_length
    if announced is not None and announced > LARGEST_MANIFEST:
        raise ManifestTooLarge(f"a manifest has at most {LARGEST_MANIFEST} bytes")
    raw = await call.body().read(LARGEST_MANIFEST)
    content_type = call.header("Content-Type") or ""
    pushed = await call.services.manifests.put(
        call.registry, repository, raw, content_type, digest=digest, tags=tags, actor=call.actor
    )
    headers = {
        "Location": manifest_location(str(repository), pushed.digest),
        "Docker-Content-Digest": str(pushed.digest),
    }
    if pushed.subject:
        headers["OCI-Subject"] = str(pushed.subject)
    if call.all("tag"):
        headers["OCI-Tag"] = ", ".join(str(tag) for tag in tags)
    return Answer(HTTPStatus.CREATED, headers)


async def delete_manifest(call: Call) -> Answer:
    """Delete a tag, or a manifest with all its tags."""
    await call.services.manifests.delete(call.registry, call.repository, call.reference, call.actor)
    return Answer(HTTPStatus.ACCEPTED)


def _count(call: Call, manifest: ManifestRecord, *, has_body: bool) -> None:
    """Count what is about to be served: it stands in the journal before the first byte is sent."""
    key = call.caller.key
    caller = (key.id, key.access_key_id) if key else (0, None)
    agent = call.header("User-Agent")
    call.services.counters.count_manifest(call.registry, manifest, caller, agent, has_body=has_body)


def _targets(call: Call) -> tuple[Digest | None, list[Tag]]:
    """Read under what a manifest is to be stored: by digest with tags as parameters, or by tag (end-7a, end-7b).

    With a tag in the address, a parameter ``digest`` says which digest to use (regctl's way to push sha512).
    """
    reference = call.reference
    tags = [Tag.parse(tag) for tag in call.all("tag")]
    if isinstance(reference, Digest):
        return reference, tags
    if tags:
        raise ParameterInvalid("the parameter tag goes with a digest in the address, not with a tag")
    wanted = call.all("digest")
    if len(wanted) > 1:
        raise DigestInvalid("the query names several digests for one manifest")
    return (Digest.parse(wanted[0]) if wanted else None), [reference]
