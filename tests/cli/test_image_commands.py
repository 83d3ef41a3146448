"""The commands of images and tags."""

from __future__ import annotations

import asyncio
import io
import re
import sys
from typing import TYPE_CHECKING

import pytest

from admin.memory import Memory
from admin.memory_images import DIGEST
from cli.managing import Slipway
from console.pushing import Client
from gateway.cli.output import binary_size
from gateway.config import Address, Settings
from support.accounts import EVERYWHERE, add_key
from support.postgres import new_database
from support.serving import in_the_background

if TYPE_CHECKING:
    from pathlib import Path

    from support.databases import Server


def test_lists(slipway: Slipway) -> None:
    """What the API lists is a table for people and whole as JSON."""
    found = slipway("image", "list", "team", "--json").json
    assert [each["name"] for each in found] == ["app/api", "app/web", "base"]
    table = slipway("image", "list", "team", "--sort", "pulls").out
    assert table.split()[:3] == ["name", "short", "description"]
    assert "The app/web." in table
    assert [each["name"] for each in slipway("image", "list", "team", "--search", "API", "--json").json] == ["app/api"]
    assert slipway("image", "list", "team", "--search", "none").out == "No such images.\n"
    assert len(slipway("image", "list", "team", "--limit", "2", "--json").json) == 2

    tags = slipway("tag", "list", "team", "app/web", "--sort", "pushed")
    assert str(DIGEST) in tags.out
    assert "linux/arm64" in tags.out
    assert "99 B" in tags.out
    assert [each["tag"] for each in slipway("tag", "list", "team", "app/web", "--json").json] == ["latest", "v1"]
    assert len(slipway("image", "manifests", "team", "app/web", "--json").json) == 2
    assert "latest" in slipway("image", "manifests", "team", "app/web").out
    assert "latest" not in slipway("image", "manifests", "team", "app/web", "--untagged").out


def test_shows(slipway: Slipway) -> None:
    """An image with its description, a manifest with what is in it."""
    image = slipway("image", "show", "team", "app/web")
    assert re.search(r"^size +1\.2 KiB$", image.out, re.MULTILINE)
    assert image.out.endswith("\n\n# It\n")
    manifest = slipway("image", "show", "team", f"app/web@{DIGEST}")
    assert re.search(r"^config: command +/bin/app$", manifest.out, re.MULTILINE)
    assert "x/signature" in manifest.out.partition("\nreferrers\n")[2]
    assert slipway("image", "show", "team", f"app/web@{DIGEST}", "--json").json["layers"][0]["size"] == 5


def test_describing(slipway: Slipway, tmp_path: Path) -> None:
    """What is named changes and the rest stays; a description comes from a file or from standard input."""
    file = tmp_path / "README.md"
    file.write_text("# Shop\n", encoding="utf-8")
    described = slipway("image", "describe", "team", "app/web", "--short", "가게", "--file", str(file), "--json").json
    assert (described["short_description"], described["description"]) == ("가게", "# Shop\n")
    assert slipway("image", "describe", "team", "app/web", "--no-tags-mutable", "--json").json["tags_mutable"] is False
    for days, shown in ((30, 30), (0, None)):
        changed = slipway("image", "describe", "team", "app/web", "--untagged-days", str(days), "--json").json
        assert changed["untagged_days"] == shown
    assert slipway("image", "show", "team", "app/web", "--json").json["description"] == "# Shop\n"
    slipway.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("여기\x1b[2J".encode()), "utf-8"))
    assert slipway("image", "describe", "team", "app/web", "--file", "-").out.endswith("\n\n여기\ufffd[2J\n")


def test_deleting_and_restoring(slipway: Slipway) -> None:
    """Several go at once, each says how it is undone, and that command undoes it."""
    deleted = slipway("image", "delete", "team", "app/web", "base", "--yes")
    lines = deleted.out.splitlines()
    assert lines[0] == "app/web is deleted. To undo it: slipway image restore team app/web"
    assert len(lines) == 2
    assert slipway("image", "show", "team", "base").code == 1
    listed = slipway("image", "restore", "team", "--json").json
    assert [each["image"] for each in listed] == ["base", "app/web"]
    assert "app/web" in slipway("image", "restore", "team").out

    restored = slipway(*lines[0].partition("slipway ")[2].split())
    assert "app/web" in restored.out
    assert slipway("image", "restore", "team", "--id", str(listed[0]["id"]), "--json").json["outcome"] == "joined"
    assert slipway("image", "restore", "team").out == "Nothing can be restored.\n"


def test_deleting_tags_and_manifests(slipway: Slipway) -> None:
    """They are named as other programs name them, also to be restored."""
    tags = slipway("tag", "delete", "team", "app/web", "latest", "v1", "--yes", "--json").json
    assert tags == {"deleted": ["app/web:latest", "app/web:v1"]}
    assert slipway("image", "delete", "team", f"app/web@{DIGEST}", "--yes").code == 0
    for name in ("app/web:v1", f"app/web@{DIGEST}", "app/web:latest"):
        assert slipway("image", "restore", "team", name, "--json").json["image"] == "app/web"
    assert slipway("image", "restore", "team", "--json").json == []


