"""A limit on the size of blobs holds however a blob is sent, and however fast."""

from __future__ import annotations

import random
from contextlib import suppress
from http.client import HTTPConnection
from itertools import count
from typing import TYPE_CHECKING

import pytest

from gateway.config import Address, Settings
from support.postgres import new_database
from support.serving import in_the_background

from .content import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.app.service import Running
    from support.databases import Server
    from support.seaweed import SeaweedFS


LARGEST = 1_000_000
LARGE = random.Random(3).randbytes(40_000_000)
UPLOADS = "/v2/limited/app/blobs/uploads/"
_numbers = count(1)


@pytest.fixture(params=["filesystem", "s3"])
def limited(
    request: pytest.FixtureRequest, embedded_server: Server, seaweed: SeaweedFS, tmp_path: Path
) -> Iterator[Running]:
    """A registry that takes blobs of up to a million bytes."""
    number = next(_numbers)
    s3 = {}
    if request.param == "s3":
        s3 = seaweed.settings(f"limited-{number}")
        seaweed.create_bucket(f"limited-{number}")
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        data_dir=tmp_path,
        database_url=new_database(embedded_server.dsn, f"limited_{number}"),
        largest_blob=LARGEST,
        open=True,
        **s3,
    )
    with in_the_background(settings) as server:
        yield server


def send(server: Running, method: str, target: str, body: bytes, *, chunked: bool) -> tuple[int, str]:
    """Send a body; return status and Location. The answer may come before all of it is gone."""
    connection = HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.putrequest(method, target)
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
        connection.putheader(*framing)
        connection.endheaders()
        with suppress(ConnectionError):
            # In one piece, so that the client is ahead of the server.
            connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked and body else body)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Location", "")
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_larger_blob_is_refused_and_nothing_of_it_is_kept(limited: Running, chunked: bool) -> None:
    """413, and the session stands where it stood."""
    _, session = send(limited, "POST", UPLOADS, b"", chunked=False)

    assert send(limited, "PATCH", session, LARGE, chunked=chunked)[0] == 413

    small = LARGE[:LARGEST]
    status, location = send(limited, "PATCH", session, small, chunked=chunked)
    assert status == 202
    assert send(limited, "PUT", f"{location}?digest={sha256(small)}", b"", chunked=False)[0] == 201


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_blob_grows_up_to_the_limit_only(limited: Running, chunked: bool) -> None:
    """What the session holds already counts."""
    _, session = send(limited, "POST", UPLOADS, b"", chunked=False)
    status, location = send(limited, "PATCH", session, LARGE[: LARGEST - 10], chunked=chunked)
    assert status == 202

    target = f"{location}?digest={sha256(LARGE[: LARGEST + 1])}"
    assert send(limited, "PUT", target, LARGE[LARGEST - 10 : LARGEST + 1], chunked=chunked)[0] == 413
