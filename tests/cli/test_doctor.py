"""``slipway doctor``: what it says of good set-ups and of bad ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.folders import open_folder
from support.postgres import new_database
from support.tls import make_tls

from .registry import run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from support.databases import Server
    from support.seaweed import SeaweedFS


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for data directories."""
    with open_folder() as folder:
        yield folder


def examined(result: CompletedProcess[str]) -> dict[str, list[dict[str, str]]]:
    return {each["subject"]: each["findings"] for each in json.loads(result.stdout)}


def test_a_good_installation(folder: Path) -> None:
    """Everything that was looked at is named; the exit code is 0, while it serves and when it does not."""
    data_dir = folder / "data"
    with serving(data_dir):
        running = run("doctor", "--data-dir", str(data_dir))
    resting = run("doctor", "--data-dir", str(data_dir), "--json")

    assert (running.returncode, running.stderr) == (0, "")
    for subject in ("configuration", "database", "registry default, bucket default"):
        assert subject in running.stdout
    assert (resting.returncode, resting.stderr) == (0, "")
    assert examined(resting) == {"configuration": [], "database": [], "registry default, bucket default": []}


def test_a_disk_that_is_not_mounted(folder: Path) -> None:
    """A folder in its place would take what is pushed, and hide it once the disk is back: it is missed, not made."""
    data_dir = folder / "data"
    with serving(data_dir):
        pass
    away = (data_dir / "buckets").rename(folder / "away")
    missing = f"there is no folder {data_dir / 'buckets' / 'default'}: is the disk that it lies on mounted?"

    result = run("doctor", "--data-dir", str(data_dir), "--json")
    assert result.returncode == 1
    assert any(missing in each["reason"] for each in examined(result)["registry default, bucket default"])

    refused = run("serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"slipway: {missing}")
    assert not (data_dir / "buckets").exists()
    away.rename(data_dir / "buckets")
    assert run("doctor", "--data-dir", str(data_dir)).returncode == 0


def test_nothing_to_look_at(folder: Path) -> None:
    """One line says where there is nothing, and nothing is made there."""
    result = run("doctor", "--data-dir", str(folder / "data"))

    assert result.returncode == 2
    assert result.stderr.startswith("slipway: there is no installation in")
    assert not (folder / "data").exists()


def test_a_bad_bucket(embedded_server: Server, seaweed: SeaweedFS, folder: Path) -> None:
    """Before the first start it is named with reason and mend; the start is refused with the same words."""
    seaweed.create_bucket("doctor")
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    set_lifecycle(seaweed, [rule])
    environment = {
        "SLIPWAY_DATABASE_URL": new_database(embedded_server.dsn, "doctor"),
        **seaweed.environment("doctor"),
        "SLIPWAY_CONSOLE_HOST": "",
        "SLIPWAY_PUBLIC_DOMAIN": "registries.test",
        "SLIPWAY_DEFAULT_REGISTRY": "default",
    }
    table = run("doctor", **environment)
    result = run("doctor", "--json", **environment)
    refused = run("serve", "--open", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data"), **environment)

    assert (table.returncode, result.returncode, refused.returncode) == (1, 1, 2)
    found = examined(result)
    assert [each["what"] for each in found["configuration"]] == ["console_host", "encryption_key"]
    assert [each["what"] for each in found["database"]] == ["schema"]
    (only,) = found["bucket doctor"]
    assert (only["severity"], only["what"]) == ("error", "lifecycle rule old")
    for text in (table.stdout, refused.stderr):
        assert only["reason"].split(",")[0] in " ".join(text.split())
    assert refused.stderr.count("\n") == 1
    seaweed.delete_bucket("doctor")


def set_lifecycle(seaweed: SeaweedFS, rules: list[dict[str, Any]]) -> None:
    client = seaweed.client()
    try:
        client.put_bucket_lifecycle_configuration(Bucket="doctor", LifecycleConfiguration={"Rules": rules})
    finally:
        client.close()


def test_a_bucket_that_another_installation_has(folder: Path) -> None:
    """The second start is refused in one line, the doctor of the first is content."""
    mine, theirs = folder / "mine", folder / "theirs"
    with serving(mine):
        pass
    theirs.mkdir()
    (theirs / "buckets").symlink_to(mine / "buckets")

    refused = run("serve", "--open", "--listen", "127.0.0.1:0", "--data-dir", str(theirs))

    assert refused.returncode == 2
    assert "another installation" in refused.stderr
    assert run("doctor", "--data-dir", str(mine)).returncode == 0
    (mine / "buckets" / "default" / "slipway" / "registry.json").unlink()
    (finding,) = examined(run("doctor", "--data-dir", str(mine), "--json"))["registry default, bucket default"]
    assert (finding["severity"], finding["what"]) == ("warning", "marker")
    with serving(mine):
        pass
    assert examined(run("doctor", "--data-dir", str(mine), "--json"))["registry default, bucket default"] == []


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ((-1, 15), []),
        ((-1, 13), [("warning", "end")]),
        ((-2, -1), [("error", "end")]),
        ((1, 90), [("error", "begin")]),
    ],
)
def test_certificates(folder: Path, days: tuple[int, int], found: list[tuple[str, str]]) -> None:
    """They end, and should not do so by surprise."""
    data_dir = folder / "data"
    with serving(data_dir):
        pass
    make_tls(folder, begins=days[0], ends=days[1])

    result = run("doctor", "--data-dir", str(data_dir), "--json", **certificate(folder, "certificate.pem", "key.pem"))

    (subject,) = set(examined(result)) - {"configuration", "database", "registry default, bucket default"}
    assert subject == f"certificate {folder / 'certificate.pem'}"
    assert [(each["severity"], each["what"]) for each in examined(result)[subject]] == found


def test_a_certificate_whose_key_is_another(folder: Path) -> None:
    """Also where private endpoints have one of their own; a start would be refused."""
    data_dir, other = folder / "data", folder / "other"
    other.mkdir()
    with serving(data_dir):
        pass
    make_tls(folder, ends=90)
    make_tls(other, ends=90)
    private = certificate(folder, "certificate.pem", "other/key.pem", "PRIVATE_")
    private |= {"SLIPWAY_PRIVATE_LISTEN": "127.0.0.1:0", "SLIPWAY_PRIVATE_DOMAIN": "private.test"}
    public = certificate(folder, "other/certificate.pem", "other/key.pem")

    result = run("doctor", "--data-dir", str(data_dir), "--json", **private, **public)

    assert result.returncode == 1
    assert examined(result)[f"certificate {other / 'certificate.pem'}"] == []
    (only,) = examined(result)[f"certificate {folder / 'certificate.pem'}"]
    assert (only["severity"], only["what"]) == ("error", "files")


def certificate(folder: Path, chain: str, key: str, listener: str = "") -> dict[str, str]:
    return {f"SLIPWAY_{listener}TLS_CERTIFICATE": str(folder / chain), f"SLIPWAY_{listener}TLS_KEY": str(folder / key)}
