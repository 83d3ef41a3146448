"""Describing, protecting, deleting and restoring images, and who may: as a browser without scripts does it."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from .image_addresses import HOSTILE, REGISTRY, image_of, links_of, names_of, path_of, said_in

if TYPE_CHECKING:
    from .browser import Browser, Page
    from .conftest import Office
    from .pushing import Client


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


def test_untagged_manifests_are_kept_or_not(client: Client, manager: Browser) -> None:
    """For a number of days, for ever when the field is empty; what is no number is refused beside the field."""
    client.image("aging", "v1")
    address = image_of("aging")
    assert "They are kept for ever" in manager.get(f"{address}/details").words

    saved = manager.post(f"{address}/untagged-days", untagged_days="30")
    assert "are deleted after that time" in manager.get(saved.location).words
    assert manager.get(f"{address}/details").values("untagged_days") == ["30"]
    for wrong in ("0", "soon", "9" * 30):
        refused = manager.post(f"{address}/untagged-days", untagged_days=wrong)
        assert refused.status == 422
        assert 'aria-invalid="true"' in refused.text

    manager.post(f"{address}/untagged-days", untagged_days="")
    assert "They are kept for ever" in manager.get(f"{address}/details").words


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

    alone = manager.post(address, image="selected/c")
    assert "Delete the image selected/c?" in alone.words

    done = manager.post(address, image=[*question.values("image"), "selected/gone"], confirmed="yes")
    assert "Images deleted: 2." in manager.get(done.location).words
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
