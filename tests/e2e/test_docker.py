"""The Docker engine pushes and pulls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from e2e.images import big_image, image_of_real_files, many_layered_image, medium_image, small_image

if TYPE_CHECKING:
    from e2e.engines import Docker
    from e2e.images import Image
    from e2e.server import Server


def push_and_pull(docker: Docker, registry: Server, image: Image, repository: str) -> None:
    """Push an image, check every byte in the registry, pull it anew and compare the IDs."""
    reference = f"{registry.address}/{repository}:v1"
    image_id = docker.load(image, reference)
    _, digest = docker.push(reference)
    assert registry.wire.verify(repository, "v1") == digest
    assert json.loads(registry.wire.manifest(repository, "v1"))["config"]["digest"] == image_id == image.id
    assert docker.pull_anew(reference, image_id) == image_id
    assert f"{registry.address}/{repository}@{digest}" in docker.repository_digests(reference)
    docker.forget(image_id)


def test_big_layer(docker: Docker, pull_registry: Server) -> None:
    """An image with a layer of more than 200 MiB comes back as it was."""
    push_and_pull(docker, pull_registry, big_image(), "docker/big")


def test_many_layers(docker: Docker, registry: Server) -> None:
    """An image of 32 layers comes back as it was."""
    push_and_pull(docker, registry, many_layered_image("docker"), "docker/many")


def test_real_files(docker: Docker, pull_registry: Server) -> None:
    """An image of real files, with modes and links, comes back as it was."""
    push_and_pull(docker, pull_registry, image_of_real_files(), "docker/real")


def test_push_again_sends_nothing(docker: Docker, registry: Server) -> None:
    """Layers that the repository has are not sent a second time."""
    image = small_image(f"again {registry.address}")
    first, second = (f"{registry.address}/docker/again:{tag}" for tag in ("v1", "v2"))
    image_id = docker.load(image, first)
    _, digest = docker.push(first)
    docker("tag", first, second)
    output, digest_again = docker.push(second)
    assert output.count("Layer already exists") == len(image.layers), output
    assert digest_again == digest == registry.wire.verify("docker/again", "v2")
    docker.forget(image_id)


def test_pull_by_digest(docker: Docker, registry: Server) -> None:
    """A pull by digest brings the image of that digest though the tag has moved on."""
    older, newer = small_image(f"older {registry.address}"), small_image(f"newer {registry.address}")
    reference = f"{registry.address}/docker/moved:v1"
    older_id = docker.load(older, reference)
    _, digest = docker.push(reference)
    newer_id = docker.load(newer, reference)
    _, newer_digest = docker.push(reference)
    by_digest = f"{registry.address}/docker/moved@{digest}"
    assert docker.pull_anew(by_digest, older_id) == older_id
    assert docker.pull_anew(reference, newer_id) == newer_id
    assert registry.wire.verify("docker/moved", "v1") == newer_digest != digest
    docker.forget(older_id)
    docker.forget(newer_id)


def test_layers_are_mounted_from_another_repository(docker: Docker, registry: Server) -> None:
    """Layers of one repository are mounted into another instead of sent."""
    image = medium_image(f"mounted {registry.address}")
    source, target = (f"{registry.address}/docker/{name}:v1" for name in ("source", "target"))
    image_id = docker.load(image, source)
    _, digest = docker.push(source)
    docker("tag", source, target)
    output, mounted_digest = docker.push(target)
    assert output.count("Mounted from docker/source") == len(image.layers), output
    assert mounted_digest == digest == registry.wire.verify("docker/target", "v1")
    assert docker.pull_anew(target, image_id) == image_id
    docker.forget(image_id)
