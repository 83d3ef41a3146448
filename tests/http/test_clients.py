"""Protocol 4.1: pushes as real clients send them, request by request, as read in their sources."""

from __future__ import annotations

from .content import (
    BLOB,
    CONFIG,
    DOCKER_ACCEPT,
    DOCKER_IMAGE,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_JSON,
    IMAGE,
    LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    artifact,
    descriptor,
    image,
    index,
    sha256,
)
from .rows import Case, Names, Step, blob, manifest, play, pushed, start, story, table
from .uploads import OPENED, at, status
from .wire import Address, Bare, Chunked

_POST = "/v2/{repo}/blobs/uploads/"
_OCI = {"Content-Type": OCI_MANIFEST}


def _created(content: bytes) -> dict[str, str]:
    digest = sha256(content)
    return {"Location": f"/v2/{{repo}}/blobs/{digest}", "Docker-Content-Digest": digest, "Content-Length": "0"}


def docker(content: bytes) -> list[Step]:
    """Push a layer as docker's classic engine does: ask, POST, one streamed PATCH, empty PUT, and ask again."""
    return [
        Step("HEAD", f"/v2/{{repo}}/blobs/{sha256(content)}", 404),
        Step("POST", _POST, 202, has=OPENED),
        Step("PATCH", "{location}", 202, body=Chunked.of(content[:700], content[700:]), has=at(len(content) - 1)),
        Step("PUT", f"{{location}}?digest={sha256(content)}", 201, has=_created(content)),
        Step("HEAD", f"/v2/{{repo}}/blobs/{sha256(content)}", 200, has={"Content-Length": str(len(content))}),
    ]


def containerd(content: bytes) -> list[Step]:
    """Push as containerd does: ask, POST, one PUT with a length; an empty blob goes chunked."""
    body = content or Chunked.of()
    headers = {"Content-Type": "application/octet-stream"}
    return [
        Step(
            "HEAD",
            f"/v2/{{repo}}/blobs/{sha256(content)}",
            404,
            headers={"Accept": "application/vnd.oci.image.layer.v1.tar, */*"},
        ),
        Step("POST", _POST, 202, has=OPENED),
        Step("PUT", f"{{location}}?digest={sha256(content)}", 201, headers=headers, body=body, has=_created(content)),
    ]


def crane(content: bytes, mount: str = "") -> list[Step]:
    """Push as ggcr does: POST as JSON with mount, from and origin; a streamed PATCH; an empty PUT."""
    query = f"?from=no%2Fsuch&mount={sha256(content)}&origin=index.docker.io" if mount else ""
    headers = {"Content-Type": "application/json"}
    return [
        Step("HEAD", f"/v2/{{repo}}/blobs/{sha256(content)}", 404),
        Step("POST", _POST + query, 202, headers=headers, has=OPENED),
        Step("PATCH", "{location}", 202, body=Chunked.of(content), has=at(len(content) - 1)),
        Step("PUT", f"{{location}}?digest={sha256(content)}", 201, body=Bare(), has=_created(content)),
    ]


