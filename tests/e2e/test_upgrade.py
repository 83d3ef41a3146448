"""The previous release and this program serve side by side on one database and one storage, as in a rolling upgrade."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from e2e.images import MEBIBYTE, medium_image, noise, small_image, write_oci_layout
from e2e.processes import eventually
from e2e.server import REPOSITORY_ROOT, Servers, s3_settings
from e2e.uploads import cut_off_upload, send_rest, status_of
from e2e.wire import Wire, sha256
from support.accounts import Key
from support.postgres import new_database
from support.previous_release import unpack_previous_release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.engines import Containers
    from e2e.images import Image
    from e2e.server import Server
    from support.databases import Server as Postgres
    from support.seaweed import SeaweedFS

ROOT = Key("upgrader", "chosen-for-the-tests-of-upgrades-1")
PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")
CONTENT = noise("upgrade", 40 * MEBIBYTE + 11)
DIGEST = sha256(CONTENT)


@dataclass
class Pair:
    """Both programs on one database and one storage; the previous one was there first."""

    servers: Servers
    database_url: str
    previous_code: Path
    previous: Server
    current: Server

    def __post_init__(self) -> None:
        for server in (self.previous, self.current):
            server.wire.headers["Authorization"] = ROOT.basic

    def schema(self) -> int:
        """Return the version of the database's schema."""
        return asyncio.run(_fetch_schema(self.database_url))

    @property
    def wires(self) -> tuple[Wire, Wire]:
        """The wires of both, the previous one first."""
        return self.previous.wire, self.current.wire


