"""The pages of images, as a browser without scripts uses them: every one of these is the path without JavaScript."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from gateway.config import Address, Settings
from support.accounts import add_key
from support.postgres import new_database
from support.serving import in_the_background

from .browser import Browser
from .image_addresses import HOSTILE, REGISTRY, image_of, links_of, names_of
from .pushing import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.app.service import Running
    from support.databases import Server

    from .conftest import Office

# --- lists -----------------------------------------------------------------------------------------


@contextmanager
def empty(server: Server, folder: Path, **settings: Any) -> Iterator[tuple[Running, str]]:
    """Run a server that nobody has pushed to, and return the address of its database with it."""
    url = new_database(server.dsn, f"console_{folder.name}"[:60].lower())
    whole = Settings(listen=Address("127.0.0.1", 0), data_dir=folder, database_url=url, **settings)
    with in_the_background(whole) as found:
        yield found, url


def test_an_empty_registry_says_how_to_push(embedded_server: Server, tmp_path: Path) -> None:
    """With the host and port under which the browser sees it, and the visitor's own access key."""
    with empty(embedded_server, tmp_path) as (server, url):
        manager, viewer = (asyncio.run(add_key(url, role, role)) for role in ("manager", "viewer"))
        browser = Browser(server.host, server.port)
        browser.sign_in(manager)
        host = f"localhost:{server.port}"
        page = browser.get(f"{REGISTRY}/images", Host=host)

        assert f"docker login -u {manager.id} {host}" in page.words
        assert f"docker tag hello-world {host}/hello:latest" in page.words
        assert f"docker push {host}/hello:latest" in page.words
        assert Client(server.host, server.port, manager).image("hello", "latest")
        assert names_of(browser.get(f"{REGISTRY}/images")) == ["hello"]
        browser.post(f"{image_of('hello')}/delete")
        browser.sign_in(viewer)
        assert "docker" not in browser.get(f"{REGISTRY}/images").words


def test_commands_name_the_public_host_where_there_is_one(embedded_server: Server, tmp_path: Path) -> None:
    """Not the console's; a server that asks for no login shows none."""
    domains = {
        "default_registry": "default",
        "public_domain": "registry.example",
        "private_domain": "inside.example",
        "console_host": "console.example",
    }
    with empty(embedded_server, tmp_path, open=True, **domains) as (server, _):
        page = Browser(server.host, server.port).get(f"{REGISTRY}/images", Host=f"console.example:{server.port}")

    assert f"docker push default.registry.example:{server.port}/hello:latest" in page.words
    assert re.search(rf"Inside the private network, use [a-z0-9]+[.]inside[.]example:{server.port} instead", page.words)
    assert "docker login" not in page.words


def test_a_registry_without_a_host_says_so(manager: Browser) -> None:
    """Rather than a command that cannot work: this server has no domains."""
    manager.post("/console/new-registry", name="hostless", typed_bucket="hostless-bucket", bucket="")

    page = manager.get("/console/registries/hostless/images")

    assert page.status == 200
    assert "docker push" not in page.words
    assert "no address that clients could use" in page.words


def test_the_list_shows_what_there_is(client: Client, manager: Browser) -> None:
    """And leads to each image, whose slashes are one part of the address."""
    client.image("list/shown", "v1")

    page = manager.get(f"{REGISTRY}/images?search=list%2Fshown")

    assert names_of(page) == ["list/shown"]
    assert image_of("list/shown") in links_of(page)
    assert manager.get(image_of("list/shown")).status == 200


def test_the_list_is_searched_and_sorted(client: Client, manager: Browser) -> None:
    """By name, by the last change and by pulls."""
    for name in ("sorted/b", "sorted/a", "sorted/c"):
        client.image(name, "v1", layer=name.encode())

    def listed(sort: str) -> list[str]:
        return names_of(manager.get(f"{REGISTRY}/images?search=SORTED&sort={sort}"))

    assert listed("name") == ["sorted/a", "sorted/b", "sorted/c"]
    assert listed("changed") == ["sorted/c", "sorted/a", "sorted/b"]
    assert sorted(listed("pulls")) == ["sorted/a", "sorted/b", "sorted/c"]
    nothing = manager.get(f"{REGISTRY}/images?search=<b>nowhere")
    assert "Nothing has “<b>nowhere” in its name." in nothing.words
    assert "<b>nowhere" not in nothing.text
    assert manager.get(f"{REGISTRY}/images?sort=bogus").status == 422


