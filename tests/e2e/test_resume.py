"""Uploads that are cut off, continued, and continued somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.images import MEBIBYTE, noise
from e2e.processes import eventually
from e2e.uploads import cut_off_upload, send_rest, status_of
from e2e.wire import sha256

if TYPE_CHECKING:
    from e2e.server import Server, Servers

CONTENT = noise("resume", 40 * MEBIBYTE + 11)
DIGEST = sha256(CONTENT)
HALF = 21 * MEBIBYTE + 5


def test_push_goes_on_where_it_was_cut(registry: Server) -> None:
    """A push that is cut in mid-body goes on from the offset that GET reports; the blob is right."""
    wire = registry.wire
    session = wire.start_upload("resume/cut")
    cut_off_upload(wire, session, CONTENT, send=30 * MEBIBYTE)
    eventually(lambda: status_of(wire, session).stored > 0, "the bytes of the cut request to be reported")
    status = status_of(wire, session)
    assert status.stored <= 30 * MEBIBYTE
    assert not wire.has_blob("resume/cut", DIGEST)
    finished = send_rest(wire, status.location, status.stored, CONTENT)
    assert finished.status == 201, finished.body
    assert wire.blob("resume/cut", DIGEST) == CONTENT


def test_push_starts_over_in_the_same_session(registry: Server) -> None:
    """After a cut, a request without Content-Range that sends the whole body again makes the right blob."""
    wire = registry.wire
    session = wire.start_upload("resume/over")
    cut_off_upload(wire, session, CONTENT, send=30 * MEBIBYTE, ranged=False)
    separator = "&" if "?" in session else "?"
    answer = wire.request("PUT", f"{session}{separator}digest={DIGEST}", CONTENT)
    assert answer.status == 201, answer.body
    assert wire.blob("resume/over", DIGEST) == CONTENT


def test_gap_is_refused_and_the_session_lives(registry: Server) -> None:
    """A chunk that leaves a gap is refused, and the right chunk still fits."""
    wire = registry.wire
    session = wire.append(wire.start_upload("resume/gap"), 0, CONTENT[:HALF]).location
    refused = wire.append(session, HALF + 1, CONTENT[HALF + 1 : HALF + 1001])
    assert refused.status == 416
    status = status_of(wire, session)
    assert status.stored == HALF
    finished = send_rest(wire, status.location, HALF, CONTENT)
    assert finished.status == 201, finished.body
    assert wire.blob("resume/gap", DIGEST) == CONTENT


def test_push_goes_on_in_another_process(servers: Servers) -> None:
    """A push begun at one server is continued and closed at another one on the same data, and read at the first."""
    first, second = servers.make(), servers.make()
    first.start()
    second.start()
    answer = first.wire.append(first.wire.start_upload("resume/moved"), 0, CONTENT[:HALF])
    assert (answer.status, answer.stored) == (202, HALF)
    status = status_of(second.wire, answer.location)
    assert status.stored == HALF
    assert not second.wire.has_blob("resume/moved", DIGEST)
    finished = send_rest(second.wire, status.location, HALF, CONTENT)
    assert finished.status == 201, finished.body
    assert first.wire.blob("resume/moved", DIGEST) == CONTENT
    second.stop()
    assert first.wire.blob("resume/moved", DIGEST) == CONTENT
    first.stop()
