"""The drill of docs/disaster-recovery.md: the database is lost, and every image is pulled again by a real client."""

from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from e2e.engines import Containers
from e2e.images import Image, Index, index_of, small_image, write_oci_layout
from e2e.processes import CommandFailedError, environment, eventually, run
from e2e.server import REPOSITORY_ROOT, Server
from e2e.wire import sha256
from gateway.model.catalogue import Kind, SegmentKey, decode
from gateway.ports.buckets import MARKER_KEY
from support.folders import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.seaweed import SeaweedFS

PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")
_GUIDE = REPOSITORY_ROOT / "docs" / "disaster-recovery.md"
IMAGES: dict[str, Image | Index] = {
    "team/app:v1": small_image("drill one"),
    "team/app:latest": small_image("drill two"),
    "team/all:v1": index_of("drill", ("amd64", "arm64")),
}
GONE = "team/app:gone", small_image("drill gone")


class Site:
    """A machine with a data folder and a bucket, on which people work with the command and with skopeo."""

    def __init__(self, folder: Path, seaweed: SeaweedFS | None) -> None:
        self.folder = folder
        self.seaweed = seaweed
        self.bucket = "default" if seaweed is None else "drill"
        self.settings = {} if seaweed is None else seaweed.environment(self.bucket)
        (folder / "clients").mkdir()
        self.containers = Containers(folder / "clients")
        self.servers: list[Server] = []

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> Server:
        server = Server(self.folder / f"server-{len(self.servers)}", self.settings, data=self.data)
        self.servers.append(server)
        server.start()
        return server

    def slipway(self, command: str, **placeholders: str) -> str:
        """Run a command, as it stands in the guide if it has placeholders; return what it printed."""
        if placeholders:
            assert f"   {command}\n" in _GUIDE.read_text(encoding="utf-8")
        for name, value in placeholders.items():
            command = command.replace(name, value)
        words = command.split()[1:]
        env = environment(**self.settings, SLIPWAY_DATA_DIR=str(self.data), PYTHONPATH=str(REPOSITORY_ROOT))
        return run([sys.executable, "-m", "gateway", *words], env)

    def push(self, server: Server, name: str, content: Image | Index) -> None:
        layout = self.folder / f"layout-{name.replace('/', '-').replace(':', '-')}"
        write_oci_layout(content, "x", layout)
        target = f"docker://{server.address}/{name}"
        self.containers.skopeo("copy", "--all", "--preserve-digests", *PLAIN, f"oci:{layout}:x", target)
        shutil.rmtree(layout)

    def check(self, server: Server, name: str, content: Image | Index) -> None:
        """Pull an image and compare every byte of it."""
        back = self.folder / "back"
        source = f"docker://{server.address}/{name}"
        self.containers.skopeo("copy", "--all", "--preserve-digests", *PLAIN, source, f"oci:{back}:x")
        blobs = [path.read_bytes() for path in (back / "blobs" / "sha256").iterdir()]
        assert {sha256(blob) for blob in blobs} >= {sha256(blob) for blob in content.blobs()}
        shutil.rmtree(back)

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket that is not a blob."""
        if self.seaweed is None:
            root = self.data / "buckets" / self.bucket
            paths = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
            return {key: path.read_bytes() for key, path in paths.items() if "/objects/" not in key}
        client = self.seaweed.client()
        try:
            keys = [each["Key"] for each in client.list_objects_v2(Bucket=self.bucket)["Contents"]]
            return {
                key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
                for key in keys
                if "/objects/" not in key
            }
        finally:
            client.close()

    def await_catalogue(self, *, tags: int, deletions: int) -> None:
        """Return when the bucket knows so much."""

        def is_written() -> bool:
            found = self.objects()
            registry = orjson.loads(found[MARKER_KEY])["registry"]
            keys = sorted(key for each in found if (key := SegmentKey.parse(each, registry)))
            records = [record for key in keys for record in decode(found[key.key]).records]
            living = {record.id for record in records if record.kind is Kind.TAG and record.state}
            gone = {record.id for record in records if record.kind is Kind.DELETION and record.state}
            return (len(living), len(gone)) == (tags, deletions)

        eventually(is_written, "the catalogue to be written")

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture(params=["filesystem", "s3"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A machine, on either storage, with the embedded database."""
    seaweed: SeaweedFS | None = request.getfixturevalue("seaweed") if request.param == "s3" else None
    with ExitStack() as stack:
        made = Site(stack.enter_context(open_folder()), seaweed)
        if seaweed is not None:
            seaweed.create_bucket(made.bucket)
            stack.callback(seaweed.delete_bucket, made.bucket)
        stack.callback(made.close)
        yield made


