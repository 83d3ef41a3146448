"""Uploads: POST, PATCH, PUT, GET, HEAD and DELETE of upload sessions (end-4a to end-6, end-11, end-13, end-14)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.errors import DigestInvalid, NameInvalid, UploadOutOfOrder
from gateway.http.answers import Answer
from gateway.http.authorization import Need
from gateway.http.locations import blob_location, upload_headers
from gateway.model.digest import Digest, check_algorithm
from gateway.model.names import RepositoryName
from gateway.model.ranges import ByteRange, parse_chunk_range
from gateway.services.upload import Body

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.http.calls import Call


async def start_upload(call: Call) -> Answer:
    """Start an upload session, or mount a blob, or take a whole blob in one request."""
    repository = call.repository
    mount = call.first("mount")
    if mount is not None:
        return await _mount(call, repository, Digest.parse(mount))
    digest = _digest_parameter(call)
    if digest is not None and _has_body(call, digest):
        await call.services.push.upload(call.registry, repository, _body(call, None), digest)
        return _created(repository, digest)
    algorithm = check_algorithm(call.first("digest-algorithm") or (digest.algorithm if digest else "sha256"))
    return await _started(call, repository, algorithm)


async def append_chunk(call: Call) -> Answer:
    """Append a chunk to an upload session."""
    repository, session_id = call.repository, call.session_id
    chunk = await _chunk(call, session_id)
    body = _body(call, chunk)
    offset = await call.services.push.append(
        call.registry, repository, session_id, body, account_id=call.caller.account_id
    )
    return Answer(HTTPStatus.ACCEPTED, upload_headers(str(repository), str(session_id), offset))


async def close_upload(call: Call) -> Answer:
    """Append the last chunk, if there is one, and publish the blob."""
    session_id = call.session_id
    digest = _digest_parameter(call)
    if digest is None:
        raise DigestInvalid("the query parameter digest is missing: it names the digest of the whole blob")
    return await _close(call, session_id, digest, await _chunk(call, session_id))


async def get_upload(call: Call) -> Answer:
    """Tell how far an upload session has come; for its pusher, what is durable of a cut body counts from now on."""
    return await _status(call, adopt=call.caller.may(Need.PUSH.value, call.name))


async def head_upload(call: Call) -> Answer:
    """Tell how far an upload session has come and change nothing."""
    return await _status(call, adopt=False)


async def cancel_upload(call: Call) -> Answer:
    """Cancel an upload session."""
    await call.services.push.cancel(call.registry, call.repository, call.session_id, account_id=call.caller.account_id)
    return Answer(HTTPStatus.NO_CONTENT)


async def _mount(call: Call, repository: RepositoryName, digest: Digest) -> Answer:
    """Mount a blob; where that is impossible, start an upload session instead."""
    source = call.first("from")
    try:
        origin = RepositoryName.parse(source) if source else None
    except NameInvalid:
        # A repository that cannot exist has no blobs: the same answer as for one that does not.
        return await _started(call, repository, digest.algorithm)
    # What may not be pulled is not there, nor is it to be found by mounting from anywhere.
    is_allowed = call.caller.may(Need.PULL.value, str(origin)) if origin else call.caller.may_pull_everything()
    if is_allowed and await call.services.push.mount(call.registry, repository, digest, origin):
        return _created(repository, digest)
    return await _started(call, repository, digest.algorithm)


async def _started(call: Call, repository: RepositoryName, algorithm: str) -> Answer:
    session_id = await call.services.push.start(call.registry, repository, algorithm, account_id=call.caller.account_id)
    return Answer(HTTPStatus.ACCEPTED, upload_headers(str(repository), str(session_id), 0))


async def _close(call: Call, session_id: UUID, digest: Digest, chunk: ByteRange | None) -> Answer:
    repository = call.repository
    await call.services.push.close(
        call.registry, repository, session_id, _body(call, chunk), digest, account_id=call.caller.account_id
    )
    return _created(repository, digest)


async def _status(call: Call, *, adopt: bool) -> Answer:
    repository, session_id = call.repository, call.session_id
    offset = await call.services.push.status(
        call.registry, repository, session_id, adopt=adopt, account_id=call.caller.account_id
    )
    return Answer(HTTPStatus.NO_CONTENT, upload_headers(str(repository), str(session_id), offset))


def _created(repository: RepositoryName, digest: Digest) -> Answer:
    headers = {"Location": blob_location(str(repository), digest), "Docker-Content-Digest": str(digest)}
    return Answer(HTTPStatus.CREATED, headers)


def _digest_parameter(call: Call) -> Digest | None:
    """Read ``digest``; several must agree, since they name the same bytes."""
    digests = {Digest.parse(value) for value in call.all("digest")}
    if len(digests) > 1:
        raise DigestInvalid("the query names several different digests for one blob")
    return next(iter(digests), None)


def _has_body(call: Call, digest: Digest) -> bool:
    """Tell whether a POST brings the blob: an empty body is the empty blob or nothing yet."""
    if call.request.content_length:
        return True
    is_chunked = "chunked" in call.request.headers.get("Transfer-Encoding", "").lower()
    return is_chunked or digest == Digest.of(b"", digest.algorithm)


async def _chunk(call: Call, session_id: UUID) -> ByteRange | None:
    """Read Content-Range; one that cannot be read does not fit, wherever the session stands (416)."""
    header = call.header("Content-Range")
    if header is None:
        return None
    chunk = parse_chunk_range(header)
    if chunk is None:
        offset = await call.services.push.status(
            call.registry, call.repository, session_id, adopt=False, account_id=call.caller.account_id
        )
        raise UploadOutOfOrder(
            "Content-Range is written as first-last, both counted from 0, for instance 0-1023",
            repository=call.name,
            session_id=str(session_id),
            offset=offset,
        )
    return chunk


def _body(call: Call, chunk: ByteRange | None) -> Body:
    source = call.body(chunk.length if chunk else None)
    length = chunk.length if chunk else call.request.content_length
    return Body(source, length, chunk, source.is_gone)
