"""What the end-to-end tests share for a whole run: registries, an S3 server and the engines."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from e2e.debian_images import build_slipway, import_debian
from e2e.engines import Containerd, Containers, Docker
from e2e.server import Server, Servers, s3_settings
from support.seaweed import start_seaweedfs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from support.seaweed import SeaweedFS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of a registry's log below the test that failed."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Server | Servers):
                report.sections.append((f"log of {name}", value.tail()))
    return report


def _new_folder(parent: Path, name: str) -> Path:
    """Make a folder whose path podman can make an image's name of, which underscores here and there would not be."""
    folder = parent / f"{name}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    """Give a folder for the whole run: short, for socket paths, and open, for the database's own user."""
    folder = _new_folder(Path(tempfile.gettempdir()), "slipway-e2e")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def desk(workplace: Path) -> Iterator[Path]:
    """Give a folder for one test, removed after it."""
    folder = _new_folder(workplace, "test")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def seaweed(workplace: Path) -> Iterator[SeaweedFS]:
    """Start the S3 server."""
    server = start_seaweedfs(workplace / "seaweed")
    yield server
    server.stop()


@contextmanager
def _running(folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    servers = Servers(folder, settings)
    with closing(servers):
        server = servers.make()
        server.start()
        yield server


@pytest.fixture(scope="session")
def filesystem_registry(workplace: Path) -> Iterator[Server]:
    """Start a registry that keeps blobs as files."""
    with _running(workplace / "filesystem", {}) as server:
        yield server


@pytest.fixture(scope="session")
def s3_registry(workplace: Path, seaweed: SeaweedFS) -> Iterator[Server]:
    """Start a registry that keeps blobs in S3 and delivers them itself."""
    with _running(workplace / "s3", s3_settings(seaweed, "proxy", "proxy")) as server:
        yield server


@pytest.fixture(scope="session")
def redirecting_registry(workplace: Path, seaweed: SeaweedFS) -> Iterator[Server]:
    """Start a registry that keeps blobs in S3 and sends clients there."""
    with _running(workplace / "redirect", s3_settings(seaweed, "redirect", "redirect")) as server:
        yield server


@pytest.fixture(params=["filesystem", "s3"])
def registry(request: pytest.FixtureRequest) -> Server:
    """Run a test against each storage."""
    server: Server = request.getfixturevalue(f"{request.param}_registry")
    return server


@pytest.fixture(params=["filesystem", "s3", "redirecting"])
def pull_registry(request: pytest.FixtureRequest) -> Server:
    """Run a test that pulls much against each storage and each way of delivery."""
    server: Server = request.getfixturevalue(f"{request.param}_registry")
    return server


@pytest.fixture(params=["filesystem", "s3"])
def own_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Give the settings of a registry that one test has for itself, with each storage."""
    if request.param == "filesystem":
        return {}
    seaweed: SeaweedFS = request.getfixturevalue("seaweed")
    return s3_settings(seaweed, f"test-{uuid4().hex}", "proxy")


@pytest.fixture
def servers(desk: Path, own_settings: Mapping[str, str]) -> Iterator[Servers]:
    """Give a maker of servers on one data folder of the test's own."""
    with closing(Servers(desk, own_settings)) as made:
        yield made


@pytest.fixture(scope="session")
def docker(workplace: Path) -> Iterator[Docker]:
    """Start a Docker engine."""
    engine = Docker(workplace / "docker")
    engine.start()
    yield engine
    engine.stop()


@dataclass(frozen=True, slots=True)
class Builds:
    """An engine that builds images, and what it has built."""

    docker: Docker
    folder: Path
    base: str = "slipway-test-base"
    slipway: str = "slipway-under-test"


@pytest.fixture(scope="session")
def builds(workplace: Path) -> Iterator[Builds]:
    """Start a Docker engine and build Slipway's image on a base of Debian packages."""
    made = Builds(Docker(workplace / "builder", storage_driver="overlay2"), workplace / "builds")
    made.folder.mkdir()
    made.docker.start()
    try:
        import_debian(made.docker, made.folder, made.base)
        build_slipway(made.docker, made.folder, made.base, made.slipway)
        yield made
    finally:
        made.docker.stop()


@pytest.fixture(scope="session")
def containerd(workplace: Path) -> Iterator[Containerd]:
    """Start containerd."""
    engine = Containerd(workplace / "containerd")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def containers(workplace: Path) -> Containers:
    """Give podman, buildah and skopeo a home."""
    return Containers(workplace / "containers")
