"""What the pages of images do better with scripts, in a real browser under their real policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from e2e.processes import find_program

from .image_addresses import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from .conftest import Office
    from .pushing import Client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for this module."""
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=find_program("chromium", "chromium"), args=["--no-sandbox"]) as browser,
    ):
        yield browser


@pytest.fixture
def page(office: Office, chromium: Browser) -> Iterator[Page]:
    """A page in which a manager has signed in; whatever its console complains of is a failure."""
    with chromium.new_context(base_url=f"http://localhost:{office.port}", locale="en") as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page, complaints = context.new_page(), []
        page.on(
            "console", lambda each: complaints.append(each.text) if "Content Security Policy" in each.text else None
        )
        page.on("pageerror", lambda each: complaints.append(str(each)))
        key = office.keys["manager"]
        page.goto("/console/sign-in")
        page.get_by_label("Access key id").fill(key.id)
        page.get_by_label("Secret key").fill(key.secret)
        page.get_by_role("button", name="Sign in").click()
        yield page
        assert complaints == []


def test_lists_follow_what_is_typed(client: Client, page: Page) -> None:
    """The address follows too, so that going back, and sharing it, mean what they look like."""
    client.image("typed/first", "v1")
    client.image("typed/second", "v1")
    page.goto(f"{REGISTRY}/images")

    page.get_by_role("searchbox").press_sequentially("typed/sec")

    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(re.escape("?search=typed%2Fsec&sort=name")))
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").fill("typed")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_deleting_asks_in_a_dialog(client: Client, page: Page) -> None:
    """Which can be left by button and by keyboard, and tells what is missing."""
    client.image("dialog/a", "v1")
    client.image("dialog/b", "v1")
    page.goto(f"{REGISTRY}/images?search=dialog")
    dialog, button = page.get_by_role("dialog"), page.get_by_role("button", name="Delete selected")

    button.click()
    expect(dialog).to_contain_text("Select the images to delete first.")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    for box in page.get_by_role("checkbox").all():
        box.check()
    button.click()
    expect(dialog).to_contain_text("Delete 2 images?")
    expect(dialog.get_by_text("Keep")).to_be_focused()
    dialog.get_by_text("Keep").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)

    button.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("Images deleted: 2.")


def test_a_preview_leaves_the_form_alone(client: Client, page: Page) -> None:
    """And nothing that a description contains runs."""
    client.image("previewed", "v1")
    page.goto(f"{REGISTRY}/images/previewed/edit")
    hostile = "**bold** <img src=x onerror=document.title='run'> <script>document.title='run'</script>"

    page.get_by_label("Full description").fill(hostile)
    page.get_by_role("button", name="Preview").click()

    expect(page.locator("#preview strong")).to_have_text("bold")
    expect(page.get_by_label("Full description")).to_have_value(hostile)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("was saved")
    expect(page.locator(".markdown strong")).to_have_text("bold")
    expect(page).not_to_have_title("run")


def test_commands_and_digests_are_copied(office: Office, client: Client, page: Page) -> None:
    """Whole, whatever is shown of them."""
    pushed = client.image("copied", "v1")
    page.goto(f"{REGISTRY}/images/copied")

    page.get_by_role("button", name=f"Copy {pushed['digest'][7:19]}").click()
    expect(page.get_by_role("row", name="v1")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == pushed["digest"]
    page.get_by_role("row", name="v1").get_by_text("docker pull").click()
    expect(page.get_by_role("row", name="v1").get_by_text("Copied")).to_have_count(2)
    assert page.evaluate("navigator.clipboard.readText()") == f"docker pull localhost:{office.port}/copied:v1"


def test_a_session_that_is_over_leads_to_signing_in(client: Client, page: Page) -> None:
    """Rather than to a button that does nothing."""
    client.image("signed-out", "v1")
    page.goto(f"{REGISTRY}/images/signed-out")
    page.context.clear_cookies()

    page.get_by_role("link", name="Delete the tag v1").click()

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