def test_one_refusal_does_not_keep_the_others(slipway: Slipway) -> None:
    """What could be deleted is, what could not is said, and the exit code tells."""
    ended = slipway("image", "delete", "team", "none", "app/api", "no/ne", "--yes", "--json")
    assert ended.code == 1
    assert ended.json == {"deleted": ["app/api"]}
    assert ended.err.count("\n") == 1
    assert ended.err.count("no image") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["image", "show", "team", "none"], 1, "none"),
        (["image", "list", "none"], 1, "there is no registry none"),
        (["image", "list", "team", "--sort", "size"], 2, "'name'"),
        (["image", "describe", "team", "app/web"], 2, "--no-tags-mutable"),
        (["image", "describe", "team", "app/web", "--short", "x" * 101], 1, "100 characters"),
        (["image", "describe", "team", "app/web", "--file", "nowhere.md"], 2, "nowhere.md"),
        (["image", "restore", "team", "none"], 1, "`slipway image restore team` lists what can"),
        (["image", "restore", "team", "--id", "9"], 1, "there is nothing"),
        (["image", "restore", "team", "app/web", "--id", "9"], 2, "exclude each other"),
        (["image", "delete", "team"], 2, "IMAGE"),
        (["tag", "delete", "team", "app/web", "v9", "--yes"], 1, "v9"),
    ],
)
def test_refusals_are_one_sentence(slipway: Slipway, arguments: list[str], code: int, sentence: str) -> None:
    """As everywhere: exit code 1 is a refusal, 2 a wrong command."""
    ended = slipway(*arguments)

    assert (ended.code, ended.out) == (code, "")
    assert sentence in ended.err


def test_a_description_is_text(slipway: Slipway, tmp_path: Path) -> None:
    """Other files are refused before anything is sent."""
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff")

    ended = slipway("image", "describe", "team", "app/web", "--file", str(file))

    assert ended.code == 2
    assert "is no text in UTF-8" in ended.err


def test_nothing_is_deleted_without_a_yes(slipway: Slipway) -> None:
    """The question names what goes."""
    slipway.monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    ended = slipway("tag", "delete", "team", "app/web", "v1", "latest")

    assert ended.code == 1
    assert "app/web:v1, app/web:latest from team" in ended.err
    assert slipway.memory.images.gone == []


def test_a_terminal_sees_how_far_it_is(slipway: Slipway) -> None:
    """On standard error only, and only on a terminal: what is piped stays clean."""
    quiet = slipway("image", "delete", "team", "app/web", "app/api", "--yes")
    assert quiet.err == ""
    slipway.monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shown = slipway("tag", "list", "team", "base", "--json")
    assert "Reading" in shown.err
    assert len(shown.json) == 2


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """In the largest binary unit that they reach."""
    assert binary_size(size) == text


@pytest.mark.parametrize("way", ["local", "remote"])
def test_on_a_real_installation(
    way: str,
    embedded_server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image is pushed, described, protected, deleted and brought back; a name that was taken is told."""
    url = new_database(embedded_server.dsn, f"cli_images_{way}")
    settings = Settings(listen=Address("127.0.0.1", 0), data_dir=tmp_path / "data", database_url=url)
    with in_the_background(settings) as server:
        key = asyncio.run(add_key(url, "boss", "manager", registry_id=EVERYWHERE))
        if way == "remote":
            monkeypatch.setenv("SLIPWAY_URL", f"http://{server.host}:{server.port}")
            monkeypatch.setenv("SLIPWAY_ACCESS_KEY_ID", key.id)
            monkeypatch.setenv("SLIPWAY_SECRET_KEY", key.secret)
        else:
            monkeypatch.setenv("SLIPWAY_DATABASE_URL", url)
            monkeypatch.setenv("SLIPWAY_DATA_DIR", str(tmp_path / "data"))
        slipway, client = Slipway(Memory(), capsys, monkeypatch), Client(server.host, server.port, key)
        client.image("shop/web", "v1", layer=b"one")
        pushed = slipway("tag", "list", "default", "shop/web", "--json").json
        assert [(each["tag"], each["platforms"], each["pushed_by"]) for each in pushed] == [
            ("v1", ["linux/amd64"], "boss")
        ]
        slipway("image", "describe", "default", "shop/web", "--no-tags-mutable", "--short", "Our shop")
        assert client.push_again("shop/web", "v1", "another") == 403
        assert slipway("image", "list", "default", "--json").json[0]["short_description"] == "Our shop"

        slipway("image", "delete", "default", "shop/web", "--yes")
        assert client.pull("shop/web", "v1") == 404
        client.image("shop/web", "v1", layer=b"two")
        joined = slipway("image", "restore", "default", "shop/web", "--json").json
        assert joined["outcome"] == "joined"
        assert "v1" in joined["message"]
        assert len(slipway("image", "manifests", "default", "shop/web", "--json").json) == 2
        slipway("tag", "delete", "default", "shop/web", "v1", "--yes")
        assert client.pull("shop/web", "v1") == 404
        assert slipway("image", "restore", "default", "shop/web:v1").code == 0
        assert client.pull("shop/web", "v1") == 200
