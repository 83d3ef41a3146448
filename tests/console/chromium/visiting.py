"""A real browser, and people who visit the console in it."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from playwright.async_api import async_playwright, expect

from console.chromium.watching import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from console.demo import Demo

    Look = Literal["light", "dark"]

WIDTHS = {1280: 900, 390: 844}
_MILLISECONDS = 60_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is not installed: apt-get install chromium fonts-nanum"
    # Root, as whom CI runs, has no sandbox.
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def visit(
    browser: Browser,
    demo: Demo,
    who: str | None = None,
    *,
    language: str = "en",
    look: Look = "light",
    width: int = 1280,
    scale: float = 1,
) -> AsyncIterator[tuple[Page, Watch]]:
    """Open the console as somebody who has signed in, None for a stranger; in the end nothing may have misbehaved."""
    context = await browser.new_context(
        base_url=demo.origin,
        locale={"en": "en-GB", "ko": "ko-KR"}[language],
        timezone_id="Asia/Seoul",
        color_scheme=look,
        viewport={"width": width, "height": WIDTHS[width]},
        device_scale_factor=scale,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(_MILLISECONDS)
    expect.set_options(timeout=_MILLISECONDS)
    watch = Watch(demo.origin)
    await watch.attend(context)
    try:
        page = await context.new_page()
        await page.goto("/")
        if who is not None:
            await sign_in(page, demo, who)
        yield page, watch
        watch.check()
    finally:
        await context.close()


async def sign_in(page: Page, demo: Demo, who: str) -> None:
    """Fill in the form and send it."""
    await page.fill("[name=access_key_id]", demo.keys[who].id)
    await page.fill("[name=secret_key]", demo.keys[who].secret)
    await page.click("main form button")
    await page.wait_for_url("**/console/")
