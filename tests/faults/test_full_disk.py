"""A full disk: a clear refusal, nothing left of what had no room, and all is well again once there is room."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import pytest

from cli.registry import LONGEST, Registry, eventually, postgres_processes, run, serving
from gateway.db.embedded import EmbeddedPostgres
from gateway.storage.files import ROOM_FOR_OTHERS
from support.postgres import new_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase

    from support.databases import Server

MIB = 1 << 20
ROOM = 32 * MIB
"""What the disk has room for before blobs leave the rest to others."""
TYPE = "application/vnd.oci.image.manifest.v1+json"
SMALL, MORE, LARGE = (random.Random(size).randbytes(size) for size in (MIB, 2 * MIB, 2 * ROOM))


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(note: str) -> bytes:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(SMALL), "size": len(SMALL)}
    document = {"schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": [], "annotations": {"note": note}}
    return orjson.dumps(document)


@contextmanager
def disk(size: int) -> Iterator[Path]:
    """Mount a small disk."""
    place = Path(tempfile.mkdtemp(prefix="slipway-full-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


@contextmanager
def filled(place: Path) -> Iterator[None]:
    """Leave not a byte free for as long as the context lasts."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        write_for_ever(file)
    assert os.statvfs(place).f_bavail == 0
    try:
        yield
    finally:
        ballast.unlink()


def write_for_ever(file: RawIOBase) -> None:
    while True:
        file.write(bytes(64 * 1024))


def push(registry: Registry, content: bytes) -> int:
    return registry.request("POST", f"/v2/team/app/blobs/uploads/?digest={digest(content)}", content).status


def pull(registry: Registry, content: bytes) -> bool:
    answer = registry.request("GET", f"/v2/team/app/blobs/{digest(content)}")
    return answer.status == 200 and answer.body == content


def push_manifest(registry: Registry, tag: str, content: bytes) -> int:
    return registry.request("PUT", f"/v2/team/app/manifests/{tag}", content, Content_Type=TYPE).status


def sizes(data_dir: Path) -> list[int]:
    return sorted(path.stat().st_size for path in data_dir.glob("buckets/*/slipway/*/objects/*"))


def test_blobs_on_a_full_disk(embedded_server: Server) -> None:
    """What was acknowledged stays, what had no room gives back what it took, and nobody else is kept from working."""
    url = new_database(embedded_server.dsn, "full_disk")
    with disk(ROOM + ROOM_FOR_OTHERS) as place:
        data_dir = place / "data"
        with serving(data_dir, "--workers", "2", SLIPWAY_DATABASE_URL=url) as registry:
            assert push(registry, SMALL) == 201
            begun = registry.request("POST", "/v2/team/app/blobs/uploads/")
            first = registry.request("PATCH", begun.location, MORE[:MIB])
            assert first.status == 202

            refused = registry.request("PATCH", first.location, LARGE)
            whole = registry.request("POST", f"/v2/team/app/blobs/uploads/?digest={digest(LARGE)}", LARGE)

            for answer in (refused, whole):
                assert answer.status == 507
                (error,) = orjson.loads(answer.body)["errors"]
                assert error["message"] == "the registry's storage is full; its operator has to make room"
            # Others leave at least that free: the database may lie there.
            assert os.statvfs(place).f_bavail * os.statvfs(place).f_frsize >= ROOM_FOR_OTHERS
            eventually(lambda: sizes(data_dir) == [MIB, MIB], "the room to be given back")
            assert registry.request("GET", first.location).headers["Range"] == f"0-{MIB - 1}"
            with filled(place):
                assert push(registry, b"little") == 507
                assert pull(registry, SMALL)
                assert push_manifest(registry, "v1", manifest("full")) == 201

            second = registry.request("PATCH", first.location, MORE[MIB:])
            assert second.status == 202
            assert registry.request("PUT", f"{second.location}?digest={digest(MORE)}").status == 201
            assert pull(registry, MORE)
            assert push(registry, b"little") == 201
            eventually(lambda: sizes(data_dir) == [6, MIB, 2 * MIB], "leftovers to be removed")
            checked = run("fsck", "--verify", "--data-dir", str(data_dir), SLIPWAY_DATABASE_URL=url)
            assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_embedded_database_on_a_full_disk() -> None:
    """While there is no room, 503 and no lie; Postgres, which ends for lack of it, is started again when there is."""
    with disk(400 * MIB) as place:
        data_dir = place / "data"
        with serving(data_dir, "--workers", "2") as registry:
            assert push(registry, SMALL) == 201
            assert push_manifest(registry, "v1", manifest("before")) == 201
            with filled(place):
                refused = registry.request(
                    "PUT", "/v2/team/app/manifests/large", manifest("x" * 3 * MIB), Content_Type=TYPE
                )
                assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
                (error,) = orjson.loads(refused.body)["errors"]
                assert error["message"] == "the registry cannot do this right now; try again in a few seconds"
                asyncio.run(asyncio.wait_for(use_up_the_log(data_dir), LONGEST))
                eventually(lambda: not postgres_processes(data_dir), "Postgres to end")

                away = registry.request("GET", "/v2/team/app/manifests/v1")
                assert (away.status, away.headers["Retry-After"]) == (503, "5")

            eventually(lambda: registry.request("GET", "/v2/team/app/manifests/v1").status == 200, "the database")
            assert registry.request("GET", "/v2/team/app/manifests/large").status == 404
            assert push_manifest(registry, "large", manifest("x" * 3 * MIB)) == 201
            assert push(registry, MORE) == 201
            assert pull(registry, SMALL)
            assert run("fsck", "--verify", "--data-dir", str(data_dir)).returncode == 0


async def use_up_the_log(data_dir: Path) -> None:
    """Write to Postgres' log of changes until it has no room for more, which ends the server."""
    with EmbeddedPostgres.acquire(data_dir) as postgres:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(postgres.dsn)
    with suppress(asyncpg.PostgresConnectionError):
        while True:
            await connection.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
