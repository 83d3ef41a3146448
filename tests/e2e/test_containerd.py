"""containerd pushes and pulls, driven by ctr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.images import big_image, index_of, many_layered_image, medium_image
from e2e.wire import sha256

if TYPE_CHECKING:
    from e2e.engines import Containerd
    from e2e.images import Image, Index
    from e2e.server import Server


def push(containerd: Containerd, content: Image | Index, reference: str) -> None:
    """Import content into a namespace of its own and push it from there."""
    containerd.load("pusher", content, reference)
    assert containerd.digest("pusher", reference) == content.digest
    containerd.push("pusher", reference)


def test_push_and_pull(containerd: Containerd, pull_registry: Server) -> None:
    """An image comes back with the same digest and content in two other namespaces, by tag and by digest."""
    image = medium_image("containerd")
    repository = f"{pull_registry.address}/containerd/round"
    push(containerd, image, f"{repository}:v1")
    assert pull_registry.wire.verify("containerd/round", "v1") == image.digest
    for number, reference in enumerate((f"{repository}:v1", f"{repository}@{image.digest}")):
        namespace = f"puller-{pull_registry.port}-{number}"
        assert not containerd.content(namespace)
        containerd.pull(namespace, reference)
        assert containerd.digest(namespace, reference) == image.digest
        assert containerd.content(namespace) == {sha256(blob) for blob in image.blobs()}


def test_big_layer(containerd: Containerd, pull_registry: Server) -> None:
    """A layer of more than 200 MiB, sent as one PUT, comes back with the same digest."""
    image = big_image()
    reference = f"{pull_registry.address}/containerd/big:v1"
    push(containerd, image, reference)
    assert pull_registry.wire.verify("containerd/big", "v1") == image.digest
    namespace = f"big-{pull_registry.port}"
    containerd.pull(namespace, reference)
    assert containerd.content(namespace) == {sha256(blob) for blob in image.blobs()}
    containerd(namespace, "images", "rm", "--sync", reference)
    containerd("pusher", "images", "rm", "--sync", reference)


def test_many_layers(containerd: Containerd, registry: Server) -> None:
    """An image of 32 layers, all sent and fetched at the same time, comes back as it was."""
    image = many_layered_image("containerd")
    reference = f"{registry.address}/containerd/many:v1"
    push(containerd, image, reference)
    assert registry.wire.verify("containerd/many", "v1") == image.digest
    namespace = f"many-{registry.port}"
    containerd.pull(namespace, reference)
    assert containerd.content(namespace) == {sha256(blob) for blob in image.blobs()}


def test_index(containerd: Containerd, registry: Server) -> None:
    """An index is pushed with all its platforms and pulled with all of them."""
    index = index_of("containerd")
    reference = f"{registry.address}/containerd/index:v1"
    push(containerd, index, reference)
    assert registry.wire.verify("containerd/index", "v1") == index.digest
    namespace = f"index-{registry.port}"
    containerd(namespace, "content", "fetch", "--plain-http", "--all-platforms", reference)
    assert containerd.content(namespace) == {sha256(blob) for blob in index.blobs()}
