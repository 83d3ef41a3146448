"""podman pushes and pulls; buildah does the same with images of several platforms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from e2e.images import medium_image, noise, small_image, write_docker_archive
from e2e.wire import OCI_INDEX

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Containers
    from e2e.images import Image
    from e2e.server import Server

PLATFORMS = ("amd64", "arm64")


def load(containers: Containers, image: Image, reference: str, desk: Path) -> None:
    """Bring an image into podman's storage."""
    write_docker_archive(image, reference, desk / "image.tar")
    containers.podman("load", "--quiet", "--input", str(desk / "image.tar"))


def podman_id(containers: Containers, reference: str) -> str:
    """Return the ID of an image in podman's storage."""
    return "sha256:" + containers.podman("image", "inspect", "--format", "{{.Id}}", reference).strip()


def podman_push(containers: Containers, reference: str, desk: Path) -> str:
    """Push an image and return the digest that podman states."""
    digest_file = desk / "digest"
    containers.podman("push", "--tls-verify=false", "--digestfile", str(digest_file), reference)
    return digest_file.read_text().strip()


def test_podman_push_and_pull(containers: Containers, pull_registry: Server, desk: Path) -> None:
    """An image comes back as it was, by tag and by digest."""
    image = medium_image(f"podman {pull_registry.address}")
    repository = f"{pull_registry.address}/podman/round"
    load(containers, image, f"{repository}:v1", desk)
    digest = podman_push(containers, f"{repository}:v1", desk)
    assert pull_registry.wire.verify("podman/round", "v1") == digest
    assert json.loads(pull_registry.wire.manifest("podman/round", "v1"))["config"]["digest"] == image.id
    for reference in (f"{repository}:v1", f"{repository}@{digest}"):
        containers.podman("image", "rm", "--force", image.id.removeprefix("sha256:"))
        containers.podman("pull", "--tls-verify=false", "--quiet", reference)
        assert podman_id(containers, reference) == image.id


def test_podman_pushes_into_a_second_repository(containers: Containers, registry: Server, desk: Path) -> None:
    """The same image in a second repository is whole there and stays when the first one is deleted."""
    image = small_image(f"podman second {registry.address}")
    first, second = (f"{registry.address}/podman/{name}:v1" for name in ("first", "second"))
    load(containers, image, first, desk)
    digest = podman_push(containers, first, desk)
    containers.podman("tag", first, second)
    assert podman_push(containers, second, desk) == digest
    containers.skopeo("delete", "--tls-verify=false", f"docker://{first}")
    assert registry.wire.verify("podman/second", "v1") == digest


def build_index(containers: Containers, reference: str, desk: Path) -> None:
    """Build an image for each platform from a file and put them into one list."""
    containers.buildah("manifest", "create", reference)
    for architecture in PLATFORMS:
        (desk / "hello").write_bytes(noise(architecture, 100_000))
        working = containers.buildah("from", "--arch", architecture, "scratch").strip()
        containers.buildah("config", "--arch", architecture, "--os", "linux", working)
        containers.buildah("copy", "--quiet", working, str(desk / "hello"), "/hello")
        containers.buildah("commit", "--quiet", "--rm", "--manifest", reference, working)


def test_buildah_index(containers: Containers, registry: Server, desk: Path) -> None:
    """An index pushed with all its images is whole; a pull by platform brings that platform's image."""
    reference = f"{registry.address}/buildah/index:v1"
    build_index(containers, reference, desk)
    digest_file = desk / "digest"
    push = ("manifest", "push", "--all", "--tls-verify=false", "--digestfile", str(digest_file))
    containers.buildah(*push, reference, f"docker://{reference}")
    assert registry.wire.verify("buildah/index", "v1") == digest_file.read_text().strip()
    index = json.loads(registry.wire.manifest("buildah/index", "v1"))
    assert index["mediaType"] == OCI_INDEX
    children = {child["platform"]["architecture"]: child["digest"] for child in index["manifests"]}
    assert set(children) == set(PLATFORMS)
    containers.buildah("rmi", "--all", "--force")
    for architecture, digest in children.items():
        pulled = containers.buildah(
            "pull", "--quiet", "--tls-verify=false", "--policy=always", "--platform", f"linux/{architecture}", reference
        ).strip()
        manifest = json.loads(registry.wire.manifest("buildah/index", digest))
        assert f"sha256:{pulled}" == manifest["config"]["digest"]
    containers.buildah("rmi", "--all", "--force")
