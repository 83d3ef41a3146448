"""The pages of images, as a browser without scripts uses them: every one of these is the path without JavaScript."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from gateway.config import Address, Settings
from support.accounts import add_key
from support.postgres import new_database
from support.serving import in_the_background

from .browser import Browser
from .pushing import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.app import Running
    from support.databases import Server

    from .browser import Page
    from .conftest import Office

REGISTRY = "/console/registries/default"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def image_of(name: str) -> str:
    return f"{REGISTRY}/images/{quote(name, safe='')}"


def links_of(page: Page) -> list[str]:
    return [unescape(each) for each in re.findall(r'href="([^"]+)"', page.text)]


def names_of(page: Page) -> list[str]:
    """Return what the rows of a list are called."""
    return [unescape(each) for each in re.findall(r'<th scope="row"><a href="[^"]+">([^<]+)</a>', page.text)]


def path_of(location: str) -> str:
    return urlsplit(location).path


def said_in(location: str) -> str:
    return parse_qs(urlsplit(location).query)["said"][0]


@pytest.fixture
def client(office: Office) -> Client:
    return Client(office.host, office.port, office.keys["manager"])


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
    assert "0 pulls in 90 days." in before.words

    assert [client.pull("chart/pulled", "v1") for _ in range(3)] == [200, 200, 200]
    page = before
    while "3 pulls in 90 days." not in page.words:  # counters are written once a second
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

    assert alone["digest"] in page.text
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


# --- descriptions ----------------------------------------------------------------------------------


def test_a_description_is_edited_previewed_and_shown(client: Client, manager: Browser) -> None:
    """Markdown becomes what it means; what is hostile in it stays text."""
    client.image("described", "v1")
    address = image_of("described")
    text = f"# Title\r\n\r\n**bold** {HOSTILE} [evil](javascript:alert(1)) [good](https://e.example)\r\n"
    version = manager.get(f"{address}/edit").values("version")[0]

    preview = manager.post(f"{address}/preview", short_description="Short", description=text, version=version)
    assert preview.status == 200
    assert "<strong>bold</strong>" in preview.text
    assert preview.values("short_description") == ["Short"]
    assert manager.get(address).words.count("This image has no description.") == 1

    saved = manager.post(f"{address}/edit", short_description=f"<i>{HOSTILE[:60]}", description=text, version=version)
    assert path_of(saved.location) == address
    page = manager.get(saved.location)
    for shown in (page, preview):
        assert "<h3>Title</h3>" in shown.text
        assert 'href="https://e.example"' in shown.text
        assert "javascript:" not in " ".join(links_of(shown))
        assert "<script>alert" not in shown.text
        assert "<img src=x" not in shown.text
    assert "The description was saved." in page.words
    assert "&lt;i&gt;" in page.text
    assert "<i>" not in manager.get(f"{REGISTRY}/images?search=described").text


@pytest.mark.parametrize(
    ("short", "description"), [("x" * 101, "fine"), ("fine", "x" * (64 * 1024 + 1)), ("가" * 101, "fine")]
)
def test_what_is_too_long_comes_back(client: Client, manager: Browser, short: str, description: str) -> None:
    """With the reason at its field, and nothing lost."""
    client.image("lengthy", "v1")
    address = image_of("lengthy")
    version = manager.get(f"{address}/edit").values("version")[0]

    page = manager.post(f"{address}/edit", short_description=short, description=description, version=version)

    assert page.status == 422
    assert page.values("short_description") == [short]
    assert page.values("version") == [version]
    assert description in page.text
    assert page.text.count('aria-invalid="true"') == 1


def test_a_hundred_characters_fit(client: Client, manager: Browser) -> None:
    """Characters, not bytes."""
    client.image("hundred", "v1")
    address = image_of("hundred")

    saved = manager.post(f"{address}/edit", short_description="가" * 100, description="", version="")

    assert saved.status == 303
    assert "가" * 100 in manager.get(address).words


def test_leading_space_of_a_description_stays(client: Client, manager: Browser) -> None:
    """Four spaces begin a block of code, and a first empty line is not eaten by the form."""
    client.image("indented", "v1")
    address = image_of("indented")

    manager.post(f"{address}/edit", short_description="", description="\r\n    code\r\n", version="")

    assert "<code>code\n</code>" in manager.get(address).text
    assert re.search(r"<textarea[^>]*>\n\n    code\n</textarea>", manager.get(f"{address}/edit").text)


def test_two_editors_see_each_others_text(client: Client, manager: Browser) -> None:
    """Whoever saves later loses nothing, sees what the other wrote, and may replace it."""
    client.image("contested", "v1")
    address = image_of("contested")
    version = manager.get(f"{address}/edit").values("version")[0]
    manager.post(f"{address}/edit", short_description="theirs", description="their words", version=version)

    conflict = manager.post(f"{address}/edit", short_description="mine", description="my words", version=version)

    assert conflict.status == 412
    assert conflict.values("short_description") == ["mine"]
    for words in ("Somebody else has changed this image meanwhile", "theirs", "their words", "my words"):
        assert words in conflict.words
    (newer,) = conflict.values("version")
    again = manager.post(f"{address}/edit", short_description="mine", description="my words", version=newer)
    assert again.status == 303
    assert "my words" in manager.get(address).words


# --- protecting, deleting, restoring -----------------------------------------------------------------


def test_tags_are_protected_by_a_switch(client: Client, manager: Browser) -> None:
    """From then on a push to one that exists is refused, until they may move again."""
    client.image("protected", "v1")
    address = image_of("protected")
    (wanted,) = manager.get(f"{address}/details").values("tags_mutable")
    assert wanted == "no"

    switched = manager.post(f"{address}/mutability", tags_mutable=wanted)
    assert "are protected" in manager.get(switched.location).words
    assert client.push_again("protected", "v1", "other") != 201
    (wanted,) = manager.get(f"{address}/details").values("tags_mutable")
    manager.post(f"{address}/mutability", tags_mutable=wanted)
    assert client.push_again("protected", "v1", "other") == 201


def test_selected_images_are_deleted_after_a_question(client: Client, manager: Browser) -> None:
    """Which says how many they are and for how long that can be undone; images that went meanwhile do no harm."""
    for name in ("selected/a", "selected/b", "selected/c"):
        client.image(name, "v1")
    address = f"{REGISTRY}/delete-images"

    question = manager.post(address, image=["selected/a", "selected/b"])
    assert question.status == 200
    assert "Delete 2 images?" in question.words
    assert "undone for 7 days" in question.words
    assert question.values("image") == ["selected/a", "selected/b"]
    assert len(names_of(manager.get(f"{REGISTRY}/images?search=selected"))) == 3

    done = manager.post(address, image=[*question.values("image"), "selected/gone"], confirmed="yes")
    assert "2 images were deleted" in manager.get(done.location).words
    assert names_of(manager.get(f"{REGISTRY}/images?search=selected")) == ["selected/c"]


def test_nothing_selected_is_said(client: Client, manager: Browser) -> None:
    """Above the list from which to select."""
    client.image("unselected", "v1")

    page = manager.post(f"{REGISTRY}/delete-images")

    assert page.status == 422
    assert "Select the images to delete first." in page.words
    assert 'type="checkbox"' in page.text


@pytest.mark.parametrize("kind", ["image", "tag", "manifest"])
def test_each_thing_is_deleted_after_a_question_and_restored(client: Client, manager: Browser, kind: str) -> None:
    """And the page says what has happened, with its name."""
    name = f"deleted/{kind}"
    pushed = client.image(name, "v1")
    client.image(name, "v2", layer=b"stays")
    manifest = f"{image_of(name)}/manifests/{quote(pushed['digest'], safe='')}"
    asked, shown = {
        "image": (f"{image_of(name)}/delete", name),
        "tag": (f"{image_of(name)}/tags/v1/delete", f"{name}:v1"),
        "manifest": (f"{manifest}/delete", f"{name}@{pushed['digest'][7:19]}"),
    }[kind]

    question = manager.get(asked)
    assert "undone for 7 days" in question.words
    assert client.pull(name, "v1") == 200
    done = manager.post(asked, confirmed="yes")
    assert "deleted. It can be restored" in manager.get(done.location).words
    assert client.pull(name, "v1") == 404

    listed = manager.get(f"{REGISTRY}/deleted")
    assert shown in listed.words
    restored = manager.post(_restore_of(listed, shown))
    assert said_in(restored.location) == "restored_restored"
    assert "is back." in manager.get(restored.location).words
    assert client.pull(name, "v1") == 200


def test_a_manifest_that_an_index_lists_stays(client: Client, manager: Browser) -> None:
    """The refusal is shown on its page, and nothing is lost."""
    child = client.image("kept/child", layer=b"kept")
    client.index("kept/child", "v1", [child])

    page = manager.post(f"{image_of('kept/child')}/manifests/{quote(child['digest'], safe='')}/delete", confirmed="yes")

    assert 400 <= page.status < 500
    assert 'role="alert"' in page.text
    assert client.pull("kept/child", child["digest"]) == 200


def test_an_image_goes_with_its_last_manifest(client: Client, manager: Browser) -> None:
    """So that the browser is led to a page that exists."""
    pushed = client.image("last/manifest", "v1")

    done = manager.post(f"{image_of('last/manifest')}/manifests/{quote(pushed['digest'], safe='')}/delete")

    assert manager.get(done.location).status == 200


def test_a_tag_whose_name_is_taken_comes_back_untagged(client: Client, manager: Browser) -> None:
    """As the page says."""
    old = client.image("taken/tag", "v1", layer=b"old")
    manager.post(f"{image_of('taken/tag')}/manifests/{quote(old['digest'], safe='')}/delete")
    client.image("taken/tag", "v1", layer=b"new")

    restored = manager.post(_restore_of(manager.get(f"{REGISTRY}/deleted"), f"taken/tag@{old['digest'][7:19]}"))

    page = manager.get(restored.location)
    assert "whose names are taken" in page.words or "name is taken" in page.words
    assert old["digest"] in manager.get(f"{image_of('taken/tag')}/untagged").text


def test_an_image_whose_name_is_taken_joins_the_living_one(client: Client, manager: Browser) -> None:
    """And the page names the tags that stay away."""
    client.image("taken/image", "v1", layer=b"old")
    client.image("taken/image", "v2", layer=b"older")
    manager.post(f"{image_of('taken/image')}/delete")
    client.image("taken/image", "v1", layer=b"new")

    restored = manager.post(_restore_of(manager.get(f"{REGISTRY}/deleted"), "taken/image"))

    words = manager.get(restored.location).words
    assert "There is another image of this name meanwhile." in words
    assert "which it has already: v1." in words
    assert client.pull("taken/image", "v2") == 200


def _restore_of(page: Page, name: str) -> str:
    """Return where the form is sent that restores this."""
    (action,) = re.findall(rf'action="([^"]+)">[^/]*?/?>?<button aria-label="Restore {re.escape(name)}"', page.text)
    return unescape(action)


# --- who may ----------------------------------------------------------------------------------------


def test_a_viewer_sees_and_changes_nothing(office: Office, client: Client) -> None:
    """No buttons, and no way around that."""
    pushed = client.image("viewed", "v1")
    viewer = office.browser("viewer")
    address = image_of("viewed")
    manifest = f"{address}/manifests/{quote(pushed['digest'], safe='')}"

    seen = (f"{REGISTRY}/images", address, f"{address}/untagged", f"{address}/details", manifest, f"{REGISTRY}/deleted")
    for path in seen:
        page = viewer.get(path)
        assert page.status == 200
        assert 'type="checkbox"' not in page.text
        assert not re.search(r'class="[^"]*danger|/edit"|/restore"|/mutability"|delete-images', page.text)
    asked = (f"{address}/edit", f"{address}/delete", f"{address}/tags/v1/delete", f"{manifest}/delete")
    for path in asked:
        assert viewer.get(path).status == 403
        assert viewer.post(path, description="x", short_description="", confirmed="yes").status == 403
    for path in (f"{address}/preview", f"{address}/mutability", f"{REGISTRY}/delete-images"):
        assert viewer.post(path, image="viewed", confirmed="yes").status == 403
    assert client.pull("viewed", "v1") == 200


def test_a_manager_of_the_registry_changes_its_images(office: Office, client: Client) -> None:
    """As much as a manager of all."""
    client.image("local", "v1")
    browser = office.browser("local-manager")

    assert browser.post(f"{image_of('local')}/edit", short_description="mine", description="").status == 303
    assert browser.post(f"{image_of('local')}/delete").status == 303


def test_who_has_no_role_finds_nothing(office: Office, client: Client) -> None:
    """Not even that there is a registry."""
    client.image("hidden", "v1")

    assert office.browser("nobody").get(image_of("hidden")).status == 404


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