def fill(site: Site) -> Server:
    """Start a registry with images, descriptions, protected tags, and a deletion."""
    server = site.start()
    for name, content in (*IMAGES.items(), GONE):
        site.push(server, name, content)
    site.slipway("slipway image describe default team/app --short What-it-is --no-tags-mutable")
    site.slipway("slipway tag delete default team/app gone --yes")
    return server


def check_all(site: Site, server: Server) -> None:
    """Pull every image, and see that everything else is as it was."""
    for name, content in IMAGES.items():
        site.check(server, name, content)
    shown: dict[str, Any] = orjson.loads(site.slipway("slipway image show default team/app --json"))
    assert (shown["short_description"], shown["tags_mutable"]) == ("What-it-is", False)
    with pytest.raises(CommandFailedError, match="immutable"):
        site.push(server, "team/app:v1", small_image("another"))
    site.slipway("slipway image restore default team/app:gone")
    site.check(server, *GONE)


@pytest.mark.timeout(600)
def test_the_database_is_gone(site: Site) -> None:
    """A new installation takes the bucket over, by the commands of the guide."""
    server = fill(site)
    site.await_catalogue(tags=len(IMAGES) + 1, deletions=1)
    server.kill()
    server.kill_database()
    shutil.rmtree(site.data / "postgres")

    with pytest.raises(CommandFailedError) as refused:
        site.slipway("slipway serve")
    said = re.search(r"--from-lost-installation ([0-9a-f]{32})", str(refused.value))
    assert said, str(refused.value)
    site.slipway(
        "slipway registry create default --bucket default --from-lost-installation ID",
        ID=said[1],
        **({} if site.seaweed is None else {"--bucket default": f"--bucket {site.bucket}"}),
    )

    check_all(site, site.start())


@pytest.mark.timeout(600)
def test_the_database_is_an_older_backup(site: Site) -> None:
    """It is brought up to the bucket, by the commands of the guide, and what was done in between is there as well."""
    server = fill(site)
    site.await_catalogue(tags=len(IMAGES) + 1, deletions=1)
    server.stop()
    shutil.copytree(site.data / "postgres", site.folder / "backup", symlinks=True)
    _keep_owners(site.data / "postgres", site.folder / "backup")
    server = site.start()
    late = "team/late:v1", small_image("drill late")
    site.push(server, *late)
    site.slipway("slipway image delete default team/all --yes")
    site.await_catalogue(tags=len(IMAGES) + 2, deletions=2)
    server.kill()
    server.kill_database()
    shutil.rmtree(site.data / "postgres")
    (site.folder / "backup").rename(site.data / "postgres")
    server = site.start()

    assert "ahead of the database" in server.tail()
    with pytest.raises(CommandFailedError, match="knows of changes that the database does not"):
        site.slipway("slipway doctor")
    said = site.slipway("slipway registry reconcile default", DEFAULT="default")

    assert "images: 1, tags: 1, manifests: 1," in said
    site.slipway("slipway doctor")
    site.check(server, *late)
    with pytest.raises(CommandFailedError):
        site.check(server, "team/all:v1", IMAGES["team/all:v1"])
    site.slipway("slipway image restore default team/all")
    check_all(site, server)


def _keep_owners(original: Path, copy: Path) -> None:
    """Give a copy to whom the original belongs: the database's server may have a user of its own."""
    for path in (original, *original.rglob("*")):
        status = path.lstat()
        os.chown(copy / path.relative_to(original), status.st_uid, status.st_gid, follow_symlinks=False)
