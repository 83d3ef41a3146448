"""``slipway fsck`` on a running installation: what it says, what it repairs, and that a push mends what was lost."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import orjson

from cli.registry import Registry, run, serving

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG, LAYER = b"{}", b"layer" * 1000


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


MANIFEST = orjson.dumps(
    {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(LAYER, "application/vnd.oci.image.layer.v1.tar")],
    }
)


def push(registry: Registry, content: bytes) -> None:
    assert registry.request("POST", f"/v2/team/app/blobs/uploads/?digest={digest(content)}", content).status == 201


def push_image(registry: Registry) -> None:
    for content in (CONFIG, LAYER):
        push(registry, content)
    assert registry.request("PUT", "/v2/team/app/manifests/v1", MANIFEST, Content_Type=TYPE).status == 201


def object_of(data_dir: Path, content: bytes) -> Path:
    (found,) = [path for path in data_dir.glob("buckets/*/slipway/*/objects/*") if path.read_bytes() == content]
    return found


def fsck(data_dir: Path, *options: str) -> tuple[int, dict[str, Any]]:
    result = run("fsck", "--json", "--data-dir", str(data_dir), *options)
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def words(result: CompletedProcess[str]) -> str:
    return " ".join(result.stdout.split())


def test_a_lost_layer_comes_back_with_the_next_push(data_dir: Path) -> None:
    """It is named with the tag that needs it, unknown once it is withdrawn, and whole after a push of its digest."""
    with serving(data_dir, "--workers", "1") as registry:
        push_image(registry)
        assert fsck(data_dir, "--verify")[0] == 0
        object_of(data_dir, LAYER).unlink()

        code, found = fsck(data_dir)
        table = run("fsck", "--data-dir", str(data_dir), "default")
        repaired = run("fsck", "--repair", "--data-dir", str(data_dir))

        assert (code, found["orphans"], found["missing"], found["damaged"]) == (1, 0, 1, 0)
        (missing,) = found["registries"][0]["missing"]
        assert (missing["digest"], missing["affected"]["tags"]) == (digest(LAYER), ["team/app:v1"])
        for text in (digest(LAYER), "team/app:v1", "0 orphans, 1 missing, 0 damaged", "2 blobs"):
            assert text in words(table), text
        assert (table.returncode, repaired.returncode) == (1, 1)
        assert "withdrawn" in repaired.stdout
        assert registry.request("HEAD", f"/v2/team/app/blobs/{digest(LAYER)}").status == 404
        push(registry, LAYER)
        assert registry.request("GET", f"/v2/team/app/blobs/{digest(LAYER)}").body == LAYER
        assert registry.request("GET", "/v2/team/app/manifests/v1").body == MANIFEST
        assert fsck(data_dir, "--verify")[0] == 0


def test_damage_and_orphans(data_dir: Path) -> None:
    """Other content is found by reading alone; what no row names is named, and left while it is young."""
    with serving(data_dir, "--workers", "1") as registry:
        push_image(registry)
        layer = object_of(data_dir, LAYER)
        layer.write_bytes(LAYER[::-1])
        layer.with_name("f" * 32).write_bytes(b"orphan")

        assert fsck(data_dir)[1] | {"registries": ()} == {"orphans": 1, "missing": 0, "damaged": 0, "registries": ()}
        code, found = fsck(data_dir, "--verify", "--repair", "--orphans")

        assert (code, found["orphans"], found["missing"], found["damaged"]) == (1, 1, 0, 1)
        (only,) = found["registries"]
        assert (only["registry"], only["verified"]) == ("default", 2)
        assert only["orphans"][0]["done"].startswith("left: it is younger")
        assert only["damaged"][0]["done"].startswith("withdrawn")
        table = run("fsck", "--data-dir", str(data_dir))
        assert "f" * 32 in table.stdout
        assert "other content" in words(table)


def test_a_bucket_that_is_away_does_not_keep_the_others(data_dir: Path) -> None:
    """What they lack is reported and repaired; that one could not be asked is said, and is the exit code."""
    with serving(data_dir, "--workers", "1") as registry:
        push_image(registry)
        made = run("registry", "create", "another", "--bucket", "another", "--data-dir", str(data_dir))
        assert made.returncode == 0, made.stderr
        (data_dir / "buckets" / "another").rename(data_dir / "elsewhere")
        object_of(data_dir, LAYER).unlink()

        code, found = fsck(data_dir, "--repair")
        told = run("fsck", "--data-dir", str(data_dir))
        alone = run("fsck", "--data-dir", str(data_dir), "another")

    assert (code, found["missing"]) == (2, 1)
    away, compared = found["registries"]
    assert (away["registry"], compared["registry"], compared["failure"]) == ("another", "default", "")
    assert "is the disk that it lies on mounted?" in away["failure"]
    assert compared["missing"][0]["done"].startswith("withdrawn")
    assert (told.returncode, alone.returncode) == (2, 2)
    assert told.stderr == alone.stderr
    assert told.stderr.startswith("that is not all of another: there is no folder")


def test_what_cannot_be_asked_for(data_dir: Path) -> None:
    """Orphans are removed as a repair only; a registry must exist, and so must the installation."""
    with serving(data_dir, "--workers", "1"):
        alone = run("fsck", "--orphans", "--data-dir", str(data_dir))
        unknown = run("fsck", "nothing", "--data-dir", str(data_dir))
    nowhere = run("fsck", "--data-dir", str(data_dir / "nowhere"))

    assert (alone.returncode, unknown.returncode, nowhere.returncode) == (2, 2, 2)
    assert "goes with --repair" in alone.stderr
    assert unknown.stderr == "slipway: there is no registry nothing\n"
    assert nowhere.stderr.startswith("slipway: there is no installation in")