def test_long_lists_have_pages(client: Client, manager: Browser) -> None:
    """Each follows on the one before, without gaps, and keeps what is searched for."""
    wanted = [f"paged/run-{number:02d}" for number in range(60)]
    for name in wanted:
        client.image(name, "v1")

    first = manager.get(f"{REGISTRY}/images?search=paged")
    (further,) = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = manager.get(unescape(further))

    assert names_of(first) + names_of(second) == wanted
    assert f"{REGISTRY}/images?search=paged" in links_of(second)
    assert 'rel="next"' not in second.text


# --- one image -------------------------------------------------------------------------------------


def test_tags_are_shown_with_all_that_is_known(office: Office, client: Client, manager: Browser) -> None:
    """Digest, platforms, size, who pushed it, and the command to pull it from where the browser is."""
    pushed = client.image("tags/all", "v1", layer=b"x" * 2048)
    client.image("tags/all", "v2", layer=b"y")

    page = manager.get(image_of("tags/all"))

    assert names_of(page) == ["v2", "v1"]
    assert pushed["digest"] in page.text
    assert pushed["digest"][7:19] in page.words
    assert "linux/amd64" in page.words
    assert "2.1 KiB" in page.words
    assert "manager" in page.words
    assert f'data-copy="docker pull 127.0.0.1:{office.port}/tags/all:v1"' in page.text
    assert names_of(manager.get(f"{image_of('tags/all')}?search=V1&sort=name")) == ["v1"]


def test_the_pages_of_tags_follow_each_other(client: Client, manager: Browser) -> None:
    """In the order that was asked for."""
    for number in range(55):
        client.image("tags/many", f"t{number:02d}")

    first = manager.get(f"{image_of('tags/many')}?sort=name")
    (further,) = re.findall(r'rel="next" href="([^"]+)"', first.text)

    assert names_of(first) + names_of(manager.get(unescape(further))) == [f"t{number:02d}" for number in range(55)]


def test_pulls_are_drawn_and_told(client: Client, manager: Browser) -> None:
    """As a picture with words for those who do not see it, and as a table."""
    client.image("chart/pulled", "v1")
    before = manager.get(image_of("chart/pulled"))
    assert "Pulls in 90 days: 0." in before.words

    assert [client.pull("chart/pulled", "v1") for _ in range(3)] == [200, 200, 200]
    page = before
    while "Pulls in 90 days: 3." not in page.words:  # counters are written once a second
        page = manager.get(image_of("chart/pulled"))

    assert re.search(r'<svg [^>]*role="img" aria-labelledby="chart-title"', page.text)
    assert page.text.count("<rect ") == 1
    assert re.search(r'<tr><th scope="row">\d{4}-\d\d-\d\d</th><td class="number">3</td></tr>', page.text)
    assert "style=" not in page.text


def test_untagged_manifests_have_a_list(client: Client, manager: Browser) -> None:
    """What an index lists is not among them."""
    child = client.image("untagged/one", layer=b"child")
    client.index("untagged/one", "v1", [child])
    alone = client.image("untagged/one", layer=b"alone")

    page = manager.get(f"{image_of('untagged/one')}/untagged")

    assert f'/untagged/one@{alone["digest"]}"' in page.text
    assert child["digest"] not in page.text
    client.image("untagged/none", "v1")
    assert "Every manifest has a tag" in manager.get(f"{image_of('untagged/none')}/untagged").words


