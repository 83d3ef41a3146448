"""Lists: tags, the catalog and referrers (end-8, end-12, and Docker's _catalog)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from gateway.http.answers import Answer
from gateway.http.locations import next_link
from gateway.model.manifest import OCI_INDEX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.calls import Call
    from gateway.ports.metadata import Referrer

# Clients read lists as manifests, and those have a limit of 4 MiB; leave room for what surrounds the entries.
_LARGEST_REFERRERS = 4 * 1024 * 1024 - 1024


async def ping(call: Call) -> Answer:  # noqa: ARG001  (every handler has the same form)
    """Say that this is a registry (end-1)."""
    return _json(b"{}")


async def list_tags(call: Call) -> Answer:
    """List the tags of a repository, in ASCII order."""
    repository, limit = call.repository, call.page_limit
    page = await call.services.manifests.tags(call.registry, repository, call.first("last") or "", limit)
    headers = {}
    if page.more:
        headers = next_link(f"/v2/{repository}/tags/list", ("n", len(page.names)), ("last", page.names[-1]))
    return _json(orjson.dumps({"name": str(repository), "tags": page.names}), headers)


async def list_repositories(call: Call) -> Answer:
    """List the repositories of the registry, in ASCII order."""
    page = await call.services.manifests.repositories(call.registry, call.first("last") or "", call.page_limit)
    headers = next_link("/v2/_catalog", ("n", len(page.names)), ("last", page.names[-1])) if page.more else {}
    return _json(orjson.dumps({"repositories": page.names}), headers)


async def list_referrers(call: Call) -> Answer:
    """List the manifests whose subject is a digest, as an image index; a subject that is not here may have some."""
    repository, subject = call.repository, call.digest
    wanted = [value for value in call.all("artifactType") if value]
    found, more = await call.services.manifests.referrers(
        call.registry, repository, subject, wanted, call.first("last") or ""
    )
    entries, fits = _within_limit(found)
    headers = {"Content-Type": OCI_INDEX}
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    if more or not fits:
        filters = [("artifactType", value) for value in wanted]
        last = found[len(entries) - 1].digest
        headers |= next_link(f"/v2/{repository}/referrers/{subject}", *filters, ("last", last))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return _json(orjson.dumps(index), headers)


def _within_limit(referrers: Sequence[Referrer]) -> tuple[list[orjson.Fragment], bool]:
    """Write descriptors until the page is full; there is always one, since a manifest is no larger than a page."""
    entries: list[orjson.Fragment] = []
    size = 0
    for referrer in referrers:
        entry = orjson.dumps(_descriptor(referrer))
        size += len(entry) + 1
        if entries and size > _LARGEST_REFERRERS:
            return entries, False
        entries.append(orjson.Fragment(entry))
    return entries, True


def _descriptor(referrer: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations != b"{}":
        descriptor["annotations"] = orjson.Fragment(referrer.annotations)
    return descriptor


def _json(body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return Answer(HTTPStatus.OK, {"Content-Type": "application/json", **(headers or {})}, body)
