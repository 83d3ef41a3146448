"""Artifacts, with the oras client for Python."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import oras.client
import oras.oci
import pytest

from e2e.images import MEBIBYTE, noise
from e2e.wire import OCI_MANIFEST, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.server import Server


@dataclass(frozen=True, slots=True)
class Oras:
    """The client for one registry and a folder for its files."""

    client: Any
    registry: Server
    desk: Path

    def push(self, repository: str, tag: str, content: bytes, **options: Any) -> str:
        """Push an artifact of one file, check it in the registry, return its manifest's digest."""
        path = self.desk / "artifact.txt"
        path.write_bytes(content)
        answer = self.client.push(
            target=f"{self.registry.address}/{repository}:{tag}",
            files=[f"{path}:text/plain"],
            disable_path_validation=True,
            quiet=True,
            **options,
        )
        assert answer.status_code == 201
        digest = self.registry.wire.verify(repository, tag)
        assert answer.headers["Docker-Content-Digest"] == digest
        return digest

    def pull(self, repository: str, tag: str) -> bytes:
        """Pull an artifact of one file and return its content."""
        folder = self.desk / f"pulled-{tag}"
        folder.mkdir()
        (pulled,) = self.client.pull(target=f"{self.registry.address}/{repository}:{tag}", outdir=str(folder))
        assert pulled == str(folder / "artifact.txt")
        return (folder / "artifact.txt").read_bytes()


@pytest.fixture
def oras_client(registry: Server, desk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Oras]:
    """Make a client that knows no other configuration and no proxy; its connections are closed after the test."""
    monkeypatch.setenv("HOME", str(desk))
    monkeypatch.setenv("DOCKER_CONFIG", str(desk))
    client = oras.client.OrasClient(insecure=True)
    client.session.trust_env = False
    yield Oras(client, registry, desk)
    client.session.close()


def referrers(registry: Server, repository: str, digest: str, query: str = "") -> list[dict[str, Any]]:
    """Ask the registry, over plain HTTP, what refers to a manifest."""
    answer = registry.wire.request("GET", f"/v2/{repository}/referrers/{digest}{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    found: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
    return found


def test_push_and_pull(oras_client: Oras) -> None:
    """An artifact comes back as it was."""
    content = noise("oras", 3 * MEBIBYTE)
    oras_client.push("oras/round", "v1", content)
    assert oras_client.pull("oras/round", "v1") == content
    assert oras_client.client.get_tags(f"{oras_client.registry.address}/oras/round") == ["v1"]


def test_push_in_chunks(oras_client: Oras) -> None:
    """A file sent in chunks, each with its Content-Range, comes back as it was."""
    content = noise("oras chunks", 20 * MEBIBYTE + 7)
    oras_client.push("oras/chunks", "v1", content, do_chunked=True, chunk_size=3 * MEBIBYTE)
    assert oras_client.pull("oras/chunks", "v1") == content


def test_referrers(oras_client: Oras) -> None:
    """An artifact with a subject is found among the subject's referrers, until it is deleted."""
    registry = oras_client.registry
    subject_digest = oras_client.push("oras/refers", "v1", b"the subject")
    subject = oras.oci.Subject(
        mediaType=OCI_MANIFEST,
        digest=subject_digest,
        size=len(registry.wire.manifest("oras/refers", subject_digest)),
    )
    assert referrers(registry, "oras/refers", subject_digest) == []
    digest = oras_client.push("oras/refers", "signature", b"a signature", subject=subject)
    (found,) = referrers(registry, "oras/refers", subject_digest)
    body = registry.wire.manifest("oras/refers", digest)
    assert json.loads(body)["subject"]["digest"] == subject_digest
    assert (found["digest"], found["size"], found["mediaType"]) == (digest, len(body), OCI_MANIFEST)
    artifact_type = json.loads(body)["config"]["mediaType"]
    assert found["artifactType"] == artifact_type
    assert len(referrers(registry, "oras/refers", subject_digest, f"?artifactType={quote(artifact_type)}")) == 1
    assert referrers(registry, "oras/refers", subject_digest, "?artifactType=application/other") == []
    assert oras_client.client.delete_tag(f"{registry.address}/oras/refers", "signature")
    assert referrers(registry, "oras/refers", subject_digest) == []


def test_delete(oras_client: Oras) -> None:
    """A deleted artifact is gone at once; the one beside it can still be pulled."""
    oras_client.push("oras/delete", "v1", b"goes")
    oras_client.push("oras/delete", "v2", b"stays")
    name = f"{oras_client.registry.address}/oras/delete"
    assert oras_client.client.delete_tag(name, "v1")
    assert not oras_client.client.delete_tag(name, "v1")
    with pytest.raises(ValueError, match="manifests/v1: "):
        oras_client.client.get_manifest(f"{name}:v1")
    assert oras_client.client.get_tags(name) == ["v2"]
    assert oras_client.pull("oras/delete", "v2") == b"stays"


def test_same_content_under_two_names(oras_client: Oras) -> None:
    """The same file in two repositories is one content: the same digest, whole in both."""
    content = noise("oras twice", MEBIBYTE)
    assert oras_client.push("oras/one", "v1", content) == oras_client.push("oras/two", "v1", content)
    assert oras_client.registry.wire.blob("oras/two", sha256(content)) == content


def test_copy(oras_client: Oras) -> None:
    """A copy into another repository, blobs first and then the manifest, has the same digest and content."""
    content = noise("oras copy", 3 * MEBIBYTE)
    digest = oras_client.push("oras/source", "v1", content)
    client, address = oras_client.client, oras_client.registry.address
    manifest = client.get_manifest(f"{address}/oras/source:v1")
    target = client.get_container(f"{address}/oras/copied:v1")
    for descriptor in (manifest["config"], *manifest["layers"]):
        path = str(oras_client.desk / "blob")
        client.download_blob(f"{address}/oras/source", descriptor["digest"], path)
        assert client.upload_blob(path, target, descriptor).status_code in {200, 201}
    assert client.upload_manifest(manifest, target).status_code == 201
    assert oras_client.registry.wire.verify("oras/copied", "v1") == digest
    assert oras_client.pull("oras/copied", "v1") == content
