"""Where the pages of images are, and what stands on them."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

if TYPE_CHECKING:
    from .browser import Page

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
