"""Steps of upload sessions (protocol 1.7), as several files of this folder use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from .rows import Step
from .wire import Chunked, chunk, connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .rows import Expected
    from .wire import Address, Answer, Connection

UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
UNKNOWN_SESSION = "/v2/{repo}/blobs/uploads/0b8e2b0c-6a49-4a5e-9d63-0f3c2f0a1111"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LOST = "BLOB_UPLOAD_UNKNOWN"
OPENED: dict[str, Expected] = {
    "Location": re.compile(rf"/v2/fresh/r[0-9]+/blobs/uploads/{UUID}(?:\?.*)?"),
    "Docker-Upload-UUID": re.compile(UUID),
    "Range": "0-0",
    "Content-Length": "0",
    "OCI-Chunk-Min-Length": None,
}


def at(last: int | str) -> dict[str, Expected]:
    """Expect the headers of a session whose last byte so far has this number."""
    return {**OPENED, "Range": f"0-{last}"}


def status(last: int | str, path: str = "{location}") -> Step:
    """Ask for the state of a session and expect its last byte to have this number."""
    return Step("GET", path, 204, has={**at(last), "Content-Length": None, "Content-Type": None})


def patch(content: bytes, span: str = "", path: str = "{location}", has: Mapping[str, Expected] | None = None) -> Step:
    """Send a chunk: with a Content-Range and a length, or streamed without either."""
    headers = {"Content-Type": "application/octet-stream", **({"Content-Range": span} if span else {})}
    return Step("PATCH", path, 202, headers=headers, body=content if span else Chunked.of(content), has=has or {})


def refused(content: bytes, span: str, last: int | str, path: str = "{location}") -> Step:
    """Send a chunk that does not fit, and expect 416 with everything that a client needs to go on."""
    return Step(
        "PATCH",
        path,
        416,
        headers={"Content-Range": span},
        body=content,
        has={**at(last), "Content-Length": re.compile("[0-9]+")},
        code="BLOB_UPLOAD_INVALID",
    )


def commit(digest: str, content: bytes = b"", path: str = "{location}") -> Step:
    """Close a session and expect the blob."""
    return Step("PUT", f"{path}?digest={digest}", 201, body=content, has={"Docker-Content-Digest": digest})


End = Literal["reset", "close", "half-close"]
ENDS: tuple[End, ...] = ("reset", "close", "half-close")


async def cut_request(
    address: Address,
    method: str,
    target: str,
    content: bytes,
    sent: int,
    end: End,
    *,
    chunked: bool = False,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Announce a body, send so many of its bytes, and go: by a reset, by closing, or by closing one's own side.

    The registry is at work on the request before it breaks off: it has asked for the body (100 Continue).
    """
    data = b"".join(chunk(content[at : at + 50_000]) for at in range(0, len(content), 50_000)) if chunked else content
    async with connect(address) as connection:
        await running_request(connection, method, target, len(content), chunked=chunked, headers=headers)
        await connection.send(data[:sent])
        if end == "reset":
            await connection.cut()
        elif end == "half-close":
            connection.half_close()
            rest = await connection.rest()
            assert not rest or rest.startswith(b"HTTP/1.1 4"), rest[:500]


async def running_request(
    connection: Connection,
    method: str,
    target: str,
    length: int,
    *,
    chunked: bool = False,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Start a request with a body, and return once the registry waits for the first byte of it."""
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length))
    await connection.start(method, target, [*(headers or {}).items(), framing, ("Expect", "100-continue")])
    assert await connection.read(len(CONTINUE)) == CONTINUE


def offset_of(answer: Answer) -> int:
    """Read how many bytes a session holds; ``0-0`` is taken for none (protocol 6.3)."""
    last = int(answer["Range"].removeprefix("0-"))
    return last + 1 if last else 0
