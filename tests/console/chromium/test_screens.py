"""Each screen in a real browser: for people who cannot see it, in the dark, and on a telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from console.chromium.screens import SCREENS, Screen, show
from console.chromium.visiting import WIDTHS, visit
from console.chromium.watching import accessibility_faults

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

    from console.chromium.visiting import Look
    from console.demo import Demo

pytestmark = pytest.mark.asyncio(loop_scope="session")

# In the dark, colours differ and nothing else does.
_LOOKS: dict[Look, tuple[str, ...]] = {"light": (), "dark": ("color-contrast",)}
_TOO_WIDE = """() => [...document.querySelectorAll("body *")]
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
    .filter(each => !each.closest(".table, .scrolls, pre, .hidden"))
    .map(each => each.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("screen", SCREENS, ids=lambda each: each.name)
async def test_everybody_can_use_it(browser: Browser, demo: Demo, screen: Screen) -> None:
    """Axe finds nothing serious, light and dark, wide and narrow; nothing sticks out of the narrow page."""
    async with visit(browser, demo, screen.who) as (page, watch):
        watch.expected |= {screen.status} if screen.status else set()
        await show(page, screen)
        faults = []
        for width, height in WIDTHS.items():
            await page.set_viewport_size({"width": width, "height": height})
            for look, rules in _LOOKS.items():
                await page.emulate_media(color_scheme=look)
                found = await accessibility_faults(page, *rules)
                faults += [f"{screen.name}, {look}, {width} pixels wide:", *found] if found else []
            wide = await _too_wide(page)
            faults += [f"{screen.name} is wider than {width} pixels:", *wide] if wide else []
        assert not faults, "\n".join(faults)


async def _too_wide(page: Page) -> list[str]:
    if not await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        return []
    found: list[str] = await page.evaluate(_TOO_WIDE)
    return found