async def _fetch_schema(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT max(version) FROM schema_migrations"))
    finally:
        await connection.close()


def migrations_of(code: Path) -> int:
    """Count the migrations that a program knows."""
    return len(list((code / "sql" / "migrations").glob("*.sql")))


@pytest.fixture(scope="module")
def previous_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release's code; running it runs nothing of this program."""
    folder = unpack_previous_release(tmp_path_factory.mktemp("previous"))
    show = "import gateway, gateway.db.statements as s; print(gateway.__file__, s.sql_folder(), sep='\\n')"
    found = subprocess.run([sys.executable, "-c", show], cwd=folder, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [str(folder / "gateway" / "__init__.py"), str(folder / "sql")]
    return folder


@pytest.fixture(scope="module", params=["filesystem", "s3"])
def pair(
    request: pytest.FixtureRequest, workplace: Path, previous_code: Path, embedded_server: Postgres
) -> Iterator[Pair]:
    """Start the previous release on an empty database, and then this program beside it."""
    settings = {
        "SLIPWAY_DATABASE_URL": new_database(embedded_server.dsn, f"upgrade_{uuid4().hex}"),
        "SLIPWAY_ROOT_ACCESS_KEY_ID": ROOT.id,
        "SLIPWAY_ROOT_SECRET_KEY": ROOT.secret,
        "SLIPWAY_WORKERS": "2",
    }
    if request.param == "s3":
        seaweed: SeaweedFS = request.getfixturevalue("seaweed")
        settings |= s3_settings(seaweed, f"upgrade-{uuid4().hex}", "proxy")
    with closing(Servers(workplace / f"upgrade-{request.param}", settings)) as servers:
        made = Pair(
            servers, settings["SLIPWAY_DATABASE_URL"], previous_code, servers.make(previous_code), servers.make()
        )
        made.previous.start()
        assert made.schema() == migrations_of(previous_code)
        made.current.start()
        assert made.schema() == migrations_of(REPOSITORY_ROOT)
        yield made


def push(containers: Containers, image: Image, server: Server, repository: str, desk: Path) -> None:
    """Push an image with skopeo, as tag v1."""
    layout = desk / f"layout-{server.port}-{repository.replace('/', '-')}"
    write_oci_layout(image, "v1", layout)
    target = f"docker://{server.address}/{repository}:v1"
    credentials = f"{ROOT.id}:{ROOT.secret}"
    containers.skopeo("copy", "--preserve-digests", *PLAIN, f"--dest-creds={credentials}", f"oci:{layout}:v1", target)


def test_images_of_one_are_pulled_from_the_other(containers: Containers, pair: Pair, desk: Path) -> None:
    """What skopeo pushes to either is whole at both, with layers that both have had."""
    for number, (one, other) in enumerate(((pair.previous, pair.current), (pair.current, pair.previous))):
        image = medium_image(f"upgrade {number}")
        push(containers, image, one, f"upgrade/pushed-{number}", desk)
        push(containers, image, other, f"upgrade/pushed-{number}-again", desk)
        for wire in pair.wires:
            assert wire.verify(f"upgrade/pushed-{number}", "v1") == image.digest
            assert wire.verify(f"upgrade/pushed-{number}-again", "v1") == image.digest


@pytest.mark.parametrize("first", [0, 1])
def test_steps_of_an_upload_alternate(pair: Pair, first: int) -> None:
    """Each chunk goes to the other program, and so does the end; the blob is right at both."""
    repository = f"upgrade/alternating-{first}"
    one, other = pair.wires[first], pair.wires[1 - first]
    session = one.start_upload(repository)
    size = 7 * MEBIBYTE + 1
    for number, start in enumerate(range(0, len(CONTENT), size)):
        answer = (other, one)[number % 2].append(session, start, CONTENT[start : start + size])
        assert (answer.status, answer.stored) == (202, min(start + size, len(CONTENT))), answer.body
        session = answer.location
    finished = (other, one)[(len(CONTENT) - 1) // size % 2].finish(session, DIGEST)
    assert finished.status == 201, finished.body
    for wire in pair.wires:
        assert wire.blob(repository, DIGEST) == CONTENT


@pytest.mark.parametrize("first", [0, 1])
def test_upload_that_was_cut_off_goes_on_at_the_other(pair: Pair, first: int) -> None:
    """Bytes of a request that was cut off at one program are the other one's to continue."""
    repository = f"upgrade/cut-{first}"
    one, other = pair.wires[first], pair.wires[1 - first]
    session = one.start_upload(repository)
    cut_off_upload(one, session, CONTENT, send=30 * MEBIBYTE)
    eventually(lambda: status_of(other, session).stored > 0, "the bytes of the cut request to be reported")
    status = status_of(other, session)
    finished = send_rest(other, status.location, status.stored, CONTENT)
    assert finished.status == 201, finished.body
    assert one.blob(repository, DIGEST) == CONTENT


@pytest.mark.parametrize("first", [0, 1])
def test_token_of_one_holds_at_the_other(pair: Pair, first: int) -> None:
    """A token that one program has signed pushes and pulls at the other."""
    one, other = pair.wires[first], pair.wires[1 - first]
    repository = f"upgrade/token-{first}"
    answer = one.request("GET", f"/token?scope=repository:{repository}:pull,push")
    assert answer.status == 200, answer.body
    bearer = Wire(other.address, {"Authorization": f"Bearer {json.loads(answer.body)['token']}"})
    digest = bearer.push_blob(repository, CONTENT[:MEBIBYTE])
    assert bearer.blob(repository, digest) == CONTENT[:MEBIBYTE]
    assert bearer.request("GET", f"/v2/upgrade/another/blobs/{digest}").status == 401


@pytest.mark.parametrize("first", [0, 1])
def test_deletes_and_restores_hold_at_both(containers: Containers, pair: Pair, desk: Path, first: int) -> None:
    """An image that one program deletes is gone at the other, which restores it; a tag goes the other way."""
    one, other = pair.wires[first], pair.wires[1 - first]
    repository = f"upgrade/deleted-{first}"
    image = small_image(repository)
    push(containers, image, (pair.previous, pair.current)[first], repository, desk)
    assert other.verify(repository, "v1") == image.digest

    escaped = repository.replace("/", "%2F")
    assert one.request("DELETE", f"/api/registries/default/images/{escaped}").status == 204
    assert {wire.request("HEAD", f"/v2/{repository}/manifests/v1").status for wire in pair.wires} == {404}
    restore_last(other)
    assert [wire.verify(repository, "v1") for wire in pair.wires] == [image.digest] * 2

    assert other.request("DELETE", f"/v2/{repository}/manifests/v1").status == 202
    assert {wire.request("HEAD", f"/v2/{repository}/manifests/v1").status for wire in pair.wires} == {404}
    restore_last(one)
    assert [wire.verify(repository, "v1") for wire in pair.wires] == [image.digest] * 2


def restore_last(wire: Wire) -> None:
    """Bring back what was deleted last."""
    listed = wire.request("GET", "/api/registries/default/deleted")
    assert listed.status == 200, listed.body
    number = json.loads(listed.body)["items"][0]["id"]
    restored = wire.request("POST", f"/api/registries/default/deleted/{number}/restore")
    assert restored.status == 200, restored.body


def test_previous_release_comes_back(pair: Pair) -> None:
    """While the new program serves, the previous one can leave and come back, on the schema that it does not know."""
    session = pair.previous.wire.append(pair.previous.wire.start_upload("upgrade/back"), 0, CONTENT[:MEBIBYTE]).location
    pair.previous.stop()
    digest = pair.current.wire.push_blob("upgrade/meanwhile", CONTENT[:MEBIBYTE])
    pair.previous.start()
    assert pair.previous.wire.blob("upgrade/meanwhile", digest) == CONTENT[:MEBIBYTE]
    finished = send_rest(pair.previous.wire, session, MEBIBYTE, CONTENT)
    assert finished.status == 201, finished.body
    assert pair.current.wire.blob("upgrade/back", DIGEST) == CONTENT
