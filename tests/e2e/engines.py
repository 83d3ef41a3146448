"""Real clients with homes of their own: nothing on the machine is configured, used or left behind."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from e2e.images import Image, Index, write_docker_archive, write_oci_archive
from e2e.processes import COMMAND_SECONDS, CommandFailedError, Daemon, environment, find_program, run, run_at_terminal
from e2e.server import REPOSITORY_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTAINERD_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart"]

[grpc]
address = "{folder}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

# Namespaces must not lend each other content, or the second one's pull would fetch nothing.
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"

# From release 2 on it is the daemon that pulls and unpacks; older ones pass over this.
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux/amd64"
snapshotter = "native"
"""

CONTAINERS_CONF = """
[engine]
lock_type = "file"
events_logger = "none"
cgroup_manager = "cgroupfs"
tmp_dir = "{folder}/libpod"
static_dir = "{folder}/static"
volume_path = "{folder}/volumes"

[network]
network_config_dir = "{folder}/networks"
"""


class Docker:
    """A Docker engine that leaves the machine's network alone, and the docker command."""

    def __init__(
        self, folder: Path, *, proxy: str = "", plain_hosts: Sequence[str] = (), storage_driver: str = "vfs"
    ) -> None:
        """Prepare an engine; a proxy finds the hosts that speak plain HTTP, so that they need no address.

        Layers are plain copies (vfs), which works everywhere; building images is too slow with that.
        """
        folder.mkdir()
        self._folder = folder
        self._socket = f"unix://{folder}/docker.sock"
        self._docker = find_program("docker", "docker.io (and docker-cli, where that is a package of its own)")
        # The engine's own image store, also where a release prefers that of containerd: ctr is tested apart.
        settings = {"features": {"containerd-snapshotter": False}, "insecure-registries": [*plain_hosts]}
        (folder / "daemon.json").write_text(json.dumps(settings))
        proxies = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy} if proxy else {}
        self._env = environment(DOCKER_CONFIG=str(folder / "client"), HOME=str(folder), **proxies)
        command = [
            # What the engine mounts is seen by it alone, and ends with it.
            *(find_program("unshare", "util-linux"), "--mount"),
            find_program("dockerd", "docker.io"),
            f"--config-file={folder}/daemon.json",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/docker.pid",
            f"--host={self._socket}",
            f"--storage-driver={storage_driver}",
            "--bridge=none",
            "--ip-forward=false",
            "--iptables=false",
            "--ip-masq=false",
        ]
        self._daemon = Daemon(command, self._env, folder / "dockerd.log")

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        self._daemon.start(self._answers)

    def stop(self) -> None:
        """Stop the engine; it stops the containerd that it started."""
        self._daemon.stop()

    def __call__(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a docker command and return its output."""
        return run([self._docker, "--host", self._socket, *arguments], self._env, seconds)

    def compose(self, project: str, *arguments: str, **variables: str) -> str:
        """Run docker-compose on this repository's file and return its output."""
        program = find_program("docker-compose", "docker-compose")
        command = [program, f"--file={REPOSITORY_ROOT}/docker-compose.yml", f"--project-name={project}", *arguments]
        return run(command, {**self._env, "DOCKER_HOST": self._socket, **variables})

    def log_in(self, *arguments: str, password: str) -> str:
        """Run ``docker login`` as people do, who type the password when they are asked for it."""
        return run_at_terminal([self._docker, "--host", self._socket, *arguments], self._env, "Password:", password)

    def load(self, image: Image, reference: str) -> str:
        """Load an image under a reference and return its ID."""
        archive = self._folder / "image.tar"
        write_docker_archive(image, reference, archive)
        self("load", "--quiet", "--input", str(archive))
        archive.unlink()
        return self.image_id(reference)

    def push(self, reference: str) -> tuple[str, str]:
        """Push an image and return what docker said about it and the digest of its manifest."""
        output = self("push", reference)
        found = re.search(r"digest: (sha256:[0-9a-f]{64}) size: \d+", output)
        assert found, output
        return output, found[1]

    def image_id(self, reference: str) -> str:
        """Return the ID of a local image."""
        return self("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def repository_digests(self, reference: str) -> list[str]:
        """Return the ``repository@digest`` names of a local image."""
        found: list[str] = json.loads(self("image", "inspect", "--format", "{{json .RepoDigests}}", reference))
        return found

    def forget(self, image_id: str) -> None:
        """Remove an image with all its names and layers."""
        self("image", "rm", "--force", image_id)
        assert image_id not in self("image", "ls", "--all", "--quiet", "--no-trunc").split()

    def pull_anew(self, reference: str, image_id: str) -> str:
        """Remove an image, pull it from a registry and return the ID of what came."""
        self.forget(image_id)
        output = self("pull", reference)
        assert "Already exists" not in output, f"not all layers were pulled:\n{output}"
        return self.image_id(reference)

    def _answers(self) -> bool:
        try:
            self("version")
        except CommandFailedError:
            return False
        return True


class Containerd:
    """A containerd of its own and the ctr command; layers are unpacked as plain copies (native)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._ctr = find_program("ctr", "containerd")
        self._env = environment(HOME=str(folder))
        config = folder / "config.toml"
        config.write_text(CONTAINERD_CONFIG.format(folder=folder))
        program = find_program("containerd", "containerd")
        self._daemon = Daemon([program, "--config", str(config)], self._env, folder / "containerd.log")

    def start(self) -> None:
        """Start containerd and wait until it answers."""
        self._daemon.start(self._answers)

    def stop(self) -> None:
        """Stop containerd."""
        self._daemon.stop()

    def __call__(self, namespace: str, *arguments: str) -> str:
        """Run a ctr command in a namespace and return its output."""
        address = f"{self._folder}/containerd.sock"
        return run([self._ctr, "--address", address, "--namespace", namespace, *arguments], self._env)

    def load(self, namespace: str, content: Image | Index, reference: str) -> None:
        """Import an image or index, with all its platforms, under a reference."""
        archive = self._folder / "image.tar"
        write_oci_archive(content, reference, archive)
        self(namespace, "images", "import", "--all-platforms", "--no-unpack", str(archive))
        archive.unlink()

    def push(self, namespace: str, reference: str) -> None:
        """Push an image over plain HTTP."""
        self(namespace, "images", "push", "--plain-http", reference)

    def pull(self, namespace: str, reference: str, *options: str) -> None:
        """Pull an image over plain HTTP and unpack it."""
        self(namespace, "images", "pull", "--plain-http", "--snapshotter", "native", *options, reference)

    def digest(self, namespace: str, reference: str) -> str:
        """Return the digest that an image name points to, as containerd lists it."""
        rows = (line.split() for line in self(namespace, "images", "ls", f"name=={reference}").splitlines())
        digests: list[str] = [row[2] for row in rows if row and row[0] == reference]
        assert len(digests) == 1, f"{reference} is not in namespace {namespace}"
        return digests[0]

    def content(self, namespace: str) -> set[str]:
        """Return the digests of all content of a namespace."""
        return set(re.findall(r"^sha256:[0-9a-f]{64}$", self(namespace, "content", "ls", "--quiet"), re.MULTILINE))

    def _answers(self) -> bool:
        try:
            self("default", "version")
        except CommandFailedError:
            return False
        return True


class Containers:
    """podman, buildah and skopeo with one storage (vfs) and one configuration in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = folder / ".config" / "containers"
        (settings / "registries.d").mkdir(parents=True)
        (settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (settings / "registries.conf").write_text("unqualified-search-registries = []\n")
        (settings / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        (settings / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
        )
        (folder / "auth.json").write_text("{}")
        (folder / "tmp").mkdir()
        self._env = environment(
            HOME=str(folder),
            TMPDIR=str(folder / "tmp"),
            CONTAINERS_CONF=str(settings / "containers.conf"),
            CONTAINERS_STORAGE_CONF=str(settings / "storage.conf"),
            CONTAINERS_REGISTRIES_CONF=str(settings / "registries.conf"),
            REGISTRY_AUTH_FILE=str(folder / "auth.json"),
        )
        self._storage = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        self._podman = find_program("podman", "podman")
        self._buildah = find_program("buildah", "buildah")
        self._skopeo = find_program("skopeo", "skopeo")

    def podman(self, *arguments: str) -> str:
        """Run podman and return its output."""
        return run([self._podman, *self._storage, *arguments], self._env)

    def buildah(self, *arguments: str) -> str:
        """Run buildah and return its output."""
        return run([self._buildah, *self._storage, *arguments], self._env)

    def skopeo(self, *arguments: str) -> str:
        """Run skopeo and return its output."""
        return run([self._skopeo, *arguments], self._env)

    def skopeo_inspect(self, reference: str, *options: str) -> dict[str, Any]:
        """Return what ``skopeo inspect`` tells about an image in a registry."""
        found: dict[str, Any] = json.loads(
            self.skopeo("inspect", "--tls-verify=false", *options, f"docker://{reference}")
        )
        return found