def test_everything_in_a_manifest_is_shown(client: Client, manager: Browser) -> None:
    """Layers, configuration, history, labels and annotations, none of which runs anything."""
    config = {
        "created": "2026-11-20T08:30:12Z",
        "author": HOSTILE,
        "config": {
            "Env": [f"BAD={HOSTILE}"],
            "Entrypoint": ["/bin/tini", "--"],
            "Cmd": ["serve", HOSTILE],
            "User": "1000",
            "WorkingDir": "/app",
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": {HOSTILE: HOSTILE},
        },
        "history": [
            {"created": "2026-11-20T08:30:00Z", "created_by": f"RUN {HOSTILE}", "comment": HOSTILE},
            {"created_by": "ENV A=b", "empty_layer": True},
        ],
    }
    pushed = client.image("manifest/full", "v1", config=config, annotations={HOSTILE: HOSTILE, "plain": "value"})

    page = manager.get(f"{image_of('manifest/full')}/manifests/{quote(pushed['digest'])}")

    assert page.status == 200
    for words in ("linux/amd64", "/bin/tini", "8080/tcp", "/app", "ENV A=b", "no layer", "plain value", "5 B"):
        assert words in page.words
    assert page.text.count("&lt;script&gt;") >= 8
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text


def test_an_index_leads_to_its_platforms_and_referrers(client: Client, manager: Browser) -> None:
    """Each on a page of its own, and those lead back."""
    children = [
        client.image("manifest/index", layer=b"one"),
        client.image("manifest/index", layer=b"two", config={"architecture": "arm64", "variant": "v8"}),
    ]
    whole = client.index("manifest/index", "v1", children)
    bill = client.referrer("manifest/index", whole, "application/spdx+json", note=HOSTILE)
    manifests = f"{image_of('manifest/index')}/manifests"

    page = manager.get(f"{manifests}/{quote(whole['digest'], safe='')}")

    for each in (*children, bill):
        assert f"{manifests}/{quote(each['digest'], safe='')}" in links_of(page)
    assert "application/spdx+json" in page.words
    assert "<script>alert" not in page.text
    refers = manager.get(f"{manifests}/{quote(bill['digest'], safe='')}")
    assert f"{manifests}/{quote(whole['digest'], safe='')}" in links_of(refers)


@pytest.mark.parametrize(
    "path",
    [
        "images/no%2Fsuch",
        "images/No-Name",
        "images/..%2F..%2Faccounts",
        "images/%3Cscript%3E/details",
        "images/known/manifests/sha256:abc",
        f"images/known/manifests/sha256:{'0' * 64}",
        "images/no%2Fsuch/edit",
        "deleted/99999999/restore",
        "deleted/x/restore",
    ],
)
def test_what_is_not_there_is_not_found(client: Client, manager: Browser, path: str) -> None:
    """Whatever the name is made of."""
    client.image("known", "v1")
    send = manager.post if path.endswith("restore") else manager.get

    page = send(f"{REGISTRY}/{path}")

    assert page.status == 404
    assert "<script>" not in page.text.replace("<script src", "")


# --- all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["images", "deleted", "images/korean", "images/korean/untagged", "images/korean/details"]
)
def test_every_page_speaks_korean(office: Office, client: Client, path: str) -> None:
    """And names the language it is in."""
    client.image("korean", "v1")

    page = office.browser("manager", "ko").get(f"{REGISTRY}/{path}")

    assert page.status == 200
    assert '<html lang="ko">' in page.text
    assert re.search("이미지|최근 삭제", page.words)
    assert "Last pulled" not in page.words


def test_no_page_of_images_has_inline_styles_or_scripts(client: Client, manager: Browser) -> None:
    """The policy would not let them work."""
    pushed = client.image("strict", "v1")
    address = image_of("strict")

    for path in (
        f"{REGISTRY}/images",
        address,
        f"{address}/details",
        f"{address}/edit",
        f"{address}/delete",
        f"{address}/manifests/{quote(pushed['digest'], safe='')}",
    ):
        strict = _Strict()
        strict.feed(manager.get(path).text)
        strict.close()


class _Strict(HTMLParser):
    """Finds what a policy without inline scripts and styles forbids."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        assert tag != "style"
        assert tag != "script" or "src" in names
        assert not [name for name in names if name == "style" or name.startswith("on")]
