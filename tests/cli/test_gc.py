"""``slipway gc`` on a running installation: what would go, why something is kept, and what goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cli.registry import Registry, run, serving
from support.folders import open_folder

from .test_fsck import CONFIG, LAYER, digest, push, push_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALONE = b"a blob that no manifest needs"


def gc(data_dir: Path, *options: str) -> Any:
    result = run("gc", "--json", "--data-dir", str(data_dir), *options)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def stored(data_dir: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in data_dir.glob("buckets/*/slipway/*/objects/*"))


def delete_image(registry: Registry) -> None:
    found = registry.request("HEAD", "/v2/team/app/manifests/v1")
    place = f"/v2/team/app/manifests/{found.headers['Docker-Content-Digest']}"
    assert registry.request("DELETE", place).status == 202


def test_a_round_by_hand(data_dir: Path) -> None:
    """It keeps to the times of the configuration, or to --grace; a dry run changes nothing and says the same."""
    with serving(data_dir, "--workers", "1") as registry:
        push_image(registry)
        push(registry, ALONE)
        assert gc(data_dir)["repository_blobs"] == 0
        assert stored(data_dir) == sorted([CONFIG, LAYER, ALONE])

        expected = {"repository_blobs": 1, "blobs": 1, "bytes": len(ALONE), "manifests": 0}
        for _ in range(2):
            assert expected.items() <= gc(data_dir, "--grace", "0", "--dry-run").items()
        done = gc(data_dir, "--grace", "0")
        assert {**expected, "removed_objects": 1, "freed_bytes": len(ALONE), "failures": 0}.items() <= done.items()
        assert stored(data_dir) == sorted([CONFIG, LAYER])

        delete_image(registry)
        assert gc(data_dir)["manifests"] == 0
        done = gc(data_dir, "--grace", "0", "--registry", "default")
        assert {"manifests": 1, "tags": 1, "blobs": 2, "bytes": len(CONFIG + LAYER)}.items() <= done.items()
        assert stored(data_dir) == []
        assert registry.request("HEAD", f"/v2/team/app/blobs/{digest(LAYER)}").status == 404


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_registry_whose_bucket_cannot_be_told_is_left(data_dir: Path, *, is_folder: bool) -> None:
    """It is said, and counted, once: the marker cannot be read, or is none."""
    with serving(data_dir, "--workers", "1") as registry:
        push(registry, ALONE)
    marker = data_dir / "buckets" / "default" / "slipway" / "registry.json"
    marker.unlink()
    if is_folder:
        marker.mkdir()
    else:
        marker.write_bytes(b"somebody else's")

    result = run("gc", "--json", "--data-dir", str(data_dir), "--grace", "0")

    assert (result.returncode, result.stderr) == (1, "")
    done = json.loads(result.stdout)
    assert (done["failures"], done["blobs"], len(done["objections"])) == (1, 0, 1)
    assert stored(data_dir) == [ALONE]
    # What keeps something is known all the same: the database tells it.
    assert "grace" in run("gc", "--data-dir", str(data_dir), "--why", digest(ALONE)).stdout


def test_what_people_see(data_dir: Path) -> None:
    """Figures with units, and the chain that keeps a digest."""
    with serving(data_dir, "--workers", "1") as registry:
        push_image(registry)
        push(registry, ALONE)
    base = ("gc", "--data-dir", str(data_dir))

    estimated = run(*base, "--dry-run", "--grace", "0").stdout
    assert "would go" in estimated
    assert f"{len(ALONE)} B" in estimated
    assert "removed from the storage" not in estimated  # it cannot tell, and 0 would be wrong
    why = run(*base, "--why", digest(LAYER)).stdout
    assert "default/team/app" in why
    assert f"-> blob {digest(LAYER)}" in why
    assert "tag v1 -> image sha256:" in why
    assert "grace" in run(*base, "--why", digest(ALONE)).stdout
    assert "Nothing has" in run(*base, "--why", digest(b"never seen")).stdout
    went = run(*base, "--grace", "0")
    assert (went.returncode, went.stderr) == (0, "")
    assert f"{len(ALONE)} B" in went.stdout
    assert "removed from the storage" in went.stdout


@pytest.fixture(scope="module")
def untouched() -> Iterator[Path]:
    """The data directory of an installation that no test changes."""
    with open_folder() as folder, serving(folder / "data", "--workers", "1"):
        yield folder / "data"


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--why", "sha256:short"], 2, "a sha256 digest does not have this form"),
        (["--why", digest(LAYER), "--dry-run"], 2, "exclude each other"),
        (["--grace", "-1"], 2, "-1"),
        (["--registry", "nowhere"], 2, "there is no registry nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(untouched: Path, options: list[str], status: int, said: str) -> None:
    """In a sentence."""
    result = run("gc", "--data-dir", str(untouched), *options)

    assert result.returncode == status
    assert said in " ".join(result.stderr.split())
