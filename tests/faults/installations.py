"""Installations of one test each: a database, a data folder, and a bucket whose every object must be explained."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg

from e2e.processes import eventually
from gateway.config import Address, Settings
from gateway.ports.buckets import MARKER_KEY
from support.databases import migrated_database
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.databases import Server
    from support.seaweed import SeaweedFS

_FILES = "default"
_TIMES = (
    ("upload_sessions", "expires_at"),
    ("upload_tombstones", "expires_at"),
    ("objects", "removed_at"),
    ("catalogue_segments", "attempted_at"),
    ("catalogue_states", "drawn_at"),
    ("repository_blobs", "unreferenced_since"),
    ("repository_blobs", "deleted_at"),
    ("manifests", "deleted_at"),
    ("tags", "deleted_at"),
    ("repositories", "deleted_at"),
    ("deletions", "deleted_at"),
)
_UPLOADS = 2
"""Those of the first tables are of uploads."""
_UNREFERENCED = """
SELECT FROM repository_blobs
WHERE NOT EXISTS (
    SELECT FROM manifest_references AS referring
    WHERE referring.repository_id = repository_blobs.repository_id
      AND referring.child_digest = repository_blobs.digest
)
"""
_GARBAGE = (
    "SELECT FROM upload_sessions",
    "SELECT FROM upload_tombstones",
    "SELECT FROM manifests WHERE deleted_at IS NOT NULL",
    "SELECT FROM tags WHERE deleted_at IS NOT NULL",
    "SELECT FROM repositories WHERE deleted_at IS NOT NULL",
    _UNREFERENCED,
    "SELECT FROM blobs WHERE NOT EXISTS (SELECT FROM repository_blobs WHERE blob_id = blobs.id)",
)
_numbers = count(1)


def rows(url: str, query: str) -> list[asyncpg.Record]:
    """Ask a database."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            found: list[asyncpg.Record] = await connection.fetch(query)
            return found
        finally:
            await connection.close()

    return asyncio.run(ask())


def let_time_pass(url: str, *, of_uploads: bool = True) -> None:
    """Let so much time pass that all has expired that ever does, and that nothing can be under way any more."""
    for table, column in _TIMES if of_uploads else _TIMES[_UPLOADS:]:
        rows(url, f"UPDATE {table} SET {column} = {column} - interval '30 days'")


@dataclass(frozen=True)
class Installation:
    """Where a registry of a test works."""

    settings: Settings
    seaweed: SeaweedFS | None

    def rows(self, query: str) -> list[asyncpg.Record]:
        """Ask the database."""
        assert self.settings.database_url is not None
        return rows(self.settings.database_url, query)

    def await_removals(self) -> None:
        """Return when the running registry has deleted what was to be deleted."""
        waiting = "SELECT FROM objects WHERE state = 'removing' AND removed_at IS NULL"
        eventually(lambda: not self.rows(waiting), "objects to be removed")

    def check_remains(self) -> None:
        """See that nothing is left but what is published, whole, and the catalogue, as every row says."""
        rows = self.rows(
            "SELECT key, size, state FROM objects UNION ALL SELECT key, size, 'live' FROM catalogue_segments"
        )
        assert {row["state"] for row in rows} <= {"live"}
        for garbage in _GARBAGE:
            assert not self.rows(garbage), garbage
        objects, uploads = self._bucket()
        objects.pop(MARKER_KEY)
        assert objects == {row["key"]: row["size"] for row in rows}
        assert not uploads

    def _bucket(self) -> tuple[dict[str, int], set[str]]:
        """Return the sizes of all objects, and the keys of all multipart uploads."""
        if self.seaweed is None:
            root = self.settings.data_dir / "buckets" / _FILES
            files = [path for path in root.rglob("*") if path.is_file()]
            return {str(path.relative_to(root)): path.stat().st_size for path in files}, set()
        client = self.seaweed.client()
        try:
            bucket: Any = self.settings.s3_bucket
            found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
            uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        finally:
            client.close()
        return {each["Key"]: each["Size"] for each in found}, {each["Key"] for each in uploads}


@contextmanager
def created_database(server: Server) -> Iterator[str]:
    """Make a migrated database that nobody else uses, and drop it in the end."""
    with asyncio.Runner() as runner:
        database = migrated_database(server)
        url = runner.run(database.__aenter__())
        try:
            yield url
        finally:
            runner.run(database.__aexit__(None, None, None))


@contextmanager
def new_installation(server: Server, folder: Path, seaweed: SeaweedFS | None) -> Iterator[Installation]:
    """Make an installation that nobody else uses, and remove it in the end."""
    folder.mkdir()
    listen = Address("127.0.0.1", free_port())
    with ExitStack() as stack:
        url = stack.enter_context(created_database(server))
        settings = Settings(listen=listen, data_dir=folder, database_url=url, open=True)
        if seaweed is not None:
            settings = replace(settings, **_bucket_settings(stack, seaweed))
        yield Installation(settings, seaweed)
    shutil.rmtree(folder)


def _bucket_settings(stack: ExitStack, seaweed: SeaweedFS) -> dict[str, Any]:
    bucket = f"faults-{next(_numbers)}"
    seaweed.create_bucket(bucket)
    stack.callback(seaweed.delete_bucket, bucket)
    return seaweed.settings(bucket)
