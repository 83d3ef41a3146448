"""``slipway pulls`` on a real installation: what was pulled is what it says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from cli.registry import eventually, run, serving

if TYPE_CHECKING:
    from pathlib import Path

TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"
DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
MANIFEST = orjson.dumps(
    {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": len(CONFIG)},
        "layers": [],
    }
)


def test_pulls_are_told_as_lists_and_by_image(data_dir: Path) -> None:
    """Pulls by tag and digest, resolutions by GET and HEAD, the history of today; a name that is unknown is refused."""
    with serving(data_dir, "--workers", "2") as registry:
        registry.request("POST", f"/v2/team/app/blobs/uploads/?digest={DIGEST}", CONFIG)
        assert registry.request("PUT", "/v2/team/app/manifests/v1", MANIFEST, Content_Type=TYPE).status == 201
        for method, reference in (("HEAD", "v1"), ("GET", "v1"), ("GET", f"sha256:{sha256(MANIFEST)}")):
            assert registry.request(method, f"/v2/team/app/manifests/{reference}").status == 200

        def told() -> list[dict[str, object]]:
            done = run("pulls", "default", "--json", "--data-dir", str(data_dir))
            assert done.returncode == 0, done.stderr
            found: list[dict[str, object]] = orjson.loads(done.stdout)
            return found

        # A second after they were counted, they are told.
        eventually(lambda: told()[0]["pulls"] == 2, "two pulls")
        assert [(each["repository"], each["last_pulled"] is not None) for each in told()] == [("team/app", True)]

        image = run("pulls", "default", "team/app", "--json", "--data-dir", str(data_dir))
        (shown,) = orjson.loads(image.stdout)
        assert [(tag["tag"], tag["pulls"], tag["resolutions"]) for tag in shown["tags"]] == [("v1", 2, 2)]
        assert [day["count"] for day in shown["history"]] == [2]
        table = run("pulls", "default", "team/app", "--data-dir", str(data_dir))
        assert "team/app" in table.stdout
        assert "resolutions" in table.stdout
        unknown = run("pulls", "default", "team/nothing", "--data-dir", str(data_dir))
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "has no image team/nothing" in unknown.stderr


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
