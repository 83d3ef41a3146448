"""Pulls are counted exactly, while workers are killed and the database restarts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import orjson

from cli.registry import Registry, eventually, serving
from support.debian_postgres import running_debian_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TYPE = "application/vnd.oci.image.manifest.v1+json"
_IMAGES = 20
_CLIENTS = 200
_WORKERS = 4
_KILLS = 10
_RESTARTS = (3, 7)


@dataclass
class Seen:
    """What clients saw: answers that they got whole, and requests of which they never knew."""

    whole: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Image:
    """An image that was pushed."""

    repository: str
    tag: str
    digest: str
    size: int


def push(registry: Registry, number: int) -> Image:
    """Push an image of which the manifest has some size."""
    repository = f"team/app{number}"
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    created = registry.request(
        "POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", config, Content_Length=str(len(config))
    )
    assert created.status == 201
    document = {
        "schemaVersion": 2,
        "mediaType": _TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)},
        "layers": [],
        "annotations": {"filling": "x" * number * 1000},
    }
    raw = orjson.dumps(document)
    put = registry.request("PUT", f"/v2/{repository}/manifests/v1", raw, Content_Type=_TYPE)
    assert put.status == 201
    return Image(repository, "v1", put.headers["Docker-Content-Digest"], len(raw))


async def client(port: int, images: list[Image], seen: Seen, ended: asyncio.Event, seed: int) -> None:
    """Pull random images until told to stop, by tag or digest, on a connection that is kept for some requests."""
    choose = random.Random(seed)
    while not ended.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            continue
        try:
            for _ in range(choose.randrange(1, 20)):
                image = choose.choice(images)
                if not await _pull(reader, writer, image, choose.choice(("tag", "digest")), seen):
                    break
        finally:
            writer.close()


async def _pull(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, image: Image, how: str, seen: Seen) -> bool:
    reference = image.tag if how == "tag" else image.digest
    request = f"GET /v2/{image.repository}/manifests/{reference} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        body = await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        seen.unknown[how, image.digest] += 1
        return False
    if head.startswith("HTTP/1.1 200 "):
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == image.digest
        seen.whole[how, image.digest] += 1
    else:
        # While the database is away: nothing was served, so nothing may be counted.
        assert head.startswith("HTTP/1.1 503 "), head
    return "connection: close" not in head.lower()


async def count(url: str, statement: str) -> Counter[str]:
    connection = await asyncpg.connect(url)
    try:
        return Counter({row[0]: row[1] for row in await connection.fetch(statement)})
    finally:
        await connection.close()


async def disturb(registry: Registry, restart: Callable[[], None]) -> None:
    """Kill a worker every second, whichever, and restart the database in between."""
    for number in range(_KILLS):
        await asyncio.sleep(1)
        if number in _RESTARTS:
            await asyncio.to_thread(restart)
        workers = registry.workers()
        if workers:
            os.kill(random.choice(sorted(workers)), signal.SIGKILL)


async def pull_and_disturb(registry: Registry, images: list[Image], restart: Callable[[], None]) -> Seen:
    seen, ended = Seen(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for seed in range(_CLIENTS):
            group.create_task(client(registry.port, images, seen, ended, seed))
        await disturb(registry, restart)
        ended.set()
    return seen


def test_totals_are_what_clients_saw(data_dir: Path) -> None:
    """200 clients, 4 workers of which one is killed every second, and a database that restarts twice."""
    with running_debian_postgres() as postgres:
        with serving(data_dir, "--workers", str(_WORKERS), SLIPWAY_DATABASE_URL=postgres.dsn) as registry:
            images = [push(registry, number) for number in range(_IMAGES)]
            seen = asyncio.run(pull_and_disturb(registry, images, postgres.restart))
            eventually(lambda: len(registry.workers()) == _WORKERS, "all workers to be back")
            assert registry.stop() == 0
        # What is left by those that were killed last is taken over by the next that start.
        with serving(data_dir, "--workers", "1", SLIPWAY_DATABASE_URL=postgres.dsn) as registry:
            eventually(lambda: len(list((data_dir / "run").iterdir())) == 1, "abandoned journals to be written")
            assert registry.stop() == 0
        assert list((data_dir / "run").iterdir()) == []
        pulls = asyncio.run(
            count(postgres.dsn, "SELECT digest, pulls FROM manifest_pulls JOIN manifests ON manifests.id = manifest_id")
        )
        resolutions = asyncio.run(
            count(
                postgres.dsn,
                "SELECT digest, resolutions FROM tag_resolutions JOIN tags ON tags.id = tag_id "
                "JOIN manifests ON manifests.id = tags.manifest_id",
            )
        )
        history = asyncio.run(
            count(
                postgres.dsn,
                "SELECT digest, sum(pulls)::bigint FROM pull_history JOIN manifests ON manifests.id = manifest_id "
                "GROUP BY digest",
            )
        )

    assert sum(seen.whole.values()) > 1000, "too little was pulled for a proof"
    assert history == pulls
    for image in images:
        whole = {how: seen.whole[how, image.digest] for how in ("tag", "digest")}
        unknown = {how: seen.unknown[how, image.digest] for how in ("tag", "digest")}
        both = sum(whole.values())
        assert both <= pulls[image.digest] <= both + sum(unknown.values())
        assert whole["tag"] <= resolutions[image.digest] <= whole["tag"] + unknown["tag"]
