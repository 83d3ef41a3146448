"""Real clients log in, and may do what their keys may."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from e2e.images import medium_image, small_image, write_oci_layout
from e2e.processes import CommandFailedError
from e2e.server import Server, Servers
from e2e.wire import sha256
from gateway.db.embedded import EmbeddedPostgres
from support.accounts import Key, add_key, execute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.engines import Containerd, Containers, Docker

ROOT = Key("admin", "chosen-for-the-end-to-end-tests-1")
PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")


@dataclass
class Guarded:
    """A registry with accounts."""

    server: Server
    dsn: str
    keys: dict[str, Key]

    def change(self, statement: str, *arguments: object) -> None:
        """Change something in the database."""
        asyncio.run(execute(self.dsn, statement, *arguments))

    def creds(self, who: str) -> str:
        """Return user and password, as clients take them."""
        return f"{self.keys[who].id}:{self.keys[who].secret}"


@pytest.fixture(scope="module")
def guarded(workplace: Path) -> Iterator[Guarded]:
    """A registry with accounts, on files."""
    settings = {"SLIPWAY_ROOT_ACCESS_KEY_ID": ROOT.id, "SLIPWAY_ROOT_SECRET_KEY": ROOT.secret}
    with closing(Servers(workplace / "guarded", settings)) as servers:
        server = servers.make()
        server.start()
        with EmbeddedPostgres.acquire(server.data) as postgres:

            async def keys() -> dict[str, Key]:
                return {
                    "root": ROOT,
                    "manager": await add_key(postgres.dsn, "manager", "manager"),
                    "viewer": await add_key(postgres.dsn, "viewer", "viewer"),
                    "robot": await add_key(
                        postgres.dsn, "robot", "manager", actions=["pull", "push"], repositories=["ci/**"]
                    ),
                }

            yield Guarded(server, postgres.dsn, asyncio.run(keys()))


def test_docker(docker: Docker, guarded: Guarded) -> None:
    """A wrong secret fails at login; a manager pushes and pulls, a viewer only pulls, nobody nothing."""
    address = guarded.server.address
    reference = f"{address}/docker/private:v1"
    image_id = docker.load(small_image("docker access"), reference)
    with pytest.raises(CommandFailedError, match="unauthorized"):
        docker("login", "--username", guarded.keys["manager"].id, "--password", "wrong", address)
    with pytest.raises(CommandFailedError, match=r"denied|unauthorized"):
        docker("push", reference)
    for who, may_push in (("manager", True), ("viewer", False), ("robot", False)):
        docker("login", "--username", guarded.keys[who].id, "--password", guarded.keys[who].secret, address)
        if may_push:
            docker.push(reference)
        else:
            with pytest.raises(CommandFailedError, match="denied"):
                docker("push", f"{address}/docker/private:v1")
        if who != "robot":
            assert docker.pull_anew(reference, image_id) == image_id
    docker("tag", reference, f"{address}/ci/robot:v1")
    docker.push(f"{address}/ci/robot:v1")
    docker("logout", address)
    with pytest.raises(CommandFailedError, match=r"denied|unauthorized"):
        docker("pull", reference)
    docker.forget(image_id)


def test_podman(containers: Containers, guarded: Guarded, desk: Path) -> None:
    """As docker; what was pushed comes back."""
    address = guarded.server.address
    layout = desk / "layout"
    image = small_image("podman access")
    write_oci_layout(image, "v1", layout)
    image_id = containers.podman("pull", "--quiet", f"oci:{layout}:v1").split()[-1]
    reference = f"{address}/podman/private:v1"
    with pytest.raises(CommandFailedError, match="invalid username/password"):
        containers.podman("login", "--tls-verify=false", "-u", "SWUNKNOWN", "-p", "wrong", address)
    key = guarded.keys["manager"]
    containers.podman("login", "--tls-verify=false", "-u", key.id, "-p", key.secret, address)
    containers.podman("push", "--tls-verify=false", image_id, reference)
    containers.podman("rmi", "--force", image_id)
    assert containers.podman("pull", "--quiet", "--tls-verify=false", reference).strip() == image_id
    containers.podman("logout", address)
    with pytest.raises(CommandFailedError, match=r"denied|unauthorized"):
        containers.podman("pull", "--tls-verify=false", reference)
    containers.podman("rmi", "--force", image_id)


def test_skopeo(containers: Containers, guarded: Guarded, desk: Path) -> None:
    """Copies between repositories by mounting, deletes, and is refused what its key may not."""
    address, layout = guarded.server.address, desk / "layout"
    image = medium_image("skopeo access")
    write_oci_layout(image, "v1", layout)
    one, two = (f"docker://{address}/skopeo/{name}:v1" for name in ("one", "two"))

    def copy(source: str, target: str, who: str) -> None:
        creds = ["--src-creds", guarded.creds(who)] if source.startswith("docker") else []
        containers.skopeo("copy", *PLAIN, *creds, "--dest-creds", guarded.creds(who), source, target)

    for who in ("viewer", "robot"):
        with pytest.raises(CommandFailedError, match="denied"):
            copy(f"oci:{layout}:v1", one, who)
    copy(f"oci:{layout}:v1", one, "manager")
    copy(one, two, "root")
    inspect = ("inspect", "--tls-verify=false")
    assert image.digest in containers.skopeo(*inspect, "--creds", guarded.creds("viewer"), two)
    for creds in (["--creds", guarded.creds("robot")], ["--no-creds"]):
        with pytest.raises(CommandFailedError, match="denied"):
            containers.skopeo(*inspect, *creds, two)
    with pytest.raises(CommandFailedError, match="DENIED"):
        containers.skopeo("delete", "--tls-verify=false", "--creds", guarded.creds("viewer"), two)
    containers.skopeo("delete", "--tls-verify=false", "--creds", guarded.creds("manager"), two)


def test_anybody_pulls_from_a_public_registry(containers: Containers, guarded: Guarded, desk: Path) -> None:
    """And pushes to none."""
    address, layout = guarded.server.address, desk / "layout"
    image = small_image("public access")
    write_oci_layout(image, "v1", layout)
    target = f"docker://{address}/public/image:v1"
    containers.skopeo("copy", *PLAIN, "--dest-creds", guarded.creds("root"), f"oci:{layout}:v1", target)
    guarded.change("UPDATE registries SET public_pull = true")
    try:
        containers.skopeo("copy", *PLAIN, "--src-no-creds", target, f"oci:{desk}/back:v1")
        with pytest.raises(CommandFailedError, match="denied"):
            containers.skopeo("copy", *PLAIN, "--dest-no-creds", f"oci:{layout}:v1", target)
    finally:
        guarded.change("UPDATE registries SET public_pull = false")


def test_a_secret_of_kubernetes(containers: Containers, guarded: Guarded, desk: Path) -> None:
    """What ``kubectl create secret docker-registry`` makes of a key, as a node's runtime is given it."""
    address, layout = guarded.server.address, desk / "layout"
    image = small_image("kubernetes access")
    write_oci_layout(image, "v1", layout)
    target = f"docker://{address}/kubernetes/app:v1"
    containers.skopeo("copy", *PLAIN, "--dest-creds", guarded.creds("root"), f"oci:{layout}:v1", target)
    inspect = ("inspect", "--tls-verify=false", "--authfile")
    for who, secret in (("viewer", guarded.keys["viewer"].secret), ("wrong", "wrong")):
        user = guarded.keys["viewer"].id
        auth = base64.b64encode(f"{user}:{secret}".encode()).decode()
        entry = {"username": user, "password": secret, "email": "node@example.com", "auth": auth}
        file = desk / f"{who}.json"
        file.write_text(json.dumps({"auths": {address: entry}}))
        if who == "viewer":
            assert image.digest in containers.skopeo(*inspect, str(file), target)
        else:
            with pytest.raises(CommandFailedError, match="invalid username/password"):
                containers.skopeo(*inspect, str(file), target)


def test_containerd(containerd: Containerd, guarded: Guarded) -> None:
    """Pushes and pulls with user and password, until its key is disabled."""
    image = medium_image("containerd access")
    reference = f"{guarded.server.address}/ci/containerd:v1"
    user = ("--user", guarded.creds("robot"))
    containerd.load("pusher", image, reference)
    with pytest.raises(CommandFailedError):
        containerd.push("pusher", reference)
    containerd("pusher", "images", "push", "--plain-http", *user, reference)

    with pytest.raises(CommandFailedError):
        containerd.pull("access-0", reference)
    containerd.pull("access-1", reference, *user)
    assert containerd.content("access-1") == {sha256(blob) for blob in image.blobs()}
    guarded.change("UPDATE access_keys SET disabled_at = now() WHERE access_key_id = $1", guarded.keys["robot"].id)
    try:
        with pytest.raises(CommandFailedError):
            containerd.pull("access-2", reference, *user)
    finally:
        guarded.change("UPDATE access_keys SET disabled_at = NULL")
    containerd.pull("access-2", reference, *user)
