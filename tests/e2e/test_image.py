"""The image that the Dockerfile makes, on a base of Debian packages: small, unprivileged, and a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.images import medium_image
from e2e.processes import eventually
from e2e.wire import Wire
from support.accounts import Key
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import Builds

# Whichever test comes first builds the image, from packages that are fetched.
pytestmark = pytest.mark.timeout(1800)

ROOT = Key("container", "chosen-for-the-tests-of-the-image-1")
MEBIBYTE = 1 << 20


def inspect(builds: Builds, kind: str, name: str) -> dict[str, Any]:
    """Return what docker knows of an image or a container."""
    found: list[dict[str, Any]] = json.loads(builds.docker(kind, "inspect", name))
    return found[0]


def test_image_is_small_and_has_no_tools(builds: Builds) -> None:
    """It adds little to its base, runs as an unprivileged user, and has nothing to build or install with."""
    image, base = inspect(builds, "image", builds.slipway), inspect(builds, "image", builds.base)
    assert image["Config"]["User"] == "65532:65532"
    assert image["Size"] - base["Size"] < 200 * MEBIBYTE
    look = "for name in gcc cc make git pip pip3; do command -v $name; done; ls /build /opt; python3 -m pip --version"
    found = builds.docker(
        "run", "--rm", "--network=none", "--entrypoint=sh", builds.slipway, "-c", f"{{ {look}; }} 2>&1; true"
    )
    assert found.splitlines() == [
        "ls: cannot access '/build': No such file or directory",
        "/opt:",
        "slipway",
        "/opt/slipway/bin/python3: No module named pip",
    ]


@pytest.fixture
def container(builds: Builds) -> Iterator[tuple[str, str]]:
    """Start a container on a read-only root and the host's network, without any capability."""
    name, address = "slipway-under-test", f"127.0.0.1:{free_port()}"
    settings = {"LISTEN": address, "ROOT_ACCESS_KEY_ID": ROOT.id, "ROOT_SECRET_KEY": ROOT.secret}
    environment = [f"--env=SLIPWAY_{key}={value}" for key, value in settings.items()]
    hardened = ["--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    builds.docker("run", "--detach", f"--name={name}", *hardened, *environment, builds.slipway)
    try:
        wait_until_healthy(builds, name)
        yield name, address
    except BaseException as error:
        error.add_note(builds.docker("logs", name))
        raise
    finally:
        builds.docker("rm", "--force", "--volumes", name)


def wait_until_healthy(builds: Builds, container: str) -> None:
    """Wait for the image's own health check."""

    def is_healthy() -> bool:
        state = inspect(builds, "container", container)["State"]
        assert state["Running"], builds.docker("logs", container)
        return bool(state["Health"]["Status"] == "healthy")

    eventually(is_healthy, "the container to be healthy")


def test_container_is_a_registry(builds: Builds, container: tuple[str, str]) -> None:
    """It takes what docker pushes; stopped and started again it still has the image."""
    name, address = container
    reference = f"{address}/containers/round:v1"
    image = medium_image("container")
    image_id = builds.docker.load(image, reference)
    builds.docker("login", "--username", ROOT.id, "--password", ROOT.secret, address)
    _, digest = builds.docker.push(reference)
    assert Wire(address, {"Authorization": ROOT.basic}).verify("containers/round", "v1") == digest

    builds.docker("stop", "--time=60", name)
    assert inspect(builds, "container", name)["State"]["ExitCode"] == 0
    builds.docker("start", name)
    wait_until_healthy(builds, name)
    assert builds.docker.pull_anew(reference, image_id) == image_id
    builds.docker("stop", "--time=60", name)
    assert inspect(builds, "container", name)["State"]["ExitCode"] == 0