_STATEMENT = b'{"_type":"https://in-toto.io/Statement/v0.1"}'
ATTESTATION = image(layers=[descriptor(_STATEMENT, "application/vnd.in-toto+json")])
WITH_ATTESTATION = index(
    manifests=[
        descriptor(IMAGE, OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(ATTESTATION, OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"}),
    ],
)
CACHE_CONFIG = b'{"layers":[{"blob":"x"}],"records":[]}'
_CACHED = [descriptor(LAYER, OCI_LAYER), descriptor(CACHE_CONFIG, "application/vnd.buildkit.cacheconfig.v0")]
CACHE = index(manifests=_CACHED)
DOCKER_CACHE = index(manifests=_CACHED, mediaType=DOCKER_LIST)
HELM_CHART = image(
    config=descriptor(EMPTY_JSON, "application/vnd.cncf.helm.config.v1+json"),
    layers=[descriptor(LAYER, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
)

PUSHES = [
    story(
        "4.1 docker, classic store: an image with two blobs, its manifest by tag",
        *docker(LAYER),
        *docker(CONFIG),
        Step(
            "PUT",
            "/v2/{repo}/manifests/latest",
            201,
            headers={"Content-Type": DOCKER_MANIFEST},
            body=DOCKER_IMAGE,
            has={"Docker-Content-Digest": "{docker}"},
        ),
        Step(
            "HEAD",
            "/v2/{repo}/manifests/latest",
            200,
            headers=DOCKER_ACCEPT,
            has={"Content-Type": DOCKER_MANIFEST, "Docker-Content-Digest": "{docker}"},
        ),
    ),
    story(
        "4.1 docker again: layers exist, tried by HEAD, mounted elsewhere, HEAD after the mount",
        *docker(LAYER),
        Step("HEAD", "/v2/{repo}/blobs/{layer}", 200, has={"Content-Length": "1000"}),
        Step(
            "POST",
            "/v2/{repo}/copy/blobs/uploads/?from={repo}&mount={layer}",
            201,
            has={"Location": "/v2/{repo}/copy/blobs/{layer}"},
        ),
        Step("HEAD", "/v2/{repo}/copy/blobs/{layer}", 200, has={"Content-Length": "1000"}),
    ),
    story(
        "4.1 containerd: blobs, children by digest, root by tag; a second push finds everything",
        *containerd(LAYER),
        *containerd(CONFIG),
        *containerd(b""),
        Step("HEAD", "/v2/{repo}/manifests/{image}", 404, headers={"Accept": f"{OCI_MANIFEST}, */*"}),
        Step("PUT", "/v2/{repo}/manifests/{image}", 201, headers=_OCI, body=IMAGE),
        Step("HEAD", "/v2/{repo}/manifests/v1", 404, headers={"Accept": f"{OCI_INDEX}, */*"}),
        Step("PUT", "/v2/{repo}/manifests/v1", 201, headers={"Content-Type": OCI_INDEX}, body=index(IMAGE)),
        Step(
            "HEAD",
            "/v2/{repo}/manifests/v1",
            200,
            has={"Docker-Content-Digest": sha256(index(IMAGE)), "Content-Type": OCI_INDEX},
        ),
    ),
    story(
        "4.1 containerd with a source label: mount first, then PUT with the decoded path and sorted parameters",
        *blob(LAYER, "{repo}/source"),
        Step("POST", _POST + "?from={repo}/source&mount={layer}", 201),
        Step("POST", _POST + "?from={repo}/source&mount={config}", 202, has=OPENED),
        Step("PUT", "{location}?digest={config}&zz=1", 201, body=CONFIG, has=_created(CONFIG)),
    ),
    story(
        "4.1 podman, skopeo: one PATCH with a length, then PUT without body; the manifest's type is a guess",
        Step("HEAD", "/v2/{repo}/blobs/{layer}", 404),
        Step("POST", _POST, 202, has=OPENED),
        Step("PATCH", "{location}", 202, headers={"Content-Type": "application/octet-stream"}, body=LAYER, has=at(999)),
        Step(
            "PUT",
            "{location}?digest={layer}",
            201,
            headers={"Content-Type": "application/octet-stream"},
            has=_created(LAYER),
        ),
        Step("POST", _POST, 202, has=OPENED),
        Step("PATCH", "{location}", 202, body=Chunked.of(CONFIG), has=at(len(CONFIG) - 1)),
        Step("PUT", "{location}?digest={config}", 201, has=_created(CONFIG)),
        Step("PUT", "/v2/{repo}/manifests/v1", 201, body=IMAGE),
        Step("GET", "/v2/{repo}/manifests/sha256-" + sha256(IMAGE)[7:] + ".sig", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "4.1 crane: mount that fails, streamed PATCH, empty PUT, manifest",
        Step("GET", "/v2/", 200),
        *crane(LAYER, mount="yes"),
        *crane(CONFIG),
        Step("HEAD", "/v2/{repo}/manifests/v1", 404, headers={"Accept": OCI_MANIFEST}),
        Step("PUT", "/v2/{repo}/manifests/v1", 201, headers=_OCI, body=IMAGE),
    ),
    story(
        "4.1 kaniko: permission check by POST and DELETE, then as crane",
        Step("POST", _POST, 202, headers={"Content-Type": "application/json"}, has=OPENED),
        Step("DELETE", "{location}", 204),
        *crane(LAYER),
        Step("GET", "{first}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    ),
    story(
        "4.1 regctl: anonymous mount first, the whole blob by PUT",
        Step("HEAD", "/v2/{repo}/blobs/{missing}", 404),
        Step("POST", _POST + "?mount=" + sha256(b"regctl's own"), 202, has=OPENED),
        Step(
            "PUT",
            "{location}?digest=" + sha256(b"regctl's own"),
            201,
            body=b"regctl's own",
            has=_created(b"regctl's own"),
        ),
        Step("POST", _POST + "?mount=" + sha256(b"regctl's own"), 201, has=_created(b"regctl's own")),
    ),
    story(
        "4.1 regctl falls back to chunks: out of order once, status, then on; DELETE on abort",
        start(),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "0-999"}, body=BLOB[:1000], has=at(999)),
        Step("PATCH", "{location}", 416, headers={"Content-Range": "0-999"}, body=BLOB[:1000], has={"Range": "0-999"}),
        status(999),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "1000-1999"}, body=BLOB[1000:2000], has=at(1999)),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "2000-2047"}, body=BLOB[2000:], has=at(2047)),
        Step("PUT", "{location}?digest={blob}", 201, has=_created(BLOB)),
        start(),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "0-9"}, body=BLOB[:10], has=at(9)),
        Step("DELETE", "{location}", 204),
    ),
    story(
        "4.1 oras: blobs by HEAD, POST, PUT; manifest by digest, then by tag; then referrers with its ping",
        *containerd(EMPTY_JSON),
        Step(
            "PUT",
            "/v2/{repo}/manifests/" + sha256(artifact(IMAGE, "a/b")),
            201,
            headers=_OCI,
            body=artifact(IMAGE, "a/b"),
            has={"OCI-Subject": "{image}"},
        ),
        manifest("v1", artifact(IMAGE, "a/b")),
        Step("GET", "/v2/{repo}/referrers/sha256:" + "0" * 64, 200, has={"Content-Type": OCI_INDEX}),
        Step(
            "GET",
            "/v2/{repo}/referrers/{image}?artifactType=a%2Fb&n=100",
            200,
            has={"Content-Type": OCI_INDEX, "OCI-Filters-Applied": "artifactType"},
        ),
        Step("DELETE", "/v2/{repo}/manifests/" + sha256(artifact(IMAGE, "a/b")), 202),
    ),
    story(
        "4.1 buildkit: image index with an attestation, all by HEAD first",
        *pushed(),
        *blob(_STATEMENT),
        Step("HEAD", "/v2/{repo}/manifests/{image}", 404),
        manifest(sha256(IMAGE)),
        manifest(sha256(ATTESTATION), ATTESTATION),
        manifest("v1", WITH_ATTESTATION, OCI_INDEX),
        Step("GET", "/v2/{repo}/manifests/v1", 200, body_is=WITH_ATTESTATION),
    ),
    story(
        "1.8 buildkit cache, image-manifest=false: layers and the cache's config are children of an index",
        *containerd(LAYER),
        *containerd(CACHE_CONFIG),
        manifest("cache", CACHE, OCI_INDEX),
        Step("GET", "/v2/{repo}/manifests/cache", 200, has={"Content-Type": OCI_INDEX}, body_is=CACHE),
        Step("PUT", "/v2/{repo}/manifests/cache-docker", 201, headers={"Content-Type": DOCKER_LIST}, body=DOCKER_CACHE),
    ),
    story(
        "1.8 buildkit cache, image-manifest=true: an image whose config is the cache's",
        *containerd(LAYER),
        *containerd(CACHE_CONFIG),
        manifest("cache", image(config=descriptor(CACHE_CONFIG, "application/vnd.buildkit.cacheconfig.v0"))),
    ),
    story(
        "4.1 helm: a chart is an artifact; its tag has _ where the version has +",
        *blob(EMPTY_JSON),
        *blob(LAYER),
        manifest("1.0.0_build5", HELM_CHART),
        Step("HEAD", "/v2/{repo}/manifests/1.0.0+build5", 404),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["1.0.0_build5"]}),
    ),
    story(
        "3.2 C1: the second chunk first, the first, the first again on the old address, status there, the second",
        start(),
        Step("PATCH", "{location}", 416, headers={"Content-Range": "3-5"}, body=b"def"),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "0-2"}, body=b"abc", has={"Range": "0-2"}),
        Step("PATCH", "{first}", 416, headers={"Content-Range": "0-2"}, body=b"abc"),
        Step("GET", "{first}", 204, has={"Range": "0-2"}),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "3-5"}, body=b"def", has={"Range": "0-5"}),
        Step("PUT", "{location}?digest=" + sha256(b"abcdef"), 201),
    ),
    story(
        "3.1 C2: out of order, the last chunk in a PUT ahead of time, recovery",
        start(),
        Step("PATCH", "{location}", 416, headers={"Content-Range": "1024-2047"}, body=BLOB[1024:]),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "0-1023"}, body=BLOB[:1024], has=at(1023)),
        Step("PUT", "{location}?digest={blob}", 416, headers={"Content-Range": "2000-2047"}, body=BLOB[2000:]),
        Step("GET", "{location}?digest={blob}", 204, has={"Range": "0-1023"}),
        Step("PUT", "{location}?digest={blob}", 201, headers={"Content-Range": "1024-2047"}, body=BLOB[1024:]),
        Step("GET", "/v2/{repo}/blobs/{blob}", 200, body_is=BLOB),
    ),
]


@table(*PUSHES)
async def test_push(registry: Address, names: Names, case: Case) -> None:
    """A push as this client sends it succeeds with exactly the answers that it insists on."""
    await play(registry, names, case)
