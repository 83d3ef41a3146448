"""What the pages of images do better with scripts, under their real policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import expect

from console.chromium.visiting import visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from console.chromium.watching import Watch
    from console.demo import Demo
    from console.pushing import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = "/console/registries/trials/images"


@pytest.fixture(scope="module")
def client(demo: Demo) -> Client:
    """A client of a registry that these tests have for themselves."""
    demo.ask("POST", "registries", {"name": "trials", "bucket": "trials-images"})
    return demo.client("trials")


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, demo: Demo) -> AsyncIterator[tuple[Page, Watch]]:
    """A page in which somebody has signed in, and what watches it."""
    async with visit(browser, demo, "root") as seen:
        yield seen


@pytest.fixture
def page(visitor: tuple[Page, Watch]) -> Page:
    """The page alone."""
    return visitor[0]


async def test_lists_follow_what_is_typed(client: Client, page: Page) -> None:
    """The address follows too, so that going back, and sharing it, mean what they look like."""
    client.image("typed/first", "v1")
    client.image("typed/second", "v1")
    await page.goto(IMAGES)

    await page.get_by_role("searchbox").press_sequentially("typed/sec")

    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page).to_have_url(re.compile(re.escape("?search=typed%2Fsec&sort=name")))
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.get_by_role("searchbox").fill("typed")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.go_back()
    await expect(page.locator("tbody tr")).to_have_count(1)


async def test_deleting_asks_in_a_dialog(client: Client, visitor: tuple[Page, Watch]) -> None:
    """Which can be left by button and by keyboard, and tells what is missing."""
    page, watch = visitor
    watch.expected.add(422)
    client.image("dialog/a", "v1")
    client.image("dialog/b", "v1")
    await page.goto(f"{IMAGES}?search=dialog")
    dialog, button = page.get_by_role("dialog"), page.get_by_role("button", name="Delete selected")

    await button.click()
    await expect(dialog).to_contain_text("Select the images to delete first.")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()

    for box in await page.get_by_role("checkbox").all():
        await box.check()
    await button.click()
    await expect(dialog).to_contain_text("Delete 2 images?")
    await expect(dialog.get_by_text("Keep")).to_be_focused()
    await dialog.get_by_text("Keep").click()
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)

    await button.click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("status")).to_contain_text("Images deleted: 2.")


async def test_a_preview_leaves_the_form_alone(client: Client, page: Page) -> None:
    """So that one can go on writing."""
    client.image("previewed", "v1")
    await page.goto(f"{IMAGES}/previewed/edit")

    await page.get_by_label("Full description").fill("**bold**")
    await page.get_by_role("button", name="Preview").click()

    await expect(page.locator("#preview strong")).to_have_text("bold")
    await expect(page.get_by_label("Full description")).to_have_value("**bold**")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_contain_text("was saved")
    await expect(page.locator(".markdown strong")).to_have_text("bold")


async def test_commands_and_digests_are_copied(demo: Demo, client: Client, page: Page) -> None:
    """Whole, whatever is shown of them."""
    pushed = client.image("copied", "v1")
    await page.goto(f"{IMAGES}/copied")
    digest = page.get_by_role("button", name=f"Copy {pushed['digest'][7:19]}")
    command = page.locator("td [data-copy^='docker pull']")

    await digest.click()
    await expect(digest).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == pushed["digest"]
    await command.click()
    await expect(command).to_have_text("Copied")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == f"docker pull trials.registries.test:{demo.port}/copied:v1"


async def test_a_session_that_is_over_leads_to_signing_in(client: Client, page: Page) -> None:
    """Rather than to a button that does nothing."""
    client.image("signed-out", "v1")
    await page.goto(f"{IMAGES}/signed-out")
    await page.context.clear_cookies()

    await page.get_by_role("link", name="Delete the tag v1").click()

    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
