"""Uploads that go wrong on purpose, and what follows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from e2e.images import MEBIBYTE
from e2e.wire import sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.wire import Answer, Wire


def cut_off_upload(
    wire: Wire,
    session: str,
    content: bytes,
    *,
    send: int,
    ranged: bool = True,
    before_close: Callable[[], None] = lambda: None,
) -> None:
    """Announce the whole content in one PATCH, send only the first bytes of it, and drop the connection."""
    with closing(wire.connect()) as connection:
        connection.putrequest("PATCH", session)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(len(content)))
        for name, value in wire.headers.items():
            connection.putheader(name, value)
        if ranged:
            connection.putheader("Content-Range", f"0-{len(content) - 1}")
        connection.endheaders()
        for start in range(0, send, MEBIBYTE):
            connection.send(content[start : min(start + MEBIBYTE, send)])
        before_close()


def status_of(wire: Wire, session: str) -> Answer:
    """Ask how many bytes of a session are stored; the answer's Location is where to go on."""
    answer = wire.request("GET", session)
    assert answer.status == 204, answer.body
    return answer


def send_rest(wire: Wire, session: str, stored: int, content: bytes) -> Answer:
    """Send what is missing in one chunk, close the session with the digest of the whole, return the last answer."""
    answer = wire.append(session, stored, content[stored:])
    assert answer.status == 202, answer.body
    assert answer.stored == len(content)
    return wire.finish(answer.location, sha256(content))
