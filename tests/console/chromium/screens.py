"""Every screen of the console: what is looked at by axe, and photographed by ``make screenshots``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from console.demo import image_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playwright.async_api import Page

_TEAM = "/console/registries/team"


@dataclass(frozen=True)
class Screen:
    """One state of one page, and how to get there."""

    name: str
    path: str
    who: str | None = "root"
    then: Callable[[Page], Awaitable[None]] | None = None
    """What is done on the page before it is looked at."""
    status: int | None = None
    """A refusal that belongs to it."""


async def _fail_to_sign_in(page: Page) -> None:
    await page.fill("[name=access_key_id]", "nobody")
    await page.fill("[name=secret_key]", "nothing")
    await page.click("main form button")
    await page.wait_for_selector("[role=alert]")


async def _refuse_a_name(page: Page) -> None:
    await page.fill("[name=name]", "No!")
    await page.fill("[name=typed_bucket]", "some-bucket")
    await page.click("main form button")
    await page.wait_for_selector("[aria-invalid=true]")


async def _select_two(page: Page) -> None:
    for name in ("shop/api", "tools/migrate"):
        await page.check(f"input[value='{name}']")
    await page.click("#results > .tools button")
    await page.wait_for_selector("dialog[open] #question")


async def _ask_for_a_tag(page: Page) -> None:
    await page.click("td.tools a.danger >> nth=0")
    await page.wait_for_selector("dialog[open] #question")


async def _preview(page: Page) -> None:
    await page.click("form.panel .tools button:not(.primary)")
    await page.wait_for_selector("#preview table")


async def _meet_a_conflict(page: Page) -> None:
    await page.evaluate("document.querySelector('[name=version]').value = 1")
    await page.fill("[name=short_description]", "Another word for it")
    await page.click("form.panel .tools button.primary")
    await page.wait_for_selector(".conflict")


async def _open_manifest(page: Page) -> None:
    await page.click("th[scope=row] a >> nth=0")
    await page.wait_for_url("**/manifests/**")


async def _open_child(page: Page) -> None:
    await _open_manifest(page)
    index = page.url
    await page.click("th[scope=row] a >> nth=0")
    await page.wait_for_url(lambda url: "/manifests/" in url and url != index)


async def _open_all(page: Page) -> None:
    await page.eval_on_selector_all("main details", "all => all.forEach(each => { each.open = true; })")


async def _open_own_key(page: Page) -> None:
    await page.click("th[scope=row] a >> nth=0")
    await page.wait_for_url("**/console/keys/*")
    await _open_all(page)


async def _make_a_key(page: Page) -> None:
    await page.select_option("[name=account]", "newcomer")
    await page.click("#new button.primary")
    await page.wait_for_selector("dl.facts")


SCREENS = (
    Screen("sign-in", "/console/sign-in", None),
    Screen("sign-in-refused", "/console/sign-in", None, _fail_to_sign_in, status=401),
    Screen("registries", "/console/"),
    Screen("registries-none", "/console/", "newcomer"),
    Screen("new-registry", "/console/new-registry"),
    Screen("new-registry-refused", "/console/new-registry", then=_refuse_a_name, status=422),
    Screen("first-push", "/console/registries/fresh/images"),
    Screen("images", f"{_TEAM}/images"),
    Screen("images-of-a-viewer", f"{_TEAM}/images", "guest"),
    Screen("images-none-found", f"{_TEAM}/images?search=nothing"),
    Screen("images-delete", f"{_TEAM}/images", then=_select_two),
    Screen("image", image_path("shop/web")),
    Screen("image-opened", image_path("shop/web"), then=_open_all),
    Screen("image-without-description", image_path("shop/api")),
    Screen("image-delete-tag", image_path("shop/api"), then=_ask_for_a_tag),
    Screen("image-untagged", image_path("shop/web", "untagged")),
    Screen("image-no-untagged", image_path("tools/migrate", "untagged")),
    Screen("image-details", image_path("shop/web", "details")),
    Screen("image-protected", image_path("base/debian", "details")),
    Screen("image-edit", image_path("shop/web", "edit")),
    Screen("image-preview", image_path("shop/web", "edit"), then=_preview),
    Screen("image-conflict", image_path("shop/web", "edit"), then=_meet_a_conflict, status=412),
    Screen("image-delete", image_path("shop/web", "delete")),
    Screen("manifest-of-an-index", image_path("shop/web"), then=_open_manifest),
    Screen("manifest", image_path("shop/web"), then=_open_child),
    Screen("deleted", f"{_TEAM}/deleted"),
    Screen("deleted-none", "/console/registries/fresh/deleted"),
    Screen("settings", f"{_TEAM}/settings", then=_open_all),
    Screen("settings-of-a-viewer", f"{_TEAM}/settings", "guest"),
    Screen("audit-of-a-registry", f"{_TEAM}/audit"),
    Screen("accounts", "/console/accounts"),
    Screen("account", "/console/accounts/mina", then=_open_all),
    Screen("account-root", "/console/accounts/root"),
    Screen("keys", "/console/keys", then=_open_all),
    Screen("key", "/console/keys", then=_open_own_key),
    Screen("key-secret", "/console/keys", then=_make_a_key),
    Screen("audit", "/console/audit", then=_open_all),
    Screen("not-found", "/console/nothing", status=404),
)


async def show(page: Page, screen: Screen) -> None:
    """Bring a screen up."""
    await page.goto(screen.path)
    if screen.then is not None:
        await screen.then(page)
