"""Take pictures of every screen of the console: ``make screenshots``."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from console.chromium.screens import SCREENS, show
from console.chromium.visiting import chromium, visit
from console.demo import demo_server, fill
from support.postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser

    from console.chromium.screens import Screen
    from console.chromium.visiting import Look
    from console.demo import Demo

_PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
_IN_README = ("first-push", "images", "image")


@dataclass(frozen=True)
class Variant:
    """One way to look at all screens."""

    language: str = "en"
    look: Look = "light"
    width: int = 1280

    def __str__(self) -> str:
        return f"{self.language}-{self.look}-{self.width}"


VARIANTS = (
    Variant(),
    Variant(look="dark"),
    Variant(width=390),
    Variant(look="dark", width=390),
    Variant("ko"),
    Variant("ko", width=390),
)
"""What differs from one language to the other is the length of words: the dark adds nothing to that."""


def main() -> None:
    """Fill a server of its own, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go, in a folder for each variant")
    parser.add_argument("--readme", action="store_true", help="take those of the README anew, and no other")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="slipway-screenshots-") as data,
        running_postgres() as dsn,
        demo_server(Path(data), dsn) as demo,
    ):
        fill(demo)
        asyncio.run(_take_for_readme(demo) if given.readme else _take_all(demo, given.folder))
    print(f"the pictures are in {_PICTURES if given.readme else given.folder}")  # noqa: T201


async def _take_all(demo: Demo, folder: Path) -> None:
    async with chromium() as browser:
        for variant in VARIANTS:
            await _take(browser, demo, variant, SCREENS, folder / str(variant))


async def _take_for_readme(demo: Demo) -> None:
    screens = [each for each in SCREENS if each.name in _IN_README]
    async with chromium() as browser:
        await _take(browser, demo, Variant(), screens, _PICTURES, is_whole=False)


async def _take(
    browser: Browser, demo: Demo, variant: Variant, screens: Sequence[Screen], folder: Path, *, is_whole: bool = True
) -> None:
    """Take pictures of pages as a whole, or as much as a window shows; of a dialog, always that."""
    for who, seen in groupby(screens, lambda each: each.who):
        visited = visit(browser, demo, who, language=variant.language, look=variant.look, width=variant.width)
        async with visited as (page, watch):
            for screen in seen:
                watch.expected |= {screen.status} if screen.status else set()
                await show(page, screen)
                has_dialog = await page.locator("dialog[open]").count() > 0
                file = folder / f"{screen.name}.png"
                await page.screenshot(path=file, full_page=is_whole and not has_dialog, animations="disabled")


if __name__ == "__main__":
    main()
