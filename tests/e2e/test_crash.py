"""The registry is killed (SIGKILL) and started again on the same data: no acknowledged byte is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.images import MEBIBYTE, noise, small_image
from e2e.uploads import cut_off_upload, send_rest
from e2e.wire import OCI_MANIFEST, sha256

if TYPE_CHECKING:
    from e2e.server import Server, Servers

CONTENT = noise("crash", 40 * MEBIBYTE + 13)
DIGEST = sha256(CONTENT)
SENT = 30 * MEBIBYTE


def crash(server: Server, *, with_database: bool) -> None:
    """Kill the registry, and its database with it if asked for, and start it again."""
    server.kill()
    if with_database:
        server.kill_database()
    server.start()


@pytest.mark.parametrize("with_database", [False, True], ids=["database-lives", "database-killed"])
def test_acknowledged_content_survives(servers: Servers, *, with_database: bool) -> None:
    """What was answered with 201, blobs and a tagged manifest, is there after a crash with the right bytes."""
    server = servers.make()
    server.start()
    image = small_image("crash")
    server.wire.push_blob("crash/kept", CONTENT)
    for blob in image.blobs()[1:]:
        server.wire.push_blob("crash/kept", blob)
    headers = {"Content-Type": OCI_MANIFEST}
    pushed = server.wire.request("PUT", "/v2/crash/kept/manifests/v1", image.manifest, headers)
    assert pushed.status == 201
    crash(server, with_database=with_database)
    assert server.wire.blob("crash/kept", DIGEST) == CONTENT
    assert server.wire.verify("crash/kept", "v1") == image.digest
    server.stop()


def test_acknowledged_part_of_an_upload_survives(servers: Servers) -> None:
    """What was answered with 202 is still stored after a crash, and the push goes on from there."""
    server = servers.make()
    server.start()
    session = server.wire.start_upload("crash/part")
    patched = server.wire.append(session, 0, CONTENT[:SENT])
    assert (patched.status, patched.stored) == (202, SENT)
    crash(server, with_database=False)
    status = server.wire.request("GET", patched.location)
    assert (status.status, status.stored) == (204, SENT)
    finished = send_rest(server.wire, status.location, SENT, CONTENT)
    assert finished.status == 201, finished.body
    assert server.wire.blob("crash/part", DIGEST) == CONTENT
    server.stop()


def test_crash_in_the_middle_of_a_body(servers: Servers) -> None:
    """After a crash in mid-body the session reports no more than was sent, and the push can be completed."""
    server = servers.make()
    server.start()
    session = server.wire.start_upload("crash/middle")
    cut_off_upload(server.wire, session, CONTENT, send=SENT, before_close=server.kill)
    server.start()
    assert not server.wire.has_blob("crash/middle", DIGEST)
    status = server.wire.request("GET", session)
    if status.status == 404:  # a session may be lost, but then it says so
        status = server.wire.request("GET", server.wire.start_upload("crash/middle"))
    assert status.status == 204
    assert status.stored <= SENT
    finished = send_rest(server.wire, status.location, status.stored, CONTENT)
    assert finished.status == 201, finished.body
    assert server.wire.blob("crash/middle", DIGEST) == CONTENT
    server.stop()


def test_half_a_body_never_becomes_a_blob(servers: Servers) -> None:
    """A closing PUT right after a crash in mid-body is refused; neither the whole nor the part is visible."""
    server = servers.make()
    server.start()
    session = server.wire.start_upload("crash/half")
    cut_off_upload(server.wire, session, CONTENT, send=SENT, before_close=server.kill)
    server.start()
    status = server.wire.request("GET", session)
    stored = status.stored if status.status == 204 else 0
    refused = server.wire.finish(status.location if status.status == 204 else session, DIGEST)
    assert refused.status in {400, 404}, refused.body
    for digest in (DIGEST, sha256(CONTENT[:stored]), sha256(CONTENT[:SENT])):
        assert not server.wire.has_blob("crash/half", digest)
    server.stop()
