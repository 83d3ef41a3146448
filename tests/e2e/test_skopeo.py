"""skopeo copies, inspects, lists and deletes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.images import Image, Index, index_of, medium_image, small_image, write_oci_layout
from e2e.processes import CommandFailedError
from e2e.wire import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Containers
    from e2e.server import Server

PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")


def push(containers: Containers, content: Image | Index, target: str, desk: Path) -> None:
    """Copy content from a layout into a registry, byte for byte and with all platforms."""
    layout = desk / f"layout-{content.digest.removeprefix('sha256:')}"
    write_oci_layout(content, "v1", layout)
    containers.skopeo("copy", "--all", "--preserve-digests", *PLAIN, f"oci:{layout}:v1", f"docker://{target}")


def stored_bytes(layout: Path) -> dict[str, bytes]:
    """Return the blobs of a layout by digest, each checked against its name."""
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}
    assert all(sha256(blob) == digest for digest, blob in blobs.items())
    return blobs


def test_layout_to_registry_and_back(containers: Containers, pull_registry: Server, desk: Path) -> None:
    """An OCI layout comes back from the registry with the same blobs, and as plain files (dir) too."""
    image = medium_image("skopeo round")
    reference = f"{pull_registry.address}/skopeo/round:v1"
    push(containers, image, reference, desk)
    assert pull_registry.wire.verify("skopeo/round", "v1") == image.digest
    containers.skopeo("copy", *PLAIN, f"docker://{reference}", f"oci:{desk}/back:v1")
    assert stored_bytes(desk / "back") == {sha256(blob): blob for blob in image.blobs()}
    containers.skopeo("copy", *PLAIN, f"docker://{reference}", f"dir:{desk}/files")
    assert (desk / "files" / "manifest.json").read_bytes() == image.manifest
    for blob in image.blobs()[1:]:
        assert (desk / "files" / sha256(blob).removeprefix("sha256:")).read_bytes() == blob


def test_inspect(containers: Containers, registry: Server, desk: Path) -> None:
    """Inspecting shows digest, layers and platform, the raw manifest and the config."""
    image = small_image("skopeo inspect")
    reference = f"{registry.address}/skopeo/inspect:v1"
    push(containers, image, reference, desk)
    found = containers.skopeo_inspect(reference)
    assert found["Digest"] == image.digest
    assert found["Layers"] == [sha256(layer.gzipped) for layer in image.layers]
    assert found["RepoTags"] == ["v1"]
    assert found["Architecture"] == "amd64"
    assert containers.skopeo_inspect(reference, "--raw") == json.loads(image.manifest)
    assert containers.skopeo_inspect(reference, "--raw", "--config") == json.loads(image.config)


def test_list_tags(containers: Containers, registry: Server, desk: Path) -> None:
    """All tags of a repository are listed in order, and none of its neighbour's."""
    for tag in ("v10", "latest", "v2"):
        push(containers, small_image(f"skopeo {tag}"), f"{registry.address}/skopeo/tags:{tag}", desk)
    push(containers, small_image("skopeo other"), f"{registry.address}/skopeo/tags/below:other", desk)
    listed = json.loads(
        containers.skopeo("list-tags", "--tls-verify=false", f"docker://{registry.address}/skopeo/tags")
    )
    assert listed["Tags"] == ["latest", "v10", "v2"]


def test_copy_between_repositories(containers: Containers, pull_registry: Server, desk: Path) -> None:
    """A copy within the registry has the same digest and all its blobs."""
    image = medium_image("skopeo between")
    source, target = (f"{pull_registry.address}/skopeo/{name}:v1" for name in ("here", "there"))
    push(containers, image, source, desk)
    containers.skopeo("copy", "--preserve-digests", *PLAIN, f"docker://{source}", f"docker://{target}")
    assert pull_registry.wire.verify("skopeo/there", "v1") == image.digest


def test_delete(containers: Containers, registry: Server, desk: Path) -> None:
    """A deleted image is gone at once, by tag and by digest; its neighbour in the repository stays."""
    image, neighbour = small_image("skopeo delete"), small_image("skopeo stays")
    repository = f"{registry.address}/skopeo/delete"
    push(containers, image, f"{repository}:v1", desk)
    push(containers, neighbour, f"{repository}:v2", desk)
    assert containers.skopeo_inspect(f"{repository}:v1")["Digest"] == image.digest
    containers.skopeo("delete", "--tls-verify=false", f"docker://{repository}:v1")
    for gone in (f"{repository}:v1", f"{repository}@{image.digest}"):
        with pytest.raises(CommandFailedError, match="manifest unknown"):
            containers.skopeo_inspect(gone)
    assert registry.wire.verify("skopeo/delete", "v2") == neighbour.digest


def test_all_platforms(containers: Containers, registry: Server, desk: Path) -> None:
    """An index with all its platforms comes back byte for byte."""
    index = index_of("skopeo all")
    reference = f"{registry.address}/skopeo/all:v1"
    push(containers, index, reference, desk)
    assert registry.wire.verify("skopeo/all", "v1") == index.digest
    containers.skopeo("copy", "--all", "--preserve-digests", *PLAIN, f"docker://{reference}", f"oci:{desk}/back:v1")
    assert stored_bytes(desk / "back") == {sha256(blob): blob for blob in index.blobs()}
