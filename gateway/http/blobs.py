"""Blobs: GET, HEAD and DELETE (end-2, end-10)."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.http.answers import Answer, common_headers
from gateway.http.conditions import is_not_modified, range_applies
from gateway.model.ranges import ByteRange, parse_ranges
from gateway.ports.counters import Kind
from gateway.ports.storage import FileRange, SocketRange
from gateway.transport.sending import send_file, send_socket, send_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import BaseRequest

    from gateway.http.calls import Call
    from gateway.ports.metadata import BlobRecord
    from gateway.ports.storage import BlobContent

_OCTETS = "application/octet-stream"


async def get_blob(call: Call) -> Answer | web.StreamResponse:
    """Serve a blob: whole, in one range or in several, or by a redirect to the storage."""
    blob = await call.services.pull.find(call.registry, call.repository, call.digest)
    if is_not_modified(call, blob.digest):
        return Answer(HTTPStatus.NOT_MODIFIED, _headers(blob))
    ranges = _wanted(call, blob)
    # S3 serves one range at a time.
    if ranges is None or len(ranges) == 1:
        address = await call.services.pull.address(call.caller.settings, blob, call.site.endpoint, call.site.client)
        if address is not None:
            offered = ranges[0].length if ranges else blob.size
            call.services.counters.count_bytes(call.registry, Kind.REDIRECTED_BYTES, offered)
            found = {"Docker-Content-Digest": str(blob.digest), "Location": address, "Cache-Control": "no-store"}
            return Answer(HTTPStatus.TEMPORARY_REDIRECT, found)
    headers = _headers(blob)
    if ranges is None:
        headers |= {"Content-Type": _OCTETS, "Content-Length": str(blob.size)}
        return await _send(call, blob, HTTPStatus.OK, headers, [ByteRange(0, blob.size)])
    if len(ranges) == 1:
        (only,) = ranges
        headers |= {"Content-Type": _OCTETS, "Content-Length": str(only.length)}
        headers["Content-Range"] = only.content_range(blob.size)
        return await _send(call, blob, HTTPStatus.PARTIAL_CONTENT, headers, ranges)
    return await _send_several(call, blob, headers, ranges)


async def head_blob(call: Call) -> Answer:
    """Describe a blob, which is kept for the client from then on; ranges do not apply."""
    blob = await call.services.pull.promise(call.registry, call.repository, call.digest)
    headers = _headers(blob)
    if is_not_modified(call, blob.digest):
        return Answer(HTTPStatus.NOT_MODIFIED, headers)
    return Answer(HTTPStatus.OK, headers | {"Content-Type": _OCTETS, "Content-Length": str(blob.size)})


async def delete_blob(call: Call) -> Answer:
    """Take a blob out of a repository."""
    await call.services.pull.delete(call.registry, call.repository, call.digest, call.actor)
    return Answer(HTTPStatus.ACCEPTED)


def _headers(blob: BlobRecord) -> dict[str, str]:
    return {
        "Docker-Content-Digest": str(blob.digest),
        "ETag": f'"{blob.digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000, immutable",
    }


def _wanted(call: Call, blob: BlobRecord) -> list[ByteRange] | None:
    header = call.header("Range")
    if header is None or not range_applies(call, blob.digest):
        return None
    return parse_ranges(header, blob.size)


async def _send(
    call: Call,
    blob: BlobRecord,
    status: HTTPStatus,
    headers: dict[str, str],
    spans: Sequence[ByteRange],
    before: Sequence[bytes] = (b"",),
    after: bytes = b"",
) -> web.StreamResponse:
    """Send spans of a blob, each behind its piece of ``before``."""
    response = web.StreamResponse(status=status, headers=common_headers(call.exchange.request_id) | headers)
    try:
        for place, span in enumerate(spans):
            if not span.length:
                await response.prepare(call.request)
                continue
            # The headers are sent once the storage has shown that it has the bytes.
            async with call.services.pull.open(call.registry, blob, span) as content:
                if not response.prepared:
                    call.exchange.begins()
                    await response.prepare(call.request)
                if before[place]:
                    await response.write(before[place])
                await _send_content(call.request, response, content)
        if after:
            await response.write(after)
        await response.write_eof()
    finally:
        # Heads and boundaries too, and also of a transfer that broke off: traffic costs all the same.
        call.services.counters.count_bytes(call.registry, Kind.PROXIED_BYTES, call.request.writer.output_size)
    return response


async def _send_content(request: BaseRequest, response: web.StreamResponse, content: BlobContent) -> None:
    match content:
        case FileRange():
            await send_file(request, response, content.descriptor, content.start, content.length)
        case SocketRange():
            await send_socket(request, response, content.source, content.chunks)
        case _:
            await send_stream(request, response, content.chunks)


async def _send_several(
    call: Call, blob: BlobRecord, headers: dict[str, str], ranges: Sequence[ByteRange]
) -> web.StreamResponse:
    """Send several ranges as multipart/byteranges (RFC 9110, section 14.6), one part for each that was asked for."""
    boundary = secrets.token_hex(16)
    part = f"\r\n--{boundary}\r\nContent-Type: {_OCTETS}\r\nContent-Range: "
    before = [f"{part}{span.content_range(blob.size)}\r\n\r\n".encode() for span in ranges]
    before[0] = before[0].removeprefix(b"\r\n")
    after = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, before)) + sum(span.length for span in ranges) + len(after)
    headers |= {"Content-Type": f"multipart/byteranges; boundary={boundary}", "Content-Length": str(length)}
    return await _send(call, blob, HTTPStatus.PARTIAL_CONTENT, headers, ranges, before, after)
