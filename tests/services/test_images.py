"""Images as people see them, over real content: sizes, platforms and configs as they were pushed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.db.blobs import Blobs
from gateway.db.deletions import Deletions
from gateway.db.images import Images as ImageRows
from gateway.errors import ManifestUnknown, ValueRefused
from gateway.model.digest import Digest
from gateway.model.image_config import LARGEST_CONFIG, ImageConfig
from gateway.model.images import TagOrder
from gateway.model.manifest import OCI_INDEX, OCI_MANIFEST
from gateway.ports.storage import Location
from gateway.services.images import Images

from .conftest import ACTOR, BUCKET, REPOSITORY, Process
from .test_manifests import LAYER, descriptor, image, index, push_blobs, push_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.images import TagRecord

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


def images_of(process: Process) -> Images:
    rows = process.database
    return Images(
        ImageRows(rows), Deletions(rows), process.manifests, Blobs(rows), process.storage.port, restore_days=7
    )


def config(platform: str = "linux/amd64") -> bytes:
    system, architecture, *variant = platform.split("/")
    return orjson.dumps({"os": system, "architecture": architecture, "variant": "".join(variant)})


async def push_image(process: Process, content: bytes, *tags: str) -> bytes:
    """Push an image with this config and LAYER, and return its manifest."""
    raw = image(config=descriptor(content, CONFIG_TYPE))
    await push_blobs(process, content, LAYER)
    await push_manifest(process, raw, *tags, digest=Digest.of(raw))
    return raw


async def tags(process: Process) -> Sequence[TagRecord]:
    return await images_of(process).tags(process.registry, REPOSITORY, "", TagOrder.NAME, None, 100)


async def test_a_tag_shows_size_and_platforms(process: Process) -> None:
    """An image's platform is in its config, an index's in its descriptors; its size is the sum of its images."""
    amd, arm = config(), config("linux/arm/v7")
    children = [await push_image(process, each, name) for each, name in ((amd, "amd"), (arm, "arm"))]
    descriptors = [
        {**descriptor(child, OCI_MANIFEST), "platform": {"os": "linux", "architecture": architecture}}
        for child, architecture in zip(children, ("amd64", "arm"), strict=True)
    ]
    descriptors.append(
        {**descriptor(children[0], OCI_MANIFEST), "platform": {"os": "unknown", "architecture": "unknown"}}
    )
    await push_manifest(
        process, orjson.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}), "multi"
    )

    found = {each.name: each for each in await tags(process)}

    assert {name: each.platforms for name, each in found.items()} == {
        "amd": ("linux/amd64",),
        "arm": ("linux/arm/v7",),
        "multi": ("linux/amd64", "linux/arm"),
    }
    assert [found[name].size for name in ("amd", "arm")] == [len(amd) + len(LAYER), len(arm) + len(LAYER)]
    assert found["multi"].size == found["amd"].size + found["arm"].size


async def test_a_config_is_read_once(process: Process) -> None:
    """The platform is kept: the next look needs no storage."""
    await push_image(process, config(), "latest")
    await tags(process)
    for key in process.everything():
        await process.storage.port.remove(Location(BUCKET, key), None)

    assert [each.platforms for each in await tags(process)] == [("linux/amd64",)]


async def test_a_config_that_cannot_be_read_now_is_read_later(process: Process) -> None:
    """A list does not fail over an object that is missing, and nothing wrong is remembered."""
    await push_image(process, config(), "latest")
    await process.database.execute("UPDATE objects SET key = key || '-mislaid'")

    assert [each.platforms for each in await tags(process)] == [()]
    await process.database.execute("UPDATE objects SET key = replace(key, '-mislaid', '')")
    assert [each.platforms for each in await tags(process)] == [("linux/amd64",)]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b'{"os":"linux"}', b'{"os":"a,b","architecture":"c"}'])
async def test_a_config_that_says_nothing_is_accepted(process: Process, content: bytes) -> None:
    """Whatever somebody has pushed as a config, its tag is listed, without a platform."""
    await push_image(process, content, "latest")

    assert [each.platforms for each in await tags(process)] == [()]


async def test_a_config_that_is_too_large_is_not_read(process: Process) -> None:
    """It would be valid, with spaces behind it."""
    content = config() + b" " * LARGEST_CONFIG
    await push_image(process, content, "latest")

    assert [(each.platforms, each.size) for each in await tags(process)] == [((), len(content) + len(LAYER))]


async def test_manifests_of_an_older_program_are_measured_too(process: Process) -> None:
    """Rows that know neither their size nor their platforms get both when they are shown, many lists at once."""
    children = [await push_image(process, config(each)) for each in ("linux/amd64", "linux/arm64")]
    await push_manifest(process, index(*children), "multi")
    await process.database.execute("UPDATE manifests SET platforms = NULL, content_size = NULL")

    shown = images_of(process)
    lists = await asyncio.gather(
        *(shown.manifests(process.registry, REPOSITORY, None, 10, untagged=False) for _ in range(8))
    )

    sizes = [len(config(each)) + len(LAYER) for each in ("linux/arm64", "linux/amd64")]
    for each in lists:
        assert [record.platforms for record in each] == [(), ("linux/arm64",), ("linux/amd64",)]
        assert [record.size for record in each] == [sum(sizes), *sizes]


async def test_a_manifest_in_detail(process: Process) -> None:
    """With its layers, its config, its tags, and what refers to it."""
    content = orjson.dumps({"os": "linux", "architecture": "amd64", "config": {"User": "app"}})
    raw = await push_image(process, content, "v1", "latest")
    signature = image(subject=descriptor(raw, OCI_MANIFEST), config=descriptor(content, "x/sig"))
    await push_manifest(process, signature, digest=Digest.of(signature))
    shown = images_of(process)

    detail = await shown.manifest(process.registry, REPOSITORY, Digest.of(raw))

    assert detail.config == ImageConfig.parse(content)
    assert detail.config is not None
    assert detail.config.user == "app"
    assert (detail.figures.tags, detail.figures.platforms) == (("latest", "v1"), ("linux/amd64",))
    assert [str(each.digest) for each in detail.manifest.layers] == [str(Digest.of(LAYER))]
    assert [each.digest for each in detail.referrers] == [str(Digest.of(signature))]
    assert (await shown.manifest(process.registry, REPOSITORY, Digest.of(signature))).config is None
    with pytest.raises(ManifestUnknown):
        await shown.manifest(process.registry, REPOSITORY, Digest.of(b"nothing"))


async def test_a_description_has_no_nul(process: Process) -> None:
    """Postgres could not keep it."""
    await push_image(process, config(), "latest")

    with pytest.raises(ValueRefused, match="NUL"):
        await images_of(process).update(ACTOR, process.registry, REPOSITORY, {"description": "a\0b"}, None)
