"""Descriptions in Markdown: what they may become, and what nobody can make of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.console.markdown import render_markdown

TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code", "em", "strong", "s"),
    *("a", "div", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"href", "title", "rel", "start", "class", "tabindex"}
CLASSES = {"markdown-table", "align-left", "align-center", "align-right"}

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](\x01javascript:alert(1))",
    "[x](vbscript:msgbox)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](//evil.example)",
    "[x](/api/registries)",
    "[x](https:evil)",
    "[x](#console)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '![x](https://e.example/"onload="alert(1))',
    '[x](https://e.example "\\"onclick=alert(1)")',
    "```\n</code></pre><script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "`</code><script>`",
    "| <script> | b |\n|--|--|\n| </td><script>x</script> | b |",
    "<!-- --><iframe srcdoc='<script>x</script>'>",
    "<style>*{display:none}</style>",
    "<form action=https://evil.example><input name=key></form>",
    "<math><mtext></p><script>x</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "[![x](javascript:1)](javascript:2)",
    "<div id=csrf>",
    "[x](https://user:pass@[::1)",
]


class Reader(HTMLParser):
    """Reads what a browser would make of HTML, and holds it to what may be there."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        found = dict(attrs)
        assert set(found) <= ATTRIBUTES
        assert found.get("class") in {None, *CLASSES}
        if tag == "a" and "href" in found:
            assert found["rel"] == "noopener noreferrer nofollow"
            self.links.append(found["href"] or "")

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"there is a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        pytest.fail(f"there is a declaration: {decl}")


def read(markdown: str) -> list[str]:
    """Render, check, and return the addresses of all links."""
    reader = Reader()
    reader.feed(str(render_markdown(markdown)))
    reader.close()
    for link in reader.links:
        parts = urlsplit(link)
        assert parts.scheme in {"http", "https", "mailto"}
        assert parts.netloc or parts.scheme == "mailto"
    return reader.links


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_comes_through(text: str) -> None:
    """Neither markup nor addresses that run anything, whatever they are dressed as."""
    read(text)


def test_markup_stays_to_be_read() -> None:
    """What was written is shown as it was written."""
    assert render_markdown("a <b>c</b>") == "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n"


@pytest.mark.parametrize(
    "text", [each for each in HOSTILE if each.startswith("[x]") and "e.example" not in each and "::1" not in each]
)
def test_forbidden_addresses_are_no_links(text: str) -> None:
    """Not even links without an address: what was written stays to be read."""
    assert read(text) == []
    assert "<a" not in render_markdown(text)


@given(st.lists(st.sampled_from([*HOSTILE, "\n", "\n\n", " ", "- ", "> ", "*", "_", "|", "[", "](", ")", "!", "`"])))
@settings(max_examples=300)
def test_no_mixture_comes_through(pieces: list[str]) -> None:
    """Pieces that are harmless alone may not make something else together."""
    read("".join(pieces))


@given(st.text())
@settings(max_examples=300)
def test_any_text_is_rendered(text: str) -> None:
    """No text is an error."""
    read(text)


def test_links_that_are_allowed() -> None:
    """The web and mail, with their addresses kept as they are."""
    links = read(
        "[a](https://e.example/x?a=1&b=2#c) [b](http://e.example:8080) [c](mailto:team@e.example) <https://f.example>"
    )

    assert links == [
        "https://e.example/x?a=1&b=2#c",
        "http://e.example:8080",
        "mailto:team@e.example",
        "https://f.example",
    ]


def test_images_become_links() -> None:
    """The pages load nothing from other hosts, so that an image is an address to go to."""
    rendered = render_markdown("![build *status*](https://ci.example/badge.svg)")

    assert "<img" not in rendered
    assert read("![build *status*](https://ci.example/badge.svg)") == ["https://ci.example/badge.svg"]
    assert ">build status</a>" in rendered


def test_an_image_without_words_shows_its_address() -> None:
    """A link without words could not be seen."""
    assert ">https://ci.example/badge.svg</a>" in render_markdown("![](https://ci.example/badge.svg)")


def test_an_image_in_a_link_is_its_words() -> None:
    """Badges are mostly written so: one link, to where the badge leads."""
    badge = "[![build](https://ci.example/badge.svg)](https://ci.example/runs) ![more](https://ci.example/more.png)"

    assert read(badge) == ["https://ci.example/runs", "https://ci.example/more.png"]
    assert ">build</a>" in render_markdown(badge)


def test_tables_scroll_and_align_without_inline_styles() -> None:
    """What scrolls can be reached by keyboard."""
    rendered = render_markdown("| a | b |\n|:--|--:|\n| 1 | 2 |")

    assert re.search(r'<div (?=[^>]*class="markdown-table")(?=[^>]*tabindex="0")[^>]*><table>', rendered)
    assert '<th class="align-left">a</th>' in rendered
    assert '<td class="align-right">2</td>' in rendered
    assert "style" not in rendered


def test_fenced_code_stays_as_it_is() -> None:
    """Line by line, markup and all."""
    assert '<pre tabindex="0"><code>a &lt; b\n  &lt;b&gt;\n</code></pre>' in render_markdown("```py\na < b\n  <b>\n```")


@pytest.mark.parametrize(("written", "shown"), [("# T", "h3"), ("## T", "h4"), ("##### T", "h6"), ("T\n=", "h3")])
def test_headings_stand_below_those_of_the_page(written: str, shown: str) -> None:
    """Whoever steps through the headings of a page finds them in order."""
    assert f"<{shown}>T</{shown}>" in render_markdown(written)
