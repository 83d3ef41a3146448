"""Images made by the tests themselves: tar layers, a config, a manifest; no network, no builder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.wire import OCI_INDEX, OCI_MANIFEST, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MEBIBYTE = 1 << 20
BIG_LAYER_SIZE = 208 * MEBIBYTE
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as a tar archive and in the compressed form in which it travels."""

    tar: bytes
    gzipped: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """Layers, the config that names them and the OCI manifest over both; all bytes are fixed."""

    layers: tuple[Layer, ...]
    architecture: str
    config: bytes
    manifest: bytes

    @property
    def id(self) -> str:
        """What docker calls the image ID: the digest of the config."""
        return sha256(self.config)

    @property
    def digest(self) -> str:
        """The digest of the OCI manifest."""
        return sha256(self.manifest)

    def descriptor(self) -> dict[str, Any]:
        """Describe the manifest for an index."""
        platform = {"os": "linux", "architecture": self.architecture}
        return {**_descriptor(OCI_MANIFEST, self.manifest), "platform": platform}

    def blobs(self) -> list[bytes]:
        """Return all content that a layout of this image holds."""
        return [self.manifest, self.config, *(layer.gzipped for layer in self.layers)]


@dataclass(frozen=True, slots=True)
class Index:
    """An image index over several platforms."""

    images: tuple[Image, ...]

    @property
    def manifest(self) -> bytes:
        """The bytes of the index."""
        children = [image.descriptor() for image in self.images]
        return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})

    @property
    def digest(self) -> str:
        """The digest of the index."""
        return sha256(self.manifest)

    def descriptor(self) -> dict[str, Any]:
        """Describe the index for a layout."""
        return _descriptor(OCI_INDEX, self.manifest)

    def blobs(self) -> list[bytes]:
        """Return all content that a layout of this index holds."""
        return [self.manifest, *(blob for image in self.images for blob in image.blobs())]


def layer_of(files: Mapping[str, bytes], *, level: int = 1) -> Layer:
    """Pack files into a layer; level 0 wraps without compressing, for content that is random."""

    def fill(archive: tarfile.TarFile) -> None:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    return _pack(fill, level)


def layer_of_folder(folder: Path, names: Sequence[str]) -> Layer:
    """Pack real files, links and folders with their modes and times, below ``usr/lib/files``."""

    def fill(archive: tarfile.TarFile) -> None:
        for name in names:
            archive.add(folder / name, f"usr/lib/files/{name}", filter=_without_caches)

    return _pack(fill, 1)


def image_of(layers: Sequence[Layer], architecture: str = "amd64") -> Image:
    """Put layers together into an image for a platform."""
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer.tar) for layer in layers]},
            "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, config),
        "layers": [_descriptor(OCI_LAYER, layer.gzipped) for layer in layers],
    }
    return Image(tuple(layers), architecture, config, _json(manifest))


def small_image(name: str, architecture: str = "amd64") -> Image:
    """Make an image of two small layers whose content depends on a name."""
    seed = f"{name} for {architecture}"
    return image_of([layer_of({"hello": seed.encode()}), layer_of({"words": noise(seed, 3000)})], architecture)


def medium_image(name: str) -> Image:
    """Make an image with a layer of 20 MiB, which takes several parts of a multipart upload."""
    return image_of(
        [layer_of({"hello": name.encode()}), layer_of({"random": noise(name, 20 * MEBIBYTE)}, level=0)],
    )


def many_layered_image(name: str) -> Image:
    """Make an image of 32 small layers, all different."""
    return image_of([layer_of({f"file-{n}": noise(f"{name} {n}", 2000 + n)}) for n in range(32)])


@cache
def big_image() -> Image:
    """Make the image whose last layer is larger than 200 MiB and cannot be compressed; made once."""
    return image_of([layer_of({"hello": b"big"}), layer_of({"random": os.urandom(BIG_LAYER_SIZE)}, level=0)])


@cache
def image_of_real_files() -> Image:
    """Make an image from the files of Python's standard library, in three layers."""
    folder = Path(os.__file__).parent
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(_LEFT_OUT))
    third = len(names) // 3
    shares = [names[:third], names[third : 2 * third], names[2 * third :]]
    return image_of([layer_of_folder(folder, share) for share in shares])


def index_of(name: str, architectures: Sequence[str] = ("amd64", "arm64", "s390x")) -> Index:
    """Make an index over small images, one per platform."""
    return Index(tuple(small_image(name, architecture) for architecture in architectures))


def noise(seed: str, size: int) -> bytes:
    """Return bytes that look random and are the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def write_docker_archive(image: Image, reference: str, path: Path) -> None:
    """Write what ``docker load`` reads: layers as plain tar files and a list of images."""
    names = [f"{number}/layer.tar" for number in range(len(image.layers))]
    listing = [{"Config": "config.json", "RepoTags": [reference], "Layers": names}]
    members = {"config.json": image.config, "manifest.json": _json(listing)}
    members |= {name: layer.tar for name, layer in zip(names, image.layers, strict=True)}
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def write_oci_layout(content: Image | Index, reference: str, folder: Path) -> None:
    """Write an OCI image layout with one reference, understood by skopeo as a tag and by containerd as a name."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for blob in content.blobs():
        (blobs / sha256(blob).removeprefix("sha256:")).write_bytes(blob)
    annotations = {"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference}
    entry = {**content.descriptor(), "annotations": annotations}
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}))


def write_oci_archive(content: Image | Index, reference: str, path: Path) -> None:
    """Write an OCI image layout as one tar file, what ``ctr images import`` reads."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_oci_layout(content, reference, Path(folder))
        with tarfile.open(path, "w") as archive:
            archive.add(folder, ".")


# Third parties' code and what is so large that it would only make the tests slow.
_LEFT_OUT = ("__pycache__", "site-packages", "dist-packages", "test", "idlelib", "ensurepip", "config-")


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


def _pack(fill: Callable[[tarfile.TarFile], None], level: int) -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        fill(archive)
    tar = buffer.getvalue()
    return Layer(tar, gzip.compress(tar, level, mtime=0))


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
