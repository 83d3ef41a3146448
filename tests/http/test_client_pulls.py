"""Protocol 4.2: pulls as real clients send them, request by request, as read in their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import (
    CONFIG,
    DOCKER_ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE,
    INDEX,
    LAYER,
    OCI_INDEX,
    OCI_MANIFEST,
    sha256,
)
from .rows import Case, Names, Step, play, story, table

if TYPE_CHECKING:
    from .wire import Address

_LAYER_PATH = "/v2/{shelf}/blobs/{layer}"
PULLS = [
    story(
        "4.2 docker: HEAD tag, GET by digest, config and layers, one of them resumed",
        Step("GET", "/v2/", 200),
        Step(
            "HEAD",
            "/v2/{shelf}/manifests/latest",
            200,
            headers=DOCKER_ACCEPT,
            has={"Content-Type": OCI_MANIFEST, "Content-Length": str(len(IMAGE)), "Docker-Content-Digest": "{image}"},
        ),
        Step("GET", "/v2/{shelf}/manifests/{image}", 200, headers=DOCKER_ACCEPT, body_is=IMAGE),
        Step("GET", "/v2/{shelf}/blobs/{config}", 200, body_is=CONFIG),
        Step("GET", _LAYER_PATH, 200, body_is=LAYER),
        Step(
            "GET",
            _LAYER_PATH,
            206,
            headers={"Range": "bytes=400-"},
            has={"Content-Range": "bytes 400-999/1000"},
            body_is=LAYER[400:],
        ),
    ),
    story(
        "4.2 containerd: HEAD tag, GET by digest, blobs with Accept-Encoding, and a reconnect",
        Step(
            "HEAD",
            "/v2/{shelf}/manifests/multi",
            200,
            headers={"Accept": f"{OCI_INDEX}, */*"},
            has={"Content-Type": OCI_INDEX},
        ),
        Step("GET", "/v2/{shelf}/manifests/{index}", 200, headers={"Accept": f"{OCI_INDEX}, */*"}, body_is=INDEX),
        Step("GET", "/v2/{shelf}/manifests/{image}?ns=docker.io", 200, body_is=IMAGE),
        Step(
            "GET",
            _LAYER_PATH,
            200,
            headers={"Accept-Encoding": "zstd, gzip, deflate"},
            has={"Content-Encoding": None},
            body_is=LAYER,
        ),
        Step(
            "GET",
            _LAYER_PATH,
            206,
            headers={"Range": "bytes=400-", "Accept-Encoding": "zstd, gzip, deflate"},
            body_is=LAYER[400:],
        ),
        Step("HEAD", "/v2/{shelf}/manifests/{missing}", 404),
        Step("HEAD", "/v2/{shelf}/blobs/{missing}", 404),
    ),
    story(
        "4.2 podman: GET by tag with six types in lines of their own, resume, no signature",
        Step(
            "GET",
            "/v2/{shelf}/manifests/latest",
            200,
            headers=DOCKER_ACCEPT,
            has={"Content-Type": OCI_MANIFEST},
            body_is=IMAGE,
        ),
        Step("GET", _LAYER_PATH, 200, body_is=LAYER),
        Step("GET", _LAYER_PATH, 206, headers={"Range": "bytes=999-"}, has={"Content-Range": "bytes 999-999/1000"}),
        Step("GET", "/v2/{shelf}/manifests/sha256-" + sha256(IMAGE)[7:] + ".sig", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "4.2 crane: HEAD and GET with one Accept list",
        Step(
            "HEAD",
            "/v2/{shelf}/manifests/latest",
            200,
            headers={"Accept": f"{DOCKER_MANIFEST},{DOCKER_LIST},{OCI_MANIFEST},{OCI_INDEX}"},
            has={"Docker-Content-Digest": "{image}", "Content-Type": OCI_MANIFEST},
        ),
        Step("GET", "/v2/{shelf}/manifests/latest", 200, body_is=IMAGE),
        Step("GET", _LAYER_PATH, 200, has={"Content-Length": "1000"}, body_is=LAYER),
    ),
    story(
        "4.2 oras: HEAD resolve, GET, seek",
        Step(
            "HEAD",
            "/v2/{shelf}/manifests/latest",
            200,
            has={"Docker-Content-Digest": "{image}", "Content-Type": OCI_MANIFEST},
        ),
        Step(
            "GET",
            "/v2/{shelf}/manifests/{image}",
            200,
            has={"Content-Type": OCI_MANIFEST, "Content-Length": str(len(IMAGE))},
        ),
        Step("HEAD", _LAYER_PATH, 200, has={"Accept-Ranges": "bytes", "Content-Length": "1000"}),
        Step("GET", _LAYER_PATH, 206, headers={"Range": "bytes=100-199"}, body_is=LAYER[100:200]),
    ),
    story(
        "4.2 regctl: resume one past the end",
        Step(
            "GET",
            _LAYER_PATH,
            206,
            headers={"Range": "bytes=400-1000"},
            has={"Content-Range": "bytes 400-999/1000"},
            body_is=LAYER[400:],
        ),
    ),
    story(
        "4.2 containerd 2.1: several ranges of one layer",
        *(
            Step(
                "GET",
                _LAYER_PATH,
                206,
                headers={"Range": f"bytes={place}-"},
                has={"Content-Range": f"bytes {place}-999/1000"},
                body_is=LAYER[place:],
            )
            for place in (0, 250, 500, 750)
        ),
    ),
]


@table(*PULLS)
async def test_pull(registry: Address, names: Names, case: Case) -> None:
    """A pull as this client sends it gets what it insists on."""
    await play(registry, names, case)
